"""Roles with several models: what a session chooses, says, records and keeps, and what counts as evidence."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from langgraph.checkpoint.memory import InMemorySaver
from support import SIMULATED, thread

from swarm_graph import SwarmCoordinator, build_graph
from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.database import Database
from swarm_graph.checkpoints.experiments import Experiment, Experiments, TrialRow
from swarm_graph.checkpoints.model_evidence import MAX_SESSIONS, Outcomes, put_speed, read_evidence
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.cli.main import swarm_graph
from swarm_graph.config import load_config
from swarm_graph.errors import ConfigError, InputError
from swarm_graph.events import Event
from swarm_graph.reports.listing import session_account, session_account_text
from swarm_graph.reports.terminal import session_text
from swarm_graph.sandbox.evidence import make_evidence
from swarm_graph.sessions.history import fork, moments
from swarm_graph.sessions.ids import open_catalogue
from swarm_graph.state import DATABASE, OwnWorkflow
from swarm_graph.tasks.files import batch_tasks


def settings(*names: str, role: str = "coder", **sections: Any) -> dict[str, Any]:
    """A configuration in which a role has these simulated models to choose from."""
    entries: dict[str, Any] = {name: {"model": f"model-{name}", "api_type": "simulated"} for name in names}
    multi = {**entries, role: {"any_of": list(names)}}
    models = {"mode": "multi", "multi_model": multi, **SIMULATED["model_config"]}
    return {**SIMULATED, "model_config": models, **sections}


def run(
    folder: Path, session: str, workflow: str = "single", *, explore: int = 0, **given: Any
) -> SwarmCoordinator:
    """A session in a folder, and the coordinator that ran it; `given` is its configuration and the like."""
    source = given.pop("config", settings("a", "b"))
    swarm = SwarmCoordinator(source, data_dir=folder, output_dir=folder / "out", **given)
    swarm.run_workflow("Create a queue", OwnWorkflow(workflow), session_id=session, explore=explore)
    return swarm


def judge(
    folder: Path,
    experiment: str,
    solved: dict[str, tuple[int, int]],
    workflow: str = "single",
    candidates: int = 1,
) -> None:
    """Real sessions of each model, judged as trials of an experiment: solved and all, by entry."""
    rows: list[TrialRow] = []
    for entry, (right, total) in solved.items():
        sections: dict[str, Any] = {"workflow": {"candidates": candidates}} if candidates > 1 else {}
        config = load_config(settings("a", "b", **sections), environ={}).with_choices({"coder": entry})
        for number in range(total):
            session = f"{experiment}-{entry}-{number}"
            run(folder, session, workflow, config=config)
            place = TrialRow(experiment, len(rows) + 1, workflow, "smoke", f"c{number}", session)
            rows.append(replace(place, solved=number < right, judged_at=time.time()))
    with Database(folder / DATABASE) as database:
        experiments = Experiments(database)
        experiments.begin(Experiment(experiment, "eval", {}, 1.0), [])
        for row in rows:
            experiments.judge(row)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which `b` has solved 7 of 8 cases, and `a` 2 of 8."""
    folder = tmp_path_factory.mktemp("judged")
    judge(folder, "first", {"a": (2, 8), "b": (7, 8)})
    return folder


def asked(folder: Path, session: str, role: str = "coder") -> list[str]:
    """The models that a role of a session asked, in order."""
    with open_catalogue(folder) as catalogue:
        return [str(call["model"]) for call in catalogue.calls(session) if call["role"] == role]


def recorded(folder: Path, session: str) -> dict[str, Any]:
    """What a session has recorded of its coder's models."""
    with open_catalogue(folder) as catalogue:
        found = catalogue.get(session)
    assert found is not None
    choice: dict[str, Any] = found.config["model_config"]["multi_model"]["coder"]
    return choice


def cli(folder: Path, *arguments: str, config: dict[str, Any] | None = None) -> Result:
    path = folder / "config.json"
    path.write_text(json.dumps(config or settings("a", "b")))
    words = [*arguments, "--config", str(path), "--data-dir", str(folder)]
    return CliRunner().invoke(swarm_graph, words, catch_exceptions=True)


REASON = "7 of 8 solved; a: 2 of 8 solved"

# --- choosing ------------------------------------------------------------------------------------


