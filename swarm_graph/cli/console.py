"""What the program prints beside its result, and its exit codes."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_PAUSED = 3
EXIT_NOT_APPROVED = 4
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143

_OBEYED = re.compile("[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
"""Characters that JSON does not escape, and that control a terminal or the direction of its text."""


def say(message: str) -> None:
    """Print a line for people on stderr."""
    from swarm_graph.text import printable

    with suppress(OSError):
        sys.stderr.write(f"swarm-graph: {printable(' '.join(message.split()))}\n")
        sys.stderr.flush()  # above the result of the session where both go into one file


def end(message: str, code: int, as_json: bool = False) -> NoReturn:
    """Exit with a line on stderr, and with a JSON document on stdout if the user asked for JSON."""
    from swarm_graph.text import printable, to_json

    say(message)
    if as_json:
        sys.stdout.write(to_json({"error": printable(" ".join(message.split())), "exit_code": code}))
    sys.exit(code)


def print_result(document: object, text: str, as_json: bool) -> None:
    """Print the result of a command on stdout: as JSON, or as text for people."""
    from swarm_graph.text import printable, to_json

    sys.stdout.write(_escaped(to_json(document)) if as_json else printable(text))


def _escaped(text: str) -> str:
    """JSON with escapes for what a terminal would obey; its values are the same."""
    return _OBEYED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def discard_stdout() -> None:
    """Redirect stdout to nowhere, after its reader has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def program() -> str:
    """The name under which this program was called, for the commands that it prints."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "swarm-graph" and not called.is_absolute() else "swarm-graph"
