"""A person's approval of a tool's call: what is asked, and where the answer comes from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from swarm_graph.state import ToolDecision

AskPerson = Callable[[Mapping[str, Any]], Awaitable[ToolDecision]]
"""Returns a person's decision about the call of a pause (see `tool_pause`).

Where there is none yet, it raises: LangGraph's GraphInterrupt in a role's node, WaitsForPerson in a task.
"""


class WaitsForPerson(Exception):
    """A task waits for a person's decision about the call of a tool.

    Attributes:
        pause: What is asked; see `tool_pause`.
    """

    def __init__(self, pause: Mapping[str, Any]) -> None:
        super().__init__(f"waits for a person: {pause['value']['tool']}")
        self.pause = pause
