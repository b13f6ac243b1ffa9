"""The progress of a session in the live view: a task graph's bar, or a workflow's nodes with a mark each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar

from rich.console import RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.text import Text

from swarm_graph.events import Event
from swarm_graph.sandbox.evidence import CHOOSE, RUN_TESTS
from swarm_graph.state import has_ended
from swarm_graph.text import format_count

JOINS = ("complete", "commit", "commit_last")
"""Nodes that are done in an instant, and show no mark."""
OPEN, RUNNING, DONE = "○", "●", "✓"


class TaskProgress:
    """The progress of a task graph: a bar, and below it counts, rate and the time left."""

    def __init__(self, tasks: int, done: int) -> None:
        # Only tasks of this run count for the rate: an earlier run's tasks, or skipped ones, took no time.
        self.tasks, self._done, self._done_now = tasks, done, 0
        self._counts: Counter[str] = Counter()
        self._started = time.monotonic()

    def count(self, outcome: str) -> None:
        """Count a finished task by the kind of its event, or as "kept" from an earlier run."""
        self._done += 1
        self._counts[outcome] += 1
        self._done_now += outcome in ("task_ended", "task_failed")

    def rows(self, width: int) -> list[RenderableType]:
        """The bar and the row below it."""
        seconds = time.monotonic() - self._started
        rate = self._done_now / seconds if seconds else 0.0
        words = {"task_failed": "failed", "task_skipped": "skipped"}
        details = [f"{self._counts[kind]} {word}" for kind, word in words.items() if self._counts[kind]]
        if self._done_now:
            left = timedelta(seconds=round((self.tasks - self._done) / rate))
            pace = f"{rate:.1f} per s" if rate >= 1 else f"{rate * 60:.1f} per min"
            details += [pace, f"{left} left"]
        text = ", ".join([f"{self._done} of {format_count(self.tasks, 'task')}", *details])
        bar = ProgressBar(total=max(self.tasks, 1), completed=self._done, width=min(40, width))
        return [Padding(bar, 0), Text(text)]  # alone a bar does not end its row


class WorkflowProgress:
    """The progress of a built-in workflow: its nodes with a mark each, and below them time and round."""

    MARKS: ClassVar = {
        "task_started": RUNNING,
        "tests_started": RUNNING,
        "task_ended": DONE,
        "tests_ended": DONE,
        "verdict": DONE,
        "node_ended": DONE,
        "task_failed": "✗",
        "task_stopped": "■",
    }

    def __init__(
        self,
        nodes: Sequence[str],
        done: Sequence[str],
        *,
        rounds: int,
        usual_s: float | None,
        earlier_s: float,
    ) -> None:
        """Set up the marks.

        Args:
            nodes: All nodes of the graph, in its order.
            done: The nodes that earlier runs of the session finished in its present round.
            rounds: The greatest number of rounds.
            usual_s: How long such sessions take; None if that is not known.
            earlier_s: How long earlier runs of the session took.
        """
        self._marks = dict.fromkeys(_steps(nodes), OPEN) | dict.fromkeys(done, DONE)
        self._began = list(done)  # in the order of their starts; a node of several rounds is here once
        self._rounds, self._round = rounds, 0
        self._usual_s, self._started = usual_s, time.monotonic() - earlier_s

    def on_event(self, event: Event) -> None:
        """Change the mark of the event's node, and of others when a round begins or the session ends."""
        if event.kind == "session_ended":
            self._end(event.data["phase"])
        elif event.node in self._marks and event.kind in self.MARKS:
            if event.iteration > self._round:
                self._begin_round(event)
            self._marks[event.node] = self.MARKS[event.kind]
            if event.node not in self._began:
                self._began.append(event.node)

    def _begin_round(self, event: Event) -> None:
        """What has run since the node that begins the round ran last is open again."""
        self._round = event.iteration
        if event.node in self._began and self._marks[event.node] != RUNNING:
            position = self._began.index(event.node)
            self._marks |= dict.fromkeys(self._began[position:], OPEN)
            self._began = self._began[:position]

    def _end(self, phase: str) -> None:
        """At the end of a session nothing is open any more that it did not need."""
        if has_ended(phase):
            self._marks = {node: mark for node, mark in self._marks.items() if mark != OPEN}

    def rows(self, width: int) -> list[RenderableType]:
        """The nodes, on as many rows as they need, and a row with time, round and the usual time."""
        rows = [""]
        for node, mark in self._marks.items():
            longer = f"{rows[-1]}  {mark} {node}".strip()
            rows[-1:] = [longer] if len(longer) <= width or not rows[-1] else [rows[-1], f"{mark} {node}"]
        usual = f", usually {timedelta(seconds=round(self._usual_s))}" if self._usual_s else ""
        round_ = f", round {self._round} of {self._rounds}" if self._round and self._rounds > 1 else ""
        elapsed = timedelta(seconds=round(time.monotonic() - self._started))
        return [Text(row, style="dim") for row in [*rows, f"{elapsed}{round_}{usual}"]]


def _steps(nodes: Sequence[str]) -> list[str]:
    """The nodes that do work, the tests before their verdict; no pauses, no JOINS."""
    pauses = {f"{when}_{node}" for node in nodes for when in ("before", "after")}
    steps = [node for node in nodes if node not in pauses and node not in JOINS]
    if CHOOSE in steps:  # the candidates of the coder stand for it
        steps.remove("coder")
    if RUN_TESTS in steps:
        steps.remove(RUN_TESTS)
        steps.insert(steps.index("verdict"), RUN_TESTS)
    return steps
