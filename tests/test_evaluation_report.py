"""The report of an evaluation: its figures, its sentences, and its four forms."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from swarm_graph.checkpoints.experiments import Experiment, Experiments, TrialRow
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.errors import InputError
from swarm_graph.experiments.eval_report import Evaluation
from swarm_graph.experiments.evaluate import recorded_evaluation
from swarm_graph.suites.score import Score

FAILED = "no model answered: connection refused"


def row(arm: str, case: str, came_to: Score | str | None, **figures: Any) -> TrialRow:
    """A trial that came to a score, to an error, or to nothing yet."""
    number = figures.pop("number", 1)
    known: dict[str, Any] = {"input_tokens": 900, "output_tokens": 100, "seconds": 2.0, "calls": 1, **figures}
    suite, _, name = case.rpartition("/")
    place = {"suite": suite or "smoke", "case": name, "session": f"e1-{number:04}"}
    trial: dict[str, Any] = {"experiment": "e1", "number": number, "arm": arm, **place}
    if came_to is None:
        return TrialRow(**trial)
    error = came_to if isinstance(came_to, str) else ""
    score = Score(False, "not_run", reason=error) if isinstance(came_to, str) else came_to
    return TrialRow(
        **trial, **known, solved=score.solved, score=score.to_dict(), error=error, judged_at=1.0,
        phase="failed" if error else "complete",
    )  # fmt: skip


def solved(yes: bool) -> Score:
    return Score(
        yes, "passed" if yes else "failed", 5 * yes, 2 * (not yes), reason="" if yes else "2 tests fail"
    )


def evaluation(
    results: Mapping[str, Sequence[Score | str | None]],
    *,
    api_type: str = "openai",
    limits: Any = None,
    **figures: Any,
) -> Evaluation:
    """An evaluation with the results of each arm, case by case; figures of an arm by `ARM=`."""
    arms = [
        {"name": arm, "workflow": arm.partition(":")[0], "model": "",
         "config": {"model_config": {"single_model": {"api_type": api_type}, "multi_model": {}}}}
        for arm in results
    ]  # fmt: skip
    trials = [
        row(arm, f"case-{place:02}", came_to, number=place * len(results) + turn + 1, **figures.get(arm, {}))
        for turn, (arm, column) in enumerate(results.items())
        for place, came_to in enumerate(column)
    ]
    trials.sort(key=lambda trial: trial.number)
    suites = [{"name": "smoke", "cases": 30, "chosen": len(trials) // len(results)}]
    return Evaluation(
        Experiment("e1", "eval", {"arms": arms, "suites": suites, "limits": limits or {}}, 1_796_000_000.0),
        tuple(trials),
    )


def columns(*counts: tuple[int, bool, bool]) -> dict[str, list[Score | str | None]]:
    """The results of two arms: how many cases, solved by `single`, solved by `standard`."""
    pairs = [(one, two) for count, one, two in counts for _ in range(count)]
    return {"single": [solved(one) for one, _ in pairs], "standard": [solved(two) for _, two in pairs]}


CLEAR = columns((6, True, True), (1, True, False), (11, False, True), (2, False, False))
"""7 of 20 against 17 of 20."""


# --- figures -------------------------------------------------------------------------------------


def test_an_arm_has_what_it_solved_and_what_that_took() -> None:
    single, standard = evaluation(CLEAR, single={"cost": 0.01}, standard={"input_tokens": 5900}).arms
    assert (single.name, single.solved.count, single.solved.of) == ("single", 7, 20)
    assert single.solved.interval is not None
    assert single.solved.interval.low == pytest.approx(0.154, abs=0.001)
    assert single.tokens is not None
    assert single.tokens.estimate == 20_000 / 7
    assert single.seconds is not None
    assert single.seconds.estimate == 40 / 7
    assert single.cost is not None
    assert single.cost.estimate == pytest.approx(0.2 / 7)
    assert standard.tokens is not None
    assert standard.tokens.estimate == 120_000 / 17
    assert standard.cost is None


def test_a_failed_session_has_solved_nothing_and_its_tokens_count() -> None:
    [arm] = evaluation({"single": [solved(True), FAILED, None]}).arms
    assert (arm.solved.count, arm.solved.of, arm.planned, arm.failed) == (1, 2, 3, 1)
    assert arm.tokens is not None
    assert (arm.tokens.estimate, arm.tokens.high) == (2000, None)


def test_an_arm_that_solves_nothing_has_no_figure_per_solved_case() -> None:
    report = evaluation({"single": [solved(False)] * 8})
    assert report.arms[0].tokens is None
    assert "none solved" in report.text()
    assert report.to_dict()["arms"][0]["tokens"] is None


def test_a_pair_is_compared_on_the_cases_that_both_have_tried() -> None:
    [pair] = evaluation(
        {
            "single": [*CLEAR["single"], None, solved(True)],
            "standard": [*CLEAR["standard"], solved(True), None],
        }
    ).pairs
    assert (pair.first, pair.other, pair.cases) == ("standard", "single", 20)
    assert (pair.won, pair.lost, pair.both, pair.tied) == (11, 1, 6, 8)
    assert pair.p == pytest.approx(2 * 13 / 2**12)
    assert pair.difference.estimate == 0.5


def test_the_p_of_several_pairs_are_corrected() -> None:
    alone = evaluation(CLEAR).pairs[0].p
    three = evaluation({**CLEAR, "full": CLEAR["standard"]}).pairs
    assert {(pair.first, pair.other): pair.p for pair in three} == pytest.approx(
        {("standard", "single"): 3 * alone, ("full", "single"): 3 * alone, ("full", "standard"): 1}
    )


def test_arms_without_a_common_case_are_no_pair() -> None:
    report = evaluation({"single": [solved(True), None], "standard": [None, solved(True)]})
    assert report.pairs == []
    assert "No difference" not in report.text()


def test_reviews_have_recall_precision_and_false_alarms() -> None:
    found = Score(True, "passed", found=True, alarms=1)
    missed = Score(False, "failed", found=False, alarms=0)
    wrong_place = Score(False, "failed", found=False, alarms=2)
    alarmed, quiet = Score(False, "failed", alarms=3), Score(True, "passed", alarms=0)
    document = Score(True, "passed", 3, found=True)
    first: list[Score | str | None] = [
        found,
        found,
        missed,
        wrong_place,
        alarmed,
        quiet,
        document,
        solved(True),
        FAILED,
    ]
    report = evaluation(
        {"single": first, "full": [found] * 4 + [quiet] * 2 + [document, solved(False), found]}
    )
    reviews = report.arms[0].reviews
    assert reviews is not None
    assert (reviews.recall.count, reviews.recall.of) == (3, 6), "the failed session has found nothing"
    assert (reviews.precision.count, reviews.precision.of) == (2, 4)
    assert (reviews.false_alarms.count, reviews.false_alarms.of) == (1, 2)
    assert reviews.wrong_findings == 7 / 6
    assert "A  precision       2 of 4  50 % (7 to 93)" in report.text()
    assert "A  wrong findings          1.2 per review" in report.text()
    assert evaluation(CLEAR).arms[0].reviews is None


# --- sentences -----------------------------------------------------------------------------------


def sentences(report: Evaluation) -> str:
    """The text without its line breaks."""
    return " ".join(report.text().split())


def test_a_shown_difference_is_said_with_its_size() -> None:
    report = evaluation(CLEAR, standard={"input_tokens": 6000})
    assert (
        "standard solved more than single (17 of 20 against 7; difference 50 points, 17 to 73; p = 0.006). "
        "Compared with single, standard used 6.1 times the tokens (6.1 to 6.1), "
        "1.00 times the seconds (1.00 to 1.00)."
    ) in sentences(report)


def test_the_better_arm_comes_first_though_it_is_the_first_of_the_plan() -> None:
    turned = {"single": CLEAR["standard"], "standard": CLEAR["single"]}
    assert (
        "single solved more than standard (17 of 20 against 7; difference 50 points, 17 to 73;"
        in sentences(evaluation(turned))
    )


def test_no_difference_is_said_with_what_could_have_been_shown() -> None:
    equal = evaluation(columns((10, True, True), (1, True, False), (3, False, True), (6, False, False)))
    assert (
        "No difference shown between standard and single (13 of 20 against 11; difference 10 points,"
        in sentences(equal)
    )
    assert re.search(r"p = 0\.625\)\. 20 cases can show a difference of about 4\d points\.", sentences(equal))
    few = evaluation(columns((1, False, True), (2, True, True)))
    assert "3 cases cannot show any difference." in sentences(few)


def test_a_missing_or_simulated_experiment_says_so_in_every_form() -> None:
    report = evaluation(
        {"single": [solved(True), None], "standard": [None, None]},
        api_type="simulated",
        limits={"tokens": 900},
    )
    notes = (
        "Simulated: no model was asked, every answer is invented.",
        "Unfinished: 3 of 4 trials missing (1,000 tokens are used, the limit is 900). "
        "The figures will change. Go on with swarm-graph eval --resume e1",
    )
    for note in notes:
        assert note in sentences(report)
        assert note in report.to_html()
        assert note in report._repr_html_()
        assert note in report.to_dict()["experiment"]["notes"]
    assert {line["simulated"] for line in csv.DictReader(io.StringIO(report.to_csv()))} == {"1"}
    assert evaluation(CLEAR).notes == []


# --- forms ---------------------------------------------------------------------------------------


def test_the_text_fits_80_columns_and_names_the_sessions() -> None:
    names = (
        "single",
        "single:candidates=4:max_iterations=3 · qwen3-coder-30b-a3b-instruct",
        "full@strong.json",
    )
    report = evaluation(
        {name: [solved(place % 3 > turn) for place in range(30)] for turn, name in enumerate(names)}
    )
    text = report.text()
    assert max(map(len, text.splitlines())) <= 80
    assert "smoke/case-04  +  -  -\n" in text
    assert "smoke/case-04\n  B  e1-0014  2 tests fail\n" in text
    assert "… and 40 more; the JSON form has all of them." in text


def test_many_arms_fit_80_columns_and_only_their_shown_differences_are_told() -> None:
    names = [f"standard@{'long-' * 8}{place:02}.json" for place in range(12)]
    report = evaluation(
        {name: [FAILED, *[solved(place == 0)] * 29] for place, name in enumerate(names)},
    )
    for arm in report.experiment.plan["arms"]:
        arm["model"] = "qwen3-coder-30b-a3b-instruct-q8_0"
    assert max(map(len, report.text().splitlines())) <= 80
    assert "Model of A, B, C, D, E, F, G, H, I, J, K, L: qwen3-coder-30b-a3b-instruct-q8_0" in sentences(
        report
    )
    assert len(report.pairs) == 66
    assert report.verdict.count("solved more than") == 11
    assert report.verdict.endswith("\nNo difference shown between the arms of 55 other pairs.")
    assert "the arms of 55 other pairs." in sentences(report)
    assert "the arms of 55 other pairs." in report.to_html()


def test_an_arm_that_has_no_trial_yet_is_shown_in_all_forms() -> None:
    results: dict[str, list[Score | str | None]] = {
        "single": [solved(True), solved(False)],
        "full": [],
        "standard": [solved(True), None],
    }
    report = evaluation(results)
    assert "The arms have tried different cases: compare their pairs, not their shares." in report.notes
    assert "none tried" in report.text()
    assert "none tried" in report.to_html()
    assert json.dumps(report.to_dict(), allow_nan=False)


def test_arms_that_differ_on_every_case_can_still_show_a_difference() -> None:
    report = evaluation(columns((10, True, False), (10, False, True)))
    assert "20 cases can show a difference of about 37 points." in sentences(report)


def test_many_cases_are_only_counted_where_all_arms_agree() -> None:
    text = evaluation(columns((50, True, True), (30, False, False), (2, True, False))).text()
    assert "80 cases with the same result in all arms are left out: 50 solved, 30 not.\n" in text
    assert "\nsmoke/case-80  +  -\nsmoke/case-81  +  -\n" in text
    assert "smoke/case-00" not in text


def test_the_csv_has_a_row_for_each_trial_and_no_formula() -> None:
    evil = '=HYPERLINK("http://evil")'
    report = evaluation({evil: [solved(True), evil, None]})
    rows = [*csv.DictReader(io.StringIO(report.to_csv()))]
    assert [line["outcome"] for line in rows] == ["solved", "failed", "not judged"]
    assert [line["solved"] for line in rows] == ["1", "0", ""]
    assert rows[0]["arm"] == rows[1]["reason"] == f"'{evil}"
    assert list(rows[0]) == [
        "experiment", "number", "arm", "workflow", "model", "simulated", "suite", "case", "session",
        "outcome", "solved", "tests_passed", "tests_failed", "found", "alarms", "calls", "input_tokens",
        "output_tokens", "cost", "seconds", "phase", "reason",
    ]  # fmt: skip


def test_the_json_is_one_document_with_arms_pairs_and_trials() -> None:
    found = json.loads(evaluation(CLEAR).to_json())
    assert set(found) == {"experiment", "arms", "pairs", "trials"}
    assert found["arms"][0]["solved"] == {
        "count": 7,
        "of": 20,
        "interval": pytest.approx({"estimate": 0.35, "low": 0.154, "high": 0.592}, abs=0.001),
    }
    assert found["arms"][0]["workflow"] == "single"
    assert found["pairs"][0]["difference"]["estimate"] == 0.5
    assert found["trials"][0]["result"] == "solved"
    assert json.dumps(found, allow_nan=False)


def test_the_page_is_one_file_without_scripts_and_shows_names_as_text() -> None:
    evil = "<script>alert(1)</script>"
    page = evaluation({evil: [solved(True), evil], "standard": [solved(False)]}).to_html()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    for forbidden in ("<script", " style=", " src=", "url(", " href=", "onload="):
        assert forbidden not in page
    assert 'class="interval"' in page
    assert re.findall("<h([1-6])", page)[:3] == ["1", "2", "2"]


def test_figures_are_drawn_where_they_are() -> None:
    page = evaluation(CLEAR).to_html()
    assert '<circle cx="35.00%"' in page, "7 of 20"
    assert '<circle cx="75.00%"' in page, "a difference of 50 points, on a scale from -100 to 100"
    nothing = evaluation({"single": [solved(False)] * 3}).to_html()
    assert nothing.count("<circle") == 1, "the share has a dot, and what no case took has none"


def test_the_same_trials_give_the_same_report() -> None:
    assert evaluation(CLEAR).to_json() == evaluation(CLEAR).to_json()
    assert evaluation(CLEAR).text() == evaluation(CLEAR).text()


def test_an_ab_test_is_not_reported_before_its_planned_looks(tmp_path: Path) -> None:
    with open_checkpointer(tmp_path / "swarm.db") as saver:
        Experiments(saver.database).begin(
            Experiment("ab-1", "ab", {}, 1.0), [row("single", "case-1", solved(True))]
        )
    with pytest.raises(InputError, match="'ab-1' is an A/B test"):
        recorded_evaluation(tmp_path, "ab-1")
