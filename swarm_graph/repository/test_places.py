"""Where a repository keeps its tests, and how it names them: the tester adds to the suite in its place."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import ClassVar

_VENDORED = ("node_modules", "vendor", "third_party", ".venv", "venv", "site-packages")
_PATTERNS = (
    r"test_[^/]*\.py",
    r"[^/]+_test\.py",
    r"[^/]+\.(?:test|spec)\.[cm]?[jt]sx?",
    r"[^/]+_test\.(?:go|c|cc|cpp|rs|exs)",
    r"test_[^/]*\.(?:c|cc|cpp|rb|sh|js)",
    r"[^/]+_(?:test|spec)\.rb",
    r"[^/]*Tests?\.(?:java|kt|php|cs)",
)
_NAMES = tuple(map(re.compile, _PATTERNS))
_SHOWN = ("test_*.py", "*_test.py", "*.test.js", "*_test.go", "test_*.c", "*_spec.rb", "*Test.java")
_FOLDERS = ("test", "tests", "spec", "__tests__", "t")
_PYTHON = re.compile(r"(?:test_.*|.*_test)\.py")


@dataclass(frozen=True)
class TestPlace:
    """A folder of tests.

    Attributes:
        folder: Its path; `.` for the top folder.
        naming: How its files are named, as in `test_*.py`.
        number: How many test files it has.
        example: The path of one of them.
    """

    __test__: ClassVar = False  # pytest takes the class for a test

    folder: str
    naming: str
    number: int
    example: str


def is_python_test(path: str) -> bool:
    """Whether pytest takes a file for a file of tests."""
    return is_own(path) and bool(_PYTHON.fullmatch(PurePosixPath(path).name))


def is_own(path: str) -> bool:
    """Whether a path is not in a folder of other people's code."""
    return not set(PurePosixPath(path).parts[:-1]) & set(_VENDORED)


def find_test_places(paths: Iterable[str], limit: int = 5) -> list[TestPlace]:
    """The folders with the most tests, the fullest first.

    Args:
        paths: The paths of the repository's files.
        limit: How many folders at the most.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for path in paths:
        kind = _kind(path) if is_own(path) else None
        if kind is not None:
            folder = str(PurePosixPath(path).parent)
            found.setdefault((folder, kind), []).append(path)
    counts = Counter({place: len(own) for place, own in found.items()})
    return [
        TestPlace(folder, kind, number, _example(found[folder, kind]))
        for (folder, kind), number in counts.most_common(limit)
    ]


def _kind(path: str) -> str | None:
    """How a test file is named; None if it is none."""
    pure = PurePosixPath(path)
    for pattern, shown in zip(_NAMES, _SHOWN, strict=True):
        if pattern.fullmatch(pure.name):
            return shown if shown.endswith(pure.suffix) else f"{shown.rpartition('.')[0]}{pure.suffix}"
    is_helper = pure.name in ("__init__.py", "conftest.py")
    in_folder = bool(set(pure.parts[:-1]) & set(_FOLDERS)) and not is_helper
    return (
        f"*{pure.suffix}" if in_folder and pure.suffix in (".js", ".ts", ".rs", ".sh", ".t", ".rb") else None
    )


def _example(paths: list[str]) -> str:
    """A file of the middle: neither the first, which is often empty, nor an odd one at the end."""
    return sorted(paths)[len(paths) // 2]
