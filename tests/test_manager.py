"""SwarmManager and the `sessions` commands: analysis, comparison, export, reports, the menu."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import shutil
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from pyarrow import parquet
from support import REFUSED, Crew, config, dead_port

from swarm_graph import AgentRole, SwarmCoordinator, SwarmManager, Task
from swarm_graph.cli.main import swarm_graph
from swarm_graph.cli.sessions import menu
from swarm_graph.errors import InputError
from swarm_graph.reports.comparison import unified_diff
from swarm_graph.reports.terminal import session_text
from swarm_graph.text import format_cost


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sessions with one request and different settings, and one session of another workflow."""
    folder = tmp_path_factory.mktemp("sessions")
    for session, rounds in (("one", 1), ("two", 3)):
        crew = Crew(
            {"reviewer": lambda ask: REFUSED if ask.iteration == 1 else '{"findings": [], "approved": true}'}
        )
        coordinator = SwarmCoordinator(
            config(workflow={"max_iterations": rounds}),
            data_dir=folder / ".swarm",
            output_dir=folder / "out",
            context=crew.context,
        )
        coordinator.run_workflow("Build it", session_id=session)
    coordinator.run_workflow("x = 1", "review_only", session_id="three")
    for number, session in enumerate(("one", "two", "three")):
        os.utime(folder / "out" / session / f"swarm_state_{session}.json", (number, number))
    return folder


@pytest.fixture
def manager(folder: Path) -> SwarmManager:
    return SwarmManager(folder / "out", data_dir=folder / ".swarm")


def swarm(folder: Path, *arguments: str) -> Result:
    return swarm_in(folder / ".swarm", *arguments)


def swarm_in(data_dir: Path, *arguments: str) -> Result:
    data = ["--data-dir", str(data_dir)]
    return CliRunner().invoke(swarm_graph, ["sessions", *arguments, *data], catch_exceptions=False)


def test_session_files_are_the_state_json_the_newest_first(manager: SwarmManager) -> None:
    assert [path.parent.name for path in manager.session_files] == ["three", "two", "one"]


def test_a_session_is_analyzed_by_its_file_or_its_id(
    manager: SwarmManager, capsys: pytest.CaptureFixture[str]
) -> None:
    told = manager.analyze_session(manager.session_files[1])
    assert "Session two (standard, simulated): complete" in capsys.readouterr().out
    assert (told.approved, told.rounds, told.findings) == (True, 2, {})
    assert told.agents["reviewer"]["total_calls"] == 6
    assert told.tasks == {"completed": 6}
    assert manager.analyze_session("one").findings == {"major": 1}


def test_a_comparison_has_figures_settings_and_code(
    manager: SwarmManager, capsys: pytest.CaptureFixture[str]
) -> None:
    found = manager.compare_sessions("one", "two")
    text = capsys.readouterr().out
    assert [one.figures()["calls"] for one in found.sessions] == [6, 10]
    assert [one.figures()["approved"] for one in found.sessions] == [False, True]
    assert found.settings == {"two": ["workflow.max_iterations"]}
    assert "-x = 1\n+x = 2" in found.code["two"]
    assert "Settings of two that differ from one's: workflow (max_iterations)" in text
    assert json.loads(json.dumps(found.to_dict()))["sessions"][1]["figures"]["open_findings"] == 0
    with pytest.raises(InputError, match="two sessions or more"):
        manager.compare_sessions("one")


def test_an_unknown_session_or_file_ends_in_a_message_of_one_line(
    manager: SwarmManager, tmp_path: Path
) -> None:
    (tmp_path / "x.json").write_text("[]")
    for wrong, expected in {
        "none": "no session 'none'",
        str(tmp_path / "x.json"): "is no state JSON",
        str(tmp_path / "y.json"): "cannot read",
    }.items():
        with pytest.raises(InputError, match=expected):
            manager.analyze_session(wrong)
    with pytest.raises(InputError, match="no sessions in"):
        SwarmManager(data_dir=tmp_path).generate_report(tmp_path / "r.txt")
    with pytest.raises(InputError, match=r"its name ends in \.csv, \.jsonl, \.parquet"):
        manager.export_metrics(tmp_path / "m.xls")


