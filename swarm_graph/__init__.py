"""A multi-agent development swarm on LangGraph for people who run their own models."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swarm_graph.checkpoints.saver import open_checkpointer
    from swarm_graph.checkpoints.steps import ToolRecord
    from swarm_graph.checkpoints.transcript import Call
    from swarm_graph.config import SwarmConfig, load_config
    from swarm_graph.errors import SwarmError
    from swarm_graph.experiments.ab_report import AbResult
    from swarm_graph.experiments.compare_configs import acompare_configs, compare_configs
    from swarm_graph.experiments.eval_report import Evaluation
    from swarm_graph.experiments.evaluate import aevaluate, evaluate
    from swarm_graph.inputs.document import Document
    from swarm_graph.inputs.read_document import read_document
    from swarm_graph.memory.passage import Passage
    from swarm_graph.memory.store import open_store
    from swarm_graph.memory.swarm_memory import SwarmMemory
    from swarm_graph.reports.manager import SwarmManager
    from swarm_graph.reports.notebook import NotebookProgress
    from swarm_graph.roles.file_blocks import Files
    from swarm_graph.roles.role import Answered, Role
    from swarm_graph.sessions.coordinator import SwarmCoordinator
    from swarm_graph.state import (
        AgentRole,
        OwnWorkflow,
        SwarmContext,
        SwarmResult,
        SwarmState,
        Task,
        TaskStatus,
        WorkflowName,
    )
    from swarm_graph.workflows.build import build_graph
    from swarm_graph.workflows.builder import GraphBuilder
    from swarm_graph.workflows.verdict import is_done

__version__ = "0.1.0"

__all__ = [
    "AbResult",
    "AgentRole",
    "Answered",
    "Call",
    "Document",
    "Evaluation",
    "Files",
    "GraphBuilder",
    "NotebookProgress",
    "OwnWorkflow",
    "Passage",
    "Role",
    "SwarmConfig",
    "SwarmContext",
    "SwarmCoordinator",
    "SwarmError",
    "SwarmManager",
    "SwarmMemory",
    "SwarmResult",
    "SwarmState",
    "Task",
    "TaskStatus",
    "ToolRecord",
    "WorkflowName",
    "acompare_configs",
    "aevaluate",
    "build_graph",
    "compare_configs",
    "evaluate",
    "is_done",
    "load_config",
    "open_checkpointer",
    "open_store",
    "read_document",
]

_HOMES = {
    "AbResult": "experiments.ab_report",
    "AgentRole": "state",
    "Answered": "roles.role",
    "Call": "checkpoints.transcript",
    "Document": "inputs.document",
    "Evaluation": "experiments.eval_report",
    "Files": "roles.file_blocks",
    "GraphBuilder": "workflows.builder",
    "NotebookProgress": "reports.notebook",
    "OwnWorkflow": "state",
    "Passage": "memory.passage",
    "Role": "roles.role",
    "SwarmConfig": "config",
    "SwarmContext": "state",
    "SwarmCoordinator": "sessions.coordinator",
    "SwarmError": "errors",
    "SwarmManager": "reports.manager",
    "SwarmMemory": "memory.swarm_memory",
    "SwarmResult": "state",
    "SwarmState": "state",
    "Task": "state",
    "TaskStatus": "state",
    "ToolRecord": "checkpoints.steps",
    "WorkflowName": "state",
    "acompare_configs": "experiments.compare_configs",
    "aevaluate": "experiments.evaluate",
    "build_graph": "workflows.build",
    "compare_configs": "experiments.compare_configs",
    "evaluate": "experiments.evaluate",
    "is_done": "workflows.verdict",
    "load_config": "config",
    "open_checkpointer": "checkpoints.saver",
    "open_store": "memory.store",
    "read_document": "inputs.read_document",
}


def __getattr__(name: str) -> Any:
    """Public names are imported when first used: LangGraph's import costs seconds."""
    if name not in _HOMES:
        raise AttributeError(f"module 'swarm_graph' has no attribute '{name}'")
    return getattr(importlib.import_module(f"swarm_graph.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
