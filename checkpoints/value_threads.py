"""Values that a session keeps beside its state, each in a LangGraph thread of its own."""

from __future__ import annotations

import asyncio
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver

from swarm_graph.checkpoints.swarm_saver import TASK_SEPARATOR, SwarmSaver


class ValueThreads:
    """Keeps values under names in any of LangGraph's savers: a thread for each name, with one checkpoint.

    Such a thread looks as if a graph with one node had run in it. So every saver can keep it, and it is
    deleted like any thread.
    """

    def __init__(self, saver: BaseCheckpointSaver[Any], *place: str, in_own_loop: bool = False) -> None:
        """Set where the threads lie.

        Args:
            saver: The checkpointer of the session.
            place: What the ids of the threads begin with: the session, and what tells its values from others.
            in_own_loop: Whether the caller's event loop is not the one that the saver was opened in. A saver
                of LangGraph's, such as AsyncSqliteSaver, is bound to that one.
        """
        self._saver, self._place = saver, place
        self._uses_threads = in_own_loop and not isinstance(saver, (SwarmSaver, InMemorySaver))

    async def find(self, *name: str, channel: str) -> Any:
        """The value under a name; None if there is none."""
        config = self._config(name)
        if self._uses_threads:
            saved = await asyncio.to_thread(self._saver.get_tuple, config)
        else:
            saved = await self._saver.aget_tuple(config)
        return saved.checkpoint["channel_values"].get(channel) if saved else None

    async def keep(self, *name: str, channel: str, value: Any) -> None:
        """Commit a value under a name."""
        arguments = self._checkpoint(name, channel, value)
        if self._uses_threads:
            await asyncio.to_thread(self._saver.put, *arguments)
        else:
            await self._saver.aput(*arguments)

    def put(self, *name: str, channel: str, value: Any) -> None:
        """`keep` for synchronous callers."""
        self._saver.put(*self._checkpoint(name, channel, value))

    async def began_before(self, checkpoint: str) -> bool:
        """Whether the thread of the session itself has a checkpoint from before another one.

        Args:
            checkpoint: The id of the other one; LangGraph's ids are in order of time.
        """
        session: RunnableConfig = {"configurable": {"thread_id": self._place[0], "checkpoint_ns": ""}}
        before: RunnableConfig = {"configurable": {**session["configurable"], "checkpoint_id": checkpoint}}
        if self._uses_threads:
            return bool(await asyncio.to_thread(lambda: [*self._saver.list(session, before=before, limit=1)]))
        return bool([saved async for saved in self._saver.alist(session, before=before, limit=1)])

    def _checkpoint(
        self, name: tuple[str, ...], channel: str, value: Any
    ) -> tuple[RunnableConfig, Any, Any, Any]:
        """The arguments of a saver's `put`."""
        # Our saver keeps a value without a version in the checkpoint itself: one row instead of two.
        is_ours = isinstance(self._saver, SwarmSaver)
        versions = {} if is_ours else {channel: self._saver.get_next_version(None, None)}
        checkpoint = empty_checkpoint()
        checkpoint["channel_values"], checkpoint["channel_versions"] = {channel: value}, {**versions}
        metadata = {"source": "loop", "step": 1, "parents": {}}
        return self._config(name), checkpoint, metadata, versions

    def _config(self, name: tuple[str, ...]) -> RunnableConfig:
        thread_id = TASK_SEPARATOR.join((*self._place, *name))
        return {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}
