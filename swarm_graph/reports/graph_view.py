"""The drawing of a session's graph, with the state of each node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from langgraph.checkpoint.base import CheckpointTuple
from markupsafe import Markup
from pydantic import ValidationError

from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.errors import ConfigError
from swarm_graph.reports.listing import current_phase
from swarm_graph.reports.node_states import events_of_request, task_states, workflow_states
from swarm_graph.sessions.history import pauses_of
from swarm_graph.sessions.resume import config_to_read
from swarm_graph.state import SwarmState, TaskRecord
from swarm_graph.tasks.dependencies import added_ids, all_dependencies
from swarm_graph.tasks.dry_run import MAX_DRAWN_TASKS
from swarm_graph.tasks.results import custom_tasks
from swarm_graph.tasks.spec import TaskSpec
from swarm_graph.workflows.build import new_builder
from swarm_graph.workflows.drawing import NodeState, tasks_svg

ENDS = ("__start__", "__end__")


class GraphView(NamedTuple):
    """The graph of a session, as a page shows it.

    Attributes:
        svg: The drawing; empty if there is none.
        states: The state of each node or task.
        note: Why there is no drawing; empty if there is one.
    """

    svg: Markup
    states: Mapping[str, NodeState]
    note: str = ""


def graph_view(
    saver: SwarmSaver, session: Session, saved: CheckpointTuple | None, *, trusted: bool
) -> GraphView:
    """The graph of a session.

    Args:
        saver: The open database.
        session: The session.
        saved: Its latest checkpoint.
        trusted: Whether the user began the session, or trusts it.
    """
    state = cast("SwarmState", saved.checkpoint["channel_values"] if saved else {})
    tasks = custom_tasks(state.get("tasks", {}))
    if tasks:
        return _of_tasks(saver, session, tasks)
    return _of_workflow(saver, session, saved, trusted)


def _of_tasks(saver: SwarmSaver, session: Session, tasks: list[TaskRecord]) -> GraphView:
    phase = current_phase(saver.catalogue, session)
    events = events_of_request(saver.catalogue.transcript, session.session) if phase == "running" else []
    records = [*tasks, *saver.catalogue.tasks(session.session)]
    ids = [task["task_id"] for task in tasks]
    states = task_states(ids, records, events, phase=phase, pauses=pauses_of(saver, session))
    if len(states) > MAX_DRAWN_TASKS:
        return GraphView(
            Markup(), states, f"{len(states):,} tasks are too many for a drawing; the list below has them."
        )
    try:
        specs = _specs(tasks)
    except (ValidationError, KeyError, TypeError):  # a database that somebody changed
        return GraphView(Markup(), states, "There is no drawing: a task in the database cannot be read.")
    return GraphView(Markup(tasks_svg(specs, "The task graph", states)), states)


def _specs(tasks: list[TaskRecord]) -> dict[str, TaskSpec]:
    """The tasks by id; one that depends on an expanded task waits for those that this one has added, too."""
    records = {task["task_id"]: task for task in tasks}
    added = added_ids(records)
    specs = [TaskSpec.model_validate(task["spec"]) for task in tasks]
    needs = [all_dependencies(spec, added, lambda name: records[name]["rank"]) for spec in specs]
    return {
        spec.task_id: spec.model_copy(update={"dependencies": need})
        for spec, need in zip(specs, needs, strict=True)
    }


def _of_workflow(
    saver: SwarmSaver, session: Session, saved: CheckpointTuple | None, trusted: bool
) -> GraphView:
    try:
        config = config_to_read(session, trusted=trusted)
        graph = new_builder(session.workflow, config).build(session.workflow)
    except ConfigError as error:  # its folder of prompts may be gone by now
        return GraphView(Markup(), {}, str(error))
    nodes = [name for name in graph.get_graph().nodes if name not in ENDS]
    states = workflow_states(
        nodes,
        events_of_request(saver.catalogue.transcript, session.session),
        ran=_ran(saved),
        phase=current_phase(saver.catalogue, session),
        pauses=pauses_of(saver, session),
    )
    return GraphView(Markup(graph.svg(states)), states)


def _ran(saved: CheckpointTuple | None) -> set[str]:
    """The nodes that have ended at some time, as LangGraph's checkpoint has it."""
    seen: Mapping[str, Any] = saved.checkpoint.get("versions_seen", {}) if saved else {}
    return {node for node, versions in seen.items() if versions}
