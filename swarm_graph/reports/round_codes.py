"""The code of each round of a session, as its checkpoints have it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from swarm_graph.checkpoints.past_values import PastStep, PastValues
from swarm_graph.checkpoints.swarm_saver import SwarmSaver

FILE_KEYS = ("documentation", "tests", "code")
"""The keys of the state that hold files; the code wins over tests of the same path."""


@dataclass
class RoundCode:
    """The files of a round as they were judged, or as they are now if it is not judged yet.

    Attributes:
        files: Path to text: code, tests, and documentation that a repository's session has written.
        code: Path to text of the code alone.
        deleted: The paths of a repository that the session deletes.
        is_judged: Whether its verdict has been written.
    """

    files: dict[str, str] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    is_judged: bool = False


def round_codes(saver: SwarmSaver, session_id: str) -> dict[int, RoundCode]:
    """The code of each round of the session's latest request that still has a checkpoint, by round.

    The verdict on rounds that circle brings an earlier attempt back, so the code of a round is what it was
    before its verdict.
    """
    values = PastValues(saver, session_id)
    steps: dict[int, PastStep] = {}
    judged: set[int] = set()
    verdicts: dict[int, str | None] = {}
    latest = 0
    for step in values.steps():
        number = step.small.get("iteration")
        if not isinstance(number, int) or number < max(latest, 1):  # a new request, or nothing yet
            steps, judged, verdicts, latest = {}, set(), {}, 0
        if not isinstance(number, int) or number < 1:
            continue
        latest = number
        if verdicts.setdefault(number, step.versions.get("approved")) == step.versions.get("approved"):
            steps[number] = step
        else:
            judged.add(number)
    return {number: _round_code(values, step, number in judged) for number, step in steps.items()}


def _round_code(values: PastValues, step: PastStep, is_judged: bool) -> RoundCode:
    files: dict[str, str] = {}
    for key in FILE_KEYS:
        files |= _texts(values.value(step, key))
    deleted = values.value(step, "deleted")
    names = [name for name in deleted if isinstance(name, str)] if isinstance(deleted, list) else []
    return RoundCode(files, _texts(values.value(step, "code")), names, is_judged)


def _texts(value: Any) -> dict[str, str]:
    """Path to text; the database may be somebody else's."""
    if not isinstance(value, Mapping):
        return {}
    return {path: text for path, text in value.items() if isinstance(path, str) and isinstance(text, str)}
