"""The tables of experiments."""

from dataclasses import replace
from pathlib import Path

from swarm_graph.checkpoints.experiments import Experiment, Experiments, TrialRow
from swarm_graph.checkpoints.saver import open_checkpointer


def test_trials_come_back_as_they_were_recorded(tmp_path: Path) -> None:
    planned = [TrialRow("e1", number, "single", "smoke", f"c{number}", f"e1-{number}") for number in (2, 1)]
    judged = replace(
        planned[0], solved=False, score={"outcome": "failed"}, output_tokens=7, seconds=1.5, judged_at=2.0
    )
    with open_checkpointer(tmp_path / "swarm.db") as saver:
        experiments = Experiments(saver.database)
        experiments.begin(Experiment("e1", "eval", {"arms": ["single"]}, 1.0), planned)
        experiments.judge(judged)
        assert experiments.trials("e1") == [planned[1], judged]
        experiments.end("e1", "every case was tried")
        found = experiments.get("e1")
        assert found is not None
        assert (found.plan, found.ending) == ({"arms": ["single"]}, "every case was tried")
        assert experiments.all() == [found]
        assert experiments.get("e2") is None
