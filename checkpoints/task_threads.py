"""The records of finished tasks of a task graph, each in a LangGraph thread of its own."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.saver import TASK_SEPARATOR, SwarmSaver
from swarm_graph.state import TaskRecord

_RECORD = "record"
"""The channel of a task's thread that holds its record; earlier versions had others beside it."""
_LIMIT = "limit"
"""The channel, and the end of the id, of the thread that holds how a task's files are split."""


class TaskThreads:
    """Keeps the record of each finished task of a request under the task's id, in any of LangGraph's savers.

    A thread has one checkpoint, as if a graph with one node had run in it. So every saver can keep it, it is
    deleted like any thread, and earlier versions, which ran such a graph, can read it.
    """

    def __init__(
        self,
        saver: BaseCheckpointSaver[Any],
        session_id: str,
        request: str,
        *,
        catalogue: Catalogue | None = None,
        in_own_loop: bool = False,
    ) -> None:
        """Set where the threads lie.

        Args:
            saver: The checkpointer of the session.
            session_id: The session.
            request: An id that all tasks of one request share; it keeps a follow-up from the old threads.
            catalogue: The saver's catalogue, if the session is recorded there.
            in_own_loop: Whether the caller's event loop is not the one that the saver was opened in. A saver
                of LangGraph's, such as AsyncSqliteSaver, is bound to that one.
        """
        self._saver, self._session, self._request, self._catalogue = saver, session_id, request, catalogue
        self._uses_threads = in_own_loop and not isinstance(saver, (SwarmSaver, InMemorySaver))

    async def find(self, task: str) -> TaskRecord | None:
        """The record of a task; None if it has not finished."""
        return cast("TaskRecord | None", await self._find(self._config(task), _RECORD))

    async def find_limit(self, task: str) -> int | None:
        """The most characters of the parts of an unfinished task's files; None if they are not split."""
        limit = await self._find(self._config(task, _LIMIT), _LIMIT)
        return limit if isinstance(limit, int) and limit > 0 else None

    async def _find(self, config: RunnableConfig, channel: str) -> Any:
        if self._uses_threads:
            saved = await asyncio.to_thread(self._saver.get_tuple, config)
        else:
            saved = await self._saver.aget_tuple(config)
        return saved.checkpoint["channel_values"].get(channel) if saved else None

    async def keep(self, record: TaskRecord) -> None:
        """Commit the record of a finished task, in one transaction with its row in the catalogue."""
        if self._catalogue:
            await self._catalogue.database.run(self._put_with_row, self._catalogue, record)
        else:
            await self._keep(self._config(record["task_id"]), _RECORD, record)

    async def keep_limit(self, task: str, limit: int) -> None:
        """Commit the size of the parts of a task's files, before the first one is asked."""
        await self._keep(self._config(task, _LIMIT), _LIMIT, limit)

    async def _keep(self, config: RunnableConfig, channel: str, value: Any) -> None:
        arguments = self._checkpoint(config, channel, value)
        if self._uses_threads:
            await asyncio.to_thread(self._saver.put, *arguments)
        else:
            await self._saver.aput(*arguments)

    def _put_with_row(self, catalogue: Catalogue, record: TaskRecord) -> None:
        with catalogue.database.transaction():
            catalogue.put_tasks(self._session, [record])
            self._saver.put(*self._checkpoint(self._config(record["task_id"]), _RECORD, record))

    def _checkpoint(
        self, config: RunnableConfig, channel: str, value: Any
    ) -> tuple[RunnableConfig, Any, Any, Any]:
        """The arguments of a saver's `put`."""
        # Our saver keeps a value without a version in the checkpoint itself: one row instead of two.
        is_ours = isinstance(self._saver, SwarmSaver)
        versions = {} if is_ours else {channel: self._saver.get_next_version(None, None)}
        checkpoint = empty_checkpoint()
        checkpoint["channel_values"], checkpoint["channel_versions"] = {channel: value}, {**versions}
        metadata = {"source": "loop", "step": 1, "parents": {}}
        return config, checkpoint, metadata, versions

    def _config(self, *task: str) -> RunnableConfig:
        thread_id = TASK_SEPARATOR.join((self._session, self._request, *task))
        return {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}