def test_metrics_are_exported_by_role_and_by_call(manager: SwarmManager, tmp_path: Path) -> None:
    assert manager.export_metrics(tmp_path / "all.csv") == 4 + 4 + 1
    rows = list(csv.DictReader((tmp_path / "all.csv").read_text().splitlines()))
    own = next(row for row in rows if (row["session"], row["role"]) == ("two", "coder"))
    assert (own["total_calls"], own["approved"], own["rounds"]) == ("2", "True", "2")
    assert manager.export_metrics(tmp_path / "calls.jsonl", calls=True) == 6 + 10 + 4
    first: dict[str, Any] = json.loads((tmp_path / "calls.jsonl").read_text().splitlines()[0])
    assert (first["session"], first["node"], first["outcome"]) == ("one", "clarifier", "answered")
    assert "answer" not in first
    assert manager.export_metrics(tmp_path / "all.parquet") == len(rows)
    kept = parquet.read_table(tmp_path / "all.parquet").to_pylist()
    assert [(row["session"], row["role"]) for row in kept] == [(row["session"], row["role"]) for row in rows]
    assert {type(row["total_calls"]) for row in kept} == {int}


def test_the_report_is_about_all_sessions(manager: SwarmManager, tmp_path: Path) -> None:
    for write in (manager.generate_report, partial(manager.session_report, "one")):
        with pytest.raises(InputError, match=r"cannot write a page to 'r.pdf': its name ends in"):
            write("r.pdf")
    made = manager.generate_report(tmp_path / "swarm_report.txt")
    assert made.workflows["standard"].sessions == 2
    assert (made.workflows["standard"].approved, made.workflows["standard"].rounds) == (1, 1.5)
    assert made.roles["reviewer"]["total_calls"] == 3 + 6 + 4
    text = (tmp_path / "swarm_report.txt").read_text()
    assert "3 sessions in" in text
    assert "Open findings: 0 critical, 2 major" in text
    assert "The latest 3 sessions:" in text


def test_a_session_may_be_called_like_a_file(tmp_path: Path) -> None:
    coordinator = SwarmCoordinator(
        config(), data_dir=tmp_path, output=tmp_path / "out", context=Crew().context
    )
    coordinator.run_workflow("x = 1", "review_only", session_id="a.json")
    assert SwarmManager(data_dir=tmp_path).analyze_session("a.json").session == "a.json"


def test_every_report_names_simulated_answers_and_failures(tmp_path: Path) -> None:
    simulated = {"model": "s", "api_type": "simulated"}
    real = {"url": f"http://127.0.0.1:{dead_port()}/v1", "model": "m", "retries": 0}
    models = {"mode": "multi", "single_model": real, "multi_model": {"clarifier": simulated}}
    for session, own in (("none", {"single_model": simulated}), ("partly", models)):
        coordinator = SwarmCoordinator(config(model_config=own), data_dir=tmp_path, output=tmp_path / session)
        coordinator.run_workflow("Build it", session_id=session)
    assert "PARTLY SIMULATED: the answers of clarifier are " in session_text(coordinator, "swarm-graph")
    manager = SwarmManager(data_dir=tmp_path)
    assert "Session none (standard, simulated): " in swarm_in(tmp_path, "show", "none").stdout
    assert "standard, simulated" in swarm_in(tmp_path, "list").stdout
    assert re.search(
        r"^simulated +yes +no$", swarm_in(tmp_path, "compare", "none", "partly").stdout, re.MULTILINE
    )
    manager.session_report("partly", tmp_path / "partly.html")
    page = (tmp_path / "partly.html").read_text()
    assert "Its last run ended early: architect: m at " in page
    assert "tokens a second" not in page, "a rate of simulated models means nothing"


@pytest.mark.parametrize(
    ("cost", "shown"), [(0, "0.00"), (0.00463, "0.0046"), (0.0259, "0.026"), (12.345, "12.35")]
)
def test_a_small_cost_keeps_two_significant_digits(cost: float, shown: str) -> None:
    assert format_cost(cost) == shown


def test_a_task_graph_has_no_verdict(tmp_path: Path) -> None:
    coordinator = SwarmCoordinator(config(), data_dir=tmp_path, output=tmp_path / "out")
    coordinator.add_task(Task("T1", "t", "d", AgentRole.DOCUMENTER))
    coordinator.run_workflow("", "custom", session_id="tasks")
    assert coordinator.document()["approved"] is None
    assert "Session tasks (custom): complete<" in coordinator._repr_html_()
    manager = SwarmManager(data_dir=tmp_path)
    assert manager.analyze_session("tasks").approved is None
    made = manager.generate_report(tmp_path / "r.txt")
    assert made.workflows["custom"].approved is None
    assert re.search(r"^custom +1 +- +1 complete +1.0 ", (tmp_path / "r.txt").read_text(), re.MULTILINE)


def test_means_are_of_sessions_that_ended(tmp_path: Path) -> None:
    for session, limits in (("short", {"calls": 1}), ("whole", {})):
        coordinator = SwarmCoordinator(
            config(limits=limits), data_dir=tmp_path, output=tmp_path / session, context=Crew().context
        )
        coordinator.run_workflow("Build it", session_id=session)
    figures = SwarmManager(data_dir=tmp_path).generate_report(tmp_path / "r.txt").workflows["standard"]
    assert (figures.phases, figures.rounds) == ({"complete": 1, "over_budget": 1}, 1.0)
    assert figures.seconds == SwarmManager(data_dir=tmp_path).analyze_session("whole").seconds


