"""The steps of a turn that calls tools, kept so that a resume repeats no finished call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from swarm_graph.state import Reply, ToolResult


@dataclass(frozen=True)
class ToolRecord:
    """A call of a tool: who made it, with which arguments, what came of it.

    Attributes:
        session: The session's id.
        node: The node of the graph; in a task graph the task's id.
        role: The role that called.
        task: The task's id.
        iteration: The round, from 1.
        number: The number of the call in its turn, from 1.
        key: A hash of the conversation before the call, the tool and the arguments.
        tool: The tool's name.
        server: The MCP server; empty for other tools.
        arguments: The arguments that it was called with, after an edit by a person.
        decision: What a person decided: approved, session, edited, rejected; empty if nobody was asked.
        remark: The person's remark with a rejection.
        started_at: Seconds since the epoch.
        result: What came of it; None while it runs, or if its process was killed.
        missing: Why there are no arguments and no text of the result; empty if there are.
    """

    session: str
    node: str
    role: str
    task: str
    iteration: int
    number: int
    key: str
    tool: str
    server: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    decision: str = ""
    remark: str = ""
    started_at: float = 0.0
    result: ToolResult | None = None
    missing: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The call as JSON-like data."""
        result = self.result._asdict() if self.result else None
        return {**vars(self), "arguments": dict(self.arguments), "result": result}


class Steps(Protocol):
    """The steps of one turn: in the journal of our database, or in a thread of any LangGraph saver.

    Attributes:
        can_wait: Whether the steps survive a pause, so that a person may be asked.
    """

    can_wait: bool

    async def find(self, name: str) -> Any:
        """The JSON-like value that this turn has kept under a name; None if there is none."""

    async def keep(self, name: str, value: Any) -> None:
        """Commit a JSON-like value under a name."""

    async def find_reply(self, key: str) -> Reply | None:
        """The answer to a question of this turn; None if there is none, or the call journal has it."""

    async def keep_reply(self, key: str, reply: Reply) -> None:
        """Commit an answer, unless the call journal has it."""

    async def forget_replies(self, keys: Sequence[str]) -> None:
        """Forget answers that cannot be used, unless the call journal has them: a resume asks again."""

    async def find_call(self, key: str) -> ToolRecord | None:
        """The record of a call; without a result, it had begun when its process was killed."""

    async def keep_call(self, record: ToolRecord) -> None:
        """Commit the record of a call when it begins and, with its result, when it has ended."""

    async def is_approved(self, tool: str) -> bool:
        """Whether a person has approved all calls of a tool (see `decisions.tool_name`) for the session."""

    async def approve_for_session(self, tool: str) -> None:
        """Commit that a person has approved all calls of a tool for the session."""


class NoSteps:
    """The steps of a turn in a graph without a checkpointer: nothing is kept."""

    can_wait = False

    async def find(self, name: str) -> None:
        return None

    async def keep(self, name: str, value: Any) -> None:
        pass

    async def find_reply(self, key: str) -> None:
        return None

    async def keep_reply(self, key: str, reply: Reply) -> None:
        pass

    async def forget_replies(self, keys: Sequence[str]) -> None:
        pass

    async def find_call(self, key: str) -> None:
        return None

    async def keep_call(self, record: ToolRecord) -> None:
        pass

    async def is_approved(self, tool: str) -> bool:
        return False

    async def approve_for_session(self, tool: str) -> None:
        pass


RECALLED = "recalled:"
"""How the names of steps begin that hold what a turn has recalled from memory; forks take them along."""


def approval_of(tool: str) -> str:
    """The name under which the approval of a tool for the whole session is kept."""
    return f"approved:{tool}"
