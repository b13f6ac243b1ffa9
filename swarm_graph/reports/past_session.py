"""A recorded session with all that is known of its costs: its calls, its rounds, its test runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from swarm_graph.checkpoints.spending import CallGroup, SpendingSession
from swarm_graph.reports.past_rounds import PastRounds
from swarm_graph.settings import WorkflowSettings
from swarm_graph.state import AgentRole, CandidateRecord, candidate_name

OUTSIDE_ROUNDS = frozenset(
    {AgentRole.CLARIFIER, AgentRole.ARCHITECT, AgentRole.DEBUGGER, AgentRole.OPTIMIZER, AgentRole.DOCUMENTER}
)
"""The roles whose calls lie before, between or after the rounds."""


@dataclass(frozen=True)
class PastSession:
    """A session with all that is known of its costs.

    Attributes:
        row: Its row.
        calls: Its calls.
        rounds: Its rounds; None if they cannot be read.
        tests: The outcome of the test run of each round.
        candidates: The candidates of the last round in which there were several.
    """

    row: SpendingSession
    calls: Sequence[CallGroup]
    rounds: PastRounds | None
    tests: Mapping[int, str]
    candidates: Sequence[CandidateRecord] = ()

    @property
    def known(self) -> PastRounds:
        """Its rounds, as far as they are known."""
        return self.rounds or PastRounds()

    @property
    def max_rounds(self) -> int:
        """How many rounds its configuration allows."""
        workflow = self.row.config.get("workflow")
        found = workflow.get("max_iterations") if isinstance(workflow, Mapping) else None
        return found if isinstance(found, int) else WorkflowSettings().max_iterations

    @property
    def last_round(self) -> int:
        """Its last round: with reviews, or with calls if it has none."""
        return self.known.last or max(self._by_round, default=0)

    @cached_property
    def _by_round(self) -> dict[int, list[CallGroup]]:
        """The calls of its latest request, by round."""
        found: dict[int, list[CallGroup]] = {}
        for call in self.calls:
            if call.is_latest:
                found.setdefault(call.iteration, []).append(call)
        return found

    def of_round(self, number: int) -> list[CallGroup]:
        """The calls of a round of its latest request."""
        return [call for call in self._by_round.get(number, ()) if call.role not in OUTSIDE_ROUNDS]

    def before_round(self, number: int) -> list[CallGroup]:
        """The calls of the debugger that lead to a round."""
        return [call for call in self._by_round.get(number - 1, ()) if call.role == AgentRole.DEBUGGER]

    def of_reviewer(self, node: str, number: int) -> list[CallGroup]:
        """The calls of a reviewer in a round."""
        return [call for call in self._by_round.get(number, ()) if call.node == node]

    @property
    def chosen(self) -> CandidateRecord | None:
        """The candidate that was chosen; None if there was no choice, or if it is not kept."""
        return next((one for one in self.candidates if one["chosen"]), None)

    def of_candidates(self, number: int) -> list[CallGroup]:
        """The calls of all candidates in a round; none if the coder was asked for one answer."""
        calls = self.of_round(number)
        return [call for call in calls if call.role == AgentRole.CODER and call.node != AgentRole.CODER]

    @property
    def first_answer(self) -> list[CallGroup]:
        """The calls of the coder in the first round, of several candidates those of the first one.

        A task graph has none: it has no rounds.
        """
        nodes = {AgentRole.CODER.value, candidate_name(1)}
        coders = [call for call in self.of_round(1) if call.role == AgentRole.CODER and call.node in nodes]
        return coders if self.row.workflow != "custom" else []

    @property
    def rounds_with_candidates(self) -> list[int]:
        """The rounds of its latest request in which the coder was asked for several candidates."""
        return [number for number in self._by_round if self.of_candidates(number)]

    @property
    def first_pass(self) -> int | None:
        """The first round whose tests passed; None if none has."""
        return min((number for number, outcome in self.tests.items() if outcome == "passed"), default=None)
