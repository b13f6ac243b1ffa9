"""A LangGraph under construction that places roles, numbers their tasks and adds their pauses."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Self

from langgraph.graph import END, StateGraph

from swarm_graph.nodes.reviewer import reviewer
from swarm_graph.roles.role import Role, RoleNode
from swarm_graph.roles.turn import Crew
from swarm_graph.sandbox.evidence import RUN_TESTS
from swarm_graph.state import AgentRole, SwarmContext, SwarmState
from swarm_graph.workflows.pauses import gate
from swarm_graph.workflows.run_tests import RunTests, next_step
from swarm_graph.workflows.verdict import completed, this_round, verdict_node


class Draft(StateGraph[SwarmState, SwarmContext, SwarmState, SwarmState]):
    """A LangGraph under construction that places our roles and numbers their tasks."""

    def __init__(self, crew: Crew, state: type[SwarmState] = SwarmState) -> None:
        super().__init__(state, SwarmContext, output_schema=SwarmState)
        self.crew = crew
        self.rounds = crew.config.workflow.max_iterations
        self.roles: list[AgentRole] = []
        self.after_coder: list[str] = []

    def place(self, role: Role[Any], name: str = "", focus: str | None = None, *, ends: bool = False) -> str:
        """Adds a node for a role and returns its name. `ends`: the workflow is complete after it."""
        name = name or str(role.role)
        verb = f"{role.verb}{name.removeprefix('review')}" if focus and name != "reviewer" else role.verb
        self.roles.append(role.role)
        task_id = f"T{len(self.roles):03d}_{verb}"
        self.add_node(name, RoleNode(self.crew, role, name, task_id, focus, ends=ends))
        settings = self.crew.config.workflow
        if role.role in settings.pause_before:
            self.add_node(f"before_{name}", gate("before", name, role))
            super().add_edge(f"before_{name}", name)
        if role.role in settings.pause_after:
            self.add_node(f"after_{name}", gate("after", name, role))
            super().add_edge(name, f"after_{name}")
        return name

    def end(self, *roles: Role[Any]) -> None:
        """Adds the roles, side by side, after which the workflow is complete."""
        settings = self.crew.config.workflow
        gated = any(role.role in [*settings.pause_before, *settings.pause_after] for role in roles)
        names = [self.place(role, ends=not gated) for role in roles]
        if gated:
            self.add_node("complete", completed)
            self.add_edge(names, "complete")
            names = ["complete"]
        for name in names:
            self.add_edge(name, END)

    def add_edge(self, start_key: str | list[str], end_key: str) -> Self:
        """An edge between nodes; where they have pauses it leads from pause to pause."""
        end = self._at("before", end_key)
        if isinstance(start_key, list):
            return super().add_edge([self._at("after", name) for name in start_key], end)
        start = self._at("after", start_key)
        if start == "after_coder":
            self.after_coder.append(end)
            return self
        return super().add_edge(start, end)

    def add_conditional_edges(
        self, source: str, path: Any, path_map: dict[Hashable, str] | list[str] | None = None
    ) -> Self:
        """Conditional edges, each to the pause before its target where there is one."""
        assert isinstance(path_map, dict)
        targets = {label: self._at("before", name) for label, name in path_map.items()}
        return super().add_conditional_edges(source, path, targets)

    def compile(self, *args: Any, **kwargs: Any) -> Any:
        """The graph; code that a person rejects goes back to the coder while rounds are left."""
        if self.after_coder:
            targets: dict[Hashable, str] = {"rejected": "coder", **{name: name for name in self.after_coder}}
            self.add_conditional_edges("after_coder", self._leave_coder, targets)
        return super().compile(*args, **kwargs)

    def _leave_coder(self, state: SwarmState) -> list[str]:
        rejected = any(review["node"] == "person_after_coder" for review in this_round(state))
        return ["rejected"] if rejected and state["iteration"] < self.rounds else self.after_coder

    def _at(self, when: str, name: str) -> str:
        return gated if (gated := f"{when}_{name}") in self.nodes else name

    def reviewers(self, workflow: str, *focuses: str) -> list[str]:
        """One reviewer per focus, those of the configuration instead of the workflow's own."""
        chosen = self.crew.config.workflow.focuses(workflow) or focuses
        return [self.place(reviewer, f"review_{focus}", focus) for focus in chosen]

    def verdict(self, reviews: list[str], rounds: int, *, ends: bool, tested: bool = False) -> None:
        """The verdict once all reviews have ended, and with `tested` the run of the tester's tests.

        It is deferred then: the tester may have to write the tests again before they are done.
        """
        self.add_node("verdict", verdict_node(rounds, ends=ends), defer=tested)
        if not tested:
            self.add_edge(reviews, "verdict")
            return
        for review in reviews:
            self.add_edge(review, "verdict")
        self.add_node(RUN_TESTS, RunTests(self.crew.config.execution))
        self.add_edge("tester", RUN_TESTS)
        self.add_conditional_edges(RUN_TESTS, next_step, {"rewrite": "tester", "done": "verdict"})
