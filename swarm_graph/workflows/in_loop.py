"""Our functions that never block: LangGraph calls them in the event loop instead of in a thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig

from swarm_graph.state import SwarmState


class InLoop(Runnable[SwarmState, Any]):
    """A node, or the choice of the next nodes, that is a function of the state."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.name, self._function = function.__name__, function

    def invoke(self, input: SwarmState, config: RunnableConfig | None = None, **_: Any) -> Any:
        return self._function(input)

    async def ainvoke(self, input: SwarmState, config: RunnableConfig | None = None, **_: Any) -> Any:
        return self._function(input)
