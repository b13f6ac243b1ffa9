"""The tools of one turn: a few are offered, the others are found by `tools.find`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from langchain_core.tools import StructuredTool

from swarm_graph.repository.words import match_scores, stems
from swarm_graph.tool_settings import ToolLimits
from swarm_graph.tools.descriptions import short_schema, signature
from swarm_graph.tools.names import FIND
from swarm_graph.tools.tool import Tool

MAX_QUERY = 500
"""Characters of a query that are read."""
MAX_LISTED = 60
"""Names that an answer lists when nothing matches."""
_NAME_WEIGHT = 3
"""How often a word of a name counts; a word of a description counts once."""
_FIND_DESCRIPTION = (
    "Find more tools. Give words that say what you want to do; the tools that fit are described, and can be "
    "called then."
)
_FIND_SCHEMA = {
    "type": "object",
    "properties": {"query": {"type": "string", "description": "Words, such as: commit history"}},
    "required": ["query"],
}


class ToolBelt:
    """The tools that a role may call in one turn.

    When there are more than are offered at once, these are offered: the tools that `tools.find` found last,
    then the first ones in the order of the configuration, and `tools.find` itself. The same calls always
    offer the same tools: a turn that is resumed calls `look_for` again with the recorded queries.
    """

    def __init__(self, tools: Sequence[Tool], limits: ToolLimits) -> None:
        """Arrange tools.

        Args:
            tools: The tools in the order of the configuration; if two have the same name, the first is kept.
            limits: The limits of the configuration.
        """
        self._tools = {tool.name: tool for tool in reversed(tools)}
        self._order = list(dict.fromkeys(tool.name for tool in tools))
        self._room = limits.offered - 1
        self._found: list[str] = []
        if len(self._order) > limits.offered:
            self._tools[FIND] = self._finder()
        self._spellings = {name: name for name in self._tools}
        self._spellings |= {tool.wire_name: tool.name for tool in self._tools.values()}
        self._texts = [_searched(self._tools[name]) for name in self._order]

    @property
    def offered(self) -> list[Tool]:
        """The tools that the prompt describes, in the order of the configuration; `tools.find` last."""
        if FIND not in self._tools:
            return [self._tools[name] for name in self._order]
        chosen = list(dict.fromkeys([*self._found, *self._order]))[: self._room]
        return [self._tools[name] for name in self._order if name in chosen] + [self._tools[FIND]]

    @property
    def tools(self) -> list[Tool]:
        """All tools, offered or not."""
        return list(self._tools.values())

    @property
    def spellings(self) -> dict[str, str]:
        """The spellings of the names of all tools, offered or not: spelling to name."""
        return dict(self._spellings)

    def find(self, name: str) -> Tool | None:
        """The tool of a name, as people or models write it; None if there is none.

        The last part of a name is enough if only one tool has it: `read_file` for `files.read_file`. What
        stands between the words of a name may differ: `files_read_file`.
        """
        if name in self._spellings:
            return self._tools[self._spellings[name]]
        said = _letters(name)
        same = [
            tool
            for tool in self._tools.values()
            if tool.name.rpartition(".")[2] == name or _letters(tool.name) == said
        ]
        return same[0] if len(same) == 1 else None

    def look_for(self, query: str) -> str:
        """The tools that fit a query best, described; from now on they are offered.

        Tools are ranked by the words of the query in their names, descriptions and arguments (BM25; a word
        of a name counts three times). Tools of the same rank keep the order of the configuration.

        Returns:
            Their names, descriptions and arguments as text; if none fits, what to do.
        """
        wanted = dict.fromkeys(stems(query[:MAX_QUERY].replace("_", " ")))
        scores = match_scores(wanted, self._texts)
        ranked = sorted(range(len(scores)), key=lambda number: (-scores[number], number))
        best = [self._order[number] for number in ranked if scores[number] > 0]
        if (named := self.find(query.strip())) is not None and named.name != FIND:
            best = [named.name, *(name for name in best if name != named.name)]
        best = best[: self._room]
        if not best:
            return self._none_found()
        self._found = list(dict.fromkeys([*best, *self._found]))[: self._room]
        described = "\n".join(signature(self._tools[name]) for name in best)
        return f"You can call these tools now:\n{described}"

    def _none_found(self) -> str:
        names = [self._tools[name].wire_name for name in self._order]
        more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
        return f"No tool fits these words. Use words of these names: {', '.join(names[:MAX_LISTED])}{more}"

    def _finder(self) -> Tool:
        async def find(query: str) -> str:
            return self.look_for(query)

        tool = StructuredTool.from_function(
            coroutine=find, name=FIND, description=_FIND_DESCRIPTION, args_schema=_FIND_SCHEMA
        )
        return Tool(FIND, tool, _FIND_SCHEMA, _FIND_DESCRIPTION, read_only=True)


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()


def _searched(tool: Tool) -> list[str]:
    """The stems by which a tool is found."""
    schema = short_schema(tool)
    arguments = [
        f"{name} {part.get('description', '')}".replace("_", " ")
        for name, part in schema["properties"].items()
    ]
    name = tool.name.replace("_", " ")
    return stems(" ".join([*[name] * _NAME_WEIGHT, tool.description[:2000], *arguments]))
