"""The values that a thread had in its past steps, each read once; no graph is built for it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from swarm_graph.checkpoints.swarm_saver import SwarmSaver

MAX_STEPS = 5_000
"""Steps of a thread that are read; the newest."""


class PastStep(NamedTuple):
    """A checkpoint of a thread.

    Attributes:
        small: Its small values, by channel: numbers, short texts.
        versions: The version of each channel's value.
    """

    small: dict[str, Any]
    versions: dict[str, str]


class PastValues:
    """The steps of a thread, and their values.

    Args:
        saver: The database.
        thread: The thread's id.
    """

    def __init__(self, saver: SwarmSaver, thread: str) -> None:
        self._saver, self._thread = saver, thread
        self._stored = lru_cache(maxsize=None)(self._read)

    def steps(self) -> Iterator[PastStep]:
        """Yield the steps, oldest first."""
        for found in reversed(self._saver.latest_checkpoints(self._thread, MAX_STEPS)):
            versions = {name: str(version) for name, version in found["channel_versions"].items()}
            yield PastStep(found["channel_values"], versions)

    def value(self, step: PastStep, channel: str) -> Any:
        """The value of a channel at a step; None if it has none."""
        if channel in step.small:
            return step.small[channel]
        version = step.versions.get(channel)
        return None if version is None else self._stored(channel, version)

    def _read(self, channel: str, version: str) -> Any:
        query = """SELECT type, value FROM channel_values
            WHERE thread_id = ? AND checkpoint_ns = '' AND channel = ? AND version = ?"""
        with self._saver.database.view() as cursor:
            row = cursor.execute(query, (self._thread, channel, version)).fetchone()
        return self._saver.serde.loads_typed(tuple(row)) if row else None
