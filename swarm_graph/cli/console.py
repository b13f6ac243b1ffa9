"""What the program says beside its result: lines on stderr, exit codes, the end."""

from __future__ import annotations

import os
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


def print_no_more() -> None:
    """Stdout leads nowhere from now on."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(message: str) -> None:
    """A line for people on stderr."""
    from swarm_graph.text import plain_text

    with suppress(OSError):
        sys.stderr.write(f"swarm-graph: {plain_text(' '.join(message.split()))}\n")


def end(message: str, code: int, as_json: bool = False) -> NoReturn:
    """Ends the program with a line on stderr, and with a JSON document on stdout if one was asked for."""
    from swarm_graph.text import plain_text, to_json

    say(message)
    if as_json:
        sys.stdout.write(to_json({"error": plain_text(" ".join(message.split())), "exit_code": code}))
    sys.exit(code)


def program() -> str:
    """How this program was called, for the commands that it prints."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "swarm-graph" and not called.is_absolute() else "swarm-graph"
