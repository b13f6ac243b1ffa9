"""The log: Python's own `logging`, one line per event with its session, task and round.

Prompts and answers are logged at DEBUG only, by `swarm_graph.calls`.
"""

from __future__ import annotations

import json
import logging
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from swarm_graph.errors import InputError
from swarm_graph.events import Event, event_line
from swarm_graph.text import printable

log = logging.getLogger("swarm_graph")

LEVELS = {"tokens": logging.DEBUG, "call_started": logging.DEBUG, "task_added": logging.DEBUG}
"""Of events; all others are logged at INFO. What is a WARNING Python prints to stderr by itself."""
TEXT = "%(asctime)s %(levelname)s %(message)s"
ANSWERS = ("record", "output", "text", "thoughts")
"""What of an event's data is no line's business: what models wrote, and what tests printed."""


def log_event(happened: Event) -> None:
    """One line for an event."""
    level = LEVELS.get(happened.kind, logging.INFO)
    if log.isEnabledFor(level):
        log.log(level, "%s", words(happened), extra={"swarm_event": happened})


def words(happened: Event) -> str:
    """An event as `key=value` words on one line."""
    about = {"session": happened.session, "node": happened.node, "task": happened.task}
    shown = {key: value for key, value in about.items() if value}
    if happened.iteration:
        shown["round"] = str(happened.iteration)
    told = {
        key: value for key, value in happened.data.items() if key not in ANSWERS and value not in (None, "")
    }
    return " ".join([happened.kind, *(f"{key}={_word(value)}" for key, value in {**shown, **told}.items())])


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    text = " ".join(str(value).split())
    return json.dumps(text, ensure_ascii=False) if " " in text or "=" in text else text


class _Text(logging.Formatter):
    """Lines for people, fit for a terminal whatever a server said."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class _JsonLines(logging.Formatter):
    """Events as `--json-events` prints them, without answers; other records with their message."""

    def format(self, record: logging.LogRecord) -> str:
        happened = getattr(record, "swarm_event", None)
        if isinstance(happened, Event):
            data = {key: value for key, value in happened.data.items() if key not in ANSWERS}
            return event_line(Event(**{**vars(happened), "data": data})).rstrip("\n")
        about = {"time": record.created, "level": record.levelname, "logger": record.name}
        return json.dumps({**about, "message": record.getMessage()}, ensure_ascii=False)


class _File(logging.FileHandler):
    """A log that cannot be written, on a full disk for one, stops nothing and prints no traceback."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Nothing: see above."""

    def close(self) -> None:
        with suppress(OSError):
            super().close()


def log_to_file(path: str | Path) -> None:
    """Appends the log to a file; one whose name ends in .jsonl gets lines of JSON.

    InputError when it cannot be opened.
    """
    path = Path(path)
    try:
        handler = _File(path, encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"cannot write the log file '{path}': {error.strerror}") from error
    handler.setFormatter(_JsonLines() if path.suffix == ".jsonl" else _Text(TEXT))
    log.setLevel(min(log.level or logging.INFO, logging.INFO))
    log.addHandler(handler)


class _Stderr(logging.StreamHandler[Any]):
    """Writes to what `sys.stderr` is now: a live view may stand in its place."""

    @property
    def stream(self) -> Any:
        return sys.stderr

    @stream.setter
    def stream(self, _: Any) -> None:
        return


def log_to_stderr() -> None:
    """Shows the log of every step, unless the program has set up logging itself."""
    log.setLevel(min(log.level or logging.INFO, logging.INFO))
    own = [handler for handler in log.handlers if not isinstance(handler, _File)]
    if not own and not logging.getLogger().handlers:
        handler = _Stderr()
        handler.setFormatter(_Text(TEXT))
        log.addHandler(handler)
