"""Shell completion: what a real bash offers, what the scripts say, and what --install writes."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import warm
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result
from support import write_config

from swarm_graph.checkpoints.session_names import session_names
from swarm_graph.cli.completion import PROGRAM, VARIABLE, complete_values
from swarm_graph.cli.main import swarm_graph

HEAVY = ("langgraph", "langchain_core", "pydantic", "rich", "sqlite_utils", "prompt_toolkit")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two sessions."""
    folder = tmp_path_factory.mktemp("project")
    write_config(folder)
    for session in ("queue-1", "stack"):
        done = warm.run("run", "x", "--workflow", "review_only", "--session", session, cwd=folder)
        assert done.returncode == 0
    (folder / "P-7.md").write_text("Close V-1.")
    assert warm.run("memory", "add", "P-7.md", cwd=folder).returncode == 0
    return folder


def offered(folder: Path, *words: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What completes the last word, with its kind if that is not plain."""
    monkeypatch.chdir(folder)
    complete_values(swarm_graph)
    found = ShellComplete(swarm_graph, {}, PROGRAM, VARIABLE).get_completions([*words[:-1]], words[-1])
    return [item.value if item.type == "plain" else item.type for item in found]


SESSIONS = ["queue-1", "stack"]
OFFERED: dict[str, tuple[str, list[str]]] = {
    "commands": ("re", ["resume"]),
    "commands of a group": ("sessions sh", ["show"]),
    "options": ("run --wor", ["--workflow"]),
    "workflows": ("run --workflow ", ["standard", "full", "review_only", "single", "custom"]),
    "a short option": ("run -w f", ["full"]),
    "another command's workflows": ("graph --workflow r", ["review_only"]),
    "sessions": ("resume ", SESSIONS),
    "sessions that begin so": ("verify q", ["queue-1"]),
    "sessions of an option": ("run --session s", ["stack"]),
    "several sessions": ("sessions compare stack ", SESSIONS),
    "sessions elsewhere": ("resume --data-dir nowhere ", []),
    "roles": ("batch --role d", ["documenter", "debugger"]),
    "files": ("run --config ", ["file"]),
    "files of an argument": ("batch p", ["file"]),
    "folders": ("run --output ", ["dir"]),
    "shells": ("completion z", ["zsh"]),
    "memories": ("memory show ", ["75a329ead0"]),
    "memories to forget": ("memory forget 75", ["75a329ead0"]),
    "built-in tools": ("tools try project.", ["project.list", "project.read", "project.search"]),
    "commands of tools": ("tools ", ["list", "show", "try"]),
    "no request": ("run ", []),
}


@pytest.mark.parametrize("name", OFFERED)
def test_what_is_offered(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line, expected = OFFERED[name]
    assert sorted(offered(folder, *line.split(" "), monkeypatch=monkeypatch)) == sorted(expected)


def test_a_real_bash_completes(folder: Path) -> None:
    lines = ("res", "resume q", "run -w f", "sessions history ''")
    script = [f"source <({PROGRAM} completion bash)"]
    for line in lines:
        script += [
            f"COMP_WORDS=({PROGRAM} {line})",
            "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=()",
            f"_swarm_graph_completion {PROGRAM}",
            'echo "${COMPREPLY[*]}"',
        ]
    script += [f"complete -p {PROGRAM}"]
    path = f"{Path(warm.PROGRAM).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", "\n".join(script)],
        cwd=folder, env={**warm.ENVIRONMENT, "PATH": path}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    *replies, registered = done.stdout.splitlines()
    assert done.stderr == ""
    assert [sorted(reply.split()) for reply in replies] == [["resume"], ["queue-1"], ["full"], SESSIONS]
    assert "_swarm_graph_completion swarm-graph" in registered


def test_nothing_heavy_is_imported(folder: Path) -> None:
    program = (
        "import sys\nfrom swarm_graph.__main__ import main\ntry:\n    main()\nfinally:\n"
        f"    print('heavy:', [name for name in {HEAVY} if name in sys.modules])"
    )
    environment = {"COMP_WORDS": "swarm-graph resume ", "COMP_CWORD": "2", VARIABLE: "bash_complete"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder, env={**warm.ENVIRONMENT, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert sorted(done.stdout.splitlines()) == ["heavy: []", "plain,queue-1", "plain,stack"], done.stderr


def test_a_received_database_hands_nothing_to_the_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".swarm").mkdir()
    path = tmp_path / ".swarm" / "swarm.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE sessions (session, workflow, phase, updated_at)")
        rows = [("$(touch owned)", "w", "p", 1), ("a b", "w", "p", 2), ("good", "w\n$(x)", "p\x1b[2J", 3)]
        database.executemany("INSERT INTO sessions VALUES (?, ?, ?, ?)", rows)
        database.commit()
    assert offered(tmp_path, "resume", "", monkeypatch=monkeypatch) == ["good"]
    (item,) = ShellComplete(swarm_graph, {}, PROGRAM, VARIABLE).get_completions(["resume"], "")
    assert item.help == "wx, pJ"
    with closing(sqlite3.connect(path)) as database:
        database.execute("ALTER TABLE sessions RENAME TO other")
        database.execute("CREATE VIEW sessions AS SELECT * FROM other")
        database.commit()
    assert session_names(path) == []
    path.write_bytes(b"no database")
    assert session_names(path) == []
    assert session_names(tmp_path / "none.db") == []


# --- the command ---------------------------------------------------------------------------------


def invoked(*arguments: str) -> Result:
    return CliRunner().invoke(swarm_graph, ["completion", *arguments])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_says_how_to_load_it(shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "ZDOTDIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    done = invoked(shell)
    assert done.exit_code == 0
    assert f"{VARIABLE}={shell}_complete" in done.stdout
    assert f"# To load it: swarm-graph completion {shell} --install" in done.stdout
    assert [*tmp_path.iterdir()] == [], "it only prints"
    assert done.stdout.startswith("#compdef swarm-graph") == (shell == "zsh")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_installing_twice_adds_one_line(shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ZDOTDIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    start = tmp_path / f".{shell}rc"
    if shell != "fish":
        start.write_text("export MINE=1")
    for _ in range(2):
        done = invoked(shell, "--install")
        assert done.exit_code == 0
    (script,) = (path for path in tmp_path.rglob("*") if path.is_file() and path != start)
    assert VARIABLE in script.read_text()
    if shell == "fish":
        assert script == tmp_path / ".config/fish/completions/swarm-graph.fish"
        return
    mine, line = start.read_text().splitlines()
    assert mine == "export MINE=1"
    assert line.endswith(f". {script}")


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    (tmp_path / ".bashrc").mkdir()
    done = invoked("bash", "--install")
    assert "add this line yourself: . " in str(done.exception)
    (tmp_path / "file").write_text("")
    (tmp_path / ".bashrc").rmdir()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    assert "without --install prints it" in str(invoked("bash", "--install").exception)


# --- short options -------------------------------------------------------------------------------


def test_short_options_are_the_long_ones(tmp_path: Path) -> None:
    file = write_config(tmp_path).rename(tmp_path / "other.json")
    (tmp_path / "a.py").write_text("x = 1\n")
    arguments = ["run", "-c", str(file), "-w", "review_only", "-i", "a.py", "-o", "out", "--json"]
    done = warm.run(*arguments, cwd=tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "out/review_results.txt").is_file()
    for command in ([], ["run"], ["sessions"], ["sessions", "show"], ["completion"]):
        short, long = (warm.run(*command, option, cwd=tmp_path).stdout for option in ("-h", "--help"))
        assert short == long
        assert b"-h, --help" in short
