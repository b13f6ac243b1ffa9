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
from swarm_graph.roles.bindings import Bindings
from swarm_graph.state import WORKFLOWS, Workflow
from swarm_graph.workflows.builder import GraphBuilder
from swarm_graph.workflows.graph import SwarmGraph


def build_graph(
    workflow: Workflow = "standard",
    *,
    config: SwarmConfig | str | Path | Mapping[str, Any] | None = None,
    checkpointer: BaseCheckpointSaver[Any] | None = None,
) -> SwarmGraph:
    """The compiled LangGraph of a workflow, for synchronous and asynchronous callers.

    Without a configured model the graph still builds, and its first model call raises ConfigError. LangSmith
    is switched off unless `features.langsmith` is set.

    Args:
        workflow: `standard`, `full`, `review_only` or `custom`. A name that is known only at run time is
            `OwnWorkflow(name)` for type checkers.
        config: A SwarmConfig, a path, a dict in the file's shape, or None (see `load_config`).
        checkpointer: Any LangGraph checkpointer. The one of `open_checkpointer` also records sessions.

    Raises:
        InputError: There is no such workflow.
        ConfigError: The configuration or a prompt cannot be used.
    """
    return new_builder(workflow, load_config(config)).build(workflow, checkpointer)


def new_builder(workflow: str, config: SwarmConfig, texts: Mapping[str, str] | None = None) -> GraphBuilder:
    """The graph of a workflow, not yet compiled: `build` does that. Raises what `build_graph` raises.

    Args:
        workflow: As for `build_graph`.
        config: The configuration.
        texts: Texts of prompts, by name or path, in place of those of the files.
    """
    if workflow not in WORKFLOWS:
        raise InputError(f"unknown workflow '{workflow}'; known workflows: {', '.join(WORKFLOWS)}")
    if config.prompts_dir and not texts:
        template.warn_of_unused(config.prompts_dir, roles=workflow != "custom")
    config = with_declared_kind(config)
    if not config.features.langsmith:
        _switch_off_langsmith()
    module, _, name = WORKFLOWS[workflow].partition(":")
    define: Callable[[Bindings], GraphBuilder] = getattr(import_module(module), name)
    return define(Bindings(config, texts or {}))


def with_declared_kind(config: SwarmConfig) -> SwarmConfig:
    """A configuration with the kind that its folder of prompts declares, unless it sets one itself.

    Raises:
        ConfigError: The folder, or what it declares, cannot be used.
    """
    if config.workflow.is_kind_given or not config.prompts_dir:
        return config
    declared = template.declared_kind(config.prompts_dir)
    return config.with_kind(declared) if declared else config


def _switch_off_langsmith() -> None:
    import langsmith  # heavy, and imported by LangGraph anyway

    langsmith.configure(enabled=False)
