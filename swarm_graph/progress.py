"""What a person sees while a session runs: who is at work, for how long, tokens so far."""

from __future__ import annotations

import time
from collections import Counter
from datetime import timedelta
from types import TracebackType
from typing import ClassVar, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.text import Text

from swarm_graph.events import Event
from swarm_graph.evidence import evidence, line

SHOWN_TASKS = 40
"""Ended tasks of a larger graph get no line of their own, only those that fail."""
SHOWN_AT_WORK = 8


class Progress:
    """A live view on a terminal's stderr; silent when stderr is no terminal.

    Pass `on_event` to the coordinator. Ended work stays above the view as one line each.
    """

    def __init__(self, rounds: int, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._rounds = rounds
        self._working: dict[str, _Work] = {}
        self._graph: _Graph | None = None
        self._nodes: _Nodes | None = None
        self._spinner = Spinner("dots")
        self._live = Live(self, console=self.console, refresh_per_second=8, transient=True)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self.console.is_terminal:
            self._working.clear()
            self._live.stop()

    def on_event(self, happened: Event) -> None:
        if not self.console.is_terminal:
            return
        if self._nodes:
            self._nodes.on_event(happened)
        if happened.kind == "session_started" and happened.data["workflow"] != "custom":
            self._nodes = _Nodes(happened.data["nodes"], happened.data["usual_seconds"])
        elif happened.kind == "graph_started":
            self._graph = _Graph(happened.data["tasks"], happened.data["done"])
        elif happened.kind == "task_added" and self._graph:
            self._graph.tasks += 1
        elif happened.kind == "task_skipped" and self._graph:
            self._graph.end("task_skipped")
        elif happened.kind == "task_started":
            self._working[happened.node] = _Work(happened.iteration, time.monotonic())
        elif happened.kind == "call_started" and happened.node in self._working:
            self._working[happened.node].called()
        elif happened.kind in ("tokens", "call_ended") and happened.node in self._working:
            self._working[happened.node].tokens = happened.data["output_tokens"]
        elif happened.kind in ("task_ended", "task_failed", "task_stopped"):
            self._ended(happened)
        elif happened.kind == "tests_started":
            self._working[happened.node] = _Work(happened.iteration, time.monotonic(), asks=False)
        elif happened.kind == "tests_ended":
            self._tested(happened)
        elif happened.kind == "verdict":
            outcome = "approved" if happened.data["approved"] else "changes wanted"
            code = happened.data["exit_code"]
            tests = "" if code is None else f", tests ended with exit code {code}"
            self.console.print(
                Text(f"  round {happened.iteration}: {outcome}, {happened.data['findings']} findings{tests}")
            )

    def say(self, text: str) -> None:
        """A line for people, above the live view if there is one."""
        self.console.print(Text(text), soft_wrap=True)

    def _tested(self, happened: Event) -> None:
        """A run of the tests has ended."""
        self._working.pop(happened.node, None)
        shown = evidence(**{"failures": [], **happened.data})
        mark = {"passed": ("✓", "green"), "not_run": ("-", "yellow")}.get(shown["outcome"], ("✗", "red"))
        self.console.print(Text(f"{mark[0]} ", style=mark[1]).append(f"run_tests {line(shown)}", "default"))

    def _ended(self, happened: Event) -> None:
        work = self._working.pop(happened.node, None)
        if self._graph and happened.kind != "task_stopped":
            self._graph.end("kept" if happened.data.get("kept") else happened.kind)
            if self._graph.tasks > SHOWN_TASKS and happened.kind == "task_ended":
                return
        if work is None:
            return
        marks = {"task_ended": ("✓", "green"), "task_failed": ("✗", "red"), "task_stopped": ("■", "yellow")}
        mark, style = marks[happened.kind]
        note = happened.data.get("note") or happened.data.get("error") or ""
        text = Text(f"{mark} ", style=style).append(
            f"{happened.node} {work.figures()} {note}".rstrip(), style="default"
        )
        self.console.print(text)

    def __rich__(self) -> Group:
        lines = [
            Text.assemble(
                self._spinner.render(time.monotonic()),  # type: ignore[arg-type]
                f" {node} {work.figures()}"
                + ("" if self._graph else f", round {work.iteration} of {self._rounds}"),
            )
            for node, work in list(self._working.items())[:SHOWN_AT_WORK]
        ]
        if (more := len(self._working) - SHOWN_AT_WORK) > 0:
            lines.append(Text(f"  … and {more} more at work"))
        below = self._graph.lines() if self._graph else self._nodes.lines() if self._nodes else []
        return Group(*lines, *below)


class _Graph:
    """How far the tasks of a custom session are."""

    def __init__(self, tasks: int, done: int) -> None:
        self.tasks, self._done, self._here = tasks, done, 0
        self._counts: Counter[str] = Counter()
        self._started = time.monotonic()

    def end(self, how: str) -> None:
        self._done += 1
        self._counts[how] += 1
        self._here += how in ("task_ended", "task_failed")

    def lines(self) -> list[RenderableType]:
        """A bar, and under it the rate and the time left."""
        seconds = time.monotonic() - self._started
        rate = self._here / seconds if seconds else 0.0
        words = {"task_failed": "failed", "task_skipped": "skipped"}
        told = [f"{self._counts[kind]} {word}" for kind, word in words.items() if self._counts[kind]]
        if self._here:
            left = timedelta(seconds=round((self.tasks - self._done) / rate))
            pace = f"{rate:.1f} per s" if rate >= 1 else f"{rate * 60:.1f} per min"
            told += [pace, f"{left} left"]
        text = ", ".join([f"{self._done} of {self.tasks} tasks", *told])
        return [ProgressBar(total=max(self.tasks, 1), completed=self._done, width=40), Text(text)]


class _Nodes:
    """The nodes of a built-in workflow, each with what it last did."""

    MARKS: ClassVar = {
        "task_started": "●", "tests_started": "●", "task_ended": "✓", "tests_ended": "✓", "verdict": "✓",
        "task_failed": "✗", "task_stopped": "■",
    }  # fmt: skip

    def __init__(self, nodes: list[str], usual_seconds: float | None) -> None:
        self._marks = dict.fromkeys(nodes, "○")
        self._usual, self._began = usual_seconds, time.monotonic()

    def on_event(self, happened: Event) -> None:
        if happened.node in self._marks and happened.kind in self.MARKS:
            self._marks[happened.node] = self.MARKS[happened.kind]

    def lines(self) -> list[RenderableType]:
        """All nodes on a line, and how long the session has taken beside what it usually takes."""
        nodes = Text("  ".join(f"{mark} {node}" for node, mark in self._marks.items()), style="dim")
        usual = f", usually {timedelta(seconds=round(self._usual))}" if self._usual else ""
        took = timedelta(seconds=round(time.monotonic() - self._began))
        return [nodes, Text(f"{took}{usual}", style="dim")]


class _Work:
    """A node at work: since when, in which round, how many tokens so far and how fast."""

    def __init__(self, iteration: int, started: float, *, asks: bool = True) -> None:
        self.iteration, self.started, self.tokens, self._asks = iteration, started, 0, asks
        self._called: float | None = None

    def called(self) -> None:
        """Its call has left the queue."""
        self._called, self.tokens = time.monotonic(), 0

    def figures(self) -> str:
        seconds = f"{time.monotonic() - self.started:.0f} s"
        if not self._asks:
            return seconds
        if self._called is None:
            return f"{seconds}, in the queue"
        rate = self.tokens / max(time.monotonic() - self._called, 1e-3)
        return f"{seconds}, {self.tokens} tokens" + (f", {rate:.0f}/s" if self.tokens else "")
