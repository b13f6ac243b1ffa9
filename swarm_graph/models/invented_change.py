"""Invented answers of sessions that change a repository: a plan, one function more, a test of it.

They fit the repository that the prompt shows, so that the answer can be applied and its tests run.
"""

from __future__ import annotations

import re

from swarm_graph.models.ask import Ask
from swarm_graph.state import AgentRole

NEW_FILE = "simulated.py"
"""What is written where the prompt shows no program that a function can be added to."""
MAX_CHARACTERS = 8000
"""Longer files are not written again for a function that says nothing."""

_FILES = re.compile(r"<(?P<tag>files(?:-\w+)?)>\n(?P<text>.*?)\n</(?P=tag)>", re.DOTALL)
_FILE = re.compile(
    r"^(?P<fence>`{3,})python path=(?P<path>[\w./-]+\.py)\n(?P<text>.*?)^(?P=fence)$", re.M | re.S
)
_NOT_FOR_CODE = re.compile(
    r"(?:.*/)?(?:tests?/.*|docs?/.*|test_.*|.*_test\.py|conftest\.py|setup\.py|__\w+__\.py)"
)
_CHANGED = re.compile(r"^\+\+\+ (?P<path>[\w./-]+)$", re.MULTILINE)
_TEST_FOLDER = re.compile(r"^- (?P<folder>[\w./-]+): \d+ files? such as ", re.MULTILINE)
_EARLIER = re.compile(r"\n*def simulated_change\(\).*\Z", re.DOTALL)


def invent_for_change(ask: Ask, mark: str) -> str:
    """The answer of a role that answers otherwise than in a session that makes code; empty if it does not.

    Args:
        ask: The question.
        mark: What makes this answer differ from others.
    """
    if ask.role == AgentRole.ARCHITECT:
        path, _ = _target(ask)
        return (
            f"Simulated plan of {ask.node} {mark}.\n\n## Changes\n- `{path}`: one function more\n\n"
            "## Files to read\n- (none)\n"
        )
    if ask.role == AgentRole.CODER:
        path, text = _target(ask)
        function = (
            f'def simulated_change() -> int:\n    """SIMULATED ({mark}): no model wrote this."""\n'
            f"    return {ask.iteration}\n"
        )
        before = _EARLIER.sub("", text).rstrip("\n")
        return f"```python path={path}\n{_paragraphs(before, function)}```"
    if ask.role == AgentRole.TESTER:
        return _test(ask, mark)
    if ask.role == AgentRole.DOCUMENTER:
        return f"NO CHANGE: simulated {ask.node} {mark}."
    return ""


def _paragraphs(*texts: str) -> str:
    return "\n\n\n".join(filter(None, texts))


def place_of_change(ask: Ask) -> str:
    """The place of an invented finding: the first line of the first changed file."""
    changed = _CHANGED.search(ask.prompt)
    return f"{changed['path']}:1" if changed else NEW_FILE


def _target(ask: Ask) -> tuple[str, str]:
    """The path and the text of the file that is changed: the first short program that the prompt shows."""
    files = _FILES.search(ask.prompt)
    for file in _FILE.finditer(files["text"]) if files else ():
        if len(file["text"]) <= MAX_CHARACTERS and not _NOT_FOR_CODE.fullmatch(file["path"]):
            return file["path"], file["text"]
    return NEW_FILE, ""


def _test(ask: Ask, mark: str) -> str:
    """A test that the changed file says that it is simulated, where the repository has its tests."""
    folder = _TEST_FOLDER.search(ask.prompt)
    path = f"{folder['folder'].strip('./') if folder else 'tests'}/test_simulated.py".removeprefix("/")
    changed = _CHANGED.search(ask.prompt)
    if not changed:
        return f"NO CHANGE: simulated {ask.node} {mark}."
    return (
        f'```python path={path}\n"""SIMULATED test of {ask.node} {mark}: no model wrote this."""\n\n'
        "from pathlib import Path\n\n\ndef test_simulated_change():\n"
        f'    changed = Path(__file__).parents[{path.count("/")}] / "{changed["path"]}"\n'
        '    assert "SIMULATED" in changed.read_text(encoding="utf-8")\n```'
    )
