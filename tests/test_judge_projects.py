"""Whole projects for the judge: right ones pass and fail with a bug, forged ones never pass.

They stand in `data/judge/*.txt`: `=== name` begins a project, `--- path` a file of it. Files in `tests/` and
those with the prefix `T:` are the tester's. `--- BUG path` has a line `old >>> new`.
"""

# ruff: noqa: F811 - the fixture `place` is imported

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest
from test_sandbox import Place, at, cheapest, ordinary, place  # noqa: F401 - fixtures

DATA = Path(__file__).parent / "data" / "judge"


class Project(NamedTuple):
    code: dict[str, str]
    tests: dict[str, str]
    buggy: dict[str, str]
    """The code with a bug."""


def parts(text: str, mark: str) -> list[tuple[str, str]]:
    """What stands under each line that begins with a mark, with the rest of that line."""
    found = re.split(rf"^{mark} (.*)\n", text, flags=re.MULTILINE)[1:]
    return list(zip(found[::2], found[1::2], strict=True))


def projects(name: str) -> dict[str, Project]:
    found = {}
    for title, content in parts((DATA / name).read_text(encoding="utf-8"), "==="):
        project = Project({}, {}, {})
        for path, text in parts(content, "---"):
            if path.startswith("BUG "):
                path = path.removeprefix("BUG ")
                old, new = text.strip("\n").split(" >>> ")
                assert old in project.code[path], (title, old)
                project.buggy.update({**project.code, path: project.code[path].replace(old, new)})
            elif path.startswith(("T:", "tests/")):
                project.tests[path.removeprefix("T:")] = text
            else:
                project.code[path] = text
        found[title] = project
    return found


RIGHT, FORGED = projects("right.txt"), projects("forged.txt")
EMPTY = projects("empty.txt")
"""Tests that prove nothing, whatever the code does."""


@cheapest
@pytest.mark.parametrize("name", RIGHT)
def test_right_code_passes_and_fails_with_a_bug(place: Place, name: str) -> None:
    project = RIGHT[name]
    found = place.run(project.code, project.tests)
    assert (found["outcome"], found["reason"], found["failures"]) == ("passed", "", []), found
    found = place.run(project.buggy, project.tests)
    assert (found["outcome"], found["reason"]) == ("failed", ""), found
    failure = found["failures"][0]
    assert re.search(r"\.py:\d+$", failure["place"]), failure
    assert failure["problem"], failure


@at("landlock-user")
@pytest.mark.parametrize("name", ["every module has a test", "query builder", "os fork and environment"])
def test_right_code_passes_under_landlock(place: Place, name: str) -> None:
    assert place.run(RIGHT[name].code, RIGHT[name].tests)["outcome"] == "passed"


@cheapest
@pytest.mark.parametrize("name", FORGED)
def test_forged_code_never_passes(place: Place, name: str) -> None:
    found = place.run(FORGED[name].code, FORGED[name].tests, seconds=20)
    assert found["outcome"] in ("failed", "tampered", "broken"), found


@cheapest
@pytest.mark.parametrize("name", EMPTY)
def test_tests_that_prove_nothing_go_back_to_the_tester(place: Place, name: str) -> None:
    found = place.run(EMPTY[name].code, EMPTY[name].tests)
    assert found["outcome"] == "broken", found


@cheapest
@pytest.mark.parametrize(("more", "outcome"), [("", "failed"), ("import sys\nsys.exit(0)\n", "broken")])
def test_a_program_that_ends_on_import(place: Place, more: str, outcome: str) -> None:
    code = {"src/app.py": "def main():\n    return 0\n\n\n" + ("" if more else "raise SystemExit(main())\n")}
    tests = {"tests/test_app.py": f"import app\n{more}\n\ndef test_main():\n    assert app.main() == 0\n"}
    found = place.run(code, tests)
    assert found["outcome"] == outcome
    assert [failure["place"] for failure in found["failures"]] == [
        "tests/test_app.py:3" if more else "src/app.py:5"
    ]
    assert "the import ends the program: SystemExit(0)" in found["failures"][0]["problem"]
