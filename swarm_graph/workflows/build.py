"""`build_graph`: the compiled graph of a workflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.store.base import BaseStore

from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.config import SwarmConfig, load_config
from swarm_graph.config_source import one_line
from swarm_graph.errors import ConfigError, InputError, SwarmError
from swarm_graph.prompts import template
from swarm_graph.roles.bindings import Bindings
from swarm_graph.roles.own_code import load_object
from swarm_graph.state import WORKFLOWS, SwarmState, Workflow
from swarm_graph.tasks.node import CustomState
from swarm_graph.workflows.builder import GraphBuilder
from swarm_graph.workflows.graph import SwarmGraph

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

Define = Callable[[GraphBuilder], object]
"""Places and connects the nodes of a workflow."""


def build_graph(
    workflow: Workflow = "standard",
    *,
    config: SwarmConfig | str | Path | Mapping[str, Any] | None = None,
    checkpointer: BaseCheckpointSaver[Any] | None = None,
    tools: Mapping[str, Sequence[BaseTool]] | None = None,
    store: BaseStore | None = None,
) -> SwarmGraph:
    """The compiled LangGraph of a workflow, for synchronous and asynchronous callers.

    Without a configured model the graph still builds, and its first model call raises ConfigError. LangSmith
    is switched off unless `features.langsmith` is set.

    Args:
        workflow: `standard`, `full`, `review_only`, `custom`, or one of `workflows` in the configuration. For
            type checkers a name of your own is `OwnWorkflow(name)`.
        config: A SwarmConfig, a path, a dict in the file's shape, or None (see `load_config`).
        checkpointer: Any LangGraph checkpointer. The one of `open_checkpointer` also records sessions.
        tools: LangChain tools (`@tool`, `BaseTool`) that roles may call, by role; those that `tools` in the
            configuration names come in addition.
        store: Any LangGraph store: what roles recall from, and what nodes of your own use as they like.
            Default: if `memory` is configured, the memory in the database of `open_checkpointer`.

    Raises:
        InputError: There is no such workflow, or the store is none of LangGraph's.
        ConfigError: The configuration, a prompt, or a role or workflow of your own cannot be used; or memory
            is configured and lies nowhere.
    """
    check_store(store)
    config = load_config(config)
    builder = new_builder(workflow, config, tools=tools)
    if store is None:
        store = store_of(config, checkpointer)
    return builder.build(workflow, checkpointer, store)


def check_store(store: object) -> None:
    """Raises InputError for what a caller gives as a store and is none."""
    if store is not None and not isinstance(store, BaseStore):
        raise InputError(
            f"store: expected a LangGraph store, not {type(store).__name__!r}; open_store(path) opens one, "
            "and a SwarmMemory has one as its attribute `store`"
        )


def store_of(config: SwarmConfig, checkpointer: BaseCheckpointSaver[Any] | None) -> BaseStore | None:
    """The store of a graph for which the caller gives none: the memory in the database of its sessions.

    Returns:
        None if the configuration uses no memory.

    Raises:
        ConfigError: It uses memory, and the checkpointer has no database of ours.
    """
    if not config.uses_memory:
        return None
    if not isinstance(checkpointer, SwarmSaver):
        raise ConfigError(
            "memory: there is no store to search: memory lies in the database of open_checkpointer; use that "
            "checkpointer, give any LangGraph store (build_graph(store=...)), or leave memory out"
        )
    from swarm_graph.memory.store import SwarmStore  # graphs without memory do not need it

    return SwarmStore.on(checkpointer.database, config.memory, config.proxy)


def new_builder(
    workflow: str,
    config: SwarmConfig,
    texts: Mapping[str, str] | None = None,
    tools: Mapping[str, Sequence[BaseTool]] | None = None,
    *,
    recalls: bool = False,
) -> GraphBuilder:
    """The graph of a workflow, not yet compiled: `build` does that. Raises what `build_graph` raises.

    Args:
        workflow: As for `build_graph`.
        config: The configuration.
        texts: Texts of prompts, by name or path, in place of those of the files.
        tools: LangChain tools of the user's own, by role.
        recalls: See `GraphBuilder`.
    """
    if workflow not in config.workflow_names:
        known = ", ".join(config.workflow_names)
        raise InputError(f"unknown workflow '{workflow}'; known workflows: {known}")
    if config.prompts_dir and not texts:
        template.warn_of_unused(config.prompts_dir, roles=workflow != "custom", own=config.roles)
    config = with_declared_kind(config)
    if workflow == "custom":
        config = config.without_repo()
    if not config.features.langsmith:
        _switch_off_langsmith()
    bindings = Bindings(config, texts or {}, tools or {})
    bindings.roles.load()
    if config.tools or tools:
        from swarm_graph.tools.role_tools import check_names  # graphs without tools do not need it

        check_names(config, tools or {})
    if workflow in config.workflows:
        return _own_workflow(workflow, bindings, recalls=recalls)
    graph = GraphBuilder(bindings, CustomState if workflow == "custom" else SwarmState, recalls=recalls)
    module, _, name = WORKFLOWS[workflow].partition(":")
    define: Define = getattr(import_module(module), name)
    define(graph)
    return graph


def _own_workflow(name: str, bindings: Bindings, *, recalls: bool) -> GraphBuilder:
    """The graph of a workflow of the user's own. Raises ConfigError when its function cannot be used."""
    config, setting = bindings.config, f"workflows.{name}"
    define = load_object(setting, config.workflows[name], config.code_dir)
    if not callable(define):
        raise ConfigError(f"{setting}: expected a function that takes a GraphBuilder, found {define!r:.60}")
    graph = GraphBuilder(bindings, completes=True, recalls=recalls)
    try:
        define(graph)
        graph.check()
    except SwarmError as error:
        raise ConfigError(f"{setting}: {error}") from error
    except Exception as error:  # code of the user's, and LangGraph's checks, which raise anything
        raise ConfigError(one_line(f"{setting}: {type(error).__name__}: {error}")) from error
    return graph


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
