"""The JSON Schemas of what a graph takes, for LangGraph's server and the forms of its clients."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, NotRequired

from pydantic import BaseModel, Field, TypeAdapter
from typing_extensions import TypedDict

from swarm_graph.tasks.node import TASKS
from swarm_graph.tasks.spec import TaskSpec


class RequestInput(TypedDict):
    """What a workflow with roles takes. The other keys are for work that exists already."""

    request: Annotated[str, Field(min_length=1, description="What you want built or reviewed.")]
    requirements: NotRequired[str]
    design: NotRequired[str]
    code: NotRequired[Annotated[dict[str, str], Field(description="Path to text of files.")]]
    tests: NotRequired[Annotated[dict[str, str], Field(description="Path to text of files.")]]


class TasksInput(TypedDict):
    """What a custom workflow takes."""

    tasks: list[TaskSpec]
    request: NotRequired[Annotated[str, Field(description="What all tasks are for.")]]


class ContextInput(TypedDict, total=False):
    """What may be overridden for one run in JSON; Python callers pass a SwarmContext, which can do more."""

    temperature: Annotated[float | None, Field(description="The sampling temperature of all roles.")]


class NoConfig(BaseModel):
    """The keys of `configurable` that are ours: none."""


def input_schema(nodes: Collection[str]) -> dict[str, Any]:
    """The JSON Schema of a graph's input.

    Args:
        nodes: The nodes of the graph.
    """
    return TypeAdapter[Any](TasksInput if TASKS in nodes else RequestInput).json_schema()


def context_schema() -> dict[str, Any]:
    """The JSON Schema of a run's context."""
    return TypeAdapter(ContextInput).json_schema()
