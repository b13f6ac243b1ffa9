"""What an A/B test asks: the cases of a suite with hidden tests, or the lines of a text file."""

from __future__ import annotations

import re
from pathlib import Path

from swarm_graph.errors import InputError
from swarm_graph.state import Kind
from swarm_graph.suites.case import Case, Suite
from swarm_graph.suites.load_suite import load_suite
from swarm_graph.text import format_count

MAX_BYTES = 5_000_000
MAX_REQUESTS = 10_000
MAX_NAME = 1000
"""Characters of a name; a longer text is no path."""
NO_REQUEST_LINES = (".json", ".jsonl", ".ndjson", ".yaml", ".yml", ".csv", ".tsv")
"""Files that are tables or cases, whatever their lines look like."""


def read_requests(name: str, kind: Kind = "code") -> Suite:
    """The requests of a suite, a folder of cases, or a text file with one request a line.

    A line of a text file that begins with `#` is a comment. Its requests have no hidden tests.

    Args:
        name: A text file, or what `load_suite` takes.
        kind: What the requests of a text file ask for.

    Raises:
        InputError: There are no such requests, or they cannot be used.
        ConfigError: A suite needs a package that is not installed.
    """
    path = Path(name)
    if not is_file(name):
        if "\n" in name or len(name) > MAX_NAME:
            raise InputError("--requests names a file or a suite, and this is a text; write it into a file")
        return load_suite(name)
    if path.suffix.lower() in NO_REQUEST_LINES:
        raise InputError(
            f"--requests '{name}': expected a text file with one request a line, a folder of cases or a suite"
        )
    requests = _lines(path)
    suite = re.sub(r"[^\w-]+", "-", path.stem, flags=re.ASCII).strip("-")[:40] or "requests"
    width = max(3, len(str(len(requests))))
    cases = (
        Case(suite, f"request-{number:0{width}}", request, hidden={}, kind=kind)
        for number, request in enumerate(requests, 1)
    )
    return Suite(suite, str(path), tuple(cases))


def is_file(name: str) -> bool:
    """Whether a text is the path of a file."""
    return is_path(name) and Path(name).is_file()


def is_path(name: str) -> bool:
    """Whether there is something at a path; never if it is too long for one."""
    try:
        return Path(name).exists()
    except (OSError, ValueError):
        return False


def _lines(path: Path) -> list[str]:
    """The requests of a text file. Raises InputError if there are none, too many, or one twice."""
    found: dict[str, int] = {}
    for number, line in enumerate(_text(path).split("\n"), 1):
        request = line.strip()
        if not request or request.startswith("#"):
            continue
        if request in found:
            raise InputError(
                f"'{path}': the lines {found[request]} and {number} hold the same request; "
                "pairs must be independent, so leave one out"
            )
        found[request] = number
    if not found:
        raise InputError(f"'{path}' holds no request; write one a line")
    if len(found) > MAX_REQUESTS:
        raise InputError(
            f"'{path}' holds {format_count(len(found), 'request')}; expected at most {MAX_REQUESTS:,}"
        )
    return list(found)


def _text(path: Path) -> str:
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise InputError(f"'{path}' has {size:,} bytes; expected at most {MAX_BYTES:,}")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read the requests '{path}': {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the requests '{path}' are not UTF-8 text") from error
    if "\0" in text:
        raise InputError(f"the requests '{path}' are not text: they hold NUL bytes")
    return text
