"""A folder of cases: each case is a folder with `case.yaml` and the files that it consists of.

A suite is data. Its files are read as text; nothing in them is a setting, a command or a path outside.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from swarm_graph.config_source import first_problem, unknown_name
from swarm_graph.errors import InputError
from swarm_graph.inputs.find_files import shown as shown_path
from swarm_graph.settings import PositiveNumber
from swarm_graph.state import Kind, Severity
from swarm_graph.suites.case import FINDINGS, Assignment, Case, Planted, Suite
from swarm_graph.suites.data_files import check_digest, read_text
from swarm_graph.suites.requests import review_request
from swarm_graph.text import check_json_like, in_one_line
from swarm_graph.yaml12 import parse_yaml

CASE_FILE = "case.yaml"
FOLDERS = ("hidden", "solution", "shown", "visible", "wrong")
"""The folders of a case; those in `wrong` are one wrong answer each."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
MAX_CASES, MAX_FILES = 5_000, 200
MAX_BYTES = 256 * 1024
"""Of one file of a case."""
IGNORED = re.compile(r"\..*|__pycache__")


class _PlantedFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    path: str
    lines: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2, max_length=2)]
    symbol: str = ""
    change: str


class _Finding(BaseModel):
    severity: Severity
    location: str
    problem: str
    suggestion: str


_FINDINGS = TypeAdapter(list[_Finding])


class _CaseFile(BaseModel):
    """What `case.yaml` holds."""

    model_config = ConfigDict(extra="forbid", strict=True)

    request: Annotated[str, Field(min_length=1)]
    assignment: Assignment = "write"
    kind: Kind = "code"
    seconds: Annotated[PositiveNumber, Field(le=3600)] = 30.0
    packages: list[str] = []
    planted: _PlantedFile | None = None
    clean: bool = False


def load_smoke() -> Suite:
    """The bundled suite of small tasks."""
    from swarm_graph import __version__

    with resources.as_file(resources.files("swarm_graph.suites") / "smoke") as folder:
        return Suite("smoke", f"swarm-graph {__version__}", tuple(_cases(folder, "smoke")))


def load_folder(folder: Path, *, sha256: str = "") -> Suite:
    """The cases in a folder, in the order of their names.

    Args:
        folder: It holds a folder for each case.
        sha256: What the suite must hash to; empty for any.

    Raises:
        InputError: A case is not of the documented form, or the hash differs.
    """
    name = folder.resolve().name
    if not NAME.fullmatch(name):
        raise InputError(f"the folder '{shown_path(folder)}' cannot name a suite; {_NAMES}")
    cases = tuple(_cases(folder, name))
    digest = Suite(name, "", cases).digest
    check_digest(folder, digest, sha256)
    return Suite(name, f"{shown_path(folder)}, sha256 {digest}", cases)


_NAMES = "expected at most 40 letters, digits, - and _"


def _cases(folder: Path, suite: str) -> Iterator[Case]:
    places = [path for path in _entries(folder) if path.is_dir() or path.is_symlink()]
    if not places:
        raise InputError(f"the folder '{shown_path(folder)}' holds no case; expected CASE/{CASE_FILE}")
    if len(places) > MAX_CASES:
        raise InputError(f"the folder '{shown_path(folder)}' holds more than {MAX_CASES} cases")
    names: dict[str, str] = {}
    for place in places:
        if place.is_symlink():
            raise InputError(f"'{shown_path(place)}' is a symbolic link; put the folder itself there")
        if not NAME.fullmatch(place.name):
            raise InputError(f"'{shown_path(place)}' cannot name a case; {_NAMES}")
        if (
            other := names.setdefault(place.name.lower(), place.name) != place.name
            and names[place.name.lower()]
        ):
            raise InputError(f"'{shown_path(place)}' and '{other}' differ in case only; rename one")
        yield _read_case(place, suite)


def _read_case(folder: Path, suite: str) -> Case:
    """One case of a folder.

    Raises:
        InputError: It is not of the documented form.
    """
    files = _read_files(folder)
    if CASE_FILE not in files:
        raise InputError(f"'{shown_path(folder)}' is no case: it has no {CASE_FILE}")
    path = folder / CASE_FILE
    found = _case_file(path, files.pop(CASE_FILE))
    for name in files:
        if name.partition("/")[0] not in FOLDERS or "/" not in name:
            raise InputError(
                f"'{shown_path(folder / name)}' belongs to no folder of a case ({', '.join(FOLDERS)})"
            )
    hidden, shown = _below("hidden/", files), _below("shown/", files)
    case = Case(
        suite=suite,
        name=folder.name,
        request=review_request(found.request, shown) if shown else found.request,
        hidden=hidden,
        assignment=found.assignment,
        kind=found.kind,
        solution=_below("solution/", files),
        wrong=tuple(_wrong(folder, files)),
        shown=shown,
        visible=_below("visible/", files),
        planted=_planted(found.planted),
        is_clean=found.clean,
        seconds=float(found.seconds),
        packages=tuple(found.packages),
    )
    if problem := _contradiction(case):
        raise InputError(f"{shown_path(path)}: {problem}")
    return case


