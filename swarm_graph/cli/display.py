"""What a command shows of a session while it runs: a live view on stderr, or events as JSON on stdout."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from swarm_graph.cli.console import discard_stdout
from swarm_graph.cli.options import SessionOptions
from swarm_graph.errors import InputError

if TYPE_CHECKING:
    from swarm_graph.events import Event


class Display:
    """Shows the events of a session as the options want them. Use it in `with` while the session runs."""

    def __init__(self, options: SessionOptions) -> None:
        """Raises InputError when the options want both forms of JSON."""
        from swarm_graph.reports.live import Progress

        if options.as_json and options.as_events:
            raise InputError("--json and --json-events both want stdout; choose one")
        self.options = options
        self._progress = Progress(quiet=options.as_events and sys.stdout.isatty())
        self._has_reader = options.as_events

    def __enter__(self) -> Self:
        self._progress.__enter__()
        return self

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._progress.__exit__(*error)

    def on_event(self, event: Event) -> None:
        """Show an event. When nobody reads stdout any more, the session still runs on."""
        from swarm_graph.events import event_line

        self._progress.on_event(event)
        if not self._has_reader:
            return
        try:
            sys.stdout.write(event_line(event))
            sys.stdout.flush()
        except OSError:
            self._has_reader = False
            discard_stdout()

    def hide(self) -> None:
        """Erase the live view and give the terminal back; `show` draws it again."""
        self._progress.hide()

    def show(self) -> None:
        """Draw the live view again."""
        self._progress.show()

    def say(self, text: str) -> None:
        """Print a line for people above the live view."""
        self._progress.say(text)