def test_a_session_asks_the_model_that_solved_more_and_says_why(judged: Path) -> None:
    events: list[Event] = []
    swarm = run(judged, "chosen", on_event=events.append)
    assert asked(judged, "chosen") == ["model-b"]
    choice = recorded(judged, "chosen")
    assert (choice["any_of"], choice["chosen"]) == (["a", "b"], "b")
    without_times = re.sub(r", [\d.]+ s a call", "", choice["reason"])
    assert without_times == REASON
    (event,) = [event for event in events if event.kind == "models_chosen"]
    assert event.data == {"models": {"coder": {"entry": "b", "reason": choice["reason"]}}, "tasks": {}}
    line = f"Model of coder: b ({choice['reason']})"
    assert line in session_text(swarm, "swarm-graph")
    with open_catalogue(judged) as catalogue:
        found = catalogue.get("chosen")
        assert found is not None
        account = session_account(catalogue, found)
        assert line in session_account_text(account)
        kept = [
            one.event for one in catalogue.transcript.events(session_id="chosen", kinds=["models_chosen"])
        ]
    assert [one.data for one in kept] == [event.data]
    (began,) = [event for event in events if event.kind == "session_started"]
    assert began.data["usual_seconds"] is not None  # of the sessions with the same models to choose from
    assert swarm.config.choices["coder"].chosen is None  # the next session chooses anew


def test_a_graph_chooses_with_our_checkpointer_and_asks_the_first_named_without_one(judged: Path) -> None:
    config = load_config(settings("a", "b"), environ={})
    given = {"request": "Create a queue"}
    with open_checkpointer(judged / DATABASE) as saver:
        build_graph("single", config=config, checkpointer=saver).invoke(given, thread("direct"))
    assert asked(judged, "direct") == ["model-b"]
    events: list[dict[str, Any]] = []
    for graph in (
        build_graph("single", config=config),
        build_graph("single", config=config, checkpointer=InMemorySaver()),
    ):
        events += [
            part for part in graph.stream(given, thread(), stream_mode="custom") if isinstance(part, dict)
        ]
    models = [one["data"]["model"] for one in events if one["swarm_event"] == "call_started"]
    assert models == ["model-a", "model-a"]


def test_a_resume_and_a_follow_up_keep_the_model_also_when_more_is_known(tmp_path: Path) -> None:
    judge(tmp_path, "first", {"b": (8, 8)})
    config = settings("a", "b", workflow={"pause_before": ["coder"], "max_iterations": 1})
    assert run(tmp_path, "kept", "standard", config=config).state["phase"] == "paused"
    with open_checkpointer(tmp_path / DATABASE) as saver:
        paused = saver.catalogue.get("kept")
        assert paused is not None
        fork(saver, paused, moments(saver, paused)[-1], "forked", {})
    judge(tmp_path, "second", {"a": (8, 8), "b": (0, 4)})
    assert recorded(tmp_path, "second-a-0")["reason"] == ""
    for session in ("kept", "forked"):
        swarm = SwarmCoordinator(config, data_dir=tmp_path, output_dir=tmp_path / "out")
        if session == "forked":
            swarm.resume(session)  # to its pause
        swarm.resume(session, "approve")
        assert asked(tmp_path, session) == ["model-b"]
    follow_up = SwarmCoordinator(settings("a", "b"), data_dir=tmp_path, output_dir=tmp_path / "out")
    follow_up.run_workflow("And a stack", "single", session_id="first-b-0", follow_up=True)
    assert asked(tmp_path, "first-b-0")[-1] == "model-b"
    run(tmp_path, "new")
    assert asked(tmp_path, "new") == ["model-a"]


def test_a_resume_without_the_chosen_model_says_what_to_do(judged: Path) -> None:
    workflow = {"pause_before": ["coder"], "max_iterations": 1}
    run(judged, "moved", "standard", config=settings("a", "b", workflow=workflow))
    other = settings("a", "c", workflow=workflow)
    message = (
        "session 'moved' has chosen the model 'b' for the role 'coder', and "
        "model_config.multi_model.coder.any_of names a, c; add it there, or choose one of these with "
        "--choose coder=a"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        SwarmCoordinator(other, data_dir=judged, output_dir=judged / "out").resume("moved", "approve")
    done = cli(judged, "resume", "moved", "--approve", "--choose", "coder=c", config=other)
    assert done.exit_code == 0, done.output
    assert asked(judged, "moved") == ["model-c"]


def test_what_choose_says_is_kept_by_the_next_resume(judged: Path) -> None:
    workflow = {"pause_before": ["coder"], "pause_after": ["coder"], "max_iterations": 1}
    config = settings("a", "b", workflow=workflow)
    run(judged, "overridden", "standard", config=config)
    done = cli(judged, "resume", "overridden", "--approve", "--choose", "coder=a", config=config)
    assert done.exit_code == 3, done.output  # it waits after the coder
    assert "Model of coder: a (as --choose says)" in done.stdout
    swarm = SwarmCoordinator(config, data_dir=judged, output_dir=judged / "out")
    swarm.resume("overridden", "approve")
    assert asked(judged, "overridden") == ["model-a"]
    assert "Model of coder: a (as --choose says)" in session_text(swarm, "swarm-graph")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--choose", "coder"], "--choose 'coder': expected ROLE=ENTRY"),
        (["--choose", "coder=a", "--choose", "coder=b"], "--choose names two models for the role 'coder'"),
        (["--choose", "coder=a", "--explore"], "exploring needs a role that may have several models"),
        (["--choose", "coder=c"], "the role 'coder' cannot have the model 'c'"),
        (
            ["--choose", "tester=a"],
            "the role 'tester' has no models to choose from; roles with any_of: co",
        ),
        (["--choose", "coder=a", "--model", "a"], "--choose picks one of a role's models"),
        (["--explore", "--tasks", "t.yaml"], "tasks have batch --explore N"),
    ],
)
def test_options_that_cannot_be_used_end_in_one_line(
    tmp_path: Path, options: list[str], message: str
) -> None:
    done = cli(tmp_path, "run", "Create a queue", *options)
    assert isinstance(done.exception, (ConfigError, InputError))
    assert message in str(done.exception)