def _planted(found: _PlantedFile | None) -> Planted | None:
    if found is None:
        return None
    return Planted(found.path, (found.lines[0], found.lines[1]), found.symbol, found.change)


def _contradiction(case: Case) -> str:
    """Why a case cannot be scored; empty if it can."""
    if not case.request.strip():
        return "request: expected text"
    if case.kind == "change":
        return "kind: expected code or document"
    if case.assignment == "write":
        if case.planted or case.is_clean or case.shown:
            return "planted, clean and the folder shown belong to a review; set assignment: review"
        return _lacks_tests(case)
    if not case.shown:
        return "a review needs the files that are reviewed in the folder shown"
    if case.planted and case.is_clean:
        return "planted and clean exclude each other"
    if case.planted:
        text = case.shown.get(case.planted.path)
        first, last = case.planted.lines
        if text is None:
            return f"planted.path: '{case.planted.path}' is not in the folder shown"
        if not first <= last <= len(text.splitlines()):
            return f"planted.lines: {first} to {last} are not lines of {case.planted.path}"
        return ""
    return "" if case.is_clean else _lacks_tests(case) or _findings_problem(case)


def _findings_problem(case: Case) -> str:
    """What is wrong with the good and the bad reviews of a case; empty if they can be read."""
    for files in (case.solution, *case.wrong):
        try:
            _FINDINGS.validate_json(files.get(FINDINGS, "[]"))
        except ValidationError as error:
            keys, message = first_problem(error)
            return f"a {FINDINGS} of it: {'.'.join(keys)}{': ' if keys else ''}{message}"
    return ""


def _lacks_tests(case: Case) -> str:
    is_test = re.compile(r"(.*/)?(test_[^/]*|[^/]*_test)\.py")
    return "" if any(map(is_test.fullmatch, case.hidden)) else "the folder hidden holds no test_*.py"


def _case_file(path: Path, text: str) -> _CaseFile:
    data: Any = parse_yaml(path, text)
    if not isinstance(data, dict):
        raise InputError(f"{shown_path(path)} holds no keys; expected {', '.join(_CaseFile.model_fields)}")
    for key in data:
        if key not in _CaseFile.model_fields:
            name = unknown_name("key", str(key), _CaseFile.model_fields)
            raise InputError(in_one_line(f"{shown_path(path)}: {name}"))
    try:
        check_json_like(data)  # references in YAML can make a small file endless
    except ValueError as error:
        raise InputError(in_one_line(f"{shown_path(path)}: {error}")) from error
    try:
        return _CaseFile.model_validate(data)
    except ValidationError as error:
        keys, message = first_problem(error)
        raise InputError(in_one_line(f"{shown_path(path)}: {'.'.join(keys)}: {message}")) from error


def _below(prefix: str, files: Mapping[str, str]) -> dict[str, str]:
    return {path.removeprefix(prefix): text for path, text in files.items() if path.startswith(prefix)}


def _wrong(folder: Path, files: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The wrong answers of a case, in the order of the names of their folders."""
    answers: dict[str, dict[str, str]] = {}
    for path, text in _below("wrong/", files).items():
        answer, separator, name = path.partition("/")
        if not separator:
            raise InputError(
                f"'{shown_path(folder / 'wrong' / path)}' belongs in a folder, as in wrong/1/{path}"
            )
        answers.setdefault(answer, {})[name] = text
    yield from (answers[answer] for answer in sorted(answers))


def _read_files(folder: Path) -> dict[str, str]:
    """Path to text of all files below a folder.

    Raises:
        InputError: One is a link, no regular file, too large or no text, or there are too many.
    """
    files: dict[str, str] = {}
    waiting = [folder]
    while waiting:
        for path in _entries(waiting.pop()):
            if path.is_symlink():
                raise InputError(f"'{shown_path(path)}' is a symbolic link; put the file itself there")
            if path.is_dir():
                waiting.append(path)
            elif len(files) == MAX_FILES:
                raise InputError(f"'{shown_path(folder)}' holds more than {MAX_FILES} files")
            else:
                files[path.relative_to(folder).as_posix()] = read_text(path, MAX_BYTES)
    return dict(sorted(files.items()))


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not IGNORED.fullmatch(path.name))
    except OSError as error:
        raise InputError(f"cannot read the folder '{shown_path(folder)}': {error.strerror}") from error
