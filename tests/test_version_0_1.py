"""What version 0.1 wrote stays of use: its sessions are read, resumed and forked, its config means the same.

`data/version_0_1` has a folder that it wrote, and in `told.json` what it said itself of the sessions there.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support import sandbox

from swarm_graph import SwarmManager, load_config
from swarm_graph.cli.main import swarm_graph
from swarm_graph.memory.store import open_store

OLD = Path(__file__).parent / "data" / "version_0_1"
TOLD = json.loads((OLD / "told.json").read_text(encoding="utf-8"))
SESSIONS = [row["session"] for row in TOLD["list"]]
SETTINGS = [name for name in os.environ if name.startswith("SWARM_")]
REVIEWS = ["review_correctness", "review_style"]
AFTER_THE_REVIEWS = ("debugger", "optimizer", "documenter")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of that version, for tests that only read it."""
    folder = tmp_path_factory.mktemp("version_0_1")
    shutil.unpack_archive(OLD / "folder.zip", folder)
    return folder


@pytest.fixture
def folder(unpacked: Path, tmp_path: Path) -> Path:
    """The same for tests that change it."""
    return shutil.copytree(unpacked, tmp_path / "moved")


def swarm(folder: Path, *words: str, code: int = 0) -> Result:
    """Runs a command in a folder; it must end with this exit code."""
    with contextlib.chdir(folder):
        done = CliRunner().invoke(swarm_graph, [*words, "--data-dir", "data"], env=dict.fromkeys(SETTINGS))
    assert done.exit_code == code, (words, done.output, done.exception)
    return done


def said(folder: Path, *words: str) -> Any:
    return json.loads(swarm(folder, *words, "--json").stdout)


def go_on(folder: Path, *words: str, phase: str = "complete") -> list[tuple[str, int]]:
    """Goes on with a session up to this phase; returns which nodes were asked in which round, sorted."""
    options = ("--config", "config.json", "--output", "output/gone-on", "--json-events")
    done = swarm(folder, *words, *options, code=3 if phase == "paused" else 0)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1]["data"]["phase"] == phase
    return sorted((event["node"], event["iteration"]) for event in events if event["event"] == "call_started")


def as_then(now: Any, then: Any) -> Any:
    """What is said now, without the keys that later versions have added."""
    if isinstance(now, dict) and isinstance(then, dict):
        return {key: as_then(now[key], value) for key, value in then.items() if key in now}
    if isinstance(now, list) and isinstance(then, list) and len(now) == len(then):
        return [as_then(*pair) for pair in zip(now, then, strict=True)]
    return now


def calls(told: dict[str, Any]) -> int:
    """How many calls `sessions show --json` counts."""
    return sum(agent["total_calls"] for agent in told["metrics"].values())


# --- reading -------------------------------------------------------------------------------------


def test_its_config_means_the_same() -> None:
    config = load_config(OLD / "config.json", environ={})
    assert config.model_dump(mode="json", by_alias=True, exclude_unset=True) == TOLD["given"]
    assert as_then(config.model_dump(mode="json", by_alias=True), TOLD["config"]) == TOLD["config"]


def test_its_database_is_sound(unpacked: Path) -> None:
    checked = swarm(unpacked, "doctor", "--database").stdout
    assert f"is sound, sessions: {len(SESSIONS)}\n" in checked


def test_every_session_is_listed(unpacked: Path) -> None:
    listed = said(unpacked, "sessions", "list", "--sort", "created")
    assert as_then(listed, TOLD["list"]) == TOLD["list"]
    phases = {"complete", "cancelled", "failed", "interrupted", "over_budget", "paused"}
    assert {row["phase"] for row in listed} == phases


