"""The live view of a running session: finished work as lines, running nodes below, progress at the bottom."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from math import ceil
from time import monotonic
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType
from rich.live import Live
from rich.segment import Segment
from rich.spinner import Spinner
from rich.text import Text

from swarm_graph.events import Event
from swarm_graph.reports.chosen_models import chosen_lines, drawn_line
from swarm_graph.reports.recalled_lines import line_of_event
from swarm_graph.reports.running_node import RunningNode
from swarm_graph.reports.session_progress import TaskProgress, WorkflowProgress
from swarm_graph.sandbox.evidence import evidence_line, make_evidence
from swarm_graph.sessions.candidates import chosen_text
from swarm_graph.text import format_change, format_count, printable, without_loops

MAX_TASK_LINES = 40
"""In a larger task graph only failed tasks get a line; the progress bar counts the others."""
MAX_RUNNING_NODES = 8
"""Running nodes that are drawn; the rest is counted."""
MAX_WRITTEN_ROWS = 12
"""Rows of an answer that is being written; a low terminal shows fewer."""
MIN_COLUMN_WIDTH = 50
"""Answers stand side by side where each gets this many cells."""
GAP = 2
"""Cells between two of them, and left of each row."""

OF_RUNNING_NODES = (
    "part_started", "call_started", "tokens", "call_ended", "tool_started", "tool_waiting", "tool_ended"
)  # fmt: skip
"""The events that a RunningNode takes."""
_MARKS = {"task_ended": ("✓", "green"), "task_failed": ("✗", "red"), "task_stopped": ("■", "yellow")}
_TEST_MARKS = {"passed": ("✓", "green"), "not_run": ("-", "yellow")}


class SessionView:
    """Draws a running session from its events, for a terminal or a notebook.

    `on_event` returns a line for each finished piece of work: the caller prints it above the view. The view
    itself, a rich renderable, has the running nodes and the progress of the whole session. It is never higher
    than the console.
    """

    def __init__(self) -> None:
        self._running: dict[str, RunningNode] = {}
        self._task_progress: TaskProgress | None = None
        self._workflow_progress: WorkflowProgress | None = None
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
            case "session_ended":
                self.clear()
            case "graph_started":
                self._task_progress = TaskProgress(event.data["tasks"], event.data["done"])
            case "task_added" if self._task_progress:
                self._task_progress.tasks += 1
            case "task_skipped" if self._task_progress:
                self._task_progress.count("task_skipped")
            case "task_started":
                self._running[event.node] = RunningNode(event.node)
            case "tests_started":
                self._running[event.node] = RunningNode(event.node, asks_model=False)
            case _ if event.kind in OF_RUNNING_NODES and event.node in self._running:
                self._running[event.node].on_event(event)
            case "task_ended" | "task_failed" | "task_stopped":
                return self._end_task(event)
            case "tests_ended":
                return self._end_tests(event)
            case "candidate_chosen":
                return Text(f"  {printable(chosen_text(event.data))}")
            case "verdict":
                return _verdict_line(event)
            case "committed":
                return _commit_line(event)
            case "models_chosen":
                return _models_lines(event)
            case "recalled" if self._has_room_for_lines:
                return Text(f"  {printable(event.node)} {line_of_event(event.data)}")
        return None

    def _start_session(self, event: Event) -> None:
        if event.data["workflow"] != "custom":
            self._workflow_progress = WorkflowProgress(
                event.data["nodes"],
                event.data["done"],
                rounds=event.data["max_iterations"],
                usual_s=event.data["usual_seconds"],
                earlier_s=event.data["seconds_before"],
            )

    @property
    def _has_room_for_lines(self) -> bool:
        """Whether each task may have lines of its own."""
        return self._task_progress is None or self._task_progress.tasks <= MAX_TASK_LINES

    def _end_tests(self, event: Event) -> Text:
        self._running.pop(event.node, None)
        evidence = make_evidence(**{"failures": [], **event.data})
        mark, style = _TEST_MARKS.get(evidence["outcome"], ("✗", "red"))
        return Text.assemble((f"{mark} ", style), printable(f"{event.node}: {evidence_line(evidence)}"))

    def _end_task(self, event: Event) -> Text | None:
        node = self._running.pop(event.node, None)
        if self._task_progress and event.kind != "task_stopped":
            self._task_progress.count("kept" if event.data.get("kept") else event.kind)
            if not self._has_room_for_lines and event.kind == "task_ended":
                return None
        if node is None:
            return None
        mark, style = _MARKS[event.kind]
        note = event.data.get("note") or event.data.get("error") or ""
        remark = f"; {without_loops(note.removeprefix(f'{event.node}: '))}" if note else ""
        return Text.assemble((f"{mark} ", style), printable(f"{event.node}: {node.summary()}{remark}"))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        width = options.max_width
        progress = self._task_progress or self._workflow_progress
        below = progress.rows(width) if progress else []
        room = max(console.height - 1 - len(below), 1)
        for row in [*self._node_rows(console, width, room), *below]:
            if isinstance(row, Text):
                row.no_wrap, row.overflow = True, "ellipsis"
            yield row

    def _node_rows(self, console: Console, width: int, room: int) -> list[Text]:
        """The running nodes on at most `room` rows: those that write with their text, the others below."""
        running = list(self._running.values())
        shown = running[: min(MAX_RUNNING_NODES, max(room - 1, 1))]
        columns = max(1, (width + GAP) // (MIN_COLUMN_WIDTH + GAP))
        writing = [node for node in shown if node.is_writing][:columns]
        rows = [self._headline(node) for node in shown if node not in writing]
        if more := len(running) - len(shown):
            rows.append(Text(f"  … and {more} more running", style="dim"))
        height = min(MAX_WRITTEN_ROWS, room - len(rows) - 1)
        return [*self._written(writing, console, width, height), *rows] if writing else rows

    def _written(self, nodes: list[RunningNode], console: Console, width: int, height: int) -> list[Text]:
        """Nodes side by side, each with its headline and the newest rows of its text."""
        column = (width - GAP * (len(nodes) - 1)) // len(nodes)
        blocks = []
        for node in nodes:
            rows = node.rows(console, column - GAP, height) if height > 0 else []
            blocks.append([self._headline(node), *(Text(" " * GAP).append_text(row) for row in rows)])
        return _side_by_side(blocks, column)

    def _headline(self, node: RunningNode) -> Text:
        spinner = self._spinner.render(monotonic())
        assert isinstance(spinner, Text)
        return Text.assemble(spinner, f" {node.headline()}")


def _side_by_side(blocks: list[list[Text]], width: int) -> list[Text]:
    """Blocks of rows beside each other, each as wide as `width`."""
    if len(blocks) == 1:
        return blocks[0]
    lines = []
    for number in range(max(map(len, blocks))):
        cells = [block[number] if number < len(block) else Text() for block in blocks]
        for cell in cells:
            cell.truncate(width, overflow="ellipsis", pad=True)
        lines.append(Text(" " * GAP).join(cells))
    return lines


def _verdict_line(event: Event) -> Text:
    verdict = "approved" if event.data["approved"] else "changes wanted"
    code = event.data["exit_code"]
    tests = "" if code is None else f", tests ended with exit code {code}"
    return Text(
        f"  round {event.iteration}: {verdict}, {format_count(event.data['findings'], 'finding')}{tests}"
    )


def _models_lines(event: Event) -> Text:
    lines = [f"  model of {line}" for line in chosen_lines(event.data["models"])]
    if drawn := drawn_line(event.data["tasks"]):
        lines.append(f"  {drawn}")
    return Text("\n".join(lines))


def _commit_line(event: Event) -> Text:
    numbers = format_change(*(event.data[name] for name in ("files", "added", "deleted")))
    note = f"; {event.data['note']}" if event.data["note"] else ""
    text = f"  commit {event.data['commit'][:7]}: {numbers}, branch {event.data['branch']}{note}"
    return Text(printable(text))


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
        self._live: Live | None = None

    def __enter__(self) -> Self:
        self.show()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._view.clear()
        self.hide()

    def show(self) -> None:
        """Draw the view below what the terminal shows."""
        if self._visible and self._live is None:
            self._live = _ResizableLive(self._view, self.console)
            self._live.start()

    def hide(self) -> None:
        """Erase the view, and give the terminal back, as before the process is suspended."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def on_event(self, event: Event) -> None:
        """Update the view, and print a line above it when the event ends a piece of work."""
        if self._visible and (line := self._view.on_event(event)) is not None:
            self.console.print(line)

    def say(self, text: str) -> None:
        """Print a message for a person, above the live view if there is one."""
        self.console.print(Text(text), soft_wrap=True)


class _ResizableLive(Live):
    """A rich Live that finds its frame again when the terminal has got another width.

    Rich goes up as many rows as it has drawn. A narrower terminal breaks these rows, so that there are more.
    """

    def __init__(self, view: SessionView, console: Console) -> None:
        self._frame = _Frame(view)
        super().__init__(
            self._frame, console=console, refresh_per_second=8, transient=True, redirect_stdout=False
        )

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Called by rich for everything that it prints."""
        width = self.console.width
        if self._live_render._shape is not None:
            self._live_render._shape = (width, self._frame.rows_at(width))
        return super().process_renderables(renderables)


class _Frame:
    """A view that remembers how long its rows were when it was drawn last."""

    def __init__(self, view: SessionView) -> None:
        self._view, self._lengths = view, list[int]()

    def rows_at(self, width: int) -> int:
        """How many rows the drawn frame takes on a terminal of this width."""
        return sum(max(1, ceil(length / width)) for length in self._lengths) or 1

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        rows = console.render_lines(self._view, options, pad=False)
        self._lengths = [sum(segment.cell_length for segment in row) for row in rows]
        for row in rows:
            yield from [*row, Segment.line()]
