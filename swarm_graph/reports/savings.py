"""Where the tokens of some sessions went, what they bought, and what would have been cheaper.

Everything is counted or recomputed from records; what these cannot say is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from swarm_graph.checkpoints.spending import CallGroup
from swarm_graph.reports.cheaper import Alternative, Reviewer, alternatives, prices
from swarm_graph.reports.past_rounds import FoundByOne
from swarm_graph.reports.past_session import PastSession
from swarm_graph.reports.spent import Spent
from swarm_graph.roles.findings import GRAVE
from swarm_graph.state import AgentRole
from swarm_graph.text import format_count


@dataclass(frozen=True)
class Purchase:
    """What calls bought.

    Attributes:
        what: What it is, for people.
        count: How many of them.
        of: Of how many; None where that says nothing.
        spent: What they spent; None where they are no calls.
    """

    what: str
    count: int
    of: int | None = None
    spent: Spent | None = None


@dataclass(frozen=True)
class Savings:
    """The figures of some sessions.

    Attributes:
        sessions: The sessions.
        of_simulated: Whether their answers are simulated.
    """

    sessions: Sequence[PastSession] = field(repr=False)
    of_simulated: bool = False

    @cached_property
    def calls(self) -> list[CallGroup]:
        """The calls of all sessions."""
        return [call for session in self.sessions for call in session.calls]

    @cached_property
    def spent(self) -> Spent:
        """What all calls spent."""
        return Spent.of(self.calls)

    @cached_property
    def roles(self) -> dict[str, Spent]:
        """What each role spent, the most first."""
        by_role = _grouped(self.calls, lambda call: call.role)
        found = {role: Spent.of(calls) for role, calls in by_role.items()}
        return dict(sorted(found.items(), key=lambda item: -item[1].tokens))

    @cached_property
    def purchases(self) -> list[Purchase]:
        """What the calls bought; those that bought nothing, each kind for itself. They overlap."""
        made = (*self._of_rounds(), *self._of_candidates(), *self._of_calls())
        return [one for one in made if one.of or one.count]

    def _of_rounds(self) -> Iterable[Purchase]:
        rounds = [(past, number) for past in self.sessions for number in past.known.reviews if number > 1]
        same = [(past, number) for past, number in rounds if number in past.known.unchanged]
        yield Purchase(
            "rounds that changed nothing",
            len(same),
            len(rounds),
            Spent.of(call for past, number in same for call in past.of_round(number)),
        )
        diagnosed = [(past, number) for past, number in rounds if past.before_round(number)]
        in_vain = [(past, number) for past, number in same if past.before_round(number)]
        yield Purchase(
            "diagnoses after which nothing changed",
            len(in_vain),
            len(diagnosed),
            Spent.of(call for past, number in in_vain for call in past.before_round(number)),
        )
        reviews = [
            (past.of_reviewer(review["node"], number), review)
            for past in self.sessions
            for number, made in past.known.reviews.items()
            for review in made
        ]
        asked = [(calls, review) for calls, review in reviews if calls]
        empty = [calls for calls, review in asked if not review["findings"]]
        yield Purchase(
            "reviews that found nothing",
            len(empty),
            len(asked),
            Spent.of(call for calls in empty for call in calls),
        )
        shared = sum(bool(found.others) for found in self.findings)
        yield Purchase("findings that another reviewer had", shared, len(self.findings))
        followed = [found.came_back for found in self.findings if found.came_back is not None]
        yield Purchase("findings that were there a round later", sum(followed), len(followed))

    def _of_candidates(self) -> Iterable[Purchase]:
        """The candidates of the last rounds: a session keeps no earlier choice."""
        chosen = [(past, past.chosen) for past in self.sessions]
        made = [
            (call.node == one["node"], call)
            for past, one in chosen
            if one
            for call in past.of_candidates(one["iteration"])
        ]
        lost = [call for is_chosen, call in made if not is_chosen]
        count = len({(call.session, call.node) for call in lost})
        of = len({(call.session, call.node) for _, call in made})
        yield Purchase("candidates that were not chosen, last round", count, of, Spent.of(lost))

    def _of_calls(self) -> Iterable[Purchase]:
        def bought(what: str, is_it: Callable[[CallGroup], bool]) -> Purchase:
            spent = Spent.of(filter(is_it, self.calls))
            return Purchase(what, spent.calls, self.spent.calls if spent.calls else None, spent)

        proposals = Spent.of(call for call in self.calls if call.role == AgentRole.OPTIMIZER)
        yield Purchase("proposals of the optimizer, never applied", proposals.calls, None, proposals)
        yield bought("questions to repair an answer", lambda call: call.repair)
        yield bought("calls that failed", lambda call: call.outcome == "failed")
        yield bought("answers that were cut off", lambda call: call.outcome == "truncated")
        yield bought("calls that were cancelled", lambda call: call.outcome == "cancelled")
        cached = sum(call.cached_tokens for call in self.calls)
        yield Purchase("prompt tokens that a server had cached", cached, self.known_tokens)

    @cached_property
    def findings(self) -> list[FoundByOne]:
        """All findings."""
        return [found for past in self.sessions for found in past.known.findings]

    @cached_property
    def reviewers(self) -> list[Reviewer]:
        """The reviewers that models play, the one that spent the most first."""
        nodes = {
            review["node"]: None
            for past in self.sessions
            for number, made in past.known.reviews.items()
            for review in made
            if past.of_reviewer(review["node"], number)
        }
        return sorted(map(self._reviewer, nodes), key=lambda one: -one.spent.tokens)

    def _reviewer(self, node: str) -> Reviewer:
        made = [
            (past, number, review)
            for past in self.sessions
            for number, reviews in past.known.reviews.items()
            for review in reviews
            if review["node"] == node
        ]
        found = [one for one in self.findings if one.node == node]
        own = [one for one in found if not one.others]
        return Reviewer(
            node=node,
            reviews=len(made),
            empty=sum(not review["findings"] for _, _, review in made),
            findings=len(found),
            own=len(own),
            grave=sum(one.finding["severity"] in GRAVE for one in own),
            sole=sum(past.known.sole_objector(number) == node for past, number, _ in made),
            spent=Spent.of(call for past, number, _ in made for call in past.of_reviewer(node, number)),
        )

    @cached_property
    def known_tokens(self) -> int:
        """Prompt tokens of which the servers said how many they had cached."""
        return sum(call.known_tokens for call in self.calls)

    @cached_property
    def alternatives(self) -> list[Alternative]:
        """Cheaper configurations, each with what it assumes and what would have been lost."""
        return alternatives(self.sessions, self.reviewers, self.spent)

    @cached_property
    def unknown(self) -> list[str]:
        """What the records do not say, a sentence each."""
        unread = sum(past.rounds is None for past in self.sessions)
        open_rounds = sum(len(past.known.unknown) for past in self.sessions)
        earlier = sum(
            not past.chosen or number != past.chosen["iteration"]
            for past in self.sessions
            for number in past.rounds_with_candidates
        )
        sentences = {
            f"Which candidate {format_count(earlier, 'round')} chose: the last choice is kept.": earlier,
            "Whether a finding was right, and what a review that found nothing has overlooked.": True,
            f"The rounds of {format_count(unread, 'session')}: their checkpoints cannot be read.": unread,
            f"Whether {format_count(open_rounds, 'round')} changed the code.": open_rounds,
            "How much of the prompts the servers had cached: none of them says so.": not self.known_tokens,
            "What the tokens cost: no model has prices.": not self.spent.cost and not prices(self.sessions),
            "How much sooner a session would have ended: calls side by side overlap.": True,
        }
        return [sentence for sentence, holds in sentences.items() if holds]

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain data."""
        return {
            "sessions": len(self.sessions),
            "simulated": self.of_simulated,
            "spent": self.spent.to_dict(),
            "roles": {role: spent.to_dict() for role, spent in self.roles.items()},
            "purchases": [_plain(one) for one in self.purchases],
            "reviewers": [_plain(one) for one in self.reviewers],
            "alternatives": [_plain(one) for one in self.alternatives],
            "unknown": self.unknown,
        }


def _grouped(calls: Iterable[CallGroup], key: Callable[[CallGroup], str]) -> dict[str, list[CallGroup]]:
    found: dict[str, list[CallGroup]] = {}
    for call in calls:
        found.setdefault(key(call), []).append(call)
    return found


def _plain(one: Any) -> dict[str, Any]:
    """A dataclass as plain data."""
    values = {name: getattr(one, name) for name in one.__dataclass_fields__}
    return {name: value.to_dict() if isinstance(value, Spent) else value for name, value in values.items()}
