"""One process, thread or task at a time works on a session. A lock dies with its owner, whatever kills it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from urllib.parse import quote

from filelock import FileLock, Timeout

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.database import MEMORY
from swarm_graph.errors import SessionInUse, StorageError

LONGEST_NAME = 100
PATIENCE_S = 0.25
"""Longer than somebody who only looks whether a session is at work holds its lock."""


class SessionLock:
    """The lock of a session, an operating system's file lock beside the database."""

    def __init__(self, catalogue: Catalogue, session: str) -> None:
        self._catalogue, self._session = catalogue, session
        database = catalogue.database.file
        name = quote(session, safe="")
        if len(name) > LONGEST_NAME:
            name = sha256(session.encode()).hexdigest()
        self._file = database.with_name(f"{database.name}-{name}.lock")
        self._lock = (
            None
            if str(catalogue.database.path) == MEMORY
            else FileLock(self._file, mode=0o600, thread_local=False, fallback_to_soft=False)
        )

    def acquire(self) -> None:
        """Raises SessionInUse, which says who has it, when somebody works on the session."""
        if self._lock is None:
            return
        try:
            self._lock.acquire(timeout=PATIENCE_S, poll_interval=0.02)
        except Timeout:
            raise SessionInUse(
                f"session '{self._session}' is at work: {self._owner()}; wait for its end, or stop it"
            ) from None
        except OSError as error:
            raise StorageError(
                f"cannot lock '{self._file}': {error.strerror or error}; make its folder writable"
            ) from error

    def release(self) -> None:
        if self._lock is not None and self._lock.is_locked:
            with suppress(OSError):  # gone first, so that nobody is left with a lock on a file without a name
                self._file.unlink()
            self._lock.release()

    def _owner(self) -> str:
        runs = self._catalogue.runs(self._session)
        at_work = runs and runs[-1].ended_at is None
        return runs[-1].owner if at_work else "another process began a moment ago"


@contextmanager
def held(catalogue: Catalogue, session: str) -> Iterator[None]:
    """Hold a session's lock. Raises SessionInUse when somebody else does."""
    lock = SessionLock(catalogue, session)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def is_at_work(catalogue: Catalogue, session: str) -> bool:
    """Whether somebody works on a session at this moment."""
    try:
        with held(catalogue, session):
            return False
    except SessionInUse:
        return True
