"""`swarm-graph eval` in real processes, against a real server: limits, dead servers, signals, kills."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import warm
from chaos.model_server import Asked, ModelServer
from experiment_cases import write_suite
from support import dead_port, write_config

from swarm_graph import SwarmManager, evaluate
from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.database import Database
from swarm_graph.checkpoints.experiments import Experiments, TrialRow
from swarm_graph.errors import InputError
from swarm_graph.sessions.ids import open_catalogue, session_to_read

FIGURES = ("arm", "case", "solved", "calls", "input_tokens", "output_tokens", "phase")


def write_settings(folder: Path, server: ModelServer, **more: Any) -> None:
    """A configuration with one server; generated tests are not run, hidden ones are."""
    entry = {"url": server.url, "model": "chaos", "retries": 0}
    settings = {"model_config": {"single_model": entry}, "execution": {"mode": "off"}, **more}
    (folder / "config.json").write_text(json.dumps(settings))


def trials(folder: Path) -> list[TrialRow]:
    with Database(folder / ".swarm" / "swarm.db") as database:
        experiments = Experiments(database)
        return experiments.trials(experiments.all()[0].experiment)


def figures(folder: Path) -> list[tuple[Any, ...]]:
    return [tuple(getattr(trial, name) for name in FIGURES) for trial in trials(folder)]


def started(folder: Path, *arguments: str) -> warm.Process:
    return warm.Process(
        "eval", *arguments, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_until_asked(server: ModelServer, count: int, process: warm.Process) -> None:
    while len(server.asked) < count:
        assert process.poll() is None, "it ended before"
        time.sleep(0.002)


@pytest.mark.slow
def test_each_case_is_tried_in_each_arm_and_judged_by_its_hidden_tests(tmp_path: Path) -> None:
    write_suite(tmp_path / "cases", 2)
    with ModelServer(latency=0) as server:
        write_settings(tmp_path, server)
        done = warm.run("eval", "cases", "--arms", "single,standard", "--json", cwd=tmp_path, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert {arm["name"] for arm in report["arms"]} == {"single", "standard"}
    found = trials(tmp_path)
    assert len(found) == 4
    assert {trial.solved for trial in found} == {True, False}, "the answers of the server are even and odd"
    for trial in found:
        assert trial.calls == 1 if trial.arm == "single" else trial.calls >= 6
        assert trial.score
        assert trial.score["outcome"] == ("passed" if trial.solved else "failed")
        (file,) = (tmp_path / "swarm-output").glob(f"*/{trial.session}/project/src/a.py")
        number = int(file.read_text().split("'")[1], 16)
        assert trial.solved == (number % 2 == 0), "the score is that of the files that were written"
    folder = tmp_path / "swarm-output" / found[0].experiment
    assert {path.name for path in folder.glob("*.*")} == {
        "report.html",
        "report.txt",
        "report.json",
        "trials.csv",
    }
    assert json.loads((folder / "report.json").read_text()) == report
    shown = warm.run("eval", "--show", cwd=tmp_path, text=True)
    assert shown.stdout == (folder / "report.txt").read_text()
    assert re.search(r"cases +2 +4/4", warm.run("eval", "--list", cwd=tmp_path, text=True).stdout)


def test_trials_are_no_ordinary_sessions(tmp_path: Path) -> None:
    write_suite(tmp_path / "cases", 1)
    write_config(tmp_path)
    assert warm.run("eval", "cases", "--arms", "single", "--simulate", cwd=tmp_path).returncode == 0
    (trial,) = trials(tmp_path)
    listed = warm.run("sessions", "list", cwd=tmp_path, text=True)
    assert trial.session not in listed.stdout
    assert "1 session of experiments left out; --experiment all lists them" in listed.stderr
    for chosen in ("all", trial.experiment):
        assert (
            trial.session
            in warm.run("sessions", "list", "--experiment", chosen, cwd=tmp_path, text=True).stdout
        )
    with open_catalogue(tmp_path / ".swarm") as catalogue:
        with pytest.raises(InputError, match="no sessions in"):
            session_to_read(catalogue, None)
        assert session_to_read(catalogue, trial.session).experiment == trial.experiment
    assert not SwarmManager(data_dir=tmp_path / ".swarm").generate_report(tmp_path / "r.txt").workflows
    shown = warm.run("eval", "--show", cwd=tmp_path, text=True).stdout
    assert warm.run("sessions", "cleanup", "--older-than", "0s", cwd=tmp_path).returncode == 0
    with open_catalogue(tmp_path / ".swarm") as catalogue:
        assert not catalogue.sessions()
    assert warm.run("eval", "--show", cwd=tmp_path, text=True).stdout == shown, (
        "judged trials keep their figures"
    )


def test_a_reached_limit_lets_sessions_end_and_says_how_to_go_on(tmp_path: Path) -> None:
    write_suite(tmp_path / "cases", 3)
    arguments = ["eval", "cases", "--arms", "single", "--max-sessions", "1"]
    with ModelServer(latency=0) as server:
        write_settings(tmp_path, server)
        done = warm.run(*arguments, "--max-calls", "2", cwd=tmp_path, text=True)
        assert done.returncode == 1
        (experiment,) = {trial.experiment for trial in trials(tmp_path)}
        assert done.stderr.splitlines()[-1] == (
            "swarm-graph: reached --max-calls 2 (2 calls); 1 trial is left; continue with "
            f"`swarm-graph eval --resume {experiment} --max-sessions 1`"
        )
        assert "2 of 3 trials judged" in done.stdout
        assert warm.run("eval", "--resume", cwd=tmp_path).returncode == 0
        assert len(server.asked) == 3
    assert all(trial.judged_at for trial in trials(tmp_path))
    ended = warm.run("eval", "--resume", cwd=tmp_path, text=True)
    assert (ended.returncode, ended.stderr.count("no unfinished eval")) == (2, 1)


def test_a_server_that_is_down_ends_the_experiment_and_costs_no_case(tmp_path: Path) -> None:
    write_suite(tmp_path / "cases", 5)
    server = ModelServer(latency=0)
    server.port = dead_port()
    write_settings(tmp_path, server)
    done = warm.run("eval", "cases", "--arms", "single", "--max-sessions", "2", cwd=tmp_path, text=True)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "no model answered the arm 'single': " in last
    assert "is the server running at" in last
    assert "5 trials are left; continue with `swarm-graph eval --resume" in last
    assert not any(trial.judged_at for trial in trials(tmp_path))
    with open_catalogue(tmp_path / ".swarm") as catalogue:
        assert len(catalogue.sessions()) <= 4, "no case is burnt once nobody answers"
    with server:
        assert warm.run("eval", "--resume", cwd=tmp_path).returncode == 0
    assert [(trial.phase, trial.calls > 0) for trial in trials(tmp_path)] == [("complete", True)] * 5


class BrokenServer(ModelServer):
    """Answers every question with 500; when it is mended, still the first one that it was asked."""

    is_mended = False

    def ask(self, key: str, task: str = "", turn: int = 0) -> tuple[Asked, str | None]:
        asked, _ = super().ask(key, task, turn)
        return asked, None if self.is_mended and key != self.asked[0].key else "500"


def test_a_server_that_fails_at_all_questions_ends_the_experiment_and_at_one_fails_the_case(
    tmp_path: Path,
) -> None:
    write_suite(tmp_path / "cases", 4)
    with BrokenServer(latency=0) as server:
        write_settings(tmp_path, server)
        done = warm.run("eval", "cases", "--arms", "single", "--max-sessions", "1", cwd=tmp_path, text=True)
        assert done.returncode == 1
        assert re.search(r"no model answered the arm 'single': .* 500.*; 4 trials are left", done.stderr)
        assert len({asked.key for asked in server.asked}) == 3, "no case is burnt once nobody answers"
        server.is_mended = True
        assert warm.run("eval", "--resume", cwd=tmp_path).returncode == 0
    assert [trial.phase for trial in trials(tmp_path)] == ["failed", "complete", "complete", "complete"]
    assert all(trial.judged_at for trial in trials(tmp_path))
    assert trials(tmp_path)[0].solved is False


@pytest.mark.parametrize("signals", [1, 2])
def test_ctrl_c_keeps_what_is_finished(signals: int, tmp_path: Path) -> None:
    write_suite(tmp_path / "cases", 3)
    with ModelServer(held=True) as server:
        write_settings(tmp_path, server, workflow={"grace_period": 60})
        process = started(tmp_path, "cases", "--arms", "single", "--max-sessions", "2")
        wait_until_asked(server, 2, process)
        process.send_signal(signal.SIGINT)
        assert process.stderr
        while "stopping: calls in flight get 60 s to end" not in (said := process.stderr.readline()):
            assert said, "it said nothing"
        if signals == 2:
            process.send_signal(signal.SIGINT)
        else:
            server.release("")
        _, errors = process.communicate()
        assert process.returncode == 130
        (experiment,) = {trial.experiment for trial in trials(tmp_path)}
        assert errors.endswith(
            f"swarm-graph: stopped; continue with `swarm-graph eval --resume {experiment} --max-sessions 2`\n"
        )
        server.drop()
        server.held = False
        assert warm.run("eval", "--resume", cwd=tmp_path).returncode == 0
        assert len(server.asked) == (5 if signals == 2 else 3)
    assert all(trial.judged_at for trial in trials(tmp_path))


def answers(folder: Path) -> int:
    """How many answers of models the database holds."""
    file = folder / ".swarm" / "swarm.db"
    if not file.is_file():
        return 0
    with closing(sqlite3.connect(file)) as connection:
        query = "SELECT count(*) FROM calls WHERE outcome = 'answered'"
        return int(connection.execute(query).fetchone()[0])


@pytest.mark.slow
def test_a_killed_experiment_asks_nothing_twice_and_has_the_same_figures(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    arguments = ["cases", "--arms", "single,standard", "--max-sessions", "2", "--seed", "3"]
    for folder in (whole, killed):
        write_suite(folder / "cases", 2)
    with ModelServer(latency=0) as server:
        write_settings(whole, server)
        assert warm.run("eval", *arguments, cwd=whole).returncode == 0
        expected, questions = figures(whole), len(server.asked)
    assert answers(whole) == questions
    with ModelServer(latency=0.02) as server:
        write_settings(killed, server)
        for part in range(1, 5):
            process = started(killed, *(["--resume"] if part > 1 else arguments))
            wait_until_asked(server, part * questions // 5, process)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            lost = len(server.asked) - answers(killed)
        done = warm.run("eval", "--resume", cwd=killed, text=True)
        assert done.returncode == 0, done.stderr
        assert answers(killed) == questions, "a question was asked though its answer was kept"
        assert len(server.asked) == questions + lost, "only calls in flight were asked again"
    assert figures(killed) == expected


def test_a_folder_that_cannot_be_written_is_one_line_and_the_experiment_goes_on_later(tmp_path: Path) -> None:
    write_suite(tmp_path / "cases", 3)
    (tmp_path / "taken").write_text("a file")
    with ModelServer(latency=0) as server:
        write_settings(tmp_path, server)
        arguments = ["cases", "--arms", "single", "--output-dir", "taken"]
        failed = warm.run("eval", *arguments, cwd=tmp_path, text=True)
        assert failed.returncode == 2
        goes_on = r"; then continue with `swarm-graph (eval --resume eval-\S+ --output-dir taken)`"
        found = re.search(r"'\S*taken\S*'.*" + goes_on, failed.stderr)
        assert found
        assert failed.stderr.count("\n") == 3
        (tmp_path / "taken").unlink()
        unwritable = warm.run(*found[1].split(), "--output", "config.json", "--json", cwd=tmp_path, text=True)
        assert len(server.asked) == 3
    assert unwritable.returncode == 1
    assert json.loads(unwritable.stdout)["experiment"]["judged"] == 3
    again = re.search(r"config.json.*; `swarm-graph (.*) DIR` writes the report again\n$", unwritable.stderr)
    assert again
    shown = warm.run(*again[1].split(), "written", cwd=tmp_path, text=True)
    assert (tmp_path / "written" / "report.txt").read_text() == shown.stdout
    assert not (tmp_path / "swarm-output").exists()


def test_two_processes_do_not_work_on_one_experiment(tmp_path: Path) -> None:
    write_suite(tmp_path / "cases", 1)
    with ModelServer(held=True) as server:
        write_settings(tmp_path, server)
        first = started(tmp_path, "cases", "--arms", "single")
        wait_until_asked(server, 1, first)
        second = warm.run("eval", "--resume", cwd=tmp_path, text=True)
        assert second.returncode == 2
        assert re.search(r"experiment 'eval-\S+' is in use: another process works on it; wait", second.stderr)
        server.release("")
        first.communicate()
        assert first.returncode == 0


def test_a_resume_takes_the_servers_of_today_and_refuses_other_models(tmp_path: Path) -> None:
    write_suite(tmp_path / "cases", 2)
    stop = ["--max-calls", "1", "--max-sessions", "1", "--arms", "single"]
    with ModelServer(latency=0) as server:
        write_settings(tmp_path, server)
        assert warm.run("eval", "cases", *stop, cwd=tmp_path).returncode == 1
        settings = json.loads((tmp_path / "config.json").read_text())
        changed = {**settings, "agent_parameters": {"coder": {"temperature": 0.9}}}
        (tmp_path / "config.json").write_text(json.dumps(changed))
        refused = warm.run("eval", "--resume", cwd=tmp_path, text=True)
        assert refused.returncode == 2
        assert "the arm 'single' has other settings than when it began: the parameters of coder;" in (
            refused.stderr
        )
    with ModelServer(latency=0) as other:
        write_settings(tmp_path, other)
        test = tmp_path / "cases" / "case-0" / "hidden" / "test_hidden.py"
        text = test.read_text()
        test.write_text(text.replace("assert", "assert not"))
        refused = warm.run("eval", "--resume", cwd=tmp_path, text=True)
        assert (refused.returncode, "the suite 'cases' has changed" in refused.stderr) == (2, True)
        test.write_text(text)
        assert warm.run("eval", "--resume", cwd=tmp_path).returncode == 0
        assert len(other.asked) == 1
    assert all(trial.judged_at for trial in trials(tmp_path))


def test_the_plan_of_somebody_else_names_no_file(tmp_path: Path) -> None:
    write_suite(tmp_path / "cases", 2)
    (tmp_path / "strong.json").write_text((write_config(tmp_path)).read_text())
    arguments = ["--max-calls", "1", "--max-sessions", "1", "--arms", "single@strong.json"]
    assert warm.run("eval", "cases", *arguments, cwd=tmp_path).returncode == 1
    foreign = {**warm.ENVIRONMENT, "XDG_DATA_HOME": str(tmp_path / "other user")}
    refused = warm.run("eval", "--resume", cwd=tmp_path, env=foreign, text=True)
    assert refused.returncode == 2
    assert "was begun by somebody else, or elsewhere, and its plan names files" in refused.stderr
    named = ["cases", "--arms", "single@strong.json"]
    assert warm.run("eval", "--resume", "newest", *named, cwd=tmp_path, env=foreign).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["smok"], "no suite 'smok'"),
        ([], "no suite is given"),
        (["cases", "--arms", "fulll"], "did you mean 'full'?"),
        (["--resume", "eval-1"], "no experiment 'eval-1'"),
        (["--resume", "--cases", "3"], "--resume takes no --cases"),
        (["--show", "eval-1"], "no experiment 'eval-1'"),
        (["cases", "more/cases"], "two suites have the name 'cases'"),
        (["cases", "--arms", "single@several.json"], "leaves the model of 'coder' open"),
        (["cases", "--arms", "review_only"], "only reviews, and the case 'cases/case-0' asks for files"),
    ],
)
def test_wrong_usage_is_one_line_and_begins_nothing(
    arguments: list[str], problem: str, tmp_path: Path
) -> None:
    write_suite(tmp_path / "cases", 1)
    write_suite(tmp_path / "more" / "cases", 1)
    write_config(tmp_path)
    entry = {"model": "m", "api_type": "simulated"}
    several = {"a": entry, "b": entry, "coder": {"any_of": ["a", "b"]}}
    models = {"mode": "multi", "single_model": entry, "multi_model": several}
    (tmp_path / "several.json").write_text(json.dumps({"model_config": models}))
    Database(tmp_path / ".swarm" / "swarm.db").close()
    done = warm.run("eval", *arguments, cwd=tmp_path, text=True)
    assert done.returncode == 2
    assert problem in done.stderr
    assert done.stderr.count("\n") == 1
    with Database(tmp_path / ".swarm" / "swarm.db") as database:
        assert not Experiments(database).all()
        assert not Catalogue(database).sessions()


def test_python_gets_the_same_report_as_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_suite(tmp_path / "cases", 2, check="a.x is not None")
    monkeypatch.chdir(tmp_path)
    with ModelServer(latency=0) as server:
        write_settings(tmp_path, server)
        seen: list[tuple[int, int]] = []
        with pytest.warns(UserWarning, match=r"reached --max-calls 1 .*; 1 trial is left; resume='eval-"):
            evaluate(["cases"], ["single"], limits={"calls": 1}, max_sessions=1)
        evaluation = evaluate(
            arms=["single"], resume=True, on_trial=lambda _, done, total: seen.append((done, total))
        )
    assert seen == [(2, 2)]
    assert [(arm.name, arm.solved.count, arm.solved.of) for arm in evaluation.arms] == [("single", 2, 2)]
    assert warm.run("eval", "--show", text=True, cwd=tmp_path).stdout == evaluation.text()


def test_a_review_that_nobody_can_read_solves_nothing(tmp_path: Path) -> None:
    clean = {"request": "Review this module.", "assignment": "review", "clean": True}
    case = tmp_path / "cases" / "right"
    (case / "shown").mkdir(parents=True)
    (case / "case.yaml").write_text(json.dumps(clean))
    (case / "shown" / "a.py").write_text("x = 1\n")
    entry = {"model": "s", "api_type": "simulated"}
    scores = {}
    for broken in (0.0, 1.0):
        config = {"model_config": {"single_model": {**entry, "simulation": {"malformed_rate": broken}}}}
        (trial,) = evaluate(
            [str(tmp_path / "cases")],
            ["single"],
            config=config,
            data_dir=tmp_path / "data",
            output_dir=tmp_path / "output",
        ).trials
        assert trial.phase == "complete"
        scores[broken] = trial.score or {}
    assert scores[0.0]["alarms"] is not None
    assert (scores[1.0]["solved"], scores[1.0]["alarms"]) == (False, None)
    assert scores[1.0]["reason"] == "no reviewer has answered what can be read"
