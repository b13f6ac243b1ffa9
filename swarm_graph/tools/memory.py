"""The built-in tool that searches memory: memory.search."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from langchain_core.tools import StructuredTool

from swarm_graph.memory.recall import Recall, passages_text
from swarm_graph.tool_settings import MEMORY_TOOL
from swarm_graph.tools.tool import Tool

SearchMemory = Callable[[str, int], Awaitable[Recall]]
"""Returns the passages that fit a question best, at most so many."""

MAX_QUESTION, MAX_PASSAGES, PASSAGES = 1000, 20, 5
"""Characters of a question; passages of one search, at most and if the model names no number."""
_SCHEMA = {
    "type": "object",
    "properties": {
        "question": {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_QUESTION,
            "description": "What is looked for, in the words that a document would use",
        },
        "limit": {
            "type": "integer",
            "minimum": 1,
            "maximum": MAX_PASSAGES,
            "default": PASSAGES,
            "description": "How many passages",
        },
    },
    "required": ["question"],
    "additionalProperties": False,
}
_DESCRIPTION = (
    "Find passages in the team's documents and in what earlier sessions have verified, each with its source."
)


def memory_tool(search: SearchMemory | None) -> Tool:
    """The tool that searches memory.

    Args:
        search: Searches it; None where only the tool's name is asked for, or there is no memory.
    """

    async def search_memory(question: str, limit: int = PASSAGES) -> str:
        if search is None:
            return "There is no memory here."
        passages, note = await search(question, limit)
        found = passages_text(passages) if passages else "Nothing was found."
        return "\n\n".join(filter(None, [found, f"({note})" if note else ""]))

    tool = StructuredTool.from_function(
        coroutine=search_memory, name=MEMORY_TOOL, description=_DESCRIPTION, args_schema=_SCHEMA
    )
    return Tool(MEMORY_TOOL, tool, _SCHEMA, _DESCRIPTION, read_only=True)
