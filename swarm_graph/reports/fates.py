"""What became of a finding in later rounds, as far as the reviews tell it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from swarm_graph.memory.mistakes import may_be_same
from swarm_graph.roles.findings import comparable
from swarm_graph.roles.locations import place_of
from swarm_graph.state import Failure, Finding, Review

FateKind = Literal["open", "again", "perhaps", "gone", "unknown"]


class Fate(NamedTuple):
    """What became of a finding.

    Attributes:
        kind: `open` in the last round; found `again` later, `perhaps` again in other words; `gone`: whoever
            made it did not find it again; `unknown`: nobody has looked, or said, whether it is still there.
        text: The same in words.
    """

    kind: FateKind
    text: str


def fate_of(
    finding: Finding,
    number: int,
    rounds: Mapping[int, Sequence[Review]],
    *,
    always: Collection[str] = (),
    ended: bool = False,
) -> Fate:
    """What became of a finding.

    Two findings are the same if they are about the same file and say the same; the words alone of two others
    may be alike. The finding of a test is the same if the test fails again. A finding is gone only if each
    node that made it has judged the next round, too.

    Args:
        finding: The finding.
        number: Its round.
        rounds: The reviews of each round.
        always: Nodes that judge every round, and say nothing if they find nothing.
        ended: Whether no further round follows.
    """
    later = [one for one in sorted(rounds) if one > number]
    if not later:
        return Fate("open", "Left open" if ended else "Open")
    if test := _failing_test(finding, rounds[number]):
        return _fate_of_test(test, later, rounds)
    if found := _first(later, rounds, lambda other: _is_same(finding, other)):
        return Fate("again", f"Found again in round {found}")
    if found := _first(later, rounds, lambda other: may_be_same(finding["problem"], other["problem"])):
        return Fate("perhaps", f"Perhaps found again in round {found}, in other words")
    judged = {review["node"] for review in rounds[later[0]] if review["approved"] is not None}
    if missing := [name for name in finding["seen_by"] if name not in {*judged, *always}]:
        return Fate("unknown", f"Not judged again: no verdict of {', '.join(missing)} in round {later[0]}")
    return Fate("gone", f"Not found again in round {later[0]}")


def _fate_of_test(test: str, later: Sequence[int], rounds: Mapping[int, Sequence[Review]]) -> Fate:
    for number in later:
        if any(failure["test"] == test for failure in _failures(rounds[number])):
            return Fate("again", f"Fails again in round {number}")
    evidence = [review["evidence"] for review in rounds[later[0]] if "evidence" in review]
    if any(one["outcome"] == "passed" for one in evidence):
        return Fate("gone", f"The tests pass in round {later[0]}")
    return Fate("unknown", f"Not among the failures that round {later[0]} names")


def _failing_test(finding: Finding, reviews: Sequence[Review]) -> str:
    """The test that a finding is about; empty if it is not about a failure of a test run."""
    return next(
        (
            failure["test"]
            for failure in _failures([one for one in reviews if one["node"] in finding["seen_by"]])
            if f" {failure['test']}: " in finding["problem"]
        ),
        "",
    )


def _failures(reviews: Sequence[Review]) -> Iterator[Failure]:
    for review in reviews:
        if "evidence" in review:
            yield from review["evidence"]["failures"]


def _first(
    later: Sequence[int], rounds: Mapping[int, Sequence[Review]], is_it: Callable[[Finding], bool]
) -> int:
    """The first of the later rounds with such a finding; 0 if none has it."""
    for number in later:
        if any(is_it(other) for review in rounds[number] for other in review["findings"]):
            return number
    return 0


def _is_same(finding: Finding, other: Finding) -> bool:
    return comparable(finding["problem"]) == comparable(other["problem"]) and _where(finding) == _where(other)


def _where(finding: Finding) -> str:
    """The file of a finding: its line moves with the code; its whole location if it names no file."""
    place = place_of(finding["location"])
    return place.path if place else comparable(finding["location"])
