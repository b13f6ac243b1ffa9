"""The live view of a running session in a notebook cell."""

from __future__ import annotations

import importlib
import io
import time
from typing import Any

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from swarm_graph.errors import InputError
from swarm_graph.events import Event, parse_event
from swarm_graph.reports.live import SessionView
from swarm_graph.reports.recalled_lines import remembered_line
from swarm_graph.state import has_ended

UPDATE_INTERVAL_S = 0.2
"""Least seconds between two updates of the cell: a `tokens` event alone comes several times a second."""
MAX_LINES = 40
"""Lines of finished work that stay in the cell."""
WIDTH, HEIGHT = 84, 30
"""Of the view, in cells: what JupyterLab shows beside its file browser on a screen of 1,200 pixels."""
_COLOURS = [
    (96, 96, 96), (190, 40, 40), (30, 140, 60), (160, 110, 0),
    (50, 100, 200), (150, 60, 160), (0, 130, 150), (128, 128, 128),
]  # fmt: skip
THEME = TerminalTheme((255, 255, 255), (0, 0, 0), _COLOURS, _COLOURS)
"""Colours that can be read on a light and on a dark page."""
URGENT = ("session_started", "session_ended", "task_ended", "task_failed", "verdict")
"""Events after which the cell is updated at once."""
FRAME = '<pre style="line-height: 1.3; white-space: pre-wrap; font-family: monospace">{code}</pre>'


class NotebookProgress:
    """A live view of a session in a notebook cell: `SwarmCoordinator(on_event=NotebookProgress())`.

    With a graph: `for part in graph.stream(request, thread, stream_mode="custom"): progress(part)`. Silent
    outside of notebooks.

    Raises:
        InputError: IPython is not installed.
    """

    def __init__(self) -> None:
        try:
            jupyter = importlib.import_module("IPython.display")
        except ImportError as error:
            raise InputError("NotebookProgress is for notebooks: Jupyter brings IPython") from error
        self._html, self._new_output = jupyter.HTML, jupyter.display
        # A terminal's IPython has no kernel and cannot update what it has displayed.
        self._in_a_cell = (
            getattr(importlib.import_module("IPython").get_ipython(), "kernel", None) is not None
        )
        self._begin()

    def _begin(self) -> None:
        self._view, self._lines, self._updated = SessionView(), list[Text](), 0.0
        self._output: Any = None

    def __call__(self, part: Event | dict[str, Any]) -> None:
        """Update the view. Each run of a session has an output of its own, in the cell that started it.

        Args:
            part: An event, or a part of LangGraph's `custom` stream; parts that are no events are ignored.
        """
        event = part if isinstance(part, Event) else parse_event(part)
        if event is None or not self._in_a_cell:
            return
        if event.kind == "session_started":
            self._begin()
        line = self._view.on_event(event) or _ending_line(event)
        self._lines = [*self._lines, *([line] if line is not None else [])][-MAX_LINES:]
        if event.kind in URGENT or time.monotonic() - self._updated > UPDATE_INTERVAL_S:
            self._updated = time.monotonic()
            self._show(self._html(self._drawing()))

    def _show(self, drawing: Any) -> None:
        if self._output is None:
            self._output = self._new_output(drawing, display_id=True)
        else:
            self._output.update(drawing)

    def _drawing(self) -> str:
        console = Console(file=io.StringIO(), record=True, width=WIDTH, height=HEIGHT, force_jupyter=False)
        for line in self._lines:
            console.print(line)
        console.print(self._view)
        return console.export_html(theme=THEME, inline_styles=True, code_format=FRAME)


def _ending_line(event: Event) -> Text | None:
    """How a run of a session ended, or what it has kept in memory, as a line; None for another event."""
    if event.kind == "remembered":
        return Text(f"  {remembered_line(event.data)}")
    if event.kind != "session_ended":
        return None
    phase, verdict = event.data["phase"], ""
    if phase == "paused":
        return Text(f"paused: waits for a person {', '.join(event.data['pauses'])}", style="bold")
    if event.data["workflow"] != "custom" and has_ended(phase):
        verdict = ", approved" if event.data["approved"] else ", NOT approved"
    return Text(f"{phase}{verdict}", style="bold")
