"""What a person sees while a session runs: who is at work, for how long, tokens so far."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from swarm_graph.events import Event
from swarm_graph.evidence import evidence, line


class Progress:
    """A live view on a terminal's stderr; silent when stderr is no terminal.

    Pass `on_event` to the coordinator. Ended work stays above the view as one line each.
    """

    def __init__(self, rounds: int, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._rounds = rounds
        self._working: dict[str, _Work] = {}
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
        if happened.kind == "task_started":
            self._working[happened.node] = _Work(happened.iteration, time.monotonic())
        elif happened.kind in ("tokens", "call_ended") and happened.node in self._working:
            self._working[happened.node].tokens = happened.data["output_tokens"]
        elif happened.kind in ("task_ended", "task_failed", "task_stopped"):
            self._ended(happened)
        elif happened.kind == "tests_started":
            self._working[happened.node] = _Work(happened.iteration, time.monotonic())
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
        if work is None:
            return
        marks = {"task_ended": ("✓", "green"), "task_failed": ("✗", "red"), "task_stopped": ("■", "yellow")}
        mark, style = marks[happened.kind]
        note = happened.data.get("note") or ""
        text = Text(f"{mark} ", style=style).append(
            f"{happened.node} {work.figures()} {note}".rstrip(), style="default"
        )
        self.console.print(text)

    def __rich__(self) -> Group:
        lines = [
            Text.assemble(
                self._spinner.render(time.monotonic()),  # type: ignore[arg-type]
                f" {node} {work.figures()}, round {work.iteration} of {self._rounds}",
            )
            for node, work in self._working.items()
        ]
        return Group(*lines)


class _Work:
    def __init__(self, iteration: int, started: float) -> None:
        self.iteration, self.started, self.tokens = iteration, started, 0

    def figures(self) -> str:
        return f"{time.monotonic() - self.started:.0f} s, {self.tokens} tokens"
