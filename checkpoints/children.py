"""The threads of tasks below a session's own: how they are named, and a saver that they can use anywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.memory import InMemorySaver

from swarm_graph.checkpoints.saver import CHILD, SwarmSaver


def child_thread(session: str, run: str, task: str) -> str:
    """The name of a task's thread; `run`: one and the same for all tasks of one request."""
    return CHILD.join((session, run, task))


def for_any_loop(saver: BaseCheckpointSaver[Any] | None) -> BaseCheckpointSaver[Any] | None:
    """A saver whose asynchronous methods work in any event loop, over the synchronous ones where need be."""
    if saver is None or isinstance(saver, (SwarmSaver, InMemorySaver)):
        return saver
    return _InThread(saver)


class _InThread(BaseCheckpointSaver[Any]):
    """What a task's thread asks of a saver, done synchronously in a thread."""

    def __init__(self, saver: BaseCheckpointSaver[Any]) -> None:
        super().__init__(serde=saver.serde)
        self._saver = saver

    def get_next_version(self, current: Any, channel: None) -> Any:
        return self._saver.get_next_version(current, channel)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await asyncio.to_thread(self._saver.get_tuple, config)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return await asyncio.to_thread(self._saver.put, config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        await asyncio.to_thread(self._saver.put_writes, config, writes, task_id, task_path)
