"""One cap over the calls of all machines: slots of model servers and of sessions, leased from PostgreSQL.

A process has one connection for it, in a thread of its own. All that its calls ask and release meanwhile goes
to the server in one round trip, which also renews what it holds (`lease_tables.py`). A notification tells the
process that another one's release has given it a slot; without it the next renewal does.

The cap holds through every loss. Leases end when their owner has not renewed them for `EXPIRY_S` and its
connection is gone: a process that is merely stopped keeps them. An owner that cannot renew cancels its calls
`CANCEL_S` after the last renewal, so they have ended by then.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import selectors
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from functools import partial
from typing import Any
from uuid import uuid4
from weakref import WeakSet

import psycopg

from swarm_graph.aio import set_deadline
from swarm_graph.checkpoints.lease_tables import EXPIRY_S
from swarm_graph.checkpoints.storage import Wanted
from swarm_graph.errors import SlotLost, StorageError

log = logging.getLogger("swarm_graph.leases")

BEAT_S = 1.0
"""How often leases are renewed."""
CANCEL_S = EXPIRY_S - 1.5
"""Calls end so long after the last renewal: their servers have time to notice before others get the slots."""
TICK_S = 0.25
"""How often calls in flight see whether their leases are renewed."""
PATIENCE_S = 60.0
"""How long requests wait for a server that restarts, before they fail."""
FIRST_PAUSE_S, MAX_PAUSE_S = 0.05, 0.5
"""Between attempts to connect anew."""
CLOSE_S = 2.0
"""How long `close` waits for a server that does not answer."""
UNUSED_S = 600.0
"""What a process has said of a limit is taken back when it has not asked for so long."""
CLOSED = "the database was closed while a call waited for its slot; resume the session"


class Lease:
    """A slot that is asked for, or held."""

    def __init__(self, leases: Leases, number: int, wanted: Wanted) -> None:
        self._leases, self.number, self.wanted = leases, number, wanted
        self._asked_at, self.loop = time.monotonic(), asyncio.get_running_loop()
        self.turn: asyncio.Future[None] = self.loop.create_future()
        self.is_held, self.is_claimed = False, False
        """Whether the server has granted it, and what to tell a server that has forgotten it."""
        self._deadline: asyncio.Timeout | None = None

    def release(self) -> None:
        """Give it back; a second call does nothing."""
        self._leases.release(self)

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Do something while it is held; see `Grant`."""
        deadline = asyncio.timeout(None)
        try:
            async with deadline:
                self._deadline = deadline
                self._leases.watch(self.loop)
                if not self.is_held:
                    self.lose()
                yield
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise SlotLost(
                f"cannot renew the slot of {self.wanted.server} in the database; the call was cancelled, and "
                "is asked again as soon as it has a slot",
                retryable=True,
            ) from error
        finally:
            self._deadline = None

    @property
    def is_watched(self) -> bool:
        """Whether something is done that ends when the lease is lost."""
        return self._deadline is not None

    def lose(self) -> None:
        """Cancel what is done with it; call it in its event loop."""
        if self._deadline is not None and not self._deadline.expired():
            set_deadline(self._deadline, self.loop.time())

    def ask(self) -> dict[str, Any]:
        """How the server is asked for it."""
        wanted = self.wanted
        return {
            "number": self.number,
            "server": _plain(wanted.server),
            "slot": _plain(wanted.slot) or None,
            "session": _session(wanted) or None,
            "model": _plain(wanted.model),
            "priority": wanted.priority,
            "waited": time.monotonic() - self._asked_at,
            "held": self.is_claimed,
        }


