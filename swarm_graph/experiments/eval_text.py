"""The report of an evaluation as text: tables of arms and pairs, sentences, and all trials."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import fill

from swarm_graph.checkpoints.experiments import TrialRow
from swarm_graph.experiments.eval_figures import CaseId, ReviewFigures, Share, case_id
from swarm_graph.experiments.eval_results import EvalResults, reason_of, result_of
from swarm_graph.experiments.eval_words import (
    count_text,
    difference_text,
    estimate_text,
    p_text,
    pair_text,
    share_text,
    spending_text,
    tenths,
    whole,
)
from swarm_graph.text import (
    cut,
    format_cost,
    in_one_line,
    local_time,
    printable,
    text_table,
    without_empty_columns,
)

WIDTH = 80
MAX_NAME = 36
"""Characters of an arm's or a case's name in a table."""
MAX_CASES = 60
"""With more cases, those with the same result in all arms are only counted."""
MAX_REASONS = 20
"""Trials that are not solved whose reasons are listed."""
MARKS = {"solved": "+", "not solved": "-", "failed": "x", "not judged": "."}


def evaluation_text(evaluation: EvalResults) -> str:
    """The report as text."""
    return "\n".join(part for part in _parts(evaluation) if part)


def _parts(evaluation: EvalResults) -> Iterator[str]:
    experiment = evaluation.experiment
    yield _paragraph(
        f"Experiment {experiment.experiment}, begun {local_time(experiment.created_at)}: "
        f"{evaluation.source}, {evaluation.judged} of {len(evaluation.trials)} trials judged"
    ) + "".join(map(_paragraph, evaluation.notes))
    yield _arms(evaluation)
    yield _spending(evaluation)
    yield _suites(evaluation)
    yield _reviews(evaluation)
    yield _pairs(evaluation)
    yield _cases(evaluation)
    yield _reasons(evaluation)


def letters(evaluation: EvalResults) -> dict[str, str]:
    """A letter for each arm, for narrow tables: A to Z, then AA."""
    names = [arm.name for arm in evaluation.arms]
    return {name: _letter(place) for place, name in enumerate(names)}


def _letter(place: int) -> str:
    above, rest = divmod(place, 26)
    return (_letter(above - 1) if above else "") + chr(ord("A") + rest)


def _paragraph(text: str, indent: str = "") -> str:
    text = printable(in_one_line(text))
    return f"{fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)}\n"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return text_table(*without_empty_columns(heads, rows)) if rows else ""


def _arms(evaluation: EvalResults) -> str:
    marks = letters(evaluation)
    rows = [
        (
            marks[arm.name],
            _name(arm.name),
            *_share_cells(arm.solved),
            str(arm.failed or ""),
        )
        for arm in evaluation.arms
    ]
    return _table((" ", "arm", "solved", "share, 95 %", "failed"), rows) + _models(evaluation)


def _models(evaluation: EvalResults) -> str:
    """The models of the arms whose names do not say theirs, a line for each model."""
    arms_of: dict[str, list[str]] = {}
    for name, mark in letters(evaluation).items():
        if (model := str(evaluation.plan_of(name).get("model", ""))) not in name:
            arms_of.setdefault(model, []).append(mark)
    return "".join(_paragraph(f"Model of {', '.join(marks)}: {model}") for model, marks in arms_of.items())


def _name(name: str) -> str:
    return cut(printable(in_one_line(name)), MAX_NAME)


def _share_cells(share: Share) -> tuple[str, str]:
    return count_text(share), share_text(share)


def _spending(evaluation: EvalResults) -> str:
    marks, has_cost = letters(evaluation), any(arm.cost for arm in evaluation.arms)
    rows = [
        (
            marks[arm.name],
            estimate_text(arm.tokens, whole),
            estimate_text(arm.seconds, tenths),
            estimate_text(arm.cost, format_cost, "-") if has_cost else "",
        )
        for arm in evaluation.arms
        if arm.solved.of
    ]
    return _table((" ", "tokens per solved case", "seconds per solved case", "cost per solved case"), rows)


def _suites(evaluation: EvalResults) -> str:
    marks = letters(evaluation)
    names = dict.fromkeys(suite for arm in evaluation.arms for suite in arm.suites)
    rows = [
        (_name(suite), marks[arm.name], *_share_cells(arm.suites[suite]))
        for suite in names
        for arm in evaluation.arms
        if suite in arm.suites
    ]
    return _table(("suite", " ", "solved", "share, 95 %"), rows) if len(names) > 1 else ""


def _reviews(evaluation: EvalResults) -> str:
    marks = letters(evaluation)
    rows = [
        (marks[arm.name], *row) for arm in evaluation.arms if arm.reviews for row in _review_rows(arm.reviews)
    ]
    return _table((" ", "reviews", "cases", "share, 95 %", ""), rows)


def _review_rows(reviews: ReviewFigures) -> list[tuple[str, ...]]:
    shares = [
        ("recall", reviews.recall, "planted bugs that it found"),
        ("precision", reviews.precision, "grave reviews that name the bug"),
        ("false alarms", reviews.false_alarms, "grave reviews of correct code"),
    ]
    rows: list[tuple[str, ...]] = [(name, *_share_cells(share), words) for name, share, words in shares]
    if reviews.wrong_findings is None:
        return rows
    count = f"{tenths(reviews.wrong_findings)} per review"
    return [*rows, ("wrong findings", "", count, "grave ones elsewhere")]


def _pairs(evaluation: EvalResults) -> str:
    if not evaluation.pairs:
        return ""
    marks = letters(evaluation)
    rows = [
        (
            f"{marks[pair.first]} - {marks[pair.other]}",
            str(pair.cases),
            str(pair.won),
            str(pair.lost),
            str(pair.tied),
            difference_text(pair.difference),
            p_text(pair.p).removeprefix("p = ").removeprefix("p "),
        )
        for pair in evaluation.pairs
    ]
    heads = ("pair", "cases", "won", "lost", "tied", "difference, 95 %", "p")
    corrected = ", corrected for all pairs (Holm)" if len(rows) > 1 else ""
    how = f"p is that of McNemar's exact test{corrected}; it decides. The interval only shows the size."
    sentences = [f"{pair_text(pair)} {spending_text(pair)}" for pair in evaluation.told_pairs]
    sentences += [evaluation.untold] if evaluation.untold else []
    return _table(heads, rows) + _paragraph(how) + "\n" + "".join(_paragraph(one, "  ") for one in sentences)


# --- trials --------------------------------------------------------------------------------------


def _cases(evaluation: EvalResults) -> str:
    marks = letters(evaluation)
    shown = {
        case: {arm: MARKS[result_of(trial)] for arm, trial in trials.items()}
        for case, trials in evaluation.results.items()
    }
    same = (
        {case for case, found in shown.items() if len({*found.values()}) == 1}
        if len(shown) > MAX_CASES
        else set()
    )
    rows = [
        (_name("/".join(case)), *(found.get(arm, "") for arm in marks))
        for case, found in shown.items()
        if case not in same
    ]
    left_out = (
        f"{len(same)} cases with the same result in all arms are left out: "
        f"{sum('+' in shown[case].values() for case in same)} solved, "
        f"{sum('+' not in shown[case].values() for case in same)} not.\n"
    )  # fmt: skip
    legend = ", ".join(f"{mark} {words}" for words, mark in MARKS.items())
    return f"{text_table(('case', *marks.values()), rows)}{legend}\n{left_out if same else ''}"


def _reasons(evaluation: EvalResults) -> str:
    marks = letters(evaluation)
    trials = [trials[arm] for trials in evaluation.results.values() for arm in marks if arm in trials]
    unsolved = [trial for trial in trials if trial.judged_at is not None and not trial.solved]
    more = len(unsolved) - MAX_REASONS
    note = f"… and {more} more; the JSON form has all of them.\n" if more > 0 else ""
    by_case: dict[CaseId, list[TrialRow]] = {}
    for trial in unsolved[:MAX_REASONS]:
        by_case.setdefault(case_id(trial), []).append(trial)
    lines = [
        f"{_name('/'.join(case))}\n{''.join(_reason(trial, marks[trial.arm]) for trial in trials)}"
        for case, trials in by_case.items()
    ]
    return f"Not solved, with the session to look at:\n{''.join(lines)}{note}" if unsolved else ""


def _reason(trial: TrialRow, mark: str) -> str:
    return f"{cut(f'  {mark}  {trial.session}  {printable(in_one_line(reason_of(trial)))}', WIDTH)}\n"
