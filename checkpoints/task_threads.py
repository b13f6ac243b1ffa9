"""The records of finished tasks of a task graph, each in a LangGraph thread of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from langgraph.checkpoint.base import BaseCheckpointSaver

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.value_threads import ValueThreads
from swarm_graph.state import TaskRecord

_RECORD = "record"
"""The channel of a task's thread that holds its record; earlier versions had others beside it."""
_LIMIT = "limit"
"""The channel, and the end of the id, of the thread that holds how a task's files are split."""


class TaskThreads:
    """Keeps the record of each finished task of a request under the task's id, in any of LangGraph's savers.

    Earlier versions, which ran a graph with one node for each task, can read the threads.
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
            in_own_loop: See `ValueThreads`.
        """
        self._session, self._catalogue = session_id, catalogue
        self._threads = ValueThreads(saver, session_id, request, in_own_loop=in_own_loop)

    async def find(self, task: str) -> TaskRecord | None:
        """The record of a task; None if it has not finished."""
        return cast("TaskRecord | None", await self._threads.find(task, channel=_RECORD))

    async def find_limit(self, task: str) -> int | None:
        """The most characters of the parts of an unfinished task's files; None if they are not split."""
        limit = await self._threads.find(task, _LIMIT, channel=_LIMIT)
        return limit if isinstance(limit, int) and limit > 0 else None

    async def keep(self, record: TaskRecord) -> None:
        """Commit the record of a finished task, in one transaction with its row in the catalogue."""
        if self._catalogue:
            await self._catalogue.database.run(self.put, [record])
        else:
            await self._threads.keep(record["task_id"], channel=_RECORD, value=record)

    async def keep_limit(self, task: str, limit: int) -> None:
        """Commit the size of the parts of a task's files, before the first one is asked."""
        await self._threads.keep(task, _LIMIT, channel=_LIMIT, value=limit)

    def put(self, records: Sequence[TaskRecord]) -> None:
        """`keep` for several tasks, and for synchronous callers; the session is in a catalogue."""
        assert self._catalogue is not None
        with self._catalogue.database.transaction():
            self._catalogue.put_tasks(self._session, records)
            for record in records:
                self._threads.put(record["task_id"], channel=_RECORD, value=record)
