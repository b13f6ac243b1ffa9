"""What the rounds of a session brought: which of them changed nothing, and which findings came back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from swarm_graph.reports.fates import fate_of
from swarm_graph.roles.findings import comparable
from swarm_graph.state import Finding, Review

_REVIEWS = TypeAdapter(list[Review])
_TEXTS = TypeAdapter(list[str])


@dataclass(frozen=True)
class FoundByOne:
    """A finding as one reviewer made it.

    Attributes:
        node: The reviewer.
        round: The round.
        finding: What it found.
        others: The other nodes that named the same place or said the same in that round.
        came_back: Whether the next round had it again; None if there was none, or it was not judged again.
    """

    node: str
    round: int
    finding: Finding
    others: tuple[str, ...]
    came_back: bool | None


@dataclass(frozen=True)
class PastRounds:
    """The rounds of a session's latest request.

    Attributes:
        reviews: Their reviews, by round.
        unchanged: The rounds that have the code or the findings of the round before again.
        unknown: The rounds of which the records do not tell whether they changed something.
        findings: All findings, each as often as a reviewer made it.
    """

    reviews: dict[int, list[Review]] = field(default_factory=dict)
    unchanged: frozenset[int] = frozenset()
    unknown: frozenset[int] = frozenset()
    findings: tuple[FoundByOne, ...] = ()

    @property
    def last(self) -> int:
        """The last round that was reviewed; 0 if none was."""
        return max(self.reviews, default=0)

    def sole_objector(self, number: int) -> str:
        """The node that alone did not approve a round; empty if none or several did not."""
        objecting = [review["node"] for review in self.reviews.get(number, ()) if not review["approved"]]
        return objecting[0] if len(objecting) == 1 else ""


def past_rounds(values: Mapping[str, Any]) -> PastRounds | None:
    """The rounds of a session.

    Args:
        values: The last values of `reviews`, `codes` and `changed` in its state, those that are there.

    Returns:
        The rounds; None if the values are not as this program writes them.
    """
    try:
        reviews = _REVIEWS.validate_python(values.get("reviews", []))
        codes = _TEXTS.validate_python(values.get("codes", []))
        changed = _TEXTS.validate_python(values["changed"]) if "changed" in values else None
    except ValidationError:
        return None
    rounds: dict[int, list[Review]] = {}
    for review in reviews:
        rounds.setdefault(review["iteration"], []).append(review)
    known = {number: _is_unchanged(number, rounds, codes, changed) for number in sorted(rounds) if number > 1}
    return PastRounds(
        reviews=rounds,
        unchanged=frozenset(number for number, same in known.items() if same),
        unknown=frozenset(number for number, same in known.items() if same is None),
        findings=tuple(_findings(rounds)),
    )


def _is_unchanged(
    number: int, rounds: Mapping[int, Sequence[Review]], codes: Sequence[str], changed: Sequence[str] | None
) -> bool | None:
    """Whether a round changed nothing; None if unknown. The last round has no fingerprint, but `changed`."""
    if _said(rounds[number]) and _said(rounds[number]) == _said(rounds.get(number - 1, ())):
        return True
    if number <= len(codes):
        return codes[number - 1] == codes[number - 2]
    return None if changed is None or number != max(rounds) else not changed


def _said(reviews: Iterable[Review]) -> set[tuple[str, str]]:
    return {
        (comparable(finding["location"]), comparable(finding["problem"]))
        for review in reviews
        for finding in review["findings"]
    }


def _findings(rounds: Mapping[int, Sequence[Review]]) -> Iterable[FoundByOne]:
    for number, reviews in rounds.items():
        for review in reviews:
            for finding in review["findings"]:
                others = tuple(
                    other["node"]
                    for other in reviews
                    if other is not review and any(_alike(finding, one) for one in other["findings"])
                )
                yield FoundByOne(review["node"], number, finding, others, _came_back(finding, number, rounds))


def _alike(finding: Finding, other: Finding) -> bool:
    place = comparable(finding["location"])
    same_place = bool(place) and place == comparable(other["location"])
    return same_place or comparable(finding["problem"]) == comparable(other["problem"])


def _came_back(finding: Finding, number: int, rounds: Mapping[int, Sequence[Review]]) -> bool | None:
    later = rounds.get(number + 1)
    if later is None:
        return None
    fate = fate_of(finding, number, {number: rounds[number], number + 1: later}, ended=True)
    return None if fate.kind == "unknown" else fate.kind in ("again", "perhaps")
