"""An evaluation on trained weights, by the command line: it ends, and its figures are what its sessions did.

SmolLM2-135M solves next to nothing. Prompts are those of the program, answers are short.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import warm
from servers.llama import Llama
from servers.trained_model import NAME
from support import sandbox

from swarm_graph import SwarmManager
from swarm_graph.checkpoints.experiments import Experiments
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.state import AgentRole

pytestmark = pytest.mark.slow

MAX_TOKENS = 16
TESTS = "Answer with one fenced block: ```python path=tests/test_it.py\n---\n$request\n"
CODE = "Answer with one fenced block: ```python path=src/solution.py\n---\n$request\n"


def test_it_ends_honestly_on_a_model_that_cannot_do_the_work(trained: Llama, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    (prompts / "coder.md").write_text(CODE)
    (prompts / "tester.md").write_text(TESTS)
    parameters = {"temperature": 0.4, "seed": 7, "max_tokens": MAX_TOKENS}
    config = {
        "model_config": {"single_model": {"url": trained.url, "model": NAME, "timeout": 300}},
        "prompts_dir": str(prompts),
        "agent_parameters": dict.fromkeys(map(str, AgentRole), parameters),
        "execution": {"sandbox": sandbox()},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = warm.run(
        "eval", "humaneval", "--cases", "1", "--arms", "single,single:candidates=2", "--json", cwd=tmp_path,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)

    with open_checkpointer(tmp_path / ".swarm" / "swarm.db") as saver:
        (experiment,) = Experiments(saver.database).all()
        trials = Experiments(saver.database).trials(experiment.experiment)
        calls = {trial.session: saver.catalogue.calls(trial.session) for trial in trials}
    assert experiment.ended_at
    assert [trial.number for trial in trials] == [1, 2]
    for trial in trials:
        assert trial.calls == len(calls[trial.session])
        assert trial.output_tokens == sum(call["output_tokens"] for call in calls[trial.session])
        assert all(call["output_tokens"] <= MAX_TOKENS for call in calls[trial.session])
        assert trial.solved is not None
        if trial.phase == "failed":
            assert not trial.solved
            assert trial.error
    solved = {arm["name"]: arm["solved"]["count"] for arm in report["arms"]}
    assert solved == {
        name: sum(bool(trial.solved) for trial in trials if trial.arm == name) for name in solved
    }
    nodes = {call["node"] for made in calls.values() for call in made}
    assert {"tester", "coder", "coder_1", "coder_2"} >= nodes >= {"coder"}
    assert SwarmManager(data_dir=tmp_path / ".swarm").savings().left_out == 2
