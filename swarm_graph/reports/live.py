"""The live view of a running session: finished work as lines, running nodes below, progress at the bottom."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from types import TracebackType
from typing import ClassVar, Self

from rich.console import Console, ConsoleOptions, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.text import Text

from swarm_graph.events import Event
from swarm_graph.sandbox.evidence import evidence_line, make_evidence
from swarm_graph.text import format_count, printable

MAX_TASK_LINES = 40
"""In a larger task graph only failed tasks get a line; the progress bar counts the others."""
MAX_RUNNING_NODES = 8
"""Running nodes that are drawn; the rest is counted."""
MAX_KEPT_CHARACTERS = 400
"""The end of a streamed answer that is kept in order to draw it."""


class SessionView:
    """Draws a running session from its events, for a terminal or a notebook.

    `on_event` returns a line for each finished piece of work: the caller prints it above the view. The view
    itself, a rich renderable, has the running nodes and the progress of the whole session.
    """

    def __init__(self) -> None:
        self._running: dict[str, _RunningNode] = {}
        self._task_progress: _TaskProgress | None = None
        self._workflow_progress: _WorkflowProgress | None = None
        self._rounds = 0
        self._spinner = Spinner("dots")

    def clear(self) -> None:
        """Remove all running nodes, as at the end of the session."""
        self._running.clear()

    def on_event(self, event: Event) -> Text | None:
        """Update the view; return a line when the event ends a piece of work."""
        if self._workflow_progress:
            self._workflow_progress.on_event(event)
        match event.kind:
            case "session_started":
                self._start_session(event)
            case "graph_started":
                self._task_progress = _TaskProgress(event.data["tasks"], event.data["done"])
            case "task_added" if self._task_progress:
                self._task_progress.tasks += 1
            case "task_skipped" if self._task_progress:
                self._task_progress.count("task_skipped")
            case "task_started":
                self._running[event.node] = _RunningNode(event.iteration, time.monotonic())
            case "tests_started":
                self._running[event.node] = _RunningNode(event.iteration, time.monotonic(), asks_model=False)
            case "call_started" | "tokens" | "call_ended" if event.node in self._running:
                self._running[event.node].on_event(event)
            case "task_ended" | "task_failed" | "task_stopped":
                return self._end_task(event)
            case "tests_ended":
                return self._end_tests(event)
            case "verdict":
                return _verdict_line(event)
        return None

    def _start_session(self, event: Event) -> None:
        if event.data["workflow"] != "custom":
            self._rounds = event.data["max_iterations"]
            self._workflow_progress = _WorkflowProgress(
                event.data["nodes"],
                event.data["done"],
                usual_s=event.data["usual_seconds"],
                earlier_s=event.data["seconds_before"],
            )

    def _end_tests(self, event: Event) -> Text:
        self._running.pop(event.node, None)
        evidence = make_evidence(**{"failures": [], **event.data})
        marks = {"passed": ("✓", "green"), "not_run": ("-", "yellow")}
        mark, style = marks.get(evidence["outcome"], ("✗", "red"))
        return Text.assemble((f"{mark} ", style), printable(f"run_tests {evidence_line(evidence)}"))

    def _end_task(self, event: Event) -> Text | None:
        node = self._running.pop(event.node, None)
        if self._task_progress and event.kind != "task_stopped":
            self._task_progress.count("kept" if event.data.get("kept") else event.kind)
            if self._task_progress.tasks > MAX_TASK_LINES and event.kind == "task_ended":
                return None
        if node is None:
            return None
        marks = {"task_ended": ("✓", "green"), "task_failed": ("✗", "red"), "task_stopped": ("■", "yellow")}
        mark, style = marks[event.kind]
        note = event.data.get("note") or event.data.get("error") or ""
        line = printable(f"{event.node} {node.figures()} {note}".rstrip())
        return Text.assemble((f"{mark} ", style), line)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        for name, node in list(self._running.items())[:MAX_RUNNING_NODES]:
            last_round = f" of {self._rounds}" if self._rounds else ""
            current_round = "" if self._task_progress else f", round {node.iteration}{last_round}"
            yield Text.assemble(
                self._spinner.render(time.monotonic()),  # type: ignore[arg-type]
                f" {name} {node.figures()}{current_round}",
            )
            if answer := node.latest_text(options.max_width - 4):
                yield Text(f"    {answer}", style="dim", no_wrap=True, overflow="ellipsis")
        if (more := len(self._running) - MAX_RUNNING_NODES) > 0:
            yield Text(f"  … and {more} more running")
        progress = self._task_progress or self._workflow_progress
        yield from progress.lines() if progress else []


def _verdict_line(event: Event) -> Text:
    verdict = "approved" if event.data["approved"] else "changes wanted"
    code = event.data["exit_code"]
    tests = "" if code is None else f", tests ended with exit code {code}"
    return Text(
        f"  round {event.iteration}: {verdict}, {format_count(event.data['findings'], 'finding')}{tests}"
    )


class Progress:
    """Shows a SessionView on a terminal's stderr; silent when stderr is no terminal.

    Use it as a context manager and pass `on_event` to the coordinator. Stdout is not touched.

    Args:
        console: The rich console to draw on; default: stderr.
        quiet: Show no view; `say` still prints.
    """

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self.console = console or Console(stderr=True, force_terminal=sys.stderr.isatty())
        self._visible = self.console.is_terminal and not quiet
        self._view = SessionView()
        self._live = Live(
            self._view, console=self.console, refresh_per_second=8, transient=True, redirect_stdout=False
        )

    def __enter__(self) -> Self:
        if self._visible:
            self._live.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._visible:
            self._view.clear()
            self._live.stop()

    def on_event(self, event: Event) -> None:
        """Update the view, and print a line above it when the event ends a piece of work."""
        if self._visible and (line := self._view.on_event(event)) is not None:
            self.console.print(line)

    def say(self, text: str) -> None:
        """Print a message for a person, above the live view if there is one."""
        self.console.print(Text(text), soft_wrap=True)


class _RunningNode:
    """One running node: time so far, tokens, tokens per second, and the end of its streamed answer."""

    def __init__(self, iteration: int, started: float, *, asks_model: bool = True) -> None:
        self.iteration, self.started, self.tokens, self._asks_model = iteration, started, 0, asks_model
        self._call_started: float | None = None
        self._text = self._thoughts = ""

    def on_event(self, event: Event) -> None:
        """Take in a call_started, tokens or call_ended event."""
        if event.kind == "call_started":
            self._call_started, self.tokens = time.monotonic(), 0
            self._text = self._thoughts = ""
            return
        self.tokens = event.data["output_tokens"]
        self._text = (self._text + event.data.get("text", ""))[-MAX_KEPT_CHARACTERS:]
        self._thoughts = (self._thoughts + event.data.get("thoughts", ""))[-MAX_KEPT_CHARACTERS:]

    def latest_text(self, width: int) -> str:
        """The end of the streamed answer on one line; the end of the thoughts while there is no answer."""
        label, text = ("", self._text) if self._text else ("thinking: ", self._thoughts)
        line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
        return label + line[-max(width - len(label), 0) :] if line else ""

    def figures(self) -> str:
        """Seconds so far, and for a node that asks a model its tokens and their rate."""
        seconds = f"{time.monotonic() - self.started:.0f} s"
        if not self._asks_model:
            return seconds
        if self._call_started is None:
            return f"{seconds}, in the queue"
        rate = self.tokens / max(time.monotonic() - self._call_started, 1e-3)
        return f"{seconds}, {self.tokens} tokens" + (f", {rate:.0f}/s" if self.tokens else "")


class _TaskProgress:
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

    def lines(self) -> list[RenderableType]:
        """The bar and the line below it."""
        seconds = time.monotonic() - self._started
        rate = self._done_now / seconds if seconds else 0.0
        words = {"task_failed": "failed", "task_skipped": "skipped"}
        details = [f"{self._counts[kind]} {word}" for kind, word in words.items() if self._counts[kind]]
        if self._done_now:
            left = timedelta(seconds=round((self.tasks - self._done) / rate))
            pace = f"{rate:.1f} per s" if rate >= 1 else f"{rate * 60:.1f} per min"
            details += [pace, f"{left} left"]
        text = ", ".join([f"{self._done} of {format_count(self.tasks, 'task')}", *details])
        bar = ProgressBar(total=max(self.tasks, 1), completed=self._done, width=40)
        return [Padding(bar, 0), Text(text)]


class _WorkflowProgress:
    """The progress of a built-in workflow: its nodes with a mark each, and below them the time."""

    MARKS: ClassVar = {
        "task_started": "●",
        "tests_started": "●",
        "task_ended": "✓",
        "tests_ended": "✓",
        "verdict": "✓",
        "task_failed": "✗",
        "task_stopped": "■",
    }

    def __init__(self, nodes: list[str], done: list[str], *, usual_s: float | None, earlier_s: float) -> None:
        self._marks = {**dict.fromkeys(nodes, "○"), **dict.fromkeys(done, "✓")}
        self._usual_s, self._started = usual_s, time.monotonic() - earlier_s

    def on_event(self, event: Event) -> None:
        """Change the mark of the event's node."""
        if event.node in self._marks and event.kind in self.MARKS:
            self._marks[event.node] = self.MARKS[event.kind]

    def lines(self) -> list[RenderableType]:
        """The nodes on one line, and the time so far beside the usual time of such a session."""
        nodes = Text("  ".join(f"{mark} {node}" for node, mark in self._marks.items()), style="dim")
        usual = f", usually {timedelta(seconds=round(self._usual_s))}" if self._usual_s else ""
        elapsed = timedelta(seconds=round(time.monotonic() - self._started))
        return [nodes, Text(f"{elapsed}{usual}", style="dim")]
