"""The answers that simulated models with a skill know: right and wrong ones to each case of some suites.

They are made of what a case has for them: its reference, wrong answers, visible tests and planted bug.
Nothing of its hidden tests is used.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from swarm_graph.errors import InputError
from swarm_graph.roles.answered_document import BOLD_LEVEL, headings
from swarm_graph.roles.document_checks import MIN_QUOTE_LETTERS
from swarm_graph.roles.file_blocks import fenced
from swarm_graph.roles.findings import GRAVE
from swarm_graph.sessions.output import write_file
from swarm_graph.state import DOCUMENT, AgentRole
from swarm_graph.suites.case import FINDINGS, Case, Suite
from swarm_graph.text import to_json

FILE = "known_answers.json"
APPROVAL = json.dumps({"findings": [], "approved": True})
ALARM = "It may fail."
"""The problem of a false alarm."""
NO_SOLUTION = "# This solves nothing.\n"
"""Each file of a wrong answer to a case that has none."""
MAX_QUOTES = 8
_FINDING_KEYS = ("severity", "location", "problem", "suggestion")

Answers = dict[str, Any]
"""An object of the file; see `models/known_answers.py`."""


def write_answers(suites: Iterable[Suite], folder: str | Path) -> Path:
    """Write the answers to the cases of some suites to a file that only the user can read.

    The setting `simulation.answers` names the file.

    Args:
        suites: The suites.
        folder: Where the file goes; it is made if it is missing.

    Returns:
        The path of the file, absolute.

    Raises:
        InputError: The folder cannot be made, or the file in it.
        StorageError: The file cannot be written.
    """
    path = Path(folder).absolute() / FILE
    entries = [entry for suite in suites for case in suite.cases for entry in known_answers(case)]
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError as error:
        raise InputError(f"cannot write '{path}': {error.strerror}; name another folder") from error
    write_file(path.parent, FILE, to_json(entries))
    return path


def known_answers(case: Case) -> Iterator[Answers]:
    """The answers to the questions of a case, right and wrong."""
    if case.assignment == "review":
        yield _review(case)
    elif case.solution:
        wrong = case.wrong or (dict.fromkeys(case.solution, NO_SOLUTION),)
        yield _writing(case, wrong)
        yield _reviewing(case.solution, right=APPROVAL, wrong=_finding(_first_place(case.solution), ALARM))
        for files in wrong:
            place = _first_difference(case.solution, files)
            yield _reviewing(
                files, right=_finding(place, "It does not do what the request asks."), wrong=APPROVAL
            )


def _writing(case: Case, wrong: Sequence[Mapping[str, str]]) -> Answers:
    """The answers of those that write: the coder, and the tester where something is known for it."""
    right = {AgentRole.CODER.value: fenced(dict(case.solution))}
    others = {AgentRole.CODER.value: [fenced(dict(files)) for files in wrong]}
    if case.kind == DOCUMENT:  # the coder's skill is measured, so the plan is always right
        right[AgentRole.ARCHITECT] = _outline(case.solution)
        others[AgentRole.ARCHITECT] = [_outline(case.solution)]
        right[AgentRole.TESTER] = _checklist(_telling_lines(case.solution, wrong))
        others[AgentRole.TESTER] = [_checklist(["Nothing in this document says so."])]
    elif case.visible:
        right[AgentRole.TESTER] = fenced(dict(case.visible))
        others[AgentRole.TESTER] = [fenced({**case.visible, **_false_test(case.solution)})]
    return {"when": case.request.strip(), "right": right, "wrong": others}


def _review(case: Case) -> Answers:
    """The answers of reviewers to a review case: its bug or an approval; an approval or a false alarm.

    A review that hidden tests judge has whole answers, as `findings.json`.
    """
    if FINDINGS in case.solution:
        right, *wrong = (_judgement(files[FINDINGS]) for files in (case.solution, *case.wrong))
        return _judgements(case.request.strip(), right, wrong or [APPROVAL])
    alarm = _finding(_first_place(case.solution), ALARM)
    if case.planted is None and not case.is_clean:
        return _judgements(
            case.request.strip(), _review_of(case.solution), [_review_of(files) for files in case.wrong]
        )
    if case.planted is None:
        return _judgements(case.request.strip(), APPROVAL, [alarm])
    place = f"{case.planted.path}:{case.planted.lines[0]}"
    found = _finding(place, f"This is wrong: {case.planted.change}.")
    return _judgements(case.request.strip(), found, [APPROVAL])


def _review_of(files: Mapping[str, str]) -> str:
    """The answer of a reviewer with the findings of a reference, or of a wrong answer to it."""
    findings = json.loads(files.get(FINDINGS, "[]"))
    is_grave = any(finding["severity"] in GRAVE for finding in findings)
    return json.dumps({"findings": findings, "approved": not is_grave})


def _reviewing(files: Mapping[str, str], *, right: str, wrong: str) -> Answers:
    """The answers of reviewers of written files, which stand in their prompts as the coder wrote them."""
    return _judgements(fenced(dict(files)), right, [wrong])


def _judgements(when: str, right: str, wrong: list[str]) -> Answers:
    roles = (AgentRole.REVIEWER, AgentRole.SECURITY)
    return {"when": when, "right": dict.fromkeys(roles, right), "wrong": dict.fromkeys(roles, wrong)}


def _judgement(findings: str) -> str:
    """The answer of a reviewer with the findings of a file."""
    found = [{key: one[key] for key in _FINDING_KEYS} for one in json.loads(findings)]
    return json.dumps({"findings": found, "approved": not found})


def _finding(place: str, problem: str) -> str:
    """The answer of a reviewer with one grave finding."""
    finding = {"severity": "major", "location": place, "problem": problem, "suggestion": "Correct it."}
    return json.dumps({"findings": [finding], "approved": False})


def _first_place(files: Mapping[str, str]) -> str:
    return f"{next(iter(files))}:1" if files else ""


def _first_difference(right: Mapping[str, str], wrong: Mapping[str, str]) -> str:
    """The first line of wrong files that differs from the right ones."""
    for path, text in wrong.items():
        lines, others = text.splitlines(), right.get(path, "").splitlines()
        if lines != others:
            equal = zip(lines, others, strict=False)
            number = next((n for n, (line, other) in enumerate(equal, 1) if line != other), len(lines))
            return f"{path}:{max(number, 1)}"
    return _first_place(wrong)


def _false_test(solution: Mapping[str, str]) -> dict[str, str]:
    """A test that asserts something false about the code."""
    modules = [PurePosixPath(path).stem for path in solution if path.endswith(".py")]
    if not modules:
        return {}
    text = f"import {modules[0]}\n\n\ndef test_it_is_missing():\n    assert {modules[0]} is None\n"
    return {"tests/test_missing.py": text}


def _outline(documents: Mapping[str, str]) -> str:
    """The architect's plan of documents: their headings."""
    found = [heading for text in documents.values() for heading in headings(text)]
    lines = (f"- `{'#' * heading.level} {heading.title}`" for heading in found if heading.level < BOLD_LEVEL)
    return "\n".join(["## Outline", *lines])


def _checklist(quotes: Iterable[str]) -> str:
    items = [{"requirement": f"It says: {quote}", "place": "", "quote": quote} for quote in quotes]
    return json.dumps({"items": items})


def _telling_lines(right: Mapping[str, str], wrong: Sequence[Mapping[str, str]]) -> list[str]:
    """Lines of the right documents that a wrong one lacks: what a good tester would quote."""
    lines = {line.strip(): None for text in right.values() for line in text.splitlines()}
    others = ["\n".join(files.values()) for files in wrong]
    usable = [line for line in lines if len(line) > MIN_QUOTE_LETTERS and line[0] not in "#|`"]
    telling = [line for line in usable if any(line not in other for other in others)]
    return (telling or usable)[:MAX_QUOTES]
