"""The tables of experiments."""

from dataclasses import replace
from pathlib import Path

import pytest

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.experiments import Experiment, Experiments, TrialRow
from swarm_graph.checkpoints.model_evidence import read_evidence
from swarm_graph.checkpoints.open_database import open_database
from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.checkpoints.session_list import ListQuery, experiments_of_sessions, session_list
from swarm_graph.checkpoints.signatures import sign
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.errors import InputError
from swarm_graph.reports.comparison import compare
from swarm_graph.reports.listing import session_rows


def test_trials_come_back_as_they_were_recorded(place: str | Path, tmp_path: Path) -> None:
    planned = [TrialRow("e1", number, "single", "smoke", f"c{number}", f"e1-{number}") for number in (2, 1)]
    judged = replace(
        planned[0], solved=False, score={"outcome": "failed"}, output_tokens=7, seconds=1.5, judged_at=2.0
    )
    with open_checkpointer(place, data_dir=tmp_path) as saver:
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


def add_session(catalogue: Catalogue, name: str, experiment: str, begun: float, seconds: float) -> None:
    """A complete session with one run."""
    session = Session(name, "single", "x", {}, "complete", begun, begun, output="o", experiment=experiment)
    run = catalogue.begin_run(session, "begin")
    with catalogue.database.transaction() as cursor:
        cursor.execute(
            "UPDATE runs SET started_at = ?, ended_at = ?, phase = 'complete' WHERE id = ?",
            (begun, begun + seconds, run),
        )


def test_trials_are_no_part_of_the_lists_and_medians_of_ordinary_sessions(
    place: str | Path, tmp_path: Path
) -> None:
    with open_database(place, tmp_path) as database:
        catalogue = Catalogue(database)
        for number in range(4):
            add_session(catalogue, f"s{number}", "", 100.0 * number, 10.0)
            add_session(catalogue, f"t{number}", "e1", 100.0 * number, 1.0)
        add_session(catalogue, "u", "e2", 900.0, 1.0)
        assert catalogue.usual_seconds("single", {}) == 10.0
        assert {one.session for one in catalogue.sessions(experiment="")} == {"s0", "s1", "s2", "s3"}
        assert len(catalogue.sessions()) == 9
        listed = {
            experiment: {row.session[0] for row in session_list(catalogue, query, 50).rows}
            for experiment in ("", "e1", "e2", "all")
            for query in [ListQuery(experiment=experiment)]
        }
        assert listed == {"": {"s"}, "e1": {"t"}, "e2": {"u"}, "all": {"s", "t", "u"}}
        assert experiments_of_sessions(catalogue) == ["e2", "e1"]


def test_the_time_of_an_experiment_counts_sessions_side_by_side_once(
    place: str | Path, tmp_path: Path
) -> None:
    with open_database(place, tmp_path) as database:
        catalogue = Catalogue(database)
        for name, begun, seconds in (("a", 0.0, 10.0), ("b", 2.0, 3.0), ("c", 8.0, 4.0), ("d", 100.0, 5.0)):
            add_session(catalogue, name, "e1", begun, seconds)
        add_session(catalogue, "z", "", 50.0, 20.0)
        assert Experiments(database).seconds("e1") == 12.0 + 5.0
        assert Experiments(database).seconds("e2") == 0.0


def test_no_list_tells_what_the_trials_of_an_open_a_b_test_have_shown(
    place: str | Path, tmp_path: Path
) -> None:
    trials = [TrialRow("t", number, "a", "smoke", f"c{number}", f"t-{number}") for number in (1, 2)]
    with open_checkpointer(place, data_dir=tmp_path) as saver:
        experiments, catalogue = Experiments(saver.database), saver.catalogue
        experiments.begin(Experiment("t", "ab", {}, 1.0), trials)
        for trial in trials:
            add_session(catalogue, trial.session, "t", 5.0, 1.0)
            sign(catalogue, trial.session)
            experiments.judge(replace(trial, solved=True, judged_at=6.0))
        with saver.database.transaction() as cursor:
            cursor.execute("UPDATE sessions SET approved = 1")
            cursor.execute(
                "INSERT INTO calls (session, call, role, model, server, input_tokens, output_tokens, cost) "
                "SELECT session, 1, 'coder', 'm', 'http://127.0.0.1', 1, 1, 0 FROM sessions"
            )
        assert told(saver) == ([None, None], ["", ""], 0, set())
        with pytest.raises(InputError, match="'t' is an A/B test that has not ended"):
            compare(saver, catalogue.sessions())
        experiments.end("t", "no difference shown")
        assert told(saver) == ([True, True], ["approved", "approved"], 2, {"coder"})


def told(saver: SwarmSaver) -> tuple[list[bool | None], list[str], int, set[str]]:
    """The verdicts in the page's list and in the command's, how many are found by verdict, and the roles of
    which outcomes are known."""
    catalogue = saver.catalogue
    return (
        [row.approved for row in session_list(catalogue, ListQuery(experiment="t"), 9).rows],
        [row["verdict"] for row in session_rows(catalogue, catalogue.sessions())],
        session_list(catalogue, ListQuery(experiment="t", verdict="approved"), 9).total,
        {role for role, *_ in read_evidence(catalogue).outcomes},
    )
