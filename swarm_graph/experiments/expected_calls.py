"""How many model calls an experiment is going to make, counted from the workflows of its arms."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from swarm_graph.experiments.arm import Arm
from swarm_graph.experiments.arms import session_setup
from swarm_graph.state import AgentRole
from swarm_graph.suites.case import Case
from swarm_graph.workflows.build import new_builder

ONCE = frozenset({AgentRole.CLARIFIER, AgentRole.ARCHITECT, AgentRole.OPTIMIZER, AgentRole.DOCUMENTER})
"""The roles that no further round asks again."""


@dataclass(frozen=True)
class CallRange:
    """How many calls there are if each answer can be used: from one round in each session to all rounds.

    Answers that must be repaired, tests that must be written again, and calls of tools add some.

    Attributes:
        least: If the first round is approved.
        most: If no round is approved.
    """

    least: int = 0
    most: int = 0

    def __add__(self, other: CallRange) -> CallRange:
        return CallRange(self.least + other.least, self.most + other.most)

    def text(self) -> str:
        """The range for people, as in `6 to 14`."""
        return f"{self.least:,}" + (f" to {self.most:,}" if self.most != self.least else "")


def calls_of_session(arm: Arm, case: Case) -> CallRange:
    """The calls of an arm's session about a case. No server is asked.

    Raises:
        ConfigError: The workflow cannot be built.
    """
    setup = session_setup(arm, case)
    graph = new_builder(setup.workflow, setup.config)
    least = sum(role != AgentRole.DEBUGGER for role in graph.roles)
    if AgentRole.CODER not in graph.roles or not graph.has_rounds:
        return CallRange(least, least)
    once = ONCE | ({AgentRole.TESTER} if graph.candidates else set())
    again = sum(role not in once for role in graph.roles)
    return CallRange(least, least + (graph.max_iterations - 1) * again)


def expected_calls(
    arms: Collection[Arm], cases: Collection[Case], left: Collection[tuple[str, str]]
) -> Mapping[str, CallRange]:
    """The calls of each arm's sessions, by the name of the arm.

    Args:
        arms: The arms.
        cases: The cases.
        left: The arm and the case (its id) of each session that is still to be run.
    """
    found = {arm.name: CallRange() for arm in arms}
    known: dict[tuple[str, str, str], CallRange] = {}
    for arm in arms:
        for case in cases:
            if (arm.name, case.id) not in left:
                continue
            like = arm.name, case.assignment, case.kind
            if like not in known:
                known[like] = calls_of_session(arm, case)
            found[arm.name] += known[like]
    return found
