"""Counts the streams that are open, in all and of each user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

MAX_STREAMS, MAX_STREAMS_OF_USER = 128, 96


class Streams:
    """Counts the streams that are open."""

    def __init__(self) -> None:
        self._of_users: dict[str, int] = {}

    def is_full_for(self, user: str) -> bool:
        """Whether a user may open no further stream now."""
        of_user = self._of_users.get(user, 0)
        return of_user >= MAX_STREAMS_OF_USER or sum(self._of_users.values()) >= MAX_STREAMS

    @contextmanager
    def counted(self, user: str) -> Iterator[None]:
        """Count a stream of a user while it is open."""
        self._of_users[user] = self._of_users.get(user, 0) + 1
        try:
            yield
        finally:
            self._of_users[user] -= 1
            if not self._of_users[user]:
                del self._of_users[user]
