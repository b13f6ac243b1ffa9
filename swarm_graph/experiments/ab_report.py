"""The result of an A/B test, for people and programs: text, JSON, HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from textwrap import fill
from typing import Any

from swarm_graph.experiments.ab_plan import AbFacts
from swarm_graph.experiments.looks import SHARES, Look, Measure, Pair, SideName, quality
from swarm_graph.experiments.statistics import smallest_difference
from swarm_graph.tasks.results import csv_table
from swarm_graph.text import cost_cell, duration, format_cost, format_count, text_table, to_json

WIDTH = 80
MINUS = "\N{MINUS SIGN}"
BY_OWN_VERDICT = (
    "`approved` is each configuration's own verdict, and a lenient one approves more. Hidden tests would be "
    "stronger evidence: give a folder of cases."
)
SIDE_BY_SIDE = (
    "Sessions that run side by side wait for each other, so their times depend on each other; with "
    "--max-sessions 1 each runs alone."
)
SIMULATED = "Simulated: no model was asked, every answer is invented."
STOPPED_EARLY = (
    "The test ended early. So the interval is wider than a usual one, as its look demands, and the true "
    "difference is probably smaller than the one found."
)


@dataclass(frozen=True)
class SideFigures:
    """What one side did with all requests that the verdict rests on.

    Attributes:
        name: Its name.
        solved: How many requests it solved; None if they have no hidden tests.
        approved: How many its own sessions approved; None if some run a workflow that approves nothing.
        tokens: Input and output tokens of all sessions.
        seconds: Working time of all sessions.
        cost: Of all sessions, in the currency of `prices`.
    """

    name: str
    solved: int | None
    approved: int | None
    tokens: float
    seconds: float
    cost: float

    @classmethod
    def of(cls, name: str, pairs: Sequence[Pair], side: int) -> SideFigures:
        """The figures of one side of some pairs."""
        outcomes = [pair[side] for pair in pairs]
        verdicts = [one.approved for one in outcomes if one.approved is not None]
        return cls(
            name,
            sum(map(bool, (one.solved for one in outcomes))) if quality(pairs) == "solved" else None,
            sum(verdicts) if len(verdicts) == len(outcomes) else None,
            sum(one.tokens for one in outcomes),
            sum(one.seconds for one in outcomes),
            sum(one.cost for one in outcomes),
        )


@dataclass(frozen=True)
class AbResult:
    """The result of an A/B test, or of the part that has run.

    Attributes:
        experiment: Its id.
        facts: What was decided before it began: names, requests, measure, stopping rule, differences.
        looks: The planned looks that were taken; the last one decides, if the test has ended.
        pairs: The requests of the last look with what A and B did; empty while the test has not ended.
        judged: How many answers are judged.
        stopped_by: Why it stopped before its next look; empty if it has ended.
    """

    experiment: str
    facts: AbFacts
    looks: tuple[Look, ...]
    pairs: Mapping[str, Pair] = field(default_factory=dict)
    judged: int = 0
    stopped_by: str = ""

    def __str__(self) -> str:
        return self.text()

    @property
    def a(self) -> str:
        """The name of the first configuration."""
        return self.facts.a

    @property
    def b(self) -> str:
        """The name of the other configuration."""
        return self.facts.b

    @property
    def figures(self) -> tuple[SideFigures, ...]:
        """What A and B did with all requests of the last look; empty while the test has not ended."""
        pairs = list(self.pairs.values())
        return tuple(SideFigures.of(name, pairs, side) for side, name in enumerate((self.a, self.b)) if pairs)

    @property
    def has_ended(self) -> bool:
        """Whether it has a verdict."""
        return not self.stopped_by

    @property
    def winner(self) -> SideName | None:
        """The better configuration; None if no difference is shown, and while the test has not ended."""
        return self.looks[-1].winner if self.looks and self.has_ended else None

    @property
    def winner_name(self) -> str:
        """The name of the better configuration; empty if there is none."""
        return {"a": self.a, "b": self.b, None: ""}[self.winner]

    @property
    def ending(self) -> str:
        """The verdict in a few words, as the database records it."""
        if not self.has_ended:
            return ""
        return f"{self.winner_name} is better" if self.winner else "no difference shown"

    @property
    def verdict(self) -> str:
        """The verdict in a sentence or two, with the difference and its interval."""
        if not self.has_ended:
            next_look = self.facts.rule.next_look(self.looks[-1].pairs if self.looks else 0)
            return (
                f"No verdict: the test stopped before its next look, which needs {next_look} pairs "
                f"({self.judged} of {2 * (next_look or 0)} answers are there): {self.stopped_by}."
            )
        look, evidence = self.looks[-1], self._evidence(self.looks[-1])
        if self.winner:
            return f"{self.winner_name} is better. {evidence}."
        if look.solves_fewer:
            cheaper = {"a": self.a, "b": self.b}[look.solves_fewer]
            return f"No winner: {cheaper} takes less, and is shown to solve fewer. {evidence}."
        return f"No difference shown between {self.a} and {self.b}. {evidence}."

    @property
    def notes(self) -> list[str]:
        """What limits the verdict, a sentence each."""
        notes = [SIMULATED] if self.facts.simulated else []
        if not self.has_ended:
            return notes
        look = self.looks[-1]
        if look.pairs < self.facts.rule.pairs:
            notes.append(STOPPED_EARLY)
        if self.facts.measure not in SHARES and self.winner:
            notes.append(self._quality_note)
        if not self.winner and self.facts.measure in SHARES:
            found = smallest_difference(look.pairs, level=look.level)
            notes.append(
                f"{look.pairs} pairs find a difference of {100 * found:.0f} points in four of five tests."
                if found
                else f"{format_count(look.pairs, 'pair')} cannot show a difference."
            )
        if self.facts.measure == "seconds":
            notes.append(SIDE_BY_SIDE)
        if self.facts.measure == "approved" or any(one.solved is None for one in self.figures):
            notes.append(BY_OWN_VERDICT)
        if self.facts.difference.is_empty:
            notes.append("The two configurations are equal: whatever differs here, chance alone did it.")
        return notes

    @property
    def _quality_note(self) -> str:
        what = "approved" if self.figures[0].solved is None else "solved"
        counts = [getattr(one, what) for one in self.figures]
        return (
            f"Requests {what}: {counts[0]} and {counts[1]} of {self.looks[-1].pairs}. {self.winner_name} is "
            "not shown to do worse there, which does not show that it does equally well."
        )

    def _evidence(self, look: Look) -> str:
        """The figures of the measure, their difference with its interval, and p."""
        values = ", ".join(f"{one.name} {_value(one, self.facts.measure, look)}" for one in self.figures)
        return f"{self.facts.measure.capitalize()}: {values}; {self._effect(look)}; p = {look.p:.2g}"

    def _effect(self, look: Look) -> str:
        """B's difference from A with its interval at the level of the look, in words."""
        effect, percent = look.effect, f"{100 * look.confidence:.3g} % interval"
        if effect is None:
            return "nothing was spent"
        if self.facts.measure in SHARES:
            difference, low, high = (
                _signed(100 * one) for one in (effect.estimate, effect.low, effect.high or 0)
            )
            return f"{self.b} minus {self.a}: {difference} points ({percent} {low} to {high})"
        high = "any number" if effect.high is None else f"{100 * effect.high:.0f} %"
        return (
            f"{self.b} takes {100 * effect.estimate:.0f} % of what {self.a} takes "
            f"({percent} {100 * effect.low:.0f} to {high})"
        )

    @property
    def figure_rows(self) -> list[tuple[str, str, str]]:
        """Each figure with its values for A and B, for a table."""
        if not self.figures:
            return []
        pairs = self.looks[-1].pairs
        (a, b) = columns = [_cells(one, pairs) for one in self.figures]
        shown = [name for name in a if any(column[name] for column in columns)]
        return [(name, a[name], b[name]) for name in shown]

    @property
    def look_rows(self) -> list[tuple[str, str, str, str]]:
        """The planned looks: pairs, the p that would end the test, the p found, and what followed."""
        rows = []
        taken = {look.pairs: look for look in self.looks}
        for pairs, level in zip(self.facts.rule.looks, self.facts.rule.levels, strict=True):
            look = taken.get(pairs)
            found = f"{look.p:.2g}" if look else ""
            then = (
                ("ended" if look.winner or pairs == self.facts.rule.pairs else "went on")
                if look
                else "not taken"
            )
            rows.append((str(pairs), f"{level:.2g}", found, then))
        return rows

    def text(self) -> str:
        """The result as text."""
        heads = (self.a, self.b)
        title = f"A/B test {self.experiment}: {self.facts.requests}, decided by {self.facts.measure}"
        parts = [_paragraph(title)]
        parts.append(self.facts.difference.text(heads))
        if self.figures:
            parts.append(text_table(("", *heads), self.figure_rows))
        if self.facts.rule.is_sequential:
            parts.append(text_table(("look after pairs", "ends if p is at most", "p", ""), self.look_rows))
        parts.append("".join(map(_paragraph, [self.verdict, *self.notes])))
        return "\n".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """The result as plain data."""
        return {
            "experiment": self.experiment,
            "a": self.a,
            "b": self.b,
            "measure": self.facts.measure,
            "requests": self.facts.requests,
            "rule": self.facts.rule.to_dict(),
            "difference": self.facts.difference.to_dict(),
            "looks": [_look_dict(look) for look in self.looks] if self.has_ended else [],
            "figures": [asdict(one) for one in self.figures],
            "judged": self.judged,
            "has_ended": self.has_ended,
            "winner": self.winner,
            "verdict": self.verdict,
            "notes": self.notes,
        }

    def to_csv(self) -> str:
        """What A and B did with each request as CSV, two rows for each; no cell is a formula."""
        return csv_table(
            [
                {"request": request, "configuration": name, **outcome._asdict()}
                for request, pair in self.pairs.items()
                for name, outcome in zip((self.a, self.b), pair, strict=True)
            ]
        )

    def to_json(self) -> str:
        """The result as a JSON document."""
        return to_json(self.to_dict())

    def to_html(self) -> str:
        """The result as a page that is one file."""
        from swarm_graph.reports.templates import file_html

        return file_html("ab.html", result=self)

    def _repr_html_(self) -> str:
        from swarm_graph.reports.templates import notebook_html

        return notebook_html("parts/ab.html", result=self)


