"""Model choice on simulated models of known skill, end to end: an evaluation, then sessions that choose."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from support import thread

from swarm_graph import build_graph
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.config import SwarmConfig, load_config
from swarm_graph.experiments.evaluate import evaluate
from swarm_graph.sessions.ids import open_catalogue
from swarm_graph.state import DATABASE
from swarm_graph.suites.case import Case, Suite
from swarm_graph.suites.known_answers import write_answers

SKILLS = {"weak": 0.35, "middle": 0.50, "strong": 0.62}
EVALUATED, SESSIONS = 8, 50


def case(number: int) -> Case:
    request = f"Write src/a.py with a function answer that returns {number}."
    right, wrong = ({"src/a.py": f"def answer() -> int:\n    return {value}\n"} for value in (number, -1))
    hidden = f"from src.a import answer\n\n\ndef test_answer() -> None:\n    assert answer() == {number}\n"
    tests = {"tests/test_a.py": hidden}
    return Case("numbers", f"c{number}", request, tests, solution=right, wrong=(wrong,))


def configuration(answers: Path) -> SwarmConfig:
    """The coder may have one of three simulated models; the first named is the worst."""
    entries: dict[str, Any] = {
        name: {
            "model": name,
            "api_type": "simulated",
            "simulation": {"skill": skill, "answers": str(answers), "seed": 1},
        }
        for name, skill in SKILLS.items()
    }
    models = {"mode": "multi", "multi_model": {**entries, "coder": {"any_of": [*entries]}}}
    return load_config({"model_config": models}, environ={})


def solved(config: SwarmConfig, suite: Suite, folder: Path | None = None) -> int:
    """How many of fifty sessions answer right; with a folder they know what its database knows."""
    right = 0
    with open_checkpointer(folder / DATABASE) if folder else nullcontext() as saver:
        graph = build_graph("single", config=config, checkpointer=saver)
        for number, one in enumerate(suite.cases[:SESSIONS]):
            state = graph.invoke({"request": one.request}, thread(f"chosen-{number}"))
            right += state["code"] == one.solution
    return right


@pytest.mark.slow
def test_after_an_evaluation_fifty_sessions_solve_what_the_best_model_solves(tmp_path: Path) -> None:
    suite = Suite("numbers", "made here", tuple(map(case, range(SESSIONS + EVALUATED))))
    config = configuration(write_answers([suite], tmp_path))
    measured = Suite("numbers", "made here", suite.cases[SESSIONS:])
    evaluate(
        measured, ["single"], config=config, models=[*SKILLS], data_dir=tmp_path, output_dir=tmp_path / "out"
    )
    best = solved(config.with_choices({"coder": "strong"}), suite)
    chosen = solved(config, suite, tmp_path)
    assert chosen >= 0.95 * best > 0.5 * SESSIONS
    with open_catalogue(tmp_path) as catalogue:
        asked = {call["model"] for call in catalogue.calls("chosen-0")}
        reason = catalogue.sessions()[0].config["model_config"]["multi_model"]["coder"]["reason"]
    assert asked == {"strong"}
    assert "of 8 solved" in reason
    assert "explore" not in reason
