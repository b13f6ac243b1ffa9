"""Session locks: at most one process, thread or coroutine works on a session.

Beside a file they are the operating system's file locks, in PostgreSQL its advisory locks. So a lock
disappears with its owner, however the owner ends.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import quote

from filelock import FileLock, Timeout

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.database import MEMORY, Database
from swarm_graph.checkpoints.storage import Storage, session_lock
from swarm_graph.errors import SessionInUse, StorageError

MAX_NAME_CHARACTERS = 100
ACQUIRE_TIMEOUT_S, ACQUIRE_POLL_S = 0.25, 0.02
"""Longer than `is_running` holds a lock, so that a look at a session never makes a run of it fail."""


class SessionLock:
    """The lock of a session, or of an experiment. A database in memory needs none."""

    def __init__(self, catalogue: Catalogue, session_id: str, what: str = "session") -> None:
        self._catalogue, self._session_id, self._what = catalogue, session_id, what
        self._lock = _lock_of(catalogue.database, session_id)

    @property
    def is_held(self) -> bool:
        """Whether a process, thread or coroutine holds it at this moment.

        Raises:
            StorageError: The lock's file cannot be written, or the server cannot be reached.
        """
        return self._lock is not None and self._lock.is_held

    def acquire(self, timeout_s: float = ACQUIRE_TIMEOUT_S) -> None:
        """Take the lock.

        Args:
            timeout_s: How long to wait while another one has it.

        Raises:
            SessionInUse: Another process, thread or coroutine works on the session; the message names it.
            StorageError: The lock's file cannot be written, or the server cannot be reached.
        """
        if self._lock is not None and not self._lock.acquire(timeout_s):
            raise SessionInUse(
                f"{self._what} '{self._session_id}' is in use: {self._owner()}; "
                "wait for it to end, or stop it"
            )

    def release(self) -> None:
        """Give the lock back; without the lock it does nothing."""
        if self._lock is not None:
            self._lock.release()

    def _owner(self) -> str:
        if self._what != "session":
            return "another process works on it"
        runs = self._catalogue.runs(self._session_id)
        has_open_run = runs and runs[-1].ended_at is None
        return runs[-1].owner if has_open_run else "another process that has just started"


def _lock_of(database: Storage, name: str) -> _Lock | None:
    if database.is_file:
        return _FileLock(cast("Database", database).file, name)
    return _ServerLock(database, name) if _is_server(database) else None


def _is_server(database: Storage) -> bool:
    return not database.is_file and str(database.path) != MEMORY


class _Lock(Protocol):
    @property
    def is_held(self) -> bool: ...

    def acquire(self, timeout_s: float) -> bool: ...

    def release(self) -> None: ...


class _FileLock:
    """A file beside the database."""

    def __init__(self, database: Path, name: str) -> None:
        quoted = quote(name, safe="")
        if len(quoted) > MAX_NAME_CHARACTERS:
            quoted = sha256(name.encode()).hexdigest()
        self._file = database.with_name(f"{database.name}-{quoted}.lock")
        self._lock = FileLock(self._file, mode=0o600, thread_local=False, fallback_to_soft=False)

    @property
    def is_held(self) -> bool:
        """Whoever holds it has its file. A killed process leaves the file."""
        if not self._file.exists():
            return False
        is_free = self.acquire(timeout_s=0)
        if is_free:
            self.release()
        return not is_free

    def acquire(self, timeout_s: float) -> bool:
        """Take it; False if another one has it until the time is over."""
        try:
            self._lock.acquire(timeout=timeout_s, poll_interval=ACQUIRE_POLL_S)
        except Timeout:
            return False
        except OSError as error:
            too_many = error.errno in (errno.EMFILE, errno.ENFILE)
            cure = (
                "run fewer sessions at once, or raise `ulimit -n`" if too_many else "make its folder writable"
            )
            raise StorageError(f"cannot lock '{self._file}': {error.strerror or error}; {cure}") from error
        return True

    def release(self) -> None:
        """Give it back."""
        if self._lock.is_locked:
            # Unlinked while still locked: otherwise another process could lock a file that is then unlinked.
            with suppress(OSError):
                self._file.unlink()
            self._lock.release()


class _ServerLock:
    """A lock of a server, which belongs to the connection."""

    def __init__(self, database: Any, name: str) -> None:
        self._database, self._name, self._is_owner = database, session_lock(name), False

    @property
    def is_held(self) -> bool:
        """Whether somebody holds it. A look takes nothing: its owner may be about to connect anew."""
        return bool(self._database.locked_among([self._name]))

    def acquire(self, timeout_s: float) -> bool:
        """Take it; False if another one has it until the time is over."""
        deadline = time.monotonic() + timeout_s
        while not self._database.try_lock(self._name):
            if time.monotonic() >= deadline:
                return False
            time.sleep(ACQUIRE_POLL_S)
        self._is_owner = True
        return True

    def release(self) -> None:
        """Give it back."""
        if self._is_owner:
            self._is_owner = False
            self._database.unlock(self._name)


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


def running_among(catalogue: Catalogue, session_ids: Sequence[str]) -> set[str]:
    """Those of some sessions on which somebody works at this moment; a server is asked once for all.

    Raises:
        StorageError: A lock's file cannot be written, or the server cannot be reached.
    """
    database: Any = catalogue.database
    if not _is_server(database):
        return {session for session in session_ids if is_running(catalogue, session)}
    names = {session_lock(session): session for session in session_ids}
    return {names[name] for name in database.locked_among([*names])}


def is_running(catalogue: Catalogue, session_id: str) -> bool:
    """Whether a process, thread or coroutine works on a session at this moment. It never waits.

    Raises:
        StorageError: The lock's file cannot be written.
    """
    return SessionLock(catalogue, session_id).is_held


def is_running_beside(file: Path, session_id: str) -> bool:
    """`is_running` for a database whose file may be damaged, and is not opened.

    Args:
        file: The file, absolute and without links.
        session_id: The session.

    Raises:
        StorageError: The lock's file cannot be written.
    """
    return _FileLock(file, session_id).is_held
