"""How a model calls tools: by its server's API, as an action that a schema binds, or in its text."""

from __future__ import annotations

from langchain_core.language_models import BaseChatModel

from swarm_graph.models.pool import ToolMode
from swarm_graph.models.request import SCHEMA, TOOLS, can_bind_tools
from swarm_graph.settings import ModelEntry


def known_mode(entry: ModelEntry, model: BaseChatModel) -> ToolMode | None:
    """How a model calls tools, if that is known without a question; else None.

    Args:
        entry: The model. A simulated one, and one that the caller supplied, has no server to ask.
        model: Its LangChain chat model.
    """
    if entry.tool_calls != "auto":
        return entry.tool_calls
    if entry.api_type == "simulated":
        return "native" if can_bind_tools(model) else "text"
    return None


def allowed(mode: ToolMode, refused: frozenset[str]) -> ToolMode:
    """A mode, or the next one that works on a server that refuses these fields."""
    if mode == "native" and TOOLS in refused:
        mode = "action"
    return "text" if mode == "action" and SCHEMA in refused else mode
