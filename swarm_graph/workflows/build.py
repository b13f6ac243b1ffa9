"""`build_graph`: the compiled graph of a workflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver

from swarm_graph.config import SwarmConfig, load_config
from swarm_graph.errors import InputError
from swarm_graph.prompts import template
from swarm_graph.roles.turn import Crew
from swarm_graph.settings import WORKFLOWS
from swarm_graph.workflows.builder import Draft
from swarm_graph.workflows.graph import SwarmGraph


def build_graph(
    workflow: str = "standard",
    *,
    config: SwarmConfig | str | Path | Mapping[str, Any] | None = None,
    checkpointer: BaseCheckpointSaver[Any] | None = None,
) -> SwarmGraph:
    """The compiled LangGraph of a workflow, for synchronous and asynchronous callers.

    `config`: a SwarmConfig, a path, a dict, or None (see `load_config`). Without a configured model
    the graph still builds, and the first call of one raises ConfigError. LangSmith is switched off
    unless `features.langsmith`. Raises InputError for an unknown workflow.
    """
    if workflow not in WORKFLOWS:
        raise InputError(f"unknown workflow '{workflow}'; known workflows: {', '.join(WORKFLOWS)}")
    config = load_config(config)
    if config.prompts_dir:
        template.warn_of_unused(config.prompts_dir, roles=workflow != "custom")
    if not config.features.langsmith:
        _switch_off_langsmith()
    compiled = _function_of(workflow)(Crew(config)).compile(checkpointer, name=workflow)
    return SwarmGraph(**{key: value for key, value in vars(compiled).items() if key != "__orig_class__"})


def _switch_off_langsmith() -> None:
    import langsmith

    langsmith.configure(enabled=False)


def _function_of(workflow: str) -> Callable[[Crew], Draft]:
    module, _, name = WORKFLOWS[workflow].partition(":")
    function: Callable[[Crew], Draft] = getattr(import_module(module), name)
    return function
