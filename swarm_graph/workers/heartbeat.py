"""The heartbeat of a worker, and the rescue of the jobs of workers that have none any more.

A worker holds a lock of its own as long as it is connected. One without lock and heartbeat was killed, or cut
off. One with a lock and without a heartbeat was stopped, and may go on at any moment: its connections are
ended before its jobs are given to others, and with them the locks of its sessions, so it cannot write.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import psycopg

from swarm_graph.checkpoints.postgres import KEEPALIVE, cure_of
from swarm_graph.database_place import without_password
from swarm_graph.errors import StorageError
from swarm_graph.workers.app import SESSION_FAILED, WAKE_WORKERS

BEAT_S = 1.0
GONE_S = 4.0
"""How old the heartbeat of a worker without a connection is before its jobs are given to others."""
STALLED_S = 12.0
"""The same for a worker that is connected, and that may just be slow."""
MAX_LOSSES = 20
"""A job that so many workers did not survive has failed: it may be what kills them."""
APPLICATION = "swarm_graph worker"
"""With the number of a worker, the name of its connections."""

_LOCK = "hashtextextended('swarm_graph worker ' || {}, 0)"
_IS_CONNECTED = (
    f"EXISTS (SELECT 1 FROM pg_locks, LATERAL (SELECT {_LOCK.format('w.id')} AS key) AS own "
    "WHERE locktype = 'advisory' AND objsubid = 1 AND granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND classid::bigint = ((key >> 32) & 4294967295) AND objid::bigint = (key & 4294967295))"
)
_STALLED = f"""
WITH silent AS (
    SELECT w.id, {_IS_CONNECTED} AS is_connected,
        extract(epoch FROM clock_timestamp() - greatest(w.last_heartbeat, pg_postmaster_start_time())) AS age
    FROM procrastinate_workers w
    WHERE w.last_heartbeat < clock_timestamp() - interval '{GONE_S} seconds'
)
SELECT job.id, job.worker_id,
    CASE WHEN job.args->>'losses' ~ '^[0-9]{{1,4}}$' THEN (job.args->>'losses')::int ELSE 0 END
FROM procrastinate_jobs job
LEFT JOIN silent ON silent.id = job.worker_id
WHERE job.status = 'doing' AND (
    job.worker_id IS NULL OR silent.age > CASE WHEN silent.is_connected THEN {STALLED_S} ELSE {GONE_S} END
)
"""
_END_CONNECTIONS = (
    "SELECT count(*) FROM (SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name = %s) AS ended"
)
# Others may have written rows that we would not.
_MARK = (
    "UPDATE procrastinate_jobs SET args = CASE jsonb_typeof(args) WHEN 'object' THEN args ELSE '{}' END "
    "|| jsonb_build_object('losses', %s::int) "
    "WHERE id = %s AND status = 'doing' AND worker_id IS NOT DISTINCT FROM %s RETURNING id"
)
_WHY = "UPDATE procrastinate_jobs SET args = args || jsonb_build_object('reason', %s::text) WHERE id = %s"
_FORGET = (
    "DELETE FROM procrastinate_workers w WHERE last_heartbeat < now() - interval '1 day' "
    "AND NOT EXISTS (SELECT 1 FROM procrastinate_jobs WHERE worker_id = w.id AND status = 'doing')"
)


class Stalled(NamedTuple):
    """A job whose worker gives no sign of life."""

    job: int
    worker: int | None
    losses: int


class Heartbeat:
    """A thread that keeps a worker alive in the database, and rescues the jobs of others.

    A thread of its own: an event loop that is busy is no reason to lose the jobs.

    Args:
        url: The database.
        say: Called with a line for the operator.

    Raises:
        StorageError: The database cannot be used.

    Attributes:
        worker: The number of the worker in the database.
    """

    def __init__(self, url: str, say: Callable[[str], None]) -> None:
        self._url, self._say = url, say
        self._ended = threading.Event()
        try:
            self._register()
        except psycopg.Error as error:  # as of a server that restarts
            raise StorageError(
                f"cannot use the database {without_password(url)!r}: {cure_of(error)}"
            ) from error
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def _register(self) -> None:
        self._connection = self._connect()
        query = "INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING id"
        row = self._connection.execute(query).fetchone()
        assert row
        self.worker: int = row[0]
        os.environ["PGAPPNAME"] = self.application
        self._introduce()

    @property
    def application(self) -> str:
        """How the connections of the worker are called."""
        return f"{APPLICATION} {self.worker}"

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def end(self) -> None:
        """Stop beating; the worker has no jobs any more."""
        self._ended.set()
        self._thread.join()
        with suppress(psycopg.Error):
            self._connection.execute("DELETE FROM procrastinate_workers WHERE id = %s", (self.worker,))
            self._connection.close()

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._url, autocommit=True, **KEEPALIVE)

    def _introduce(self) -> None:
        """Name the connection, and take the worker's lock."""
        self._connection.execute("SELECT set_config('application_name', %s, false)", (self.application,))
        self._connection.execute(f"SELECT pg_try_advisory_lock({_LOCK.format(self.worker)})")

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            try:
                if self._connection.closed:
                    self._connection = self._connect()
                    self._introduce()
                self._connection.execute(
                    "UPDATE procrastinate_workers SET last_heartbeat = clock_timestamp() WHERE id = %s",
                    (self.worker,),
                )
                self._rescue()
            except psycopg.Error:
                self._connection.close()  # the server restarts, or another worker took this one for dead

    def _rescue(self) -> None:
        with self._connection.transaction():
            query = "SELECT pg_try_advisory_xact_lock(hashtextextended('swarm_graph rescue', 0))"
            (is_mine,) = self._connection.execute(query).fetchone() or (False,)
            if not is_mine:
                return
            stalled = [Stalled(*row) for row in self._connection.execute(_STALLED)]
            for worker in {one.worker for one in stalled} - {None}:
                self._connection.execute(_END_CONNECTIONS, (f"{APPLICATION} {worker}",))
            for one in stalled:
                self._rescue_job(one)
            if not stalled and int(time.monotonic()) % 60 == 0:
                self._connection.execute(_FORGET)

    def _rescue_job(self, one: Stalled) -> None:
        """Give a job to others; one that cannot wait again is taken out, so that all others are rescued."""
        try:
            with self._connection.transaction():
                self._requeue(one)
        except psycopg.OperationalError:  # says nothing about the job
            raise
        except psycopg.Error as error:  # such as that a job of its session waits already
            self._connection.execute("DELETE FROM procrastinate_jobs WHERE id = %s", (one.job,))
            self._say(
                f"job {one.job} cannot wait again and is taken out of the queue: {error.diag.message_primary}"
            )

    def _requeue(self, one: Stalled) -> None:
        """Give a job to others, unless its worker has ended it meanwhile."""
        losses = one.losses + 1
        if not self._connection.execute(_MARK, (losses, one.job, one.worker)).fetchone():
            return
        if losses < MAX_LOSSES:
            retry = "SELECT procrastinate_retry_job_v2(%s, NULL, NULL, NULL, NULL)"
            self._connection.execute(retry, (one.job,))
            self._connection.execute(f"SELECT {WAKE_WORKERS}")
            self._say(f"job {one.job} of worker {one.worker}, which gave no sign of life, waits again")
            return
        self._connection.execute(_WHY, (f"{losses} workers ended while they did it", one.job))
        self._connection.execute("SELECT procrastinate_finish_job_v1(%s, 'failed', false)", (one.job,))
        values = {"job": one.job, "worker": one.worker, "attempts": None}
        self._connection.execute(SESSION_FAILED, values)
