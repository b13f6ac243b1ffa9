"""project.list, project.read and project.search on real repositories, and on files of sessions and tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from repositories import fingerprint, git, make_repository, repository_of

from swarm_graph.repository.globs import matches
from swarm_graph.roles.file_blocks import fenced
from swarm_graph.roles.project_files import project_of_files, project_of_state
from swarm_graph.state import SwarmState, ToolResult
from swarm_graph.tool_settings import ToolLimits
from swarm_graph.tools import project as tools
from swarm_graph.tools.calling import call_tool
from swarm_graph.tools.project import project_tools
from swarm_graph.tools.tool import GetProject

FILES: dict[str, str | bytes] = {
    "README.md": "# Calc\n\nAdds numbers.\n",
    "src/calc/sums.py": "def add(a, b):\n    return a + b\n\n\ndef parse_config(path):\n    return path\n",
    "src/calc/latin.py": "# sch\xf6n\n".encode("latin-1") + b"x = 1\r\ny = 2\r\n",
    "tests/test_sums.py": "from calc.sums import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n",
    "logo.png": b"\x89PNG\x00\x01",
    "empty.txt": "",
    "wide.js": "var a = 1;" * 500 + "needle" + ";" * 500 + "\n",
    ".gitignore": "*.secret\n.env\n",
    "big.csv": "1,2,3\n" * 200_000,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("project")
    (top / "outside.txt").write_text("a host secret\n")
    user = top / "user"
    user.mkdir()
    (user / "link.txt").symlink_to("../outside.txt")
    (user / "away").symlink_to("/etc")
    user.rename(top / "links")
    folder = make_repository(top / "user", FILES)
    for link in (top / "links").iterdir():
        link.rename(folder / link.name)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Links")
    (folder / ".env").write_text("PASSWORD=hunter2\n")
    (folder / "untracked.py").write_text("hunter2 = 1\n")
    (folder / "README.md").write_text("hunter2 in the working tree\n")
    return folder


def of(folder: Path, **state: Any) -> GetProject:
    given = cast(SwarmState, {"repo": repository_of(folder), **state})
    return lambda: project_of_state(given)


def texts(files: Mapping[str, str]) -> GetProject:
    return lambda: project_of_files(files)


def call(project: GetProject, name: str, characters: int = 4000, **arguments: Any) -> ToolResult:
    found = {tool.name: tool for tool in project_tools(project, characters)}
    return asyncio.run(call_tool(found[f"project.{name}"], arguments, ToolLimits(characters=characters)))


# --- What belongs to the project ------------------------------------------------------------------


def test_a_session_sees_the_commit_under_its_change_and_nothing_of_the_working_tree(folder: Path) -> None:
    before = fingerprint(folder)
    project = of(folder, code={"src/calc/new.py": "def sub(a, b): ...\n"}, deleted=["tests/test_sums.py"])
    listing = call(project, "list").text.splitlines()
    assert listing[0] == "8 files:"
    assert "src/calc/new.py" in listing
    assert not {"tests/test_sums.py", ".env", "untracked.py", "link.txt", "away", "big.csv"} & {*listing}
    assert "Adds numbers." in call(project, "read", path="README.md").text
    assert call(project, "search", text="hunter2").text.startswith("No line holds 'hunter2'")
    assert call(project, "search", text="host secret").text.startswith("No line holds")
    assert call(project, "search", text="def sub").text.endswith("src/calc/new.py:1: def sub(a, b): ...")
    assert call(project, "search", text="test_add").text.startswith("No line")
    assert fingerprint(folder) == before


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("../outside.txt", "there is no file '../outside.txt'"),
        ("/etc/passwd", "there is no file '/etc/passwd'"),
        ("src/../../outside.txt", "there is no file 'src/../../outside.txt'"),
        ("away/passwd", "there is no file 'away/passwd'"),
        ("link.txt", "'link.txt' is a link or a submodule"),
        (".git/config", "there is no file '.git/config'"),
        (".env", "there is no file '.env'"),
        ("README.md\0.png", "there is no file 'README.md.png'"),
        ("C:\\Windows\\win.ini", "there is no file 'C:/Windows/win.ini'"),
        ("src", "there is no file 'src'"),
        ("", "there is no file ''"),
        ("logo.png", "'logo.png' is not a text file"),
        ("big.csv", "'big.csv' is too large to read: 1,200,000 bytes"),
        ("sums.py", "there is no file 'sums.py'; did you mean 'src/calc/sums.py'?"),
        ("src/calc/sum.py", "there is no file 'src/calc/sum.py'; did you mean 'src/calc/sums.py'?"),
    ],
)
def test_other_paths_cannot_be_read(folder: Path, path: str, problem: str) -> None:
    result = call(of(folder), "read", path=path)
    assert (result.outcome, result.text) == ("failed", problem)


def test_a_session_without_a_repository_has_its_own_files() -> None:
    state: dict[str, Any] = {
        "code": {"a.py": "x = 1\n"},
        "tests": {"test_a.py": "import a\n"},
        "documentation": {},
    }
    project = lambda: project_of_state(cast(SwarmState, state))  # noqa: E731
    assert call(project, "list").text == "2 files:\na.py\ntest_a.py"
    assert call(project, "read", path="./a.py").text == "a.py, lines 1 to 1 of 1:\n1: x = 1"
    inputs = {"docs/spec.md": "# Spec\n```py\nx = 1\n```\n", "a.py": "old = 1\n"}
    state["request"] = f"Build it.\n\n{fenced(inputs)}"
    assert call(project, "list").text == "3 files:\na.py\ndocs/spec.md\ntest_a.py"
    assert call(project, "read", path="docs/spec.md").text.endswith("\n1: # Spec\n2: ```py\n3: x = 1\n4: ```")
    assert call(project, "search", text="old").text.startswith("No line holds")
    assert call(lambda: project_of_state({}), "list").text == "There are no files."
    assert call(lambda: project_of_state({}), "search", text="x").text == "There are no files."


# --- Reading --------------------------------------------------------------------------------------


def test_lines_are_numbered_so_that_they_can_be_cited(folder: Path) -> None:
    assert call(of(folder), "read", path="src/calc/sums.py", first_line="5", lines=1).text == (
        "src/calc/sums.py, lines 5 to 5 of 6:\n5: def parse_config(path):\n(Read on with first_line=6.)"
    )
    assert call(of(folder), "read", path="src/calc/latin.py").text.endswith(
        "\n1: # schön\n2: x = 1\n3: y = 2"
    )
    assert call(of(folder), "read", path="empty.txt").text == "empty.txt is empty."
    assert call(of(folder), "read", path="README.md", first_line=4).text == "'README.md' has only 3 lines"
    assert call(of(folder), "read", path="README.md", first_line=0).outcome == "wrong_arguments"


def test_a_long_file_is_read_in_steps_of_whole_lines() -> None:
    project = texts({"long.txt": "".join(f"line {n}\n" for n in range(1, 1001))})
    seen, first = [], 1
    while first:
        text = call(project, "read", characters=1000, path="long.txt", first_line=first).text
        assert len(text) <= 1000
        seen += [line for line in text.splitlines()[1:] if not line.startswith("(")]
        first = int(text.rpartition("first_line=")[2].rstrip(".)")) if "first_line=" in text else 0
    assert seen == [f"{n}: line {n}" for n in range(1, 1001)]


def test_a_very_long_line_is_cut(folder: Path) -> None:
    [head, line] = call(of(folder), "read", path="wide.js").text.splitlines()
    assert head == "wide.js, lines 1 to 1 of 1:"
    assert line.endswith("…")
    assert len(line) < 500


# --- Searching ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "glob", "lines"),
    [
        ("def add(a, b)", "", ["src/calc/sums.py:1: def add(a, b):"]),
        ("DEF ADD", "", ["src/calc/sums.py:1: def add(a, b):"]),
        ("add", "tests/", [1, 4, 5]),
        ("add", "*.md", ["README.md:3: Adds numbers."]),
        ("schön", "", ["src/calc/latin.py:1: # schön"]),
        ("def .*config", "", ["src/calc/sums.py:5: def parse_config(path):"]),
        (r"def add\(|parse_config\(", "src/**", [1, 5]),
        (r"^\bassert\s+add.*3$", "", ["tests/test_sums.py:5: assert add(1, 2) == 3"]),
        ("config parse", "", ["src/calc/sums.py:5: def parse_config(path):"]),
    ],
)
def test_a_text_is_found(folder: Path, text: str, glob: str, lines: list[str | int]) -> None:
    found = call(of(folder), "search", text=text, glob=glob).text.splitlines()[1:]
    assert [int(line.split(":")[1]) if isinstance(lines[0], int) else line for line in found] == lines


def test_a_result_says_how_it_looked_and_what_it_leaves_out() -> None:
    project = texts({f"f{n:02}.py": "def value(): ...\n" * 20 for n in range(30)})
    text = call(project, "search", text="value def").text
    assert text.startswith("600 lines in 30 files with all of the words value, def:\nf00.py:1: def value")
    assert text.count("f00.py:") == 12
    assert text.endswith("\n(540 more lines; give a longer text or a glob.)")
    short = call(project, "search", characters=500, text="value").text
    assert len(short) <= 500
    assert "more lines; give a longer text or a glob.)" in short
    assert call(project, "search", text="nothing").text == "No line holds 'nothing' (in 30 files)."
    assert call(project, "search", text="x", glob="*.rs").text == "No file matches '*.rs' (of 30 files)."


def test_a_match_far_to_the_right_is_shown(folder: Path) -> None:
    [_, line] = call(of(folder), "search", text="NEEDLE").text.splitlines()
    assert "needle;" in line
    assert len(line) < 230


def test_no_search_can_hang() -> None:
    line = "a" * 50_000
    project = texts({"a" * 240: line + "\n"})
    for text in ("(a+)+$", "(a|a)*b", ".*" * 100 + "b", "a.*" * 99 + "b", "a|" * 149, "\\" * 300):
        assert call(project, "search", text=text).outcome == "answered"
    for glob in ("*a" * 99 + "b", "**/a/" * 39 + "b", "[a]*" * 49 + "b", "?*" * 90):
        assert call(project, "list", glob=glob).outcome == "answered"
        assert not matches("a" * 240, [glob]) or glob.startswith("?")
    assert call(project, "search", text="x" * 301).outcome == "wrong_arguments"


def test_a_search_stops_at_a_limit_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "MAX_SEARCHED", 1000)
    project = texts({f"f{n}.txt": "x" * 400 + "\n" for n in range(9)})
    text = call(project, "search", text="y").text
    assert text == "No line holds 'y' (in 3 files).\n(Only 3 of 9 files were read; give a glob.)"


# --- Listing --------------------------------------------------------------------------------------


def test_many_files_are_listed_by_their_folders() -> None:
    deep = {f"src/part{n % 3}/sub{n % 30:02}/f{n}.py": "" for n in range(900)}
    project = texts({"setup.py": "", **deep, **{f"docs/{n}.md": "" for n in range(9)}})
    text = call(project, "list", characters=2000).text
    assert text.startswith("910 files:\n")
    assert "\nsrc/part0/sub00/ (30 files)\n" in text
    assert "\nsetup.py\n" in text
    assert len(text) <= 2000
    assert call(project, "list", glob="src/part1", characters=300).text.splitlines()[1:] == [
        "src/part1/ (300 files)",
        "(Name a folder as glob to see its files.)",
    ]
    assert len(call(project, "list", glob="src/part1/sub01/").text.splitlines()) == 31


def test_a_flat_folder_of_many_files_is_listed_in_part() -> None:
    text = call(texts({f"{n:05}.txt": "" for n in range(5000)}), "list", characters=1000).text
    assert text.startswith("5000 files:\n00000.txt\n00001.txt\n")
    assert text.endswith("(The first ones only; give a narrower glob.)")
    assert len(text) <= 1000
