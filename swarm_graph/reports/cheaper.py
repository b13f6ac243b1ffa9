"""What a cheaper configuration would have cost, recomputed from the records of sessions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swarm_graph.reports.past_session import PastSession
from swarm_graph.reports.spent import Spent
from swarm_graph.state import candidate_name
from swarm_graph.text import duration, format_cost, format_count

SAME_CALLS = "assumes that the other calls stay the same"


@dataclass(frozen=True)
class Reviewer:
    """What a reviewer found.

    Attributes:
        node: Its node.
        reviews: Its reviews.
        empty: Those without a finding.
        findings: Its findings.
        own: Those that no other reviewer of the round had.
        grave: Those of `own` that are critical or major.
        sole: The rounds that it alone did not approve.
        spent: What its calls spent.
    """

    node: str
    reviews: int
    empty: int
    findings: int
    own: int
    grave: int
    sole: int
    spent: Spent


@dataclass(frozen=True)
class Alternative:
    """A cheaper configuration.

    Attributes:
        name: What it would change.
        saves: What its calls would not have spent; of other prices only the cost.
        assumes: What the figures assume.
        loses: What would have been lost, in words.
    """

    name: str
    saves: Spent
    assumes: str
    loses: str

    def saved(self, total: Spent) -> str:
        """What it saves of all that was spent, in words: tokens with their share, seconds, cost."""
        parts = []
        if self.saves.calls:
            share = f" ({self.saves.tokens / total.tokens:.0%})" if total.tokens else ""
            parts += [f"{self.saves.tokens:,} tokens{share}", duration(self.saves.seconds)]
        if self.saves.cost:
            parts.append(f"{format_cost(self.saves.cost)} of the cost of {format_cost(total.cost)}")
        return ", ".join(parts) or "nothing"

    def line(self, total: Spent) -> str:
        """What it saves, what that assumes, and what would have been lost, in a line."""
        return f"{self.name}: saves {self.saved(total)}; {self.assumes}; loses {self.loses}"


def alternatives(
    sessions: Sequence[PastSession], reviewers: Iterable[Reviewer], spent: Spent
) -> list[Alternative]:
    """Cheaper configurations, each with what it assumes and what would have been lost.

    Args:
        sessions: The sessions.
        reviewers: What their reviewers found.
        spent: What they spent together.
    """
    return [
        *map(_without, reviewers),
        *_one_round_less(sessions),
        *_one_candidate(sessions),
        *_single(sessions),
        *_other_prices(sessions, spent),
    ]


def prices(sessions: Iterable[PastSession]) -> dict[str, tuple[float, float]]:
    """The prices of a million tokens of prompts and of answers, by model, as configured last."""
    return {
        label: pair for past in sessions for label, pair in _prices_in(past.row.config.get("model_config"))
    }


def _without(one: Reviewer) -> Alternative:
    grave = f"{one.grave} of them critical or major"
    return Alternative(
        f"without {one.node}",
        one.spent,
        SAME_CALLS,
        "; ".join(
            [
                *([f"{format_count(one.own, 'finding')} that only it had, {grave}"] if one.own else ()),
                *([f"{format_count(one.sole, 'round')} that it alone did not approve"] if one.sole else ()),
            ]
        )
        or "nothing that is recorded",
    )


def _one_round_less(sessions: Iterable[PastSession]) -> Iterable[Alternative]:
    """Sessions that used all their rounds, without the last one."""
    used = [past for past in sessions if past.last_round >= 2 and past.last_round == past.max_rounds]
    if not used:
        return
    calls = (
        call
        for past in used
        for call in (*past.of_round(past.last_round), *past.before_round(past.last_round))
    )
    approved = sum(past.row.approved is True for past in used)
    passed = sum(past.first_pass == past.last_round for past in used)
    yield Alternative(
        f"max_iterations one less ({format_count(len(used), 'session')} with all rounds used)",
        Spent.of(calls),
        SAME_CALLS,
        f"{format_count(approved, 'approval')} and {passed} first passes of the tests in that round",
    )


def _one_candidate(sessions: Iterable[PastSession]) -> Iterable[Alternative]:
    """Sessions with several candidates, with the first one alone; their tester stays."""
    several = [past for past in sessions if past.rounds_with_candidates]
    if not several:
        return
    others = (
        call
        for past in several
        for number in past.rounds_with_candidates
        for call in past.of_candidates(number)
        if call.node != candidate_name(1)
    )
    choices = [past.chosen for past in several if past.chosen]
    better = sum(one["number"] != 1 for one in choices)
    yield Alternative(
        f"candidates: 1 ({format_count(len(several), 'session')} with several)",
        Spent.of(others),
        SAME_CALLS,
        f"the choice of another candidate than the first, last made in {better} of "
        f"{format_count(len(choices), 'session')}",
    )


def _single(sessions: Iterable[PastSession]) -> Iterable[Alternative]:
    """Each session's first answer of the coder, and nothing else."""
    replaced = [past for past in sessions if past.first_answer and past.row.workflow != "single"]
    if not replaced:
        return
    spent = Spent.of(call for past in replaced for call in past.calls if call.is_latest)
    kept = Spent.of(call for past in replaced for call in past.first_answer)
    approved = sum(past.row.approved is True for past in replaced)
    tested = [past for past in replaced if past.tests]
    late = sum((past.first_pass or 0) > 1 for past in tested)
    tests = f"; {late} of {format_count(len(tested), 'tested session')} whose tests passed only later"
    yield Alternative(
        f"workflow single ({format_count(len(replaced), 'session')})",
        spent - kept,
        "assumes that the coder answers the same without requirements and design",
        f"{format_count(approved, 'approval')}, as single has no verdict{tests if tested else ''}",
    )


def _other_prices(sessions: Iterable[PastSession], spent: Spent) -> Iterable[Alternative]:
    for label, (price_in, price_out) in sorted(prices(sessions).items()):
        cost = (spent.input_tokens * price_in + spent.output_tokens * price_out) / 1e6
        if cost < spent.cost:
            yield Alternative(
                f"all calls at the prices of {label}",
                Spent(cost=spent.cost - cost),
                "assumes that it needs as many tokens and rounds",
                "what it would not have solved: no record says it, `swarm-graph eval --models` measures it",
            )


def _prices_in(models: Any, depth: int = 4) -> Iterable[tuple[str, tuple[float, float]]]:
    """The prices of each model in a recorded configuration: alone, by role or name, or as a fallback."""
    if isinstance(models, Mapping) and depth:
        label, pair = models.get("model_name") or models.get("model"), _pair(models.get("prices"))
        if isinstance(label, str) and pair:
            yield label, pair
        for inner in models.values():
            yield from _prices_in(inner, depth - 1)
    elif isinstance(models, list) and depth:
        for inner in models:
            yield from _prices_in(inner, depth - 1)


def _pair(entry: Any) -> tuple[float, float] | None:
    """The prices of prompts and answers; None if there are none."""
    if not isinstance(entry, Mapping):
        return None
    first, second = (entry.get(name, 0.0) for name in ("input", "output"))
    both = isinstance(first, int | float) and isinstance(second, int | float)
    return (float(first), float(second)) if both and (first or second) else None
