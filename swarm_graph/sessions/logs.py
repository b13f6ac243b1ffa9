"""The log, through Python's `logging`: one line per event, with its session, task and round.

Prompts and answers are logged at DEBUG only, by `swarm_graph.calls`.
"""

from __future__ import annotations

import json
import logging
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from swarm_graph.errors import InputError
from swarm_graph.events import Event, event_line
from swarm_graph.text import printable

log = logging.getLogger("swarm_graph")

LEVELS = {
    "tokens": logging.DEBUG,
    "call_started": logging.DEBUG,
    "task_added": logging.DEBUG,
    "tool_started": logging.DEBUG,
}
"""The levels of events by kind; all others are INFO. No event is a WARNING, because Python prints warnings to
stderr even if the program has not set up logging."""
TEXT_FORMAT = "%(asctime)s %(levelname)s %(message)s"
UNLOGGED_DATA = ("record", "output", "text", "thoughts", "arguments")
"""Data of events that is not logged: what models wrote and what tests printed."""


def log_event(event: Event) -> None:
    """Log one line for an event."""
    level = LEVELS.get(event.kind, logging.INFO)
    if log.isEnabledFor(level):
        log.log(level, "%s", event_text(event), extra={"swarm_event": event})


def event_text(event: Event) -> str:
    """An event as one line: its kind, then `key=value` words."""
    origin: dict[str, Any] = {"session": event.session, "node": event.node, "task": event.task}
    values = {key: value for key, value in origin.items() if value}
    if event.iteration:
        values["round"] = event.iteration
    values |= {
        key: value
        for key, value in event.data.items()
        if key not in UNLOGGED_DATA and value not in (None, "")
    }
    return " ".join([event.kind, *(f"{key}={_word(value)}" for key, value in values.items())])


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    text = " ".join(str(value).split())
    return json.dumps(text, ensure_ascii=False) if " " in text or "=" in text else text


class _TextFormatter(logging.Formatter):
    """Lines for people. Control characters, which a server's error may hold, never reach the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class _JsonFormatter(logging.Formatter):
    """Events as `--json-events` prints them, without answers; other records with their message."""

    def format(self, record: logging.LogRecord) -> str:
        event = getattr(record, "swarm_event", None)
        if isinstance(event, Event):
            data = {key: value for key, value in event.data.items() if key not in UNLOGGED_DATA}
            return event_line(replace(event, data=data)).rstrip("\n")
        origin = {"time": record.created, "level": record.levelname, "logger": record.name}
        return json.dumps({**origin, "message": record.getMessage()}, ensure_ascii=False)


class _LogFile(logging.FileHandler):
    """A log file. A failed write, as on a full disk, neither stops the session nor prints a traceback."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Drop the record."""

    def close(self) -> None:
        with suppress(OSError):  # closing writes what is still buffered
            super().close()


def log_to_file(path: str | Path) -> None:
    """Append the log to a file.

    Args:
        path: The file; a name that ends in .jsonl gets lines of JSON, any other gets text.

    Raises:
        InputError: The file cannot be opened.
    """
    path = Path(path)
    try:
        handler = _LogFile(path, encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"cannot write the log file '{path}': {error.strerror}") from error
    handler.setFormatter(_JsonFormatter() if path.suffix == ".jsonl" else _TextFormatter(TEXT_FORMAT))
    log.setLevel(min(log.level or logging.INFO, logging.INFO))
    log.addHandler(handler)


class _Stderr(logging.StreamHandler[Any]):
    """Writes to the present `sys.stderr`, because the live view replaces it for a while."""

    @property
    def stream(self) -> Any:
        return sys.stderr

    @stream.setter
    def stream(self, _: Any) -> None:
        return


def log_to_stderr() -> None:
    """Print the log to stderr, unless the program has set up logging itself."""
    log.setLevel(min(log.level or logging.INFO, logging.INFO))
    handlers = [handler for handler in log.handlers if not isinstance(handler, _LogFile)]
    if not handlers and not logging.getLogger().handlers:
        handler = _Stderr()
        handler.setFormatter(_TextFormatter(TEXT_FORMAT))
        log.addHandler(handler)
