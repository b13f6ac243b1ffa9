"""The live view of a running session in a notebook cell."""

from __future__ import annotations

import importlib
import io
import time
from typing import Any

from rich.console import Console
from rich.text import Text

from swarm_graph.errors import InputError
from swarm_graph.events import Event, parse_event
from swarm_graph.reports.live import SessionView

UPDATE_INTERVAL_S = 0.2
"""Least seconds between two updates of the cell: a `tokens` event alone comes several times a second."""
MAX_LINES = 40
"""Lines of finished work that stay in the cell."""
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
        self._view = SessionView()
        self._lines: list[Text] = []
        self._updated = 0.0
        self._html = jupyter.HTML
        # A terminal's IPython has no kernel and cannot update what it has displayed.
        in_a_cell = getattr(importlib.import_module("IPython").get_ipython(), "kernel", None) is not None
        self._display = jupyter.display(self._html(""), display_id=True) if in_a_cell else None

    def __call__(self, part: Event | dict[str, Any]) -> None:
        """Update the view.

        Args:
            part: An event, or a part of LangGraph's `custom` stream; parts that are no events are ignored.
        """
        event = part if isinstance(part, Event) else parse_event(part)
        if event is None or self._display is None:
            return
        line = self._view.on_event(event)
        self._lines = [*self._lines, *([line] if line is not None else [])][-MAX_LINES:]
        urgent = event.kind in ("session_ended", "task_ended", "task_failed", "verdict")
        if urgent or time.monotonic() - self._updated > UPDATE_INTERVAL_S:
            self._updated = time.monotonic()
            self._display.update(self._html(self._drawing()))

    def _drawing(self) -> str:
        console = Console(file=io.StringIO(), record=True, width=100, force_jupyter=False)
        for line in self._lines:
            console.print(line)
        console.print(self._view)
        return console.export_html(inline_styles=True, code_format=FRAME)
