"""A running node in the live view: the attempt that runs, and what it has written."""

from __future__ import annotations

import time

from rich.console import Console
from rich.text import Text

from swarm_graph.events import Event
from swarm_graph.models.shared_server import starts_server
from swarm_graph.reports.streamed import StreamedText
from swarm_graph.reports.tool_lines import tool_call
from swarm_graph.text import format_count, printable

TURN, LOADING = "waits for its turn", "loading model"
"""What a node waits for. Before its first call an embedded server may have to load its model."""


class RunningNode:
    """One running node. Seconds, tokens and their rate are those of the attempt that runs.

    Attributes:
        name: The node; in a task graph the task.
    """

    def __init__(self, name: str, *, asks_model: bool = True) -> None:
        self.name = name
        self._asks_model, self._started = asks_model, time.monotonic()
        self._attempts = self._tokens = self._earlier_tokens = 0
        self._attempt_started = self._started
        self._is_repair = self._is_loading = self._is_simulated = False
        self._waits_for = TURN
        self._part = self._tool = ""
        self._tools = 0
        self._text, self._thoughts = StreamedText(), StreamedText()

    def on_event(self, event: Event) -> None:
        """Take in an event of a part, of a call of the model, or of a call of a tool."""
        if event.kind.startswith("tool_"):
            self._take_tool(event)
        elif event.kind == "part_started":
            self._start_part(event)
        elif event.kind == "call_started":
            self._start_attempt(event)
        elif event.kind == "tokens":
            self._waits_for, self._tokens = "", event.data["output_tokens"]
            self._text.add(event.data.get("text", ""))
            self._thoughts.add(event.data.get("thoughts", ""))
        else:
            self._end_attempt(event)

    def _start_part(self, event: Event) -> None:
        number, parts, place = event.data["part"], event.data["parts"], event.data["place"]
        self._part = f", part {number} of {parts} ({place})" if number else f", joins {parts} parts"
        self._attempts = 0

    def _take_tool(self, event: Event) -> None:
        call = tool_call(event.data["tool"], event.data["arguments"])
        if event.kind == "tool_started":
            self._tools += 1
        self._tool = {"tool_started": f" calls {call}", "tool_waiting": f" may call {call}?"}.get(
            event.kind, ""
        )
        waits = {"tool_started": "", "tool_waiting": "waits for a person"}
        self._waits_for = waits.get(event.kind, f"{event.data['tool']}: {event.data.get('outcome')}")
        self._attempt_started, self._attempts = time.monotonic(), 0
        self._text, self._thoughts = StreamedText(), StreamedText()

    def _start_attempt(self, event: Event) -> None:
        self._attempts += not self._is_loading  # a server that loads its model has not tried to answer yet
        self._is_repair = event.data.get("repair", False)
        self._is_simulated = event.data.get("server") == "simulated"
        self._tool = ""
        self._attempt_started, self._tokens = time.monotonic(), 0
        if not self._is_loading:
            self._waits_for = "waits for the first token"
        self._text, self._thoughts = StreamedText(), StreamedText()

    def _end_attempt(self, event: Event) -> None:
        error = event.data.get("error") or ""
        self._is_loading = "loading the model" in error
        self._earlier_tokens += event.data["output_tokens"] or event.data.get("cut_tokens", 0)
        self._tokens = 0
        if self._is_loading:
            self._waits_for = LOADING
        elif error:
            reason = printable(" ".join(error.removeprefix(f"{self.name}: ").split()))
            self._waits_for = f"failed, is asked again ({reason})"
        else:
            self._waits_for = "answered"

    def headline(self) -> str:
        """Name, attempt, and its seconds, tokens and rate, or what the node waits for."""
        attempt = f", attempt {self._attempts}" if self._attempts > 1 else ""
        repair = ", repair" if self._is_repair else ""
        seconds = time.monotonic() - (self._started if self._is_loading else self._attempt_started)
        if self._tool:
            waits = f", {self._waits_for}" if self._waits_for else ""
            return f"{printable(self.name + self._part)}{self._tool}: {seconds:.0f} s{waits}"
        return f"{printable(self.name + self._part)}{attempt}{repair}: {self._figures(seconds)}"

    def _figures(self, seconds: float) -> str:
        if not self._asks_model:
            return f"{seconds:.0f} s"
        if self._waits_for:
            is_loading = self._waits_for == TURN and starts_server()
            return f"{seconds:.0f} s, {LOADING if is_loading else self._waits_for}"
        thinks = "thinks, " if self._thoughts and not self._text else ""
        rate = "" if self._is_simulated else f", {_rate(self._tokens / max(seconds, 1e-3))}"
        return f"{thinks}{seconds:.0f} s, {format_count(self._tokens, 'token')}{rate}"

    def summary(self) -> str:
        """The node's seconds from start to end, and the tokens of all its attempts."""
        seconds = f"{time.monotonic() - self._started:.0f} s"
        tokens = self._earlier_tokens + self._tokens
        seconds += f", {format_count(self._tools, 'tool call')}" if self._tools else ""
        if not tokens:
            return seconds
        attempts = f" in {self._attempts} attempts" if self._attempts > 1 and not self._part else ""
        return f"{seconds}, {format_count(tokens, 'token')}{attempts}"

    @property
    def is_writing(self) -> bool:
        """Whether there is text to show."""
        return bool(self._text or self._thoughts)

    def rows(self, console: Console, width: int, height: int) -> list[Text]:
        """The newest rows of its answer; of its thoughts while there is no answer."""
        if self._text:
            return self._text.rows(console, width, height)
        rows = self._thoughts.rows(console, width, height)
        for row in rows:
            row.stylize("dim italic")
        return rows


def _rate(per_second: float) -> str:
    """A rate as text; a slow one with a decimal: 0/s would say that nothing arrives."""
    return f"{per_second:.{0 if per_second >= 10 else 1}f}/s"
