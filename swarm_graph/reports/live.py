"""What a person sees while a session runs: who is at work, for how long, tokens so far."""

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
from swarm_graph.sandbox.evidence import evidence, line
from swarm_graph.text import counted, plain_text

SHOWN_TASKS = 40
"""Ended tasks of a larger graph get no line of their own, only those that fail."""
SHOWN_AT_WORK = 8
KEPT_TEXT = 400
"""Characters of what a role is writing that are kept to be shown."""


class Board:
    """What the events of a session have told so far: ended work as lines, what is at work to be drawn."""

    def __init__(self) -> None:
        self._working: dict[str, _Work] = {}
        self._graph: _Graph | None = None
        self._nodes: _Nodes | None = None
        self._rounds = 0
        self._spinner = Spinner("dots")

    def clear(self) -> None:
        """Nobody is at work any more."""
        self._working.clear()

    def on_event(self, happened: Event) -> Text | None:
        """Takes an event in; returns the line that stays, if it ends something."""
        if self._nodes:
            self._nodes.on_event(happened)
        match happened.kind:
            case "session_started":
                self._begin(happened)
            case "graph_started":
                self._graph = _Graph(happened.data["tasks"], happened.data["done"])
            case "task_added" if self._graph:
                self._graph.tasks += 1
            case "task_skipped" if self._graph:
                self._graph.end("task_skipped")
            case "task_started":
                self._working[happened.node] = _Work(happened.iteration, time.monotonic())
            case "tests_started":
                self._working[happened.node] = _Work(happened.iteration, time.monotonic(), asks=False)
            case "call_started" | "tokens" | "call_ended" if happened.node in self._working:
                self._working[happened.node].on_event(happened)
            case "task_ended" | "task_failed" | "task_stopped":
                return self._ended(happened)
            case "tests_ended":
                return self._tested(happened)
            case "verdict":
                return _verdict(happened)
        return None

    def _begin(self, happened: Event) -> None:
        if happened.data["workflow"] != "custom":
            self._rounds = happened.data["max_iterations"]
            self._nodes = _Nodes(
                happened.data["nodes"], happened.data["done"],
                happened.data["usual_seconds"], happened.data["seconds_before"],
            )  # fmt: skip

    def _tested(self, happened: Event) -> Text:
        """A run of the tests has ended."""
        self._working.pop(happened.node, None)
        shown = evidence(**{"failures": [], **happened.data})
        mark = {"passed": ("✓", "green"), "not_run": ("-", "yellow")}.get(shown["outcome"], ("✗", "red"))
        return Text.assemble((f"{mark[0]} ", mark[1]), plain_text(f"run_tests {line(shown)}"))

    def _ended(self, happened: Event) -> Text | None:
        work = self._working.pop(happened.node, None)
        if self._graph and happened.kind != "task_stopped":
            self._graph.end("kept" if happened.data.get("kept") else happened.kind)
            if self._graph.tasks > SHOWN_TASKS and happened.kind == "task_ended":
                return None
        if work is None:
            return None
        marks = {"task_ended": ("✓", "green"), "task_failed": ("✗", "red"), "task_stopped": ("■", "yellow")}
        mark, style = marks[happened.kind]
        note = happened.data.get("note") or happened.data.get("error") or ""
        said = plain_text(f"{happened.node} {work.figures()} {note}".rstrip())
        return Text.assemble((f"{mark} ", style), said)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        for node, work in list(self._working.items())[:SHOWN_AT_WORK]:
            of = f" of {self._rounds}" if self._rounds else ""
            round_ = "" if self._graph else f", round {work.iteration}{of}"
            yield Text.assemble(
                self._spinner.render(time.monotonic()),  # type: ignore[arg-type]
                f" {node} {work.figures()}{round_}",
            )
            if said := work.latest(options.max_width - 4):
                yield Text(f"    {said}", style="dim", no_wrap=True, overflow="ellipsis")
        if (more := len(self._working) - SHOWN_AT_WORK) > 0:
            yield Text(f"  … and {more} more at work")
        yield from self._graph.lines() if self._graph else self._nodes.lines() if self._nodes else []


def _verdict(happened: Event) -> Text:
    outcome = "approved" if happened.data["approved"] else "changes wanted"
    code = happened.data["exit_code"]
    tests = "" if code is None else f", tests ended with exit code {code}"
    return Text(
        f"  round {happened.iteration}: {outcome}, {counted(happened.data['findings'], 'finding')}{tests}"
    )


class Progress:
    """A live view on a terminal's stderr; silent when stderr is no terminal, or when it is `quiet`.

    Pass `on_event` to the coordinator. Ended work stays above the view, a line each. Stdout is not touched.
    """

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self.console = console or Console(stderr=True, force_terminal=sys.stderr.isatty())
        self._shown = self.console.is_terminal and not quiet
        self._board = Board()
        self._live = Live(
            self._board, console=self.console, refresh_per_second=8, transient=True, redirect_stdout=False
        )

    def __enter__(self) -> Self:
        if self._shown:
            self._live.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._shown:
            self._board.clear()
            self._live.stop()

    def on_event(self, happened: Event) -> None:
        if self._shown and (line := self._board.on_event(happened)) is not None:
            self.console.print(line)

    def say(self, text: str) -> None:
        """A line for people, above the live view if there is one."""
        self.console.print(Text(text), soft_wrap=True)


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
        text = ", ".join([f"{self._done} of {counted(self.tasks, 'task')}", *told])
        bar = ProgressBar(total=max(self.tasks, 1), completed=self._done, width=40)
        return [Padding(bar, 0), Text(text)]


class _Nodes:
    """The nodes of a built-in workflow, each with what it last did."""

    MARKS: ClassVar = {
        "task_started": "●", "tests_started": "●", "task_ended": "✓", "tests_ended": "✓", "verdict": "✓",
        "task_failed": "✗", "task_stopped": "■",
    }  # fmt: skip

    def __init__(self, nodes: list[str], done: list[str], usual: float | None, before: float) -> None:
        self._marks = {**dict.fromkeys(nodes, "○"), **dict.fromkeys(done, "✓")}
        self._usual, self._began = usual, time.monotonic() - before

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
        self._text = self._thoughts = ""

    def on_event(self, happened: Event) -> None:
        """Its call leaves the queue, says something, or ends."""
        if happened.kind == "call_started":
            self._called, self.tokens = time.monotonic(), 0
            self._text = self._thoughts = ""
            return
        self.tokens = happened.data["output_tokens"]
        self._text = (self._text + happened.data.get("text", ""))[-KEPT_TEXT:]
        self._thoughts = (self._thoughts + happened.data.get("thoughts", ""))[-KEPT_TEXT:]

    def latest(self, width: int) -> str:
        """The end of what it is writing, or else thinking, on one line."""
        label, said = ("", self._text) if self._text else ("thinking: ", self._thoughts)
        shown = " ".join("".join(char if char.isprintable() else " " for char in said).split())
        return label + shown[-max(width - len(label), 0) :] if shown else ""

    def figures(self) -> str:
        seconds = f"{time.monotonic() - self.started:.0f} s"
        if not self._asks:
            return seconds
        if self._called is None:
            return f"{seconds}, in the queue"
        rate = self.tokens / max(time.monotonic() - self._called, 1e-3)
        return f"{seconds}, {self.tokens} tokens" + (f", {rate:.0f}/s" if self.tokens else "")
