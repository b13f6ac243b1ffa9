"""A session in a cell of a notebook while it runs."""

from __future__ import annotations

import importlib
import io
import time
from typing import Any

from rich.console import Console
from rich.text import Text

from swarm_graph.errors import InputError
from swarm_graph.events import Event, event
from swarm_graph.reports.live import Board

UPDATE_S = 0.2
KEPT_LINES = 40
"""Lines of ended work that stay in sight."""
FRAME = '<pre style="line-height: 1.3; white-space: pre-wrap; font-family: monospace">{code}</pre>'


class NotebookProgress:
    """A live view of a session in a notebook's cell: `SwarmCoordinator(on_event=NotebookProgress())`.

    With a graph: `for part in graph.stream(given, thread, stream_mode="custom"): progress(part)`. Silent
    outside of notebooks.
    """

    def __init__(self) -> None:
        try:
            jupyter = importlib.import_module("IPython.display")
        except ImportError as error:
            raise InputError("NotebookProgress is for notebooks: Jupyter brings IPython") from error
        self._board = Board()
        self._lines: list[Text] = []
        self._drawn = 0.0
        self._html = jupyter.HTML
        in_a_cell = getattr(importlib.import_module("IPython").get_ipython(), "kernel", None) is not None
        self._display = jupyter.display(self._html(""), display_id=True) if in_a_cell else None

    def __call__(self, part: Event | dict[str, Any]) -> None:
        happened = part if isinstance(part, Event) else event(part)
        if happened is None or self._display is None:
            return
        line = self._board.on_event(happened)
        self._lines = [*self._lines, *([line] if line is not None else [])][-KEPT_LINES:]
        ended = happened.kind in ("session_ended", "task_ended", "task_failed", "verdict")
        if ended or time.monotonic() - self._drawn > UPDATE_S:
            self._drawn = time.monotonic()
            self._display.update(self._html(self._drawing()))

    def _drawing(self) -> str:
        console = Console(file=io.StringIO(), record=True, width=100, force_jupyter=False)
        for line in self._lines:
            console.print(line)
        console.print(self._board)
        return console.export_html(inline_styles=True, code_format=FRAME)