def _paragraph(text: str) -> str:
    return fill(text, WIDTH, break_long_words=False, break_on_hyphens=False) + "\n"


def _cells(figures: SideFigures, pairs: int) -> dict[str, str]:
    """The figures of a side by their names for people; an empty text where there is nothing to show."""
    return {
        "requests answered": str(pairs),
        "solved (hidden tests)": "" if figures.solved is None else f"{figures.solved} of {pairs}",
        "approved (own verdict)": "" if figures.approved is None else f"{figures.approved} of {pairs}",
        "tokens per request": f"{figures.tokens / pairs:,.0f}",
        "time per request": duration(figures.seconds / pairs),
        "cost per request": cost_cell(figures.cost / pairs),
    }


def _signed(points: float) -> str:
    rounded = round(points)
    return f"{MINUS}{-rounded}" if rounded < 0 else f"+{rounded}" if rounded else "0"


def _value(figures: SideFigures, measure: Measure, look: Look) -> str:
    value = getattr(figures, measure)
    if measure in SHARES:
        return f"{value} of {look.pairs}"
    each = value / look.pairs
    shown = {"tokens": f"{each:,.0f}", "seconds": duration(each), "cost": format_cost(each)}[measure]
    return f"{shown} per request"


def _look_dict(look: Look) -> dict[str, Any]:
    return {**asdict(look), "effect": look.effect._asdict() if look.effect else None}
