"""The graphs for `langgraph dev` (langgraph.json); the server brings its own checkpointer."""

from __future__ import annotations

from swarm_graph.workflows.build import build_graph
from swarm_graph.workflows.graph import SwarmGraph


def standard() -> SwarmGraph:
    return build_graph("standard")


def full() -> SwarmGraph:
    return build_graph("full")


def review_only() -> SwarmGraph:
    return build_graph("review_only")


def custom() -> SwarmGraph:
    return build_graph("custom")
