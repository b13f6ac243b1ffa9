"""The states of nodes and tasks: waiting, running, done, failed, paused, skipped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from swarm_graph.checkpoints.transcript import Transcript
from swarm_graph.events import Event
from swarm_graph.state import TaskStatus, has_ended
from swarm_graph.workflows.drawing import NODE_STATES, NodeState
from swarm_graph.workflows.pauses import Pause

AFTER_EVENT: Mapping[str, NodeState] = {
    "task_started": "running",
    "tests_started": "running",
    "task_ended": "done",
    "tests_ended": "done",
    "verdict": "done",
    "committed": "done",
    "node_ended": "done",
    "task_failed": "failed",
    "task_stopped": "waiting",
    "task_skipped": "skipped",
}
"""The state of a node after an event of it."""
AFTER_STATUS: Mapping[str, NodeState] = {
    TaskStatus.PENDING: "waiting",
    TaskStatus.READY: "waiting",
    TaskStatus.RUNNING: "running",
    TaskStatus.COMPLETED: "done",
    TaskStatus.FAILED: "failed",
    TaskStatus.SKIPPED: "skipped",
}
PAUSE_ANSWERED = "pause_answered"
PAGE_OF_EVENTS = 1000


def events_of_request(transcript: Transcript, session_id: str) -> list[Event]:
    """The events of a session's latest request that change the state of a node; empty if none are kept."""
    kinds = ("session_started", PAUSE_ANSWERED, *AFTER_EVENT)
    begun = [
        stored.id
        for stored in transcript.events(session_id=session_id, kinds=("session_started",))
        if not stored.event.data.get("resumed")
    ]
    events: list[Event] = []
    after = begun[-1] - 1 if begun else None
    while after is not None:
        page = transcript.events(after, session_id=session_id, kinds=kinds, limit=PAGE_OF_EVENTS)
        events += [stored.event for stored in page]
        after = page[-1].id if len(page) == PAGE_OF_EVENTS else None
    return events


def workflow_states(
    nodes: Sequence[str],
    events: Iterable[Event],
    *,
    ran: Collection[str],
    phase: str,
    pauses: Iterable[Pause] = (),
) -> dict[str, NodeState]:
    """The state of each node of a workflow.

    Args:
        nodes: The names of the nodes.
        events: The events of the latest request (`events_of_request`).
        ran: The nodes that have ever ended, for sessions without such events.
        phase: The session's phase.
        pauses: Where the session waits for a person.
    """
    replay = _Replay(nodes)
    for event in events:
        replay.add(event)
    states = replay.states if replay.ran else {node: _ran(node in ran) for node in nodes}
    if has_ended(phase):
        done = replay.ran or ran
        states = {node: _at_the_end(node in done, state) for node, state in states.items()}
    elif phase != "running":
        states = {node: "waiting" if state == "running" else state for node, state in states.items()}
    for pause in pauses:
        name = f"{pause.when}_{pause.node}"
        states[name if name in states else pause.node] = "paused"
    return {node: state for node, state in states.items() if node in set(nodes)}


def task_states(
    tasks: Iterable[str],
    records: Iterable[Mapping[str, Any]],
    events: Iterable[Event] = (),
    *,
    phase: str,
    pauses: Iterable[Pause] = (),
) -> dict[str, NodeState]:
    """The state of each task of a task graph.

    Args:
        tasks: The ids of the tasks.
        records: Rows or records with `task_id` and `status`; later ones count.
        events: The events of the latest request.
        phase: The session's phase.
        pauses: Where the session waits for a person.
    """
    states: dict[str, NodeState] = dict.fromkeys(tasks, "waiting")
    states |= {row["task_id"]: AFTER_STATUS.get(row["status"], "waiting") for row in records}
    recorded = {**states}
    for event in events if phase == "running" else ():
        if event.kind == "session_started":  # the process of what still ran was killed
            states |= {task: recorded.get(task, "waiting") for task in states if states[task] == "running"}
        elif event.task and event.kind in AFTER_EVENT:
            states[event.task] = AFTER_EVENT[event.kind]
    return states | {pause.node: "paused" for pause in pauses}


def counted(states: Iterable[NodeState]) -> dict[NodeState, int]:
    """The number of nodes in each state that occurs, in the order of NODE_STATES."""
    counts = Counter(states)
    return {state: counts[state] for state in NODE_STATES if counts[state]}


class _Replay:
    """The events of a request, one after the other. A new round opens the nodes of the round before."""

    def __init__(self, nodes: Sequence[str]) -> None:
        self.states: dict[str, NodeState] = dict.fromkeys(nodes, "waiting")
        self.ran: set[str] = set()
        self._began: list[str] = []
        self._round = 0

    def add(self, event: Event) -> None:
        """Change the state of the event's node."""
        if event.kind == "session_started":
            self.states |= {node: "waiting" for node, state in self.states.items() if state == "running"}
        elif event.kind == PAUSE_ANSWERED:
            self._answer(str(event.data.get("place", "")).replace(" ", "_"))
        elif event.node in self.states and event.kind in AFTER_EVENT:
            if event.iteration > self._round:
                self._begin_round(event)
            self.states[event.node] = AFTER_EVENT[event.kind]
            self.ran.add(event.node)
            if event.node not in self._began:
                self._began.append(event.node)

    def _answer(self, pause: str) -> None:
        """A person has answered a pause that is a node, such as `before_coder`."""
        if pause in self.states:
            self.states[pause] = "done"
            self.ran.add(pause)

    def _begin_round(self, event: Event) -> None:
        """What has run since the node that begins the round ran last is open again."""
        self._round = event.iteration
        if event.node in self._began and self.states[event.node] != "running":
            position = self._began.index(event.node)
            self.states |= dict.fromkeys(self._began[position:], "waiting")
            self._began = self._began[:position]


def _ran(ran: bool) -> NodeState:
    return "done" if ran else "waiting"


def _at_the_end(ran: bool, state: NodeState) -> NodeState:
    """The state of a node of a session that has ended: what did not run was not needed."""
    if state in ("failed", "skipped"):
        return state
    return "done" if ran else "skipped"