@pytest.mark.parametrize("session", SESSIONS)
def test_a_session_is_shown_as_then(session: str, unpacked: Path) -> None:
    """What is known of it, and its checkpoints; the state at each of them can be read."""
    shown = said(unpacked, "sessions", "show", session)
    assert as_then(shown, TOLD["show"][session]) == TOLD["show"][session]
    history = said(unpacked, "sessions", "history", session)
    assert as_then(history, TOLD["history"][session]) == TOLD["history"][session]
    for moment in history:
        state = said(unpacked, "sessions", "show", session, "--at", str(moment["number"]))
        assert state["request"] or shown["workflow"] == "custom"
    assert state["phase"] == ("complete" if shown["phase"] == "complete" else "running")


def test_sessions_are_compared_as_then(unpacked: Path) -> None:
    compared = said(unpacked, "sessions", "compare", *TOLD["compared"])
    for row in (*compared["sessions"], *TOLD["compare"]["sessions"]):
        row["no_sample"] = bool(row["no_sample"])  # a sentence for people, whose words may change
    assert as_then(compared, TOLD["compare"]) == TOLD["compare"]
    assert len(said(unpacked, "sessions", "compare", *SESSIONS)["sessions"]) == len(SESSIONS)


def test_the_manager_analyzes_and_exports_every_session(unpacked: Path, tmp_path: Path) -> None:
    manager = SwarmManager(unpacked / "output", data_dir=unpacked / "data")
    for session in SESSIONS:
        told = manager.analyze_session(session, quiet=True)
        assert as_then(told.agents, TOLD["show"][session]["metrics"]) == TOLD["show"][session]["metrics"]
    analyzed = {manager.analyze_session(path, quiet=True).session for path in manager.session_files}
    assert analyzed == {"demo", "checklist"}
    count = manager.export_metrics(tmp_path / "metrics.csv")
    with (tmp_path / "metrics.csv").open(newline="") as file:
        exported = list(csv.DictReader(file))
    assert len(exported) == count
    assert {row["session"] for row in exported} == {name for name in SESSIONS if calls(TOLD["show"][name])}
    total = sum(calls(told) for told in TOLD["show"].values())
    assert manager.export_metrics(tmp_path / "calls.jsonl", calls=True) == total


def test_the_manager_writes_reports(unpacked: Path, tmp_path: Path) -> None:
    manager = SwarmManager(data_dir=unpacked / "data")
    for name in ("all.txt", "all.html"):
        manager.generate_report(tmp_path / name)
    assert (tmp_path / "all.txt").read_text(encoding="utf-8").startswith("Swarm report, ")
    for session in SESSIONS:
        manager.session_report(session, tmp_path / "one.html")
        page = (tmp_path / "one.html").read_text(encoding="utf-8")
        HTMLParser().feed(page)
        assert f"<h1>{session}</h1>" in page
        assert "No drawing" not in page


@pytest.mark.parametrize("session", ["demo", "checklist"])
def test_the_files_of_a_finished_session_are_those_of_then(session: str, folder: Path) -> None:
    """Its state JSON has the same keys and values, times included: all of it comes from the database."""
    place = () if session == "demo" else ("--config", "config.json")  # the demo had none, and ran its tests
    said(folder, "resume", session, *place, "--output", "again")
    then, now = files(folder / "output" / session), files(folder / "again")
    state = f"swarm_state_{session}.json"
    document, before = json.loads(now.pop(state)), json.loads(then.pop(state))
    assert as_then(document, before) == before
    assert now == then


def files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


# --- going on ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("session", "missing"),
    [
        ("over-budget", ["coder", *REVIEWS]),
        ("failed", ["coder", *REVIEWS]),
        ("fork-waits", ["architect", "coder", *REVIEWS]),
        ("killed", ["security"]),
        ("failed-task", ["estimate", "order"]),
        ("stopped", ["estimate", "order"]),
    ],
)
def test_a_session_that_had_not_ended_asks_only_for_what_is_missing(
    session: str, missing: list[str], folder: Path
) -> None:
    asked = go_on(folder, "resume", session)
    assert len(asked) == len({*asked})
    assert [node for node, number in asked if number == 1 and node not in AFTER_THE_REVIEWS] == missing
    shown = said(folder, "sessions", "show", session)
    assert calls(shown) == calls(TOLD["show"][session]) + len(asked)
    assert {task["status"] for task in shown["tasks"]} == {"COMPLETED"}


