"""The candidates of a session as rows of its report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from swarm_graph.sessions.candidates import CANDIDATES_DIR, candidates_of
from swarm_graph.state import CandidateRecord
from swarm_graph.text import shortened
from swarm_graph.workflows.choice import SKIPPED

MAX_ERROR_CHARACTERS = 300


class CandidateRow(NamedTuple):
    """A candidate for people.

    Attributes:
        node: Its node.
        model: The label of its model; empty where the caller supplied one.
        temperature: Its temperature; None for its server's default.
        tests: How many tests it passes, as in `4 of 6`; `not run` where none ran.
        group: The place of its group, from 1 for the best; 0 if it has none.
        chosen: Whether it was chosen.
        error: Why it has no code; empty if it has.
        file: The first of its files in the output folder; empty for the chosen one, which is the result.
    """

    node: str
    model: str
    temperature: float | None
    tests: str
    group: int
    chosen: bool
    error: str
    file: str


def candidate_rows(state: Mapping[str, object]) -> list[CandidateRow]:
    """A row for each candidate of the session's latest round."""
    return [_row(record) for record in candidates_of(state)]


def _row(record: CandidateRecord) -> CandidateRow:
    results = record["results"]
    number = sum(len(tests) for result, tests in results.items() if result != SKIPPED)
    first = next(iter(record["code"]), "")
    return CandidateRow(
        node=record["node"],
        model=record["model"],
        temperature=record["temperature"],
        tests=f"{len(results.get('passed', ()))} of {number}" if number else "not run",
        group=record["group"],
        chosen=record["chosen"],
        error=shortened(record["error"], MAX_ERROR_CHARACTERS),
        file=f"{CANDIDATES_DIR}/{record['number']}/{first}" if first and not record["chosen"] else "",
    )
