"""The surroundings of a turn with tools: the files, the kept steps, the person and the prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from swarm_graph.checkpoints.steps import Steps
from swarm_graph.prompts import template
from swarm_graph.prompts.template import Holes
from swarm_graph.roles.approval import AskPerson
from swarm_graph.roles.registry import Roles
from swarm_graph.tools.tool import GetProject

if TYPE_CHECKING:
    from swarm_graph.tools.memory import SearchMemory


@dataclass(frozen=True)
class ToolPrompts:
    """The prompts about tools, by the way in which a model calls them.

    Attributes:
        native: For calls by the server's API.
        action: For calls as an action that a schema binds.
        text: For calls that the model writes as text.
        end: Asks for the answer, when no more calls can be made.
    """

    native: Holes
    action: Holes
    text: Holes
    end: Holes

    @classmethod
    def of(cls, roles: Roles) -> ToolPrompts:
        """The prompts of a configuration. Raises ConfigError if one cannot be used."""
        return cls(
            roles.prompt(template.TOOLS, "calls").instructions,
            roles.prompt(template.TOOLS_ACTION, "calls", "tools").instructions,
            roles.prompt(template.TOOLS_TEXT, "calls", "tools").instructions,
            roles.prompt(template.TOOLS_END).instructions,
        )


@dataclass(frozen=True)
class Workplace:
    """Where a turn with tools works.

    Attributes:
        project: Returns the files of the session.
        steps: What the turn has done so far.
        ask_person: Asks a person about a call.
        prompts: The prompts about tools.
        memory: Searches the memory of the graph; None if it has none.
    """

    project: GetProject
    steps: Steps
    ask_person: AskPerson
    prompts: ToolPrompts
    memory: SearchMemory | None = None