# --- exploring -----------------------------------------------------------------------------------


def test_exploring_draws_by_the_session_and_says_so(judged: Path) -> None:
    swarm = run(judged, "drawn", explore=1)
    reason = recorded(judged, "drawn")["reason"]
    assert reason.startswith("drawn to explore; a: 2 of 8 solved")
    assert f"({reason})" in session_text(swarm, "swarm-graph")
    single = {**settings("a", "b"), "model_config": SIMULATED["model_config"]}
    for config in (single, settings("a", "b", role="tester")):  # the workflow has no tester
        with pytest.raises(InputError, match="exploring needs a role that may have several models"):
            run(judged, "refused", explore=1, config=config)


def test_tasks_of_a_batch_explore_as_often_as_asked(judged: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("name\n" + "".join(f"part {number}\n" for number in range(12)))
    prompt = tmp_path / "ask.md"
    prompt.write_text("Describe $name")
    drawn: list[dict[str, str]] = []
    for folder in (judged, judged):
        events: list[Event] = []
        swarm = SwarmCoordinator(
            settings("a", "b"), data_dir=folder, output_dir=folder / "out", on_event=events.append
        )
        for spec in batch_tasks((str(rows),), "coder", str(prompt)):
            swarm.add_task(spec)
        with pytest.raises(InputError, match="13 tasks are to explore, and of 12 tasks 12 have a role"):
            swarm.run_workflow("", "custom", session_id="batch", explore=13)
        session = "batch" if not drawn else "again"
        swarm.run_workflow("", "custom", session_id=session, explore=5)
        by_task = next(event.data["tasks"] for event in events if event.kind == "models_chosen")
        drawn.append(by_task)
        assert len(by_task) == 5
        assert "Models of tasks drawn to explore: " in session_text(swarm, "swarm-graph")
        models = asked(folder, session)
        explored = sorted(f"model-{entry}" for entry in by_task.values())
        assert sorted(models) == sorted([*explored, *["model-b"] * 7])
    assert drawn[0] != drawn[1]  # another session draws others


# --- what counts ---------------------------------------------------------------------------------


def test_only_what_the_user_s_own_sessions_have_shown_counts(judged: Path, tmp_path: Path) -> None:
    with open_catalogue(judged) as catalogue:
        evidence = read_evidence(catalogue)
    assert evidence.outcomes["coder", "model-b", True] == Outcomes(7, 8, 8)
    assert ("coder", "model-b", False) not in evidence.outcomes  # simulated answers are none of a real model
    shutil.copy(judged / DATABASE, tmp_path / DATABASE)  # as received: the signatures name another place
    with open_catalogue(tmp_path) as catalogue:
        assert read_evidence(catalogue).outcomes == {}
    run(tmp_path, "here")
    assert asked(tmp_path, "here") == ["model-a"]
    assert recorded(tmp_path, "here")["reason"] == "the first named, without evidence"


def test_rows_that_others_wrote_hide_no_evidence_and_stop_no_session(tmp_path: Path) -> None:
    judge(tmp_path, "first", {"b": (8, 8)})
    with Database(tmp_path / DATABASE) as database:
        put_speed(Catalogue(database), "http://here", "m", 0.1, 0.01, None)
        with database.transaction() as cursor:
            cursor.execute("CREATE TEMP TABLE forged AS SELECT * FROM sessions WHERE session = 'first-b-0'")
            cursor.execute("UPDATE forged SET config = 'no JSON', simulated = x'00'")
            cursor.execute("CREATE TEMP TABLE judged AS SELECT * FROM trials WHERE number = 1")
            for number in range(MAX_SESSIONS + 1):
                cursor.execute("UPDATE forged SET session = ?", (f"foreign-{number}",))
                cursor.execute("INSERT INTO sessions SELECT * FROM forged")
                cursor.execute(
                    "UPDATE judged SET session = ?, number = ?, solved = 0, judged_at = 'z'",
                    (f"foreign-{number}", 100 + number),
                )
                cursor.execute("INSERT INTO trials SELECT * FROM judged")
            cursor.execute("INSERT INTO speeds SELECT x'00', model, x'ff', 1, 1, 1, signature FROM speeds")
        evidence = read_evidence(Catalogue(database))
    assert evidence.outcomes["coder", "model-b", True] == Outcomes(8, 8, 8)
    assert [*evidence.speeds] == [("http://here", "m")]
    run(tmp_path, "here")
    assert asked(tmp_path, "here") == ["model-b"]


def test_hidden_tests_say_nothing_of_reviewers_and_reviews_nothing_of_coders(tmp_path: Path) -> None:
    judge(tmp_path, "written", {"a": (1, 1)}, "standard")
    judge(tmp_path, "reviews", {"a": (0, 1)}, "review_only")
    with open_catalogue(tmp_path) as catalogue:
        outcomes = read_evidence(catalogue).outcomes
    assert outcomes["coder", "model-a", True] == Outcomes(1, 1, 1)
    assert outcomes["architect", "simulated", True] == Outcomes(1, 1, 1)
    assert outcomes["reviewer", "simulated", True] == Outcomes(0, 1, 1)


def test_the_last_test_run_of_a_session_counts_for_who_wrote_the_code(tmp_path: Path) -> None:
    run(tmp_path, "tested", "full")
    with open_catalogue(tmp_path) as catalogue:
        for iteration in (1, 2):
            evidence = make_evidence(outcome="failed" if iteration == 1 else "passed")
            catalogue.put_test_run("tested", "run", iteration, 1, evidence)
        outcomes = read_evidence(catalogue).outcomes
        assert outcomes["coder", "model-a", True] == Outcomes(1, 1, 0)
        assert {role for role, *_ in outcomes} <= {"coder", "debugger", "optimizer"}
        catalogue.put_test_run("tested", "run", 3, 1, make_evidence(outcome="broken"))
        assert read_evidence(catalogue).outcomes == {}


def test_one_of_several_candidates_says_nothing_of_its_model(tmp_path: Path) -> None:
    judge(tmp_path, "many", {"a": (1, 1)}, candidates=2)
    with open_catalogue(tmp_path) as catalogue:
        assert ("coder", "model-a", True) not in read_evidence(catalogue).outcomes


def test_a_speed_counts_as_the_user_has_measured_it(tmp_path: Path) -> None:
    key = ("http://h:1", "qwen")
    with open_checkpointer(tmp_path / DATABASE) as saver:
        put_speed(saver.catalogue, *key, 0.5, 0.02, 8.0)
        put_speed(saver.catalogue, *key, 0.4, 0.01, None)
        (speed,) = read_evidence(saver.catalogue).speeds.values()
        assert speed[:3] == (0.4, 0.01, 8.0)  # it was loaded already: the earlier time to load stays
    with closing(sqlite3.connect(tmp_path / DATABASE)) as connection, connection:
        connection.execute("UPDATE speeds SET token_s = 0.0001")
    with open_catalogue(tmp_path) as catalogue:
        assert read_evidence(catalogue).speeds == {}


# --- swarm-graph models --------------------------------------------------------------------------


def test_models_shows_what_is_known_and_what_would_be_asked(judged: Path) -> None:
    shown = cli(judged, "models")
    assert shown.exit_code == 0, shown.output
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert re.search(r"^coder +a +2 of 8 +30 % \(7-60\)", shown.stdout, re.MULTILINE)
    assert re.search(r"^coder +\* b +7 of 8 +80 % \(52-97\) .*eval$", shown.stdout, re.MULTILINE)
    assert "coder: a session that begins now asks b (7 of 8 solved" in " ".join(shown.stdout.split())
    document = json.loads(cli(judged, "models", "--json").stdout)
    (best,) = [row for row in document["rows"] if row["role"] == "coder" and row["is_chosen"]]
    assert (best["entry"], best["solved"], best["judged"], best["of_trials"]) == ("b", 7, 8, 8)
    assert document["measure"] == ""


def test_models_says_what_to_measure_where_nothing_is_known(tmp_path: Path) -> None:
    dead = {"url": "http://127.0.0.1:9/v1", "model": "m"}
    several = settings("a", "b")
    several["model_config"]["multi_model"].update(a=dead, b={**dead, "model": "n"})
    shown = cli(tmp_path, "models", config=several).stdout
    assert "Nothing is known of these models yet" in shown
    assert "swarm-graph eval smoke --models a,b --config " in shown
    assert not (tmp_path / DATABASE).exists()
    one = cli(tmp_path, "models", config={"url": dead["url"], "model": "m"}).stdout
    assert one.count(" m ") == 9
    assert "swarm-graph eval smoke reviews --config " in one