def test_a_session_of_two_configurations_is_a_sample_of_none(tmp_path: Path) -> None:
    def swarm_of(model: str, **settings: Any) -> SwarmCoordinator:
        entry = {"model": model, "api_type": "simulated"}
        own = {"model_config": {"single_model": entry}, "execution": {"mode": "off"}, **settings}
        return SwarmCoordinator(own, data_dir=tmp_path, output_dir=tmp_path / "out")

    for session, other in (("raised", "a"), ("mixed", "b")):
        swarm_of("a", limits={"calls": 1}).run_workflow("x = 1", session_id=session)
        swarm_of(other).resume(session)
    swarm_of("c").run_workflow("x = 1", session_id="c")
    found = SwarmManager(data_dir=tmp_path).compare_sessions("raised", "mixed", "c", quiet=True)
    assert [bool(one.no_sample) for one in found.sessions] == [False, True, False]
    (contest,) = found.contests
    assert (contest.first, contest.other) == (["raised"], ["c"])
    assert (
        "mixed is no sample of its configuration: it was resumed with other settings: the model"
        in found.text()
    )
    assert SwarmManager(data_dir=tmp_path).compare_sessions("mixed", "c", quiet=True).contests == []


def test_a_fork_that_has_not_run_has_no_outcome(folder: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(folder, tmp_path / "copied")
    assert swarm(copied, "fork", "two", "--from", "architect", "--session", "fork", "--no-run").exit_code == 0
    manager = SwarmManager(data_dir=copied / ".swarm")
    found = manager.compare_sessions("one", "fork", quiet=True)
    assert (found.sessions[1].approved, found.sessions[1].rounds, found.sessions[1].findings) == (
        None,
        None,
        {},
    )
    assert "fork is no sample of its configuration: it was forked from two" in found.text()


def test_failed_sessions_are_not_better_for_being_quick(tmp_path: Path) -> None:
    for number in range(6):
        for name, limits in (("whole", {}), ("short", {"calls": 2})):
            coordinator = SwarmCoordinator(
                config(limits=limits), data_dir=tmp_path, output=tmp_path / name, context=Crew().context
            )
            coordinator.run_workflow("Build it", session_id=f"{name}-{number}")
    names = [f"{name}-{number}" for name in ("whole", "short") for number in range(6)]
    (contest,) = SwarmManager(data_dir=tmp_path).compare_sessions(*names, quiet=True).contests
    assert contest.better == "first"
    assert [one.figure for one in contest.differences] == ["ended"]


def test_a_session_that_is_named_twice_counts_once(manager: SwarmManager, folder: Path) -> None:
    assert len(manager.compare_sessions("one", "two", "one", quiet=True).sessions) == 2
    for compare in (manager.compare_sessions, lambda *names: swarm(folder, "compare", *names)):
        with pytest.raises(InputError, match="a comparison needs two sessions or more"):
            compare("one", "one")


def test_a_page_does_not_need_the_prompts_of_its_session(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "review_units.md").write_text("Is every number in its unit?")
    settings = config(prompts_dir=str(own), workflow={"reviewers": ["units"]})
    crew = Crew()
    coordinator = SwarmCoordinator(settings, data_dir=tmp_path, output=tmp_path / "out", context=crew.context)
    coordinator.run_workflow("x = 1", "review_only", session_id="s")
    shutil.rmtree(own)
    SwarmManager(data_dir=tmp_path).session_report("s", tmp_path / "s.html")
    page = (tmp_path / "s.html").read_text()
    assert "No drawing: prompts_dir " in page
    assert "Tokens and time of each role" in page


def test_the_commands(folder: Path, tmp_path: Path) -> None:
    listed = json.loads(swarm(folder, "list", "--json", "--sort", "session").stdout)
    assert [row["session"] for row in listed] == ["one", "three", "two"]
    assert (
        len(json.loads(swarm(folder, "list", "--json", "--workflow", "standard", "--limit", "1").stdout)) == 1
    )
    failed = swarm(folder, "list", "--json", "--phase", "failed")
    assert json.loads(failed.stdout) == []
    assert failed.stderr.startswith("swarm-graph: no session matches (3 in total); ")
    assert json.loads(swarm(folder, "compare", "one", "two", "--json").stdout)["settings"]["two"]
    assert (
        swarm(folder, "export", str(tmp_path / "m.csv")).stderr
        == f"swarm-graph: wrote 9 rows to {tmp_path / 'm.csv'}\n"
    )
    assert swarm(folder, "report", str(tmp_path / "r.txt")).exit_code == 0
    assert (tmp_path / "r.txt").read_text().startswith("Swarm report, ")


def test_the_menu_does_what_the_commands_do(folder: Path, tmp_path: Path) -> None:
    answers = ["1", "2", "two", "2", "none", "3", "one two", "4", str(tmp_path / "m.csv")]
    answers += ["5", str(tmp_path / "r.txt"), "6", "30d", "n", "0"]

    @click.command()
    @click.pass_context
    def ask(context: click.Context) -> None:
        menu(context)

    with contextlib.chdir(folder):
        done = CliRunner().invoke(ask, input="\n".join(answers), catch_exceptions=False)
    assert done.exit_code == 0
    for expected in (
        "Session two (standard, simulated): complete",
        "no session 'none'",
        "Settings of two that differ from one's",
        "would be removed: none",
    ):
        assert expected in done.output
    assert (tmp_path / "m.csv").is_file()
    assert (tmp_path / "r.txt").is_file()


def test_a_cleanup_by_the_manager_removes_nothing_young(manager: SwarmManager) -> None:
    assert manager.cleanup(older_than_days=30, keep=0, dry_run=True).removed == []


def test_the_diff_of_two_trees() -> None:
    assert unified_diff({"a": "x\n"}, {"a": "x\n"}) == ""
    assert unified_diff({"gone": "x\n"}, {"new": "y\n"}).splitlines() == [
        "--- a/gone", "+++ b/gone", "@@ -1 +0,0 @@", "-x", "--- a/new", "+++ b/new", "@@ -0,0 +1 @@", "+y",
    ]  # fmt: skip


# --- HTML ----------------------------------------------------------------------------------------

REFERENCE = re.compile(
    r"""(?:src|action)\s*=|href=(?!"#)|url\((?!["']?#)|@import|https?://(?!www\.w3\.org/)"""
)


def test_a_session_page_needs_no_network(manager: SwarmManager, tmp_path: Path) -> None:
    told = manager.session_report("two", tmp_path / "two.html")
    assert told.rounds == 2
    page = (tmp_path / "two.html").read_text()
    HTMLParser().feed(page)
    assert not REFERENCE.search(page)
    assert "<h1>two</h1>" in page
    assert 'data-node="coder" data-state="done"' in page
    assert "round 2" in page
    assert "It fails." in page


def test_a_page_fits_on_a_narrow_screen(manager: SwarmManager, tmp_path: Path) -> None:
    manager.session_report("one", tmp_path / "one.html")
    page = (tmp_path / "one.html").read_text()
    assert '<td class="number" data-label="calls">' in page, "cells of wide tables name their columns"
    assert not re.search(r'<svg (?![^>]*viewBox)[^>]*width="\d', page), "charts are as wide as their box"
    assert "white-space: pre-wrap" in page


def test_a_page_escapes_what_models_write(tmp_path: Path) -> None:
    evil = '{"findings": [{"severity": "major", "problem": "<script>alert(1)</script>"}], "approved": false}'
    coordinator = SwarmCoordinator(
        config(), data_dir=tmp_path, output=tmp_path / "out", context=Crew({"reviewer": evil}).context
    )
    coordinator.run_workflow("<img src=x onerror=alert(1)>", "review_only", session_id="evil")
    SwarmManager(data_dir=tmp_path).session_report("evil", tmp_path / "evil.html")
    page = (tmp_path / "evil.html").read_text()
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page


def test_pages_of_a_task_graph_and_of_all_sessions(folder: Path, tmp_path: Path) -> None:
    coordinator = SwarmCoordinator(config(), data_dir=tmp_path, output=tmp_path / "out")
    coordinator.add_task(Task("T1", "t", "d", AgentRole.DOCUMENTER))
    coordinator.add_task(Task("T2", "t", "d", AgentRole.CODER, dependencies=["T1"]))
    coordinator.run_workflow("", "custom", session_id="tasks")
    SwarmManager(data_dir=tmp_path).session_report("tasks", tmp_path / "tasks.html")
    page = (tmp_path / "tasks.html").read_text()
    assert "<h1>tasks</h1>" in page
    assert 'data-node="T2" data-state="done"' in page
    assert "<h2>Rounds</h2>" not in page
    assert swarm(folder, "report", str(tmp_path / "all.html")).exit_code == 0
    assert "<h2>Workflows</h2>" in (tmp_path / "all.html").read_text()
    assert swarm(folder, "report", str(tmp_path / "one.html"), "--session", "one").exit_code == 0
    with pytest.raises(InputError, match="--html writes HTML"):
        swarm(folder, "report", str(tmp_path / "x.txt"), "--html")
