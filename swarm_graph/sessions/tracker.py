"""Follows one session while it runs: its state, calls, test runs and tasks, from LangGraph's stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from langgraph.channels.base import BaseChannel

from swarm_graph.events import Event
from swarm_graph.roles.registry import Roles
from swarm_graph.sandbox.evidence import RUN_TESTS
from swarm_graph.sessions.metrics import (
    call_row,
    is_same_test_run,
    recalled_summary,
    summary,
    swaps,
    test_run_row,
    test_summary,
    tool_row,
)
from swarm_graph.sessions.state_json import failed_task, finished_task
from swarm_graph.sessions.store import Position
from swarm_graph.state import SwarmState, Task, TaskRecord, TaskStatus, before_rounds
from swarm_graph.tasks.results import FINISHED, custom_tasks

STATUSES = {
    "task_started": str(TaskStatus.RUNNING),
    "task_stopped": str(TaskStatus.PENDING),
    "task_failed": str(TaskStatus.FAILED),
    "task_skipped": str(TaskStatus.SKIPPED),
}
"""The status of a custom task after an event."""


class SessionTracker:
    """Follows one session.

    Attributes:
        workflow: The name of its graph.
        roles: Its roles.
        state: Its state, with the updates of nodes that ended while their siblings still run.
        calls: A row for each model call, earlier runs included.
        test_runs: A row for each test run, earlier runs included.
        tools: A row for each call of a tool that has ended, earlier runs included.
        unreadable: The nodes with an answer that could not be used, even after the repair question.
    """

    def __init__(
        self,
        workflow: str,
        roles: Roles,
        channels: Mapping[str, Any] | None = None,
        state: SwarmState | None = None,
        calls: list[dict[str, Any]] | None = None,
        test_runs: list[dict[str, Any]] | None = None,
        tools: list[dict[str, Any]] | None = None,
    ) -> None:
        """Start from what earlier runs left.

        Args:
            workflow: The name of the graph.
            roles: Its roles.
            channels: The channels of the graph, whose reducers fold updates into the state.
            state: The latest state.
            calls: The rows of earlier calls.
            test_runs: The rows of earlier test runs.
            tools: The rows of earlier calls of tools.
        """
        self.workflow, self.state = workflow, state or {}
        self.calls, self.test_runs, self.tools = calls or [], test_runs or [], tools or []
        self._model_calls, self._tool_calls = 0, set[tuple[Any, ...]]()
        self.unreadable: dict[str, None] = {}
        self._channels, self.roles = channels or {}, roles
        self._failed: dict[str, Task] = {}

    @property
    def calls_in_flight(self) -> int:
        """How many calls of models and tools run now."""
        return self._model_calls + len(self._tool_calls)

    # --- following -------------------------------------------------------------------------------

    def on_values(self, values: Mapping[str, Any]) -> None:
        """Take the state after a superstep."""
        # A copy, because events of custom tasks change it before the next superstep.
        tasks = dict(values.get("tasks", {}))
        self.state = cast("SwarmState", {**values, "tasks": tasks})

    def on_updates(self, updates: Mapping[str, Any]) -> None:
        """Fold the updates of nodes that ended into the state, with the reducers of the graph."""
        state: dict[str, Any] = dict(self.state)
        for node, update in updates.items():
            if node.startswith("__") or not isinstance(update, Mapping):
                continue  # LangGraph's own, such as __metadata__ and __interrupt__
            for key, value in update.items():
                channel = self._channel(key, state)
                channel.update([value])
                state[key] = channel.get()
        self.state = cast("SwarmState", state)

    def _channel(self, key: str, state: Mapping[str, Any]) -> BaseChannel[Any, Any, Any]:
        empty: BaseChannel[Any, Any, Any] = self._channels[key]
        if key not in state:
            return empty.copy()
        return empty.from_checkpoint(state[key])

    def on_event(self, event: Event) -> None:
        """Take an event of a node."""
        if event.kind == "call_started":
            self._model_calls += 1
        elif event.kind == "call_ended":
            self._model_calls -= 1
            self.calls.append(call_row(event))
        elif event.kind == "tool_started":
            self._tool_calls.add(_place(event))
        elif event.kind == "tool_ended":
            self._tool_calls.discard(_place(event))  # one that was refused has not begun
            self.tools.append(tool_row(event))
        elif event.kind == "answer_read":
            if event.data["problem"] and event.data["repair"]:
                self.unreadable[event.node] = None
        elif event.kind == "tests_ended":
            row = test_run_row(event)
            self.test_runs = [*(run for run in self.test_runs if not is_same_test_run(run, row)), row]
        elif self.workflow == "custom" and event.task:
            self._on_custom_task(event)
        elif event.kind == "task_failed":
            self._failed[event.task] = failed_task(event)
        elif event.kind == "task_ended":
            self._failed.pop(event.task, None)

    def _on_custom_task(self, event: Event) -> None:
        tasks = self.state["tasks"]
        if "record" in event.data:
            tasks[event.task] = event.data["record"]
        elif event.kind in STATUSES:
            reason = {key: value for key, value in event.data.items() if key in ("error", "note")}
            record = {**tasks[event.task], "status": STATUSES[event.kind], **reason}
            tasks[event.task] = cast("TaskRecord", record)

    def end(self, phase: str) -> None:
        """Note the phase in which the run ended."""
        self.state = cast("SwarmState", {**self.state, "phase": phase})

    # --- results ---------------------------------------------------------------------------------

    def nodes_done(self, nodes: Sequence[str], position: Position) -> list[str]:
        """The nodes that earlier runs completed in the present round, or once and for all before the rounds.

        Args:
            nodes: The nodes of the graph in its order: those in front of the coder run once.
            position: Where the session stands.
        """
        iteration = max(self.state.get("iteration", 0), 1)
        run_once = before_rounds(nodes)
        done = {
            *position.ended,
            *(
                record["node"]
                for record in self.state.get("tasks", {}).values()
                if record["status"] == TaskStatus.COMPLETED
                and (record["iteration"] == iteration or record["node"] in run_once)
            ),
        }
        reviews = self.state.get("reviews", [])
        done |= {one["node"] for one in reviews if "evidence" in one and one["iteration"] == iteration}
        after_verdict = nodes[nodes.index("verdict") + 1 :] if "verdict" in nodes else []
        if (done | position.following) & {*after_verdict} - {RUN_TESTS}:
            done.add("verdict")
        return [node for node in nodes if node in done - position.following]

    def completed_tasks(self) -> list[Task]:
        """The finished tasks, failed and skipped ones included; see `SwarmCoordinator.completed_tasks`."""
        records = self.state.get("tasks", {})
        if self.workflow == "custom":
            finished = [record for record in custom_tasks(records) if record["status"] in FINISHED]
            return [finished_task(record["task_id"], self.state, self.roles) for record in finished]
        completed = {task_id: finished_task(task_id, self.state, self.roles) for task_id in records}
        return [task for _, task in sorted({**completed, **self._failed}.items())]

    def metrics(self) -> dict[str, Any]:
        """The figures of the session; see `SwarmCoordinator.get_metrics_summary`."""
        recalled = cast("Mapping[str, Any]", self.state).get("recalled")
        return {
            "agents": summary(self.calls, self.tools),
            "tests": test_summary(self.test_runs),
            "model_swaps": swaps(self.calls),
            **({"recalled": recalled_summary(recalled)} if recalled else {}),
        }


def _place(event: Event) -> tuple[Any, ...]:
    """What tells a call of a tool from others that run at once."""
    return event.node, event.task, event.iteration, event.data["number"]
