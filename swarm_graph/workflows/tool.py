"""A graph as a tool for agents: one argument, the request; the answer is a text, and the state beside it."""

from __future__ import annotations

from typing import Any, TypeAlias

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.constants import CONFIG_KEY_CHECKPOINTER
from langgraph.graph.state import CompiledStateGraph
from pydantic import BaseModel, Field

from swarm_graph.checkpoints.records import new_session_id
from swarm_graph.errors import InputError
from swarm_graph.roles.file_blocks import fenced
from swarm_graph.roles.findings import findings_text
from swarm_graph.state import SwarmContext, SwarmResult, SwarmState
from swarm_graph.tasks.node import TASKS
from swarm_graph.workflows.thread import explicit_configurable, names_thread

DESCRIPTIONS = {
    "standard": "Builds software: clarifies the request, designs, writes and reviews the code. Returns the "
    "verdict, the open findings and the files.",
    "full": "Builds software: clarifies the request, designs, writes, tests, reviews and documents the "
    "code. Returns the verdict, the open findings and the files.",
    "review_only": "Reviews code for correctness, security, performance and style. The request is the code. "
    "Returns the verdict and the findings.",
    "single": "Writes software in one step, without design, tests or review. Returns the files.",
}
"""What the built-in workflows do, for the model that chooses a tool."""
Graph: TypeAlias = CompiledStateGraph[SwarmState, SwarmContext, SwarmState, SwarmState]

FILES = ("code", "tests", "documentation")
"""The keys of the state whose files the answer shows."""


class Request(BaseModel):
    """The arguments of the tool."""

    request: str = Field(description="What to build or to review, complete in itself.")


def request_tool(graph: Graph, name: str | None = None, description: str | None = None) -> StructuredTool:
    """A tool that runs a graph on a request. The state is the artifact of the tool's message.

    If the graph has a checkpointer, each call is a session of its own with a new id, which the answer names.
    A graph that is bound to a thread, or a caller outside of an agent that names one, keeps to that thread.

    Args:
        graph: The graph.
        name: The tool's name; default `swarm_` and the workflow.
        description: What it does, for the model.

    Raises:
        InputError: The workflow is custom: it takes tasks, not a request.
    """
    if TASKS in graph.nodes:
        raise InputError(
            "a custom workflow takes tasks, not a request; give as_tool an args_schema with the field `tasks`"
        )

    def run(request: str, config: RunnableConfig) -> tuple[str, SwarmResult]:
        own = _session_config(graph, config)
        return _answer(graph.invoke({"request": request}, own), own)

    async def arun(request: str, config: RunnableConfig) -> tuple[str, SwarmResult]:
        own = _session_config(graph, config)
        return _answer(await graph.ainvoke({"request": request}, own), own)

    return StructuredTool.from_function(
        run,
        arun,
        name=name or f"swarm_{graph.name}",
        description=description or DESCRIPTIONS.get(graph.name, f"Runs the workflow '{graph.name}'."),
        args_schema=Request,
        response_format="content_and_artifact",
    )


def _session_config(graph: Graph, config: RunnableConfig) -> RunnableConfig:
    """The configuration of a call, with a thread of its own if the graph keeps sessions."""
    if not isinstance(graph.checkpointer, BaseCheckpointSaver):
        return config
    named = explicit_configurable(graph.config)
    is_in_agent = CONFIG_KEY_CHECKPOINTER in explicit_configurable(config)
    if not names_thread(named) and not is_in_agent:  # the agent's thread is not that of the tool
        named = explicit_configurable(config)
    thread_id = named["thread_id"] if names_thread(named) else new_session_id()
    return {**config, "configurable": {"thread_id": thread_id}}


def _answer(state: Any, config: RunnableConfig) -> tuple[str, SwarmResult]:
    thread_id = config.get("configurable", {}).get("thread_id")
    named = f"Session {thread_id}: " if thread_id else ""
    if state.get("__interrupt__"):
        return f"{named}it waits for a person's decision.", state
    verdict = "approved" if state.get("approved") else "NOT approved"
    parts = [f"{named}{verdict} after round {state.get('iteration', 1)}."]
    if findings := state.get("findings"):
        parts.append(f"Findings:\n{findings_text(findings)}")
    parts += [fenced(state[key]) for key in FILES if state.get(key)]
    return "\n\n".join(parts), state
