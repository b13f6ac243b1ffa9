"""A role's turn with tools: the model calls tools, one after the other, until it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from langchain_core.messages import BaseMessage

from swarm_graph.checkpoints.steps import Steps
from swarm_graph.roles.approval import AskPerson
from swarm_graph.state import Reply
from swarm_graph.tools.tool import GetProject


@dataclass(frozen=True)
class Workplace:
    """Where a turn with tools works.

    Attributes:
        project: Returns the files of the session.
        steps: What the turn has done so far.
        ask_person: Asks a person about a call.
    """

    project: GetProject
    steps: Steps
    ask_person: AskPerson


GetWorkplace = Callable[[], Workplace]


@dataclass(frozen=True)
class LookedUp:
    """What a turn knows after its calls of tools.

    Attributes:
        messages: The prompt with the calls and their results.
        reply: The model's answer; None if it has yet to be asked for it, without tools.
    """

    messages: list[BaseMessage]
    reply: Reply | None
