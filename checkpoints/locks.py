"""Session locks: at most one process, thread or coroutine works on a session.

They are the operating system's file locks, so a lock disappears with its owner, however the owner ends.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from urllib.parse import quote

from filelock import FileLock, Timeout

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.database import MEMORY
from swarm_graph.errors import SessionInUse, StorageError

MAX_NAME_CHARACTERS = 100
ACQUIRE_TIMEOUT_S, ACQUIRE_POLL_S = 0.25, 0.02
"""Longer than `is_running` holds a lock, so that a look at a session never makes a run of it fail."""


class SessionLock:
    """The lock of a session, or of an experiment: a file beside the database. One in memory needs none."""

    def __init__(self, catalogue: Catalogue, session_id: str, what: str = "session") -> None:
        self._catalogue, self._session_id, self._what = catalogue, session_id, what
        database = catalogue.database.file
        name = quote(session_id, safe="")
        if len(name) > MAX_NAME_CHARACTERS:
            name = sha256(session_id.encode()).hexdigest()
        self._file = database.with_name(f"{database.name}-{name}.lock")
        self._lock = (
            None
            if str(catalogue.database.path) == MEMORY
            else FileLock(self._file, mode=0o600, thread_local=False, fallback_to_soft=False)
        )

    @property
    def is_free(self) -> bool:
        """Whether nobody can hold it: whoever does has its file. A killed process leaves the file."""
        return self._lock is None or not self._file.exists()

    def acquire(self, timeout_s: float = ACQUIRE_TIMEOUT_S) -> None:
        """Take the lock.

        Args:
            timeout_s: How long to wait while another one has it.

        Raises:
            SessionInUse: Another process, thread or coroutine works on the session; the message names it.
            StorageError: The lock's file cannot be written.
        """
        if self._lock is None:
            return
        try:
            self._lock.acquire(timeout=timeout_s, poll_interval=ACQUIRE_POLL_S)
        except Timeout:
            raise SessionInUse(
                f"{self._what} '{self._session_id}' is in use: {self._owner()}; "
                "wait for it to end, or stop it"
            ) from None
        except OSError as error:
            too_many = error.errno in (errno.EMFILE, errno.ENFILE)
            cure = (
                "run fewer sessions at once, or raise `ulimit -n`" if too_many else "make its folder writable"
            )
            raise StorageError(f"cannot lock '{self._file}': {error.strerror or error}; {cure}") from error

    def release(self) -> None:
        """Give the lock back; without the lock it does nothing."""
        if self._lock is not None and self._lock.is_locked:
            # Unlinked while still locked: otherwise another process could lock a file that is then unlinked.
            with suppress(OSError):
                self._file.unlink()
            self._lock.release()

    def _owner(self) -> str:
        if self._what != "session":
            return "another process works on it"
        runs = self._catalogue.runs(self._session_id)
        has_open_run = runs and runs[-1].ended_at is None
        return runs[-1].owner if has_open_run else "another process that has just started"


@contextmanager
def lock_session(catalogue: Catalogue, session_id: str, what: str = "session") -> Iterator[None]:
    """Hold a session's lock, or that of an experiment.

    Args:
        catalogue: The catalogue of its database.
        session_id: Its id.
        what: What it is, for the message: `session` or `experiment`.

    Raises:
        SessionInUse: Another process, thread or coroutine works on it.
        StorageError: The lock's file cannot be written.
    """
    lock = SessionLock(catalogue, session_id, what)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def is_running(catalogue: Catalogue, session_id: str) -> bool:
    """Whether a process, thread or coroutine works on a session at this moment. It never waits.

    Raises:
        StorageError: The lock's file cannot be written.
    """
    lock = SessionLock(catalogue, session_id)
    if lock.is_free:
        return False
    try:
        lock.acquire(timeout_s=0)
    except SessionInUse:
        return True
    lock.release()
    return False
