"""The candidates of a session's latest round: as its state has them, and those not chosen as files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from pydantic import TypeAdapter, ValidationError

from swarm_graph.state import CandidateRecord
from swarm_graph.text import format_count

CANDIDATES_DIR = "candidates"
"""The folder in the output folder that holds the candidates that were not chosen."""


@lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[list[CandidateRecord]]:
    return TypeAdapter(list[CandidateRecord])


def candidates_of(state: Mapping[str, object]) -> list[CandidateRecord]:
    """The candidates of a session; none if it has one coder, and of what is no list of candidates.

    The database may be somebody else's.
    """
    if not (found := state.get("candidates")):
        return []
    try:
        return _adapter().validate_python(found)
    except ValidationError:
        return []


def candidate_files(state: Mapping[str, object]) -> dict[str, str]:
    """The files of the candidates that were not chosen, path to text; none before the choice."""
    records = candidates_of(state)
    if not any(record["chosen"] for record in records):
        return {}
    return {
        f"{CANDIDATES_DIR}/{record['number']}/{path}": text
        for record in records
        if not record["chosen"]
        for path, text in record["code"].items()
    }


def candidates_line(state: Mapping[str, object]) -> str:
    """The choice in one line, as in `Candidate 3 of 4 was chosen: it alone passes all 6 tests`.

    Empty before a choice.
    """
    records = candidates_of(state)
    chosen = next((record for record in records if record["chosen"]), None)
    if chosen is None:
        return ""
    failed = sum(not record["code"] for record in records)
    out = f"; {format_count(failed, 'candidate')} failed" if failed else ""
    what = {"number": chosen["number"], "candidates": len(records), "reason": chosen["reason"]}
    return f"{chosen_text(what)}{out}"


def chosen_text(choice: Mapping[str, object]) -> str:
    """A choice in words; `choice` is the data of an event `candidate_chosen`."""
    number, candidates, reason = (choice.get(name) for name in ("number", "candidates", "reason"))
    return f"Candidate {number} of {candidates} was chosen: {reason}"
