"""The report on savings in sections, for text of 80 columns and for HTML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import fill
from typing import NamedTuple

from swarm_graph.reports.savings import Savings
from swarm_graph.reports.spent import Spent
from swarm_graph.text import cost_cell, text_table, without_empty_columns

WIDTH = 80
OF_REVIEWERS = (
    "empty: reviews without a finding; an approval may need them",
    "own: findings of which no other reviewer of the round named the place or said the same",
    "vetoes: rounds that it alone did not approve",
)


class Section(NamedTuple):
    """A part of the report: a table, or lines.

    Attributes:
        title: Its title.
        heads: The heads of its table.
        rows: The rows of its table.
        lines: Its lines, below the table.
    """

    title: str
    heads: Sequence[str] = ()
    rows: Sequence[tuple[str, ...]] = ()
    lines: Sequence[str] = ()

    def text(self) -> str:
        """The section as text."""
        table = text_table(tuple(self.heads), self.rows) if self.rows else ""
        lines = "".join(wrapped(f"- {line}") for line in self.lines)
        return f"{self.title}:\n{table}{lines}"


def sections(savings: Savings) -> Iterator[Section]:
    """Yield the sections about some sessions."""
    yield Section("Where the tokens went", *_roles(savings))
    if savings.purchases:
        yield Section("What they bought (the lines overlap: do not add them up)", *_purchases(savings))
    if savings.reviewers:
        yield Section("What the reviewers found", *_reviewers(savings), OF_REVIEWERS)
    if savings.alternatives:
        lines = [one.line(savings.spent) for one in savings.alternatives]
        yield Section("What a cheaper configuration would have saved", lines=lines)
    yield Section("What the records do not say", lines=savings.unknown)


def _roles(savings: Savings) -> tuple[Sequence[str], Sequence[tuple[str, ...]]]:
    total = savings.spent.tokens
    rows = [
        (
            role,
            f"{spent.calls:,}",
            f"{spent.input_tokens:,}",
            f"{spent.output_tokens:,}",
            f"{spent.tokens / total:.0%}" if total else "",
            *_seconds_and_cost(spent),
        )
        for role, spent in (*savings.roles.items(), ("all", savings.spent))
    ]
    return without_empty_columns(("role", "calls", "tokens in", "out", "share", "seconds", "cost"), rows)


def _purchases(savings: Savings) -> tuple[Sequence[str], Sequence[tuple[str, ...]]]:
    rows = []
    for one in savings.purchases:
        count = f"{one.count:,}" + (f" of {one.of:,}" if one.of is not None else "")
        spent = (f"{one.spent.tokens:,}", *_seconds_and_cost(one.spent)) if one.spent else ("", "", "")
        rows.append((one.what, count, *spent))
    return without_empty_columns(("what", "how many", "tokens", "seconds", "cost"), rows)


def _reviewers(savings: Savings) -> tuple[Sequence[str], Sequence[tuple[str, ...]]]:
    heads = ("reviewer", "reviews", "empty", "findings", "own", "vetoes", "tokens", "cost")
    rows = [
        (
            one.node,
            *(f"{count:,}" for count in (one.reviews, one.empty, one.findings, one.own, one.sole)),
            f"{one.spent.tokens:,}",
            cost_cell(one.spent.cost),
        )
        for one in savings.reviewers
    ]
    return without_empty_columns(heads, rows)


def _seconds_and_cost(spent: Spent) -> tuple[str, str]:
    return f"{spent.seconds:,.1f}", cost_cell(spent.cost)


def wrapped(line: str) -> str:
    """A line as lines of at most WIDTH columns."""
    return fill(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False) + "\n"
