"""Finds roles by name: the role `coder` is the object `coder` in `nodes/coder.py`."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from swarm_graph.roles.role import Role
from swarm_graph.state import AgentRole


@cache
def role_named(name: str) -> Role[Any]:
    """The role of a name in AgentRole."""
    role: Role[Any] = getattr(import_module(f"swarm_graph.nodes.{name}"), name)
    return role


def all_roles() -> list[Role[Any]]:
    """Every role, in the order of AgentRole."""
    return [role_named(role) for role in AgentRole]