class Leases:
    """The leases of one process in one database; see `leases_of`.

    Args:
        connect: Opens a connection to the database; raises StorageError.

    Attributes:
        users: The open storages that share them.
        connection: The connection; None before the first request.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self._connect, self.users = connect, WeakSet[object]()
        self.connection: psycopg.Connection[Any] | None = None
        self._owner = f"leases {uuid4().hex}"
        self._numbers = itertools.count(1)
        # Reentrant: the garbage collector may end an abandoned call while this thread holds the lock.
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._all: dict[int, Lease] = {}
        self._new: list[Lease] = []
        self._released: list[int] = []
        self._limits: dict[str, tuple[int, float]] = {}
        """How many slots this process has said that a name has, and when it last asked for one."""
        self._unsaid: set[str] = set()
        self._renewed_at = 0.0
        """When the last renewal was sent that the server has confirmed (time.monotonic())."""
        self._watching: WeakSet[asyncio.AbstractEventLoop] = WeakSet()

    # --- what calls do, in their event loops -----------------------------------------------------

    async def take(self, wanted: Wanted) -> Lease:
        """Wait for a slot, and hold it.

        Raises:
            StorageError: The database is closed, or cannot be reached for `PATIENCE_S`.
        """
        lease = Lease(self, next(self._numbers), wanted)
        self._ask(lease)
        try:
            while True:
                await lease.turn
                if self._may_begin(lease):
                    return lease
        except BaseException:
            lease.release()
            raise

    def _may_begin(self, lease: Lease) -> bool:
        """Whether a lease whose turn has come still is held; if that is not sure, it waits again."""
        with self._lock:
            if lease.is_held and not self._is_stale:
                return True
            lease.is_held, lease.turn = False, lease.loop.create_future()
            return False

    def _ask(self, lease: Lease) -> None:
        with self._lock:
            if self._is_closed:
                raise StorageError(CLOSED)
            self._all[lease.number] = lease
            self._new.append(lease)
            self._say_limit(_plain(lease.wanted.server), lease.wanted.server_slots)
            if session := _session(lease.wanted):
                self._say_limit(session, lease.wanted.session_slots)
            if self._thread is None:
                self._begin()
        self._wake()

    def _say_limit(self, name: str, slots: int) -> None:
        said, _ = self._limits.get(name, (None, 0.0))
        self._limits[name] = slots, time.monotonic()
        if said != slots:
            self._unsaid.add(name)

    def release(self, lease: Lease) -> None:
        """Give a lease back, or ask for it no more; a second call does nothing."""
        with self._lock:
            if self._all.pop(lease.number, None) is None:
                return
            lease.is_held = False
            self._released.append(lease.number)
        self._wake()

    @property
    def _is_stale(self) -> bool:
        """Whether others may have what this process held."""
        return time.monotonic() - self._renewed_at > CANCEL_S

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """See to it that the calls of an event loop end when their leases cannot be renewed."""
        if loop not in self._watching:
            self._watching.add(loop)
            self._tick(loop, was_stale=False)

    def _tick(self, loop: asyncio.AbstractEventLoop, *, was_stale: bool) -> None:
        with self._lock:
            watched = [lease for lease in self._all.values() if lease.loop is loop and lease.is_watched]
        if not watched:
            self._watching.discard(loop)
            return
        is_stale = self._is_stale
        if is_stale and was_stale:  # a process that was stopped has the time of a tick to renew
            log.warning(
                "cannot renew slots in the database; calls in flight end, and are asked again: %s",
                len(watched),
            )
            for lease in watched:
                lease.lose()
        Context().run(loop.call_later, TICK_S, lambda: self._tick(loop, was_stale=is_stale))

    # --- the thread with the connection ----------------------------------------------------------

    def _begin(self) -> None:
        self._bell, ringer = socket.socketpair()
        self._ringer = ringer
        self._bell.setblocking(False)
        ringer.setblocking(False)
        self._thread = threading.Thread(target=self._serve, name="swarm-leases", daemon=True)
        self._thread.start()

    def _wake(self) -> None:
        with suppress(BlockingIOError, OSError):  # it has not heard the last calls yet, or has ended
            self._ringer.send(b"!")

    def close(self) -> None:
        """Give all leases back; whoever waits for one gets a StorageError."""
        with self._lock:
            self._is_closed = True
        if self._thread is not None:
            self._wake()
            self._thread.join(CLOSE_S)
            self._fail(StorageError(CLOSED))

    def leave_to_parent(self) -> None:
        """In a forked child: hold nothing, and leave the connection alone."""
        self._lock, self._all, self._is_closed, self._thread = threading.RLock(), {}, True, None
        if self.connection is not None:
            _INHERITED.append(self.connection)

    def _serve(self) -> None:
        lost_at, pause = time.monotonic(), FIRST_PAUSE_S
        while not self._is_closed:
            try:
                if self.connection is None or self.connection.closed:
                    self._open()
                self._attend()
            except (psycopg.Error, StorageError) as error:
                if self.connection is not None and not self.connection.closed:
                    self.connection.close()
                if self._renewed_at > lost_at:
                    lost_at, pause = time.monotonic(), FIRST_PAUSE_S
                if time.monotonic() - lost_at > PATIENCE_S or not _may_pass(error):
                    self._fail(_as_storage_error(error))
                    lost_at = time.monotonic()
                time.sleep(pause)
                pause = min(2 * pause, MAX_PAUSE_S)
        self._leave()

    def _open(self) -> None:
        """Connect, and say what this process holds and waits for."""
        self.connection = self._connect()
        self.connection.execute("SET synchronous_commit = off")
        self.connection.execute(f'LISTEN "{self._owner}"')
        self._exchange(joins=True)

    def _attend(self) -> None:
        """Exchange whenever there is something to say or to hear, as long as the connection holds."""
        assert self.connection is not None
        swept_at = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(self._bell, selectors.EVENT_READ)
            selector.register(self.connection.fileno(), selectors.EVENT_READ)
            while not self._is_closed:
                is_notified = any([*self.connection.notifies(timeout=0)])
                if not (self._has_news or is_notified):
                    selector.select(max(0.0, swept_at + BEAT_S - time.monotonic()))
                    self._hear()
                sweeps = time.monotonic() >= swept_at + BEAT_S
                if sweeps:
                    swept_at = time.monotonic()
                self._exchange(sweeps=sweeps)

    @property
    def _has_news(self) -> bool:
        return bool(self._new or self._released or self._unsaid)

    def _hear(self) -> None:
        with suppress(BlockingIOError):
            self._bell.recv(4096)

    def _exchange(self, *, joins: bool = False, sweeps: bool = False) -> None:
        """Tell the server everything, and hear what this process holds."""
        assert self.connection is not None
        told, began = self._news(joins=joins, sweeps=sweeps), time.monotonic()
        query = "SELECT swarm_leases(%s, %s::jsonb)"
        row = self.connection.execute(query, (self._owner, json.dumps(told))).fetchone()
        if row is None or row[0] is None:
            self._exchange(joins=True)
            return
        self._renewed_at = began
        self._settle({*row[0]})

    def _news(self, *, joins: bool, sweeps: bool) -> dict[str, Any]:
        with self._lock:
            new, self._new = self._new, []
            released, self._released = self._released, []
            unsaid, self._unsaid = self._unsaid, set()
            forgotten = self._forgotten() if sweeps else []
            told: dict[str, Any] = {"releases": released, "forgets": forgotten}
            if sweeps:
                told["sweeps"] = True
            if joins:
                told["joins"] = {"host": socket.gethostname(), "process": os.getpid()}
                new, unsaid = [*self._all.values()], {*self._limits}
                for lease in new:
                    lease.is_claimed = lease.is_held and not self._is_stale
            told["asks"] = [lease.ask() for lease in new]
            told["limits"] = {name: self._limits[name][0] for name in unsaid}
            return told

    def _forgotten(self) -> list[str]:
        """The names of limits that nobody here has asked for lately."""
        now, used = time.monotonic(), {_session(lease.wanted) for lease in self._all.values()}
        used |= {_plain(lease.wanted.server) for lease in self._all.values()}
        found = [name for name, (_, at) in self._limits.items() if now - at > UNUSED_S and name not in used]
        for name in found:
            del self._limits[name]
        return found

    def _settle(self, held: set[int]) -> None:
        """Wake the calls whose turn it is, and cancel those that have lost their slot."""
        with self._lock:
            for lease in [*self._all.values()]:
                is_held = lease.number in held
                if is_held != lease.is_held:
                    lease.is_held = is_held
                    self._tell(lease, _wake if is_held else Lease.lose)

    def _tell(self, lease: Lease, what: Callable[[Lease], None]) -> None:
        try:
            lease.loop.call_soon_threadsafe(what, lease)
        except RuntimeError:  # the event loop is closed, so the call is gone
            self.release(lease)

    def _fail(self, error: StorageError) -> None:
        """Let all fail that wait."""
        with self._lock:
            for lease in [*self._all.values()]:
                if not lease.is_held:
                    self._tell(lease, lambda lease: _fail(lease, error))

    def _leave(self) -> None:
        """Give back what is held at the end."""
        with self._lock:
            self._released += [*self._all]
        if self.connection is not None and not self.connection.closed:
            with suppress(psycopg.Error):
                self._exchange()
            self.connection.close()
        self._bell.close()
        self._ringer.close()


_OF_PROCESS: dict[str, Leases] = {}
_OF_PROCESS_LOCK = threading.RLock()


def leases_of(url: str, user: object, connect: Callable[[str], psycopg.Connection[Any]]) -> Leases:
    """The leases of this process in a database, which all its storages share.

    Args:
        url: The database.
        user: The storage, until it calls `give_up`.
        connect: Opens a connection to the database; raises StorageError.
    """
    with _OF_PROCESS_LOCK:
        leases = _OF_PROCESS.setdefault(url, Leases(partial(connect, url)))
        leases.users.add(user)
        return leases


def give_up(url: str, user: object) -> None:
    """End the use by a storage; the last one gives all leases back."""
    with _OF_PROCESS_LOCK:
        leases = _OF_PROCESS.get(url)
        if leases is None:
            return
        leases.users.discard(user)
        if leases.users:
            return
        del _OF_PROCESS[url]
    leases.close()


def _after_fork_in_child() -> None:
    """Hold nothing: a fork copies neither the thread nor its connection."""
    global _OF_PROCESS_LOCK
    _OF_PROCESS_LOCK = threading.RLock()
    for leases in _OF_PROCESS.values():
        leases.leave_to_parent()
    _OF_PROCESS.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork_in_child)

_INHERITED: list[psycopg.Connection[Any]] = []
"""Connections of the parent process. A forked child must neither use nor close them, so it keeps them."""


def _wake(lease: Lease) -> None:
    if not lease.turn.done():
        lease.turn.set_result(None)


def _fail(lease: Lease, error: StorageError) -> None:
    if not lease.turn.done():
        lease.turn.set_exception(error)


def _session(wanted: Wanted) -> str:
    """The name of a session's limit, which no server has; empty if there is none."""
    return f"session {_plain(wanted.session)}" if wanted.session else ""


def _plain(text: str) -> str:
    """A text that JSON in PostgreSQL can hold."""
    return text.encode(errors="backslashreplace").decode().replace("\0", " ")


def _may_pass(error: Exception) -> bool:
    """Whether a server may take the same later."""
    cause = error.__cause__ if isinstance(error, StorageError) else error
    return isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError)


def _as_storage_error(error: Exception) -> StorageError:
    if isinstance(error, StorageError):
        return error
    return StorageError(f"cannot ask the database for a slot of a model server: {error}")
