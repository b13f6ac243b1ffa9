"""A tool that a role may call: LangChain's tool with its name, its schema and whether its calls wait."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from langchain_core.tools import BaseTool

from swarm_graph.tools.names import wire_name


@dataclass(frozen=True)
class Tool:
    """A tool that a role may call.

    Attributes:
        name: Its name, such as `project.read`.
        tool: LangChain's tool; `ainvoke` with the arguments returns the result.
        schema: The JSON schema of its arguments.
        description: What it does, for models and people; an MCP server's own words are data.
        server: The MCP server that it belongs to; empty for other tools.
        settings: The fingerprint of the server's settings: a server of the same name may be another program.
        read_only: Whether it changes nothing: built-in tools, and those that an MCP server marks.
        asks: Whether each call waits for a person.
    """

    name: str
    tool: BaseTool
    schema: dict[str, Any]
    description: str
    server: str = ""
    settings: str = ""
    read_only: bool = False
    asks: bool = False

    @property
    def wire_name(self) -> str:
        """Its name as models see it."""
        return wire_name(self.name)

    @property
    def argument_names(self) -> list[str]:
        """The names of its arguments, in the order of its schema."""
        properties = self.schema.get("properties")
        return [*properties] if isinstance(properties, Mapping) else []


class Project(Protocol):
    """The files of a session, as the built-in tools read them. Nothing outside of it can be named."""

    def paths(self) -> list[str]:
        """The paths of all files, sorted; `/` separates their parts."""

    def text(self, path: str) -> str:
        """The text of a file.

        Raises:
            InputError: There is no such file, or it is not text.
        """

    def texts(self, paths: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Some paths with their texts, few in memory at once; without those that are not text."""


GetProject = Callable[[], Project]
"""Returns the files of the session as they are now; called when a tool needs them."""
