"""The past of a session: its moments, and forks that go on from one of them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, cast

from langchain_core.runnables import RunnableConfig

from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.saver import SwarmSaver
from swarm_graph.config import load_config
from swarm_graph.errors import InputError
from swarm_graph.nodes.registry import all_roles
from swarm_graph.state import SwarmState, has_ended
from swarm_graph.workflows.build import build_graph
from swarm_graph.workflows.edits import state_value


@dataclass(frozen=True)
class Moment:
    """A checkpoint of a session: what had ended just before it, and what comes next.

    `number` counts from 0; `time` is seconds since the epoch; `config` is LangGraph's own.
    """

    number: int
    checkpoint: str
    time: float
    done: tuple[str, ...]
    next: tuple[str, ...]
    state: SwarmState
    config: RunnableConfig

    @property
    def round(self) -> int:
        """The round in which the next nodes work."""
        return max(self.state.get("iteration", 0) + bool({"coder", "before_coder"} & {*self.next}), 1)


def moments(saver: SwarmSaver, session: Session) -> list[Moment]:
    """The moments of a session, the first one first. ConfigError when its prompts are not there any more."""
    graph = build_graph(session.workflow, config=load_config(session.config), checkpointer=saver)
    thread: RunnableConfig = {"configurable": {"thread_id": session.session}}
    found: list[Moment] = []
    done: tuple[str, ...] = ()
    for snapshot in reversed(list(graph.get_state_history(thread))):
        if snapshot.next == ("__start__",):
            continue
        found.append(
            Moment(
                number=len(found),
                checkpoint=str(snapshot.config["configurable"]["checkpoint_id"]),
                time=datetime.fromisoformat(snapshot.created_at or "1970-01-01T00:00:00+00:00").timestamp(),
                done=done,
                next=snapshot.next,
                state=cast("SwarmState", snapshot.values),
                config=snapshot.config,
            )
        )
        done = snapshot.next
    return found


def find_moment(found: list[Moment], name: str) -> Moment:
    """The moment that a person names: its number, its checkpoint's id, or the node that comes next.

    `coder` is the latest moment before the coder, `coder:1` that of round 1. InputError when there is none.
    """
    node, _, text = name.partition(":")
    for moment in reversed(found):
        comes_next = node in moment.next and text in ("", str(moment.round))
        if comes_next or name in (moment.checkpoint, str(moment.number)):
            return moment
    nodes = ", ".join(dict.fromkeys(node for moment in found for node in moment.next)) or "none"
    raise InputError(
        f"no checkpoint '{name}'; expected a number from 0 to {len(found) - 1}, a checkpoint's id, "
        f"or a node that came next: {nodes}"
    )


def works_from(nodes: Iterable[str]) -> str:
    """The key that an edit as plain text sets before these nodes. InputError when there is none."""
    names = [node.removeprefix("before_") for node in nodes]
    keys = {str(role.role): role.works_from for role in all_roles() if role.works_from}
    if len(names) == 1 and names[0] in keys:
        return keys[names[0]]
    raise InputError(
        f"text says nothing about what to set before {', '.join(names) or 'the end'}; "
        "give a JSON object of keys and values, or KEY=VALUE"
    )


def fork(saver: SwarmSaver, session: Session, moment: Moment, name: str, edits: Mapping[str, Any]) -> Session:
    """A new session that goes on from a moment of another, with some keys of the state set anew.

    Its state is a copy; the old session stays as it is. InputError when a key cannot be set, or the
    session exists.
    """
    thread: RunnableConfig = {"configurable": {"thread_id": name, "checkpoint_ns": ""}}
    if saver.catalogue.get(name) or saver.get_tuple(thread):
        raise InputError(f"session '{name}' exists; name another one")
    values = {key: state_value(key, value, moment.state) for key, value in edits.items()}
    saved = saver.get_tuple(moment.config)
    assert saved is not None
    checkpoint = deepcopy(saved.checkpoint)
    versions = checkpoint["channel_versions"]
    for key, value in values.items():
        checkpoint["channel_values"][key] = value
        versions[key] = saver.get_next_version(cast("str | None", versions.get(key)), None)
    step = saved.metadata.get("step", 0)
    now, phase = time.time(), str(checkpoint["channel_values"].get("phase"))
    if not has_ended(phase):
        phase = "paused"
        session = replace(session, approved=None, iteration=None, findings=None)
    forked = replace(
        session,
        session=name,
        request=str(checkpoint["channel_values"].get("request") or session.request),
        phase=phase,
        output="",
        created_at=now,
        updated_at=now,
        parent=session.session,
        parent_checkpoint=moment.checkpoint,
    )
    with saver.transaction():
        saver.put(thread, checkpoint, {"source": "fork", "step": step, "parents": {}}, versions)
        saver.catalogue.add(forked)
    return forked
