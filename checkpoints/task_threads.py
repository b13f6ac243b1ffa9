"""LangGraph threads for the tasks of a task graph: their ids, and a saver that works in any event loop."""

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

from swarm_graph.checkpoints.saver import TASK_SEPARATOR, SwarmSaver


def task_thread_id(session_id: str, request: str, task: str) -> str:
    """The id of a task's thread.

    Args:
        session_id: The session.
        request: An id that all tasks of one request share; it keeps a follow-up from the old threads.
        task: The task's id.
    """
    return TASK_SEPARATOR.join((session_id, request, task))


def usable_in_any_loop(saver: BaseCheckpointSaver[Any] | None) -> BaseCheckpointSaver[Any] | None:
    """The saver, or one that runs its synchronous methods in a thread.

    A task may run in an event loop of its own, while a saver of LangGraph's, such as AsyncSqliteSaver, is
    bound to the loop that it was opened in.
    """
    if saver is None or isinstance(saver, (SwarmSaver, InMemorySaver)):
        return saver
    return _ThreadedSaver(saver)


class _ThreadedSaver(BaseCheckpointSaver[Any]):
    """The asynchronous methods that a task's thread needs, on top of a saver's synchronous ones."""

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
