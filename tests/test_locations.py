"""Places of findings as models write them, and as `path:line`."""

import random
from pathlib import Path
from typing import Any

import pytest
from repositories import git, make_repository, repository_of

from swarm_graph.roles.answered_change import current_files, gone_files
from swarm_graph.roles.locations import Place, located, place_of
from swarm_graph.state import Finding

FILES = {
    "src/calc.py": "a\n" * 40,
    "src/shop/model.py": "a\n" * 40,
    "src/user/model.py": "a\n" * 40,
    "docs/my guide.md": "one\ntwo",
    "Makefile": "all:\n",
    ".github/ci.yml": "x\n",
    "empty.py": "",
}


def location(text: str) -> str:
    finding = Finding(severity="major", location=text, problem="p", suggestion="s", seen_by=["reviewer"])
    found = located(finding, FILES)
    assert {**found, "location": text} == finding
    assert located(found, FILES) == found  # once more changes nothing
    return found["location"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("src/calc.py:12", "src/calc.py:12"),
        ("./src/calc.py:12:5", "src/calc.py:12"),
        ("b/src/calc.py:12", "src/calc.py:12"),
        ("/home/ann/project/src/calc.py:12", "src/calc.py:12"),
        ("src\\calc.py:12", "src/calc.py:12"),
        ("`src/calc.py`:12", "src/calc.py:12"),
        ("`src/calc.py:12-15`", "src/calc.py:12-15"),
        ("src/calc.py, lines 12\u201315", "src/calc.py:12-15"),
        ("src/calc.py (line 12)", "src/calc.py:12"),
        ("src/calc.py line 12", "src/calc.py:12"),
        ("src/calc.py#L12-L15", "src/calc.py:12-15"),
        ("line 12 of src/calc.py", "src/calc.py:12"),
        ("Stack.pop in src/calc.py:3", "src/calc.py:3"),
        ("calc.py:3", "src/calc.py:3"),
        ("src/calc.py", "src/calc.py"),
        ("src/calc.py:main", "src/calc.py"),
        ("src/calc.py:0", "src/calc.py"),
        ("src/calc.py:15-12", "src/calc.py:15"),
        ("docs/my guide.md:2", "docs/my guide.md:2"),
        ("Makefile:1", "Makefile:1"),
        ("C:\\Users\\ann\\project\\src\\calc.py:12", "src/calc.py:12"),
        (".github/ci.yml:1", ".github/ci.yml:1"),
        ("shop/model.py:4", "src/shop/model.py:4"),
        ("model.py:4", "model.py:4"),  # which one?
        ("src/calc.py:99", "src/calc.py:99 (the file has 40 lines)"),
        ("empty.py:2", "empty.py:2 (the file has 1 line)"),
        ("src/nope.py:3", "src/nope.py:3 (there is no such file)"),
        ("nope.py", "nope.py (there is no such file)"),
        ("/etc/passwd:1", "/etc/passwd:1 (there is no such file)"),
        ("C:\\nope:1", "C:\\nope:1 (there is no such file)"),
        ("", ""),
        ("the whole module", "the whole module"),
        ("requirement 3, error handling", "requirement 3, error handling"),
        ("Stack.pop", "Stack.pop"),
    ],
)
def test_a_place_is_a_path_and_a_line(given: str, expected: str) -> None:
    assert location(given) == expected


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ("src/calc.py:12-15", Place("src/calc.py", 12, 15)),
        ("docs/my guide.md:2", Place("docs/my guide.md", 2, 2)),
        ("src/calc.py", Place("src/calc.py", 0, 0)),
        ("src/calc.py:99 (the file has 40 lines)", None),
        ("nope.py (there is no such file)", None),
        ("the whole module", None),
        ("", None),
    ],
)
def test_only_places_that_exist_are_places(given: str, place: Place | None) -> None:
    assert place_of(given) == place


def test_a_removed_file_and_one_that_is_no_text_are_told(tmp_path: Path) -> None:
    folder = make_repository(
        tmp_path / "project", {"img/logo.bin": b"\0\1", "gone.py": "x = 1\n", "a.py": ""}
    )
    repo, old = repository_of(folder), git(folder, "rev-parse", "HEAD")
    git(folder, "rm", "--quiet", "gone.py")
    git(folder, "commit", "--quiet", "--message", "Second")
    review = {**repo, "base": git(folder, "rev-parse", "HEAD"), "compared_with": old}

    def shown(text: str) -> str:
        finding = Finding(severity="major", location=text, problem="p", suggestion="", seen_by=["reviewer"])
        state: Any = {"repo": review}
        return located(finding, current_files(state), gone_files(state))["location"]

    assert shown("gone.py:1") == "gone.py (the change removes it)"
    assert shown("logo.bin:3") == shown("./img/logo.bin:3") == "img/logo.bin (it is no text)"
    assert shown("a.py:1") == "a.py:1"


def test_any_text_is_a_location() -> None:
    words = [
        "src/calc.py",
        ":",
        "12",
        "-",
        "line ",
        "L",
        "#",
        "(",
        "`",
        "\n",
        "\0",
        "/",
        "..",
        " ",
        "9" * 30,
        "é",
    ]
    source = random.Random(22)
    for _ in range(2_000):
        text = "".join(source.choices(words, k=source.randrange(12)))
        place_of(location(text))
    assert location("lines " * 100_000).startswith("lines")
    assert location("a" * 1_000_000)[:1] == "a"
