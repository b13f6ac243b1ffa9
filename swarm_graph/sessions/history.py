"""The history of a session: its moments, and forks that start from one of them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint, CheckpointMetadata

from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.signatures import is_own, sign
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.errors import InputError
from swarm_graph.roles.registry import Roles
from swarm_graph.sessions.candidates import candidates_of
from swarm_graph.sessions.resume import config_to_read, has_recalled, roles_to_read
from swarm_graph.state import SwarmState, begins_round, has_ended
from swarm_graph.workflows.build import new_builder
from swarm_graph.workflows.edits import state_value
from swarm_graph.workflows.pauses import Pause, waiting_pauses


@dataclass(frozen=True)
class Moment:
    """A checkpoint of a session: which nodes ended just before it, and which come next.

    Attributes:
        number: Counts from 0.
        checkpoint: LangGraph's checkpoint id.
        time: Seconds since the epoch.
        done: The nodes that ended between the moment before and this one.
        next: The nodes that come next; empty at the end.
        state: The state at this moment.
        config: LangGraph's configuration of the checkpoint.
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
        """The round of the next nodes, from 1."""
        # The coder opens a round: until it has written, the state still counts the round before.
        opens = any(begins_round(node.removeprefix("before_")) for node in self.next)
        candidates = [record["iteration"] for record in candidates_of(self.state)]
        return max([self.state.get("iteration", 0) + opens, *candidates, 1])


def moments(saver: SwarmSaver, session: Session) -> list[Moment]:
    """The moments of a session, oldest first.

    Raises:
        ConfigError: The configuration of the session cannot be used any more, as when its prompts are gone.
    """
    config = config_to_read(session, trusted=is_own(saver.catalogue, session))
    builder = new_builder(session.workflow, config, recalls=has_recalled(session))
    graph = builder.build(session.workflow, saver)
    thread: RunnableConfig = {"configurable": {"thread_id": session.session}}
    history: list[Moment] = []
    done: tuple[str, ...] = ()
    for snapshot in reversed(list(graph.get_state_history(thread))):
        if snapshot.next == ("__start__",):
            continue  # the request alone, before LangGraph took it into the state
        history.append(
            Moment(
                number=len(history),
                checkpoint=str(snapshot.config["configurable"]["checkpoint_id"]),
                time=datetime.fromisoformat(snapshot.created_at or "1970-01-01T00:00:00+00:00").timestamp(),
                done=done,
                next=snapshot.next,
                state=cast("SwarmState", snapshot.values),
                config=snapshot.config,
            )
        )
        done = snapshot.next
    return history


def find_moment(history: list[Moment], name: str) -> Moment:
    """The moment that a user names.

    Args:
        history: The moments of a session (`moments`).
        name: A number, a checkpoint id, or the node that comes next: `coder` is the latest moment before the
            coder, `coder:1` the one of round 1.

    Raises:
        InputError: No moment has this name.
    """
    node, _, number = name.partition(":")
    for moment in reversed(history):
        comes_next = node in moment.next and number in ("", str(moment.round))
        if comes_next or name in (moment.checkpoint, str(moment.number)):
            return moment
    nodes = ", ".join(dict.fromkeys(node for moment in history for node in moment.next)) or "none"
    raise InputError(
        f"no checkpoint '{name}'; expected a number from 0 to {len(history) - 1}, a checkpoint id, "
        f"or a node that came next: {nodes}"
    )


def pauses_of(saver: SwarmSaver, session: Session) -> list[Pause]:
    """The pauses at which a session waits for a person."""
    thread: RunnableConfig = {"configurable": {"thread_id": session.session}}
    return waiting_pauses(saver.get_tuple(thread)) if session.phase == "paused" else []


def works_from(nodes: Iterable[str], roles: Roles) -> str:
    """The key of the state that an edit given as plain text sets before the next nodes run.

    Args:
        nodes: The next nodes.
        roles: The roles of the session.

    Raises:
        InputError: There is no such key, or there are several nodes.
    """
    names = [node.removeprefix("before_") for node in nodes]
    keys = {str(role.role): role.works_from for role in roles.all() if role.works_from}
    if len(names) == 1 and names[0] in keys:
        return keys[names[0]]
    raise InputError(
        f"plain text does not say which key to set before {', '.join(names) or 'the end'}; "
        "give a JSON object of keys and values, or KEY=VALUE"
    )


def fork(
    saver: SwarmSaver, session: Session, moment: Moment, session_id: str, edits: Mapping[str, Any]
) -> Session:
    """Create a session that starts from a moment of another session, which stays as it is.

    Args:
        saver: The saver of both sessions.
        session: The session to fork.
        moment: The moment to start from.
        session_id: The id of the new session.
        edits: Keys of the state with their new values.

    Raises:
        InputError: A key cannot be set, or the new session exists already.
    """
    thread: RunnableConfig = {"configurable": {"thread_id": session_id, "checkpoint_ns": ""}}
    if saver.catalogue.get(session_id) or saver.get_tuple(thread):
        raise InputError(f"session '{session_id}' exists; choose another id")
    roles = roles_to_read(session, trusted=is_own(saver.catalogue, session))
    values = {key: state_value(key, value, moment.state, roles) for key, value in edits.items()}
    saved = saver.get_tuple(moment.config)
    assert saved is not None
    values |= _own_branch(saved.checkpoint["channel_values"], session_id)
    checkpoint = _edited(saver, saved.checkpoint, values)
    forked = _forked_row(session, moment, session_id, checkpoint["channel_values"])
    step = saved.metadata.get("step", 0)
    with saver.transaction():
        metadata: CheckpointMetadata = {"source": "fork", "step": step, "parents": {}}
        saver.put(thread, checkpoint, metadata, checkpoint["channel_versions"])
        saver.catalogue.copy_sources(session.session, session_id)
        saver.catalogue.add(forked)
        if is_own(saver.catalogue, session):
            saver.catalogue.copy_recalled(session.session, session_id)
            sign(saver.catalogue, session_id)
    return forked


def _own_branch(values: Mapping[str, Any], session_id: str) -> dict[str, Any]:
    """What differs in a fork that changes a repository: its branch begins at the base, with no commit yet."""
    repo = values.get("repo")
    if not repo:
        return {}
    from swarm_graph.workflows.repository import branch_name  # other kinds need no git

    return {"repo": {**repo, "branch": repo["branch"] and branch_name(session_id)}, "commits": []}


def _edited(saver: SwarmSaver, checkpoint: Checkpoint, values: Mapping[str, Any]) -> Checkpoint:
    """A copy of a checkpoint with new values."""
    copy = deepcopy(checkpoint)
    versions = copy["channel_versions"]
    for key, value in values.items():
        copy["channel_values"][key] = value
        # As after a write by LangGraph itself, which compares versions to see what changed.
        versions[key] = saver.get_next_version(cast("str | None", versions.get(key)), None)
    return copy


def _forked_row(session: Session, moment: Moment, session_id: str, values: Mapping[str, Any]) -> Session:
    """The catalogue row of a fork."""
    now, phase = time.time(), str(values.get("phase"))
    if not has_ended(phase):
        phase = "paused"
        session = replace(session, approved=None, iteration=None, findings=None)
    return replace(
        session,
        session=session_id,
        experiment="",
        request=str(values.get("request") or session.request),
        phase=phase,
        output="",
        created_at=now,
        updated_at=now,
        parent=session.session,
        parent_checkpoint=moment.checkpoint,
    )
