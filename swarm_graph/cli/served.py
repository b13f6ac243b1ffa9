"""The graphs for `langgraph dev` (langgraph.json); the server brings its own checkpointer and store.

The server allows no file access in its event loop, so each graph is built in a thread. It shows its clients
the messages of a few built-in exceptions only, so an error of the configuration becomes a ValueError.
"""

from __future__ import annotations

import asyncio

from swarm_graph.config import load_config
from swarm_graph.errors import ConfigError
from swarm_graph.state import WorkflowName
from swarm_graph.workflows.build import new_builder
from swarm_graph.workflows.graph import SwarmGraph


async def standard() -> SwarmGraph:
    return await _built("standard")


async def full() -> SwarmGraph:
    return await _built("full")


async def review_only() -> SwarmGraph:
    return await _built("review_only")


async def single() -> SwarmGraph:
    return await _built("single")


async def custom() -> SwarmGraph:
    return await _built("custom")


def _without_store(workflow: WorkflowName) -> SwarmGraph:
    return new_builder(workflow, load_config()).build(workflow)


async def _built(workflow: WorkflowName) -> SwarmGraph:
    try:
        return await asyncio.to_thread(_without_store, workflow)
    except ConfigError as error:
        raise ValueError(str(error)) from None
