"""The thread of a call: where its state is kept, by LangGraph's own rules for configurations.

LangGraph merges three configurations: the one that a graph is bound to (`with_config`), the caller's, and
that of a runnable or graph around the call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import CONFIG_KEYS
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.config import get_config
from langgraph.constants import CONFIG_KEY_CHECKPOINTER
from langgraph.types import Checkpointer

from swarm_graph.errors import InputError

COORDINATES = ("thread_id", "checkpoint_ns", "checkpoint_id", "checkpoint_map")
"""The keys that say which checkpoint is meant. A call that gives one takes none from around it."""


@dataclass(frozen=True)
class CallThread:
    """Where a call of a graph keeps its state.

    Attributes:
        config: The configuration for LangGraph.
        configurable: Its `configurable`, merged.
        saver: The checkpointer; None when nothing is kept.
        is_session: Whether the call is a session of its own. A graph inside another one, whose checkpointer
            it uses, is a part of that one's thread.
    """

    config: RunnableConfig | None
    configurable: dict[str, Any]
    saver: BaseCheckpointSaver[Any] | None
    is_session: bool

    @property
    def id(self) -> str:
        """The thread's id; empty if the call names none."""
        return str(self.configurable["thread_id"]) if names_thread(self.configurable) else ""

    @property
    def checkpoint(self) -> RunnableConfig:
        """The configuration that names the checkpoint to start from, for a checkpointer."""
        return {"configurable": {**self.configurable, "thread_id": self.id}}


def call_thread(
    name: str, checkpointer: Checkpointer, bound: RunnableConfig | None, given: RunnableConfig | None
) -> CallThread:
    """The thread of a call.

    Inside another graph, LangGraph uses that graph's checkpointer. If that graph has none, but this one has
    and a thread is named, the call is a session of its own, so that nothing is lost.

    Args:
        name: The name of the graph, for messages.
        checkpointer: The graph's own checkpointer.
        bound: The configuration that the graph is bound to.
        given: The caller's configuration.

    Raises:
        InputError: The graph has a checkpointer, and no thread is named.
    """
    configurable = _with_surrounding(bound, given)
    own = checkpointer if isinstance(checkpointer, BaseCheckpointSaver) else None
    is_inside, lent = CONFIG_KEY_CHECKPOINTER in configurable, configurable.get(CONFIG_KEY_CHECKPOINTER)
    if is_inside and (own is None or lent is not None or not names_thread(configurable)):
        return CallThread(given, configurable, lent if checkpointer is not False else None, is_session=False)
    if own is not None:
        _check_named(name, configurable)
    if is_inside:
        configurable = _own_keys(configurable)
        rest = {key: value for key, value in (given or {}).items() if key in CONFIG_KEYS}
        given = cast("RunnableConfig", {**rest, "configurable": configurable})
    return CallThread(given, configurable, own, is_session=own is not None)


def state_config(
    name: str, checkpointer: Checkpointer, bound: RunnableConfig | None, given: RunnableConfig | None
) -> RunnableConfig:
    """The configuration for LangGraph's methods that read or edit a thread's state.

    Raises:
        InputError: The graph has a checkpointer, and no thread is named.
    """
    configurable = explicit_configurable(bound, given)
    if isinstance(checkpointer, BaseCheckpointSaver):
        _check_named(name, configurable)
    return {**(given or {}), "configurable": configurable}


def names_thread(configurable: dict[str, Any]) -> bool:
    """Whether a `configurable` names a thread."""
    return configurable.get("thread_id") not in (None, "")


def explicit_configurable(*configs: RunnableConfig | None) -> dict[str, Any]:
    """The `configurable` of all configurations. A key that is not one of a configuration's counts, too."""
    merged: dict[str, Any] = {}
    for config in configs:
        merged.update((config or {}).get("configurable") or {})
        merged.update({key: value for key, value in (config or {}).items() if key not in CONFIG_KEYS})
    return merged


def _check_named(name: str, configurable: dict[str, Any]) -> None:
    if not names_thread(configurable):
        raise InputError(
            f"no thread_id: the graph '{name}' has a checkpointer, which keeps each session under one; "
            'pass {"configurable": {"thread_id": "a-name"}} as config, or bind it with graph.with_config'
        )


def _with_surrounding(bound: RunnableConfig | None, given: RunnableConfig | None) -> dict[str, Any]:
    explicit = explicit_configurable(bound, given)
    try:
        surrounding = get_config().get("configurable") or {}
    except RuntimeError:  # nothing runs around the call
        surrounding = {}
    given_keys = [(config or {}).get("configurable") or {} for config in (bound, given)]
    has_coordinates = any(keys.get(key) not in (None, {}) for keys in given_keys for key in COORDINATES)
    return explicit if has_coordinates else {**surrounding, **explicit}


def _own_keys(configurable: dict[str, Any]) -> dict[str, Any]:
    """The thread and the caller's own keys, without what belongs to the graph around the call."""
    around = COORDINATES[1:]
    return {key: value for key, value in configurable.items() if key not in around and key[:2] != "__"}