def test_a_session_that_waits_for_a_person_goes_on_when_approved(folder: Path) -> None:
    config = (folder / "config.json").read_text(encoding="utf-8")
    (folder / "config.json").write_text(config.replace('"max_iterations": 2', '"max_iterations": 1'))
    assert go_on(folder, "resume", "paused", phase="paused") == []
    asked = go_on(folder, "resume", "paused", "--approve")
    assert asked == [("coder", 1), *((review, 1) for review in REVIEWS)]
    shown = said(folder, "sessions", "show", "paused")
    assert calls(shown) == calls(TOLD["show"]["paused"]) + len(asked)


def test_a_session_that_was_killed_in_a_question_goes_on(folder: Path) -> None:
    """It was killed while the security reviewer was asked to repair its answer.

    That answer is kept under its question, which another order of prompts has changed: it is asked again.
    """
    before = {
        task["node"]
        for task in said(folder, "sessions", "show", "killed")["tasks"]
        if task["status"] == "COMPLETED"
    }
    asked = go_on(folder, "resume", "killed")
    assert ("security", 1) in asked
    assert not {node for node, iteration in asked if iteration == 1} & before


def test_a_fork_from_a_checkpoint_runs(folder: Path) -> None:
    place = ("--session", "new", "--config", "config.json", "--output", "output/new")
    done = said(folder, "sessions", "fork", "parser", "--from", "coder:1", "--set", "design=One.", *place)
    assert (done["workflow_id"], done["phase"]) == ("new", "complete")
    assert done["metrics"].keys() == {"coder", "reviewer"}
    shown = said(folder, "sessions", "show", "parser")
    assert as_then(shown, TOLD["show"]["parser"]) == TOLD["show"]["parser"]
    fork = ("sessions", "fork", "plant/graph", "--from", "0", "--session", "graph")
    swarm(folder, *fork, "--config", "config.json", "--output", "output/graph")


def test_a_follow_up_works_from_what_was_done(folder: Path) -> None:
    asked = go_on(folder, "run", "Read it from stdin, too", "--session", "parser", "--follow-up")
    assert {"clarifier", "architect", "coder", *REVIEWS} == {node for node, _ in asked}
    assert calls(said(folder, "sessions", "show", "parser")) == calls(TOLD["show"]["parser"]) + len(asked)
    assert len(said(folder, "sessions", "history", "parser")) > len(TOLD["history"]["parser"])


def test_its_database_takes_memory_and_keeps_its_sessions(folder: Path) -> None:
    with open_store(folder / "data" / "swarm.db") as store:
        assert store.search((), query="pump") == []
        store.put(("plant",), "P-101", {"text": "The pump delivers 5.5 bar."})
        assert [item.key for item in store.search((), query="pump")] == ["P-101"]
    assert [row["session"] for row in said(folder, "sessions", "list")] == SESSIONS
    assert swarm(folder, "doctor", "--database").stdout.startswith("ok ")


def test_its_tests_run_again(folder: Path) -> None:
    shown = swarm(folder, "verify", "demo").stdout
    assert shown == f"Session demo: passed (exit code 0, 18 passed, sandbox: {sandbox()})\n"


def test_a_cleanup_leaves_what_can_be_resumed(folder: Path) -> None:
    done = said(folder, "sessions", "cleanup", "--older-than", "1s", "--keep", "0")
    ended = {row["session"] for row in TOLD["list"] if row["phase"] == "complete"}
    assert {*done["removed"]} == ended
    assert f"is sound, sessions: {len(SESSIONS) - len(ended)}" in swarm(folder, "doctor", "--database").stdout
