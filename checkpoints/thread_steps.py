"""The steps of a turn with tools in any of LangGraph's savers: a thread for each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint

from swarm_graph.checkpoints.records import checked, tool_call_from_row, tool_call_to_row
from swarm_graph.checkpoints.steps import ToolRecord, approval_of
from swarm_graph.checkpoints.value_threads import ValueThreads
from swarm_graph.state import Reply

_STEP = "step"
"""The channel of a step's thread that holds its value."""
_PLACE = "steps"
"""The part after the session in the ids of these threads; it tells them from the threads of tasks."""


class ThreadSteps:
    """The steps of one turn, each in a thread of its own; the threads are deleted like any others."""

    can_wait = True

    def __init__(
        self,
        saver: BaseCheckpointSaver[Any],
        session_id: str,
        scope: str,
        task: str,
        *,
        in_own_loop: bool = False,
        is_again: bool = True,
    ) -> None:
        """Set where the threads lie.

        Args:
            saver: The checkpointer of the session.
            session_id: The id of its thread.
            scope: What tells the execution of a node from others, and is the same when it runs again.
            task: The task's id.
            in_own_loop: See `ValueThreads`.
            is_again: Whether the turn may have run before; otherwise it finds no values of its own.
        """
        self._is_again = is_again
        self._turn = ValueThreads(saver, session_id, _PLACE, scope, task, in_own_loop=in_own_loop)
        self._session = ValueThreads(saver, session_id, _PLACE, in_own_loop=in_own_loop)

    async def find(self, name: str) -> Any:
        return await self._turn.find("value", name, channel=_STEP) if self._is_again else None

    async def keep(self, name: str, value: Any) -> None:
        await self._turn.keep("value", name, channel=_STEP, value=value)

    async def find_reply(self, key: str) -> Reply | None:
        found = await self._turn.find("reply", key, channel=_STEP)
        return checked(Reply, found) if found else None

    async def keep_reply(self, key: str, reply: Reply) -> None:
        calls = [call._asdict() for call in reply.tool_calls]
        await self._turn.keep("reply", key, channel=_STEP, value={**asdict(reply), "tool_calls": calls})

    async def forget_replies(self, keys: Sequence[str]) -> None:
        for key in keys:
            await self._turn.keep("reply", key, channel=_STEP, value=None)

    async def find_call(self, key: str) -> ToolRecord | None:
        found = await self._turn.find("call", key, channel=_STEP)
        return tool_call_from_row(found) if found else None

    async def keep_call(self, record: ToolRecord) -> None:
        await self._turn.keep("call", record.key, channel=_STEP, value=tool_call_to_row(record))

    async def is_approved(self, tool: str) -> bool:
        approved_at = await self._session.find(approval_of(tool), channel=_STEP)
        return isinstance(approved_at, str) and await self._session.began_before(approved_at)

    async def approve_for_session(self, tool: str) -> None:
        # Its time: LangGraph's savers delete a session without its steps, and another one may take its id.
        await self._session.keep(approval_of(tool), channel=_STEP, value=empty_checkpoint()["id"])
