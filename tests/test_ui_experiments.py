"""The pages of experiments: the list, the trials, and what is not told before an A/B test has ended."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from recorded_experiments import ab_plan, record
from support import Crew, config, thread
from test_ui_pages import SCRIPT, seen, visited

from swarm_graph.checkpoints.experiments import Experiments
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.roles.run import RunOptions
from swarm_graph.state import DATA_DIR, DATABASE
from swarm_graph.workflows.build import build_graph

ARMS = ("single", "full")
REASON = f"1 of 3 hidden tests failed {SCRIPT}"
CASES = [f"case-{number:03}" for number in range(75)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiments")
    (folder / DATA_DIR).mkdir()
    with open_checkpointer(folder / DATA_DIR / DATABASE) as saver:
        experiments = Experiments(saver.database)
        shared: dict[str, Any] = {"arms": ARMS, "cases": CASES, "reason": REASON}
        record(experiments, "e-1", "eval", judged=150, **shared)
        experiments.end("e-1", "all trials are judged")
        record(experiments, "ab-1", "ab", judged=50, plan=ab_plan(ARMS, len(CASES)), **shared)
    return folder


def test_the_list_and_an_experiment_show_what_is_kept(folder: Path) -> None:
    with visited(folder, "--simulate") as client:
        listed = seen(client.get("/experiments"))
        assert "e-1 evaluation 150 of 150 all trials are judged" in listed
        assert "ab-1 A/B test 50 of 150 not yet" in listed
        page = client.get("/experiments/e-1")
        shown = seen(page)
        assert "0 of 75" in shown
        assert "full solved more than single (75 of 75 against 0;" in shown
        assert "smoke/case-000 not solved e-1-0001 1 of 3 hidden tests failed" in shown
        assert 'href="/sessions/e-1-0150"' in page.text
        assert "there is no experiment 'nothing'" in seen(client.get("/experiments/nothing"), 404).lower()


def test_an_a_b_test_tells_nothing_before_it_has_ended(folder: Path) -> None:
    with visited(folder, "--simulate") as client:
        running = seen(client.get("/experiments/ab-1"))
        assert "50 of 150 trials judged" in running
        assert [word for word in ("solved", "tests failed", "1,234") if word in running] == []
        with open_checkpointer(folder / DATA_DIR / DATABASE) as saver:
            Experiments(saver.database).end("ab-1", "full is better")
        ended = seen(client.get("/experiments/ab-1"))
        assert "full is better. Solved: single 0 of 25, full 25 of 25;" in ended
        assert "model_config.single_model.model llama gpt" in ended
        assert "ab-1-0001 smoke/case-000 single not solved 1,234 2.5 1 of 3 hidden tests failed" in ended
        assert "ab-1-0101" not in ended
        assert "ab-1-0150" in seen(client.get("/experiments/ab-1?from=100"))
        assert "ab-1 A/B test 50 of 150 full is better" in seen(client.get("/experiments"))


def test_the_list_of_sessions_leaves_trials_out_unless_asked(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    with open_checkpointer(tmp_path / DATA_DIR / DATABASE) as saver:
        for session, experiment in (("mine", ""), ("e-1-0001", "e-1"), ("ab-1-0001", "ab-1")):
            graph = build_graph("single", config=config(), checkpointer=saver)
            context = RunOptions(**vars(Crew().context), experiment=experiment)
            graph.invoke({"request": "Write it"}, thread(session), context=context)
    with visited(tmp_path, "--simulate") as client:
        shown = {
            query: set(re.findall(r'href="/sessions/([^"]+)"', client.get(f"/?{query}").text))
            for query in ("", "experiment=e-1", "experiment=all")
        }
    assert shown == {
        "": {"mine"},
        "experiment=e-1": {"e-1-0001"},
        "experiment=all": {"mine", "e-1-0001", "ab-1-0001"},
    }


def test_without_an_experiment_the_list_says_how_to_begin(tmp_path: Path) -> None:
    with visited(tmp_path, "--simulate") as client:
        assert "swarm-graph eval smoke" in seen(client.get("/experiments"))


def test_a_page_of_an_evaluation_is_computed_again_when_a_trial_is_judged(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    with (
        open_checkpointer(tmp_path / DATA_DIR / DATABASE) as saver,
        visited(tmp_path, "--simulate") as client,
    ):
        experiments = Experiments(saver.database)
        trial = experiments.trials("e-1")[0]
        assert "0 of 75" in seen(client.get("/experiments/e-1"))
        experiments.judge(replace(trial, solved=True))
        assert "0 of 75" in seen(client.get("/experiments/e-1"))  # nothing was judged since
        experiments.judge(replace(trial, solved=True, judged_at=3.0))
        assert "1 of 75" in seen(client.get("/experiments/e-1"))


def test_an_a_b_test_whose_trials_are_not_those_of_its_plan_is_a_problem_in_words(tmp_path: Path) -> None:
    (tmp_path / DATA_DIR).mkdir()
    with open_checkpointer(tmp_path / DATA_DIR / DATABASE) as saver:
        experiments = Experiments(saver.database)
        for name, judged, arms in (("renamed", 12, ("a", "b")), ("early", 0, ARMS)):
            plan = ab_plan(ARMS, 6)
            record(experiments, name, "ab", arms=arms, cases=CASES[:6], judged=judged, plan=plan)
            experiments.end(name, "full is better")
        record(experiments, "none", "ab", arms=ARMS, cases=CASES[:6], judged=12)
        experiments.end("none", "full is better")
    with visited(tmp_path, "--simulate") as client:
        for name in ("renamed", "early"):
            assert "are not those that its plan names" in seen(client.get(f"/experiments/{name}"), 503)
        assert "The recorded plan of 'none' cannot be read" in seen(client.get("/experiments/none"), 503)
