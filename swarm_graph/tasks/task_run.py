"""Runs a task without a graph: callbacks see it as a run, and own code finds LangGraph's runtime in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.constants import CONFIG_KEY_CHECKPOINTER
from langgraph.runtime import Runtime

from swarm_graph.state import TaskRecord

RUNTIME = "__pregel_runtime"
"""The private name under which LangGraph finds the runtime in a configuration."""


def config_in_tasks(node: RunnableConfig, write: Callable[[Any], None]) -> RunnableConfig:
    """The LangChain configuration in a task: callbacks and runtime of the node, but nothing that can pause.

    LangGraph gives answers to interrupts in the order of the questions, which the order of the tasks changes.
    A graph that is called in a task has no checkpoints, unless it has a checkpointer and names a thread.

    Args:
        node: The configuration of the calling node.
        write: Writes to the node's stream.
    """
    runtime = {  # LangGraph keeps it under a private name
        name: value.override(stream_writer=write)
        for name, value in node["configurable"].items()
        if isinstance(value, Runtime)
    }
    return {"callbacks": node.get("callbacks"), "configurable": {**runtime, CONFIG_KEY_CHECKPOINTER: None}}


async def run_task(
    name: str, ask: Callable[[str], Awaitable[TaskRecord]], config: RunnableConfig
) -> TaskRecord:
    """Run a task; for callbacks, if there are any, it is a run of the name `task`.

    Args:
        name: The task.
        ask: Asks its model; returns the record of the completed task.
        config: See `config_in_tasks`. It stays set in the caller's context, which must be the task's own.
    """
    if not _listeners(config):
        var_child_runnable_config.set(config)
        return await ask(name)

    async def task(_: dict[str, str]) -> dict[str, TaskRecord]:
        return {"record": await ask(name)}

    done: dict[str, TaskRecord] = await RunnableLambda(task).ainvoke({"task": name}, config)
    return done["record"]


def _listeners(config: RunnableConfig) -> Sequence[BaseCallbackHandler]:
    callbacks = config.get("callbacks")
    return callbacks.handlers if isinstance(callbacks, BaseCallbackManager) else callbacks or ()
