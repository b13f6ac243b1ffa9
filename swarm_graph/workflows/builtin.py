"""The shapes of the built-in workflows, and `build_graph`, which makes one ready to run."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, Self

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph

from swarm_graph.config import SwarmConfig, load_config
from swarm_graph.errors import ConfigError, InputError
from swarm_graph.nodes.architect import architect
from swarm_graph.nodes.clarifier import clarifier
from swarm_graph.nodes.coder import coder
from swarm_graph.nodes.debugger import debugger
from swarm_graph.nodes.documenter import documenter
from swarm_graph.nodes.optimizer import optimizer
from swarm_graph.nodes.reviewer import reviewer
from swarm_graph.nodes.security import security
from swarm_graph.nodes.tester import tester
from swarm_graph.prompts import template
from swarm_graph.roles.role import Role, RoleNode
from swarm_graph.roles.turn import Crew
from swarm_graph.sandbox.evidence import RUN_TESTS
from swarm_graph.state import AgentRole, SwarmContext, SwarmState
from swarm_graph.tasks.node import TASKS, CustomState, TaskGraph, all_done
from swarm_graph.workflows.graph import SwarmGraph
from swarm_graph.workflows.pauses import gate
from swarm_graph.workflows.run_tests import RunTests, next_step
from swarm_graph.workflows.verdict import completed, is_done, this_round, verdict_node


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


def standard(crew: Crew) -> Draft:
    """clarifier → architect → coder → reviewers → verdict → *revise*: coder | end.

    With `features.execute_tests` the fan-out has tester → run_tests as well.
    """
    tested = crew.config.features.execute_tests
    graph = Draft(crew)
    graph.add_edge(START, graph.place(clarifier))
    graph.add_edge("clarifier", graph.place(architect))
    graph.add_edge("architect", graph.place(coder))
    reviews = graph.reviewers("standard", "correctness", "performance", "style")
    for branch in [*reviews, *([graph.place(tester)] if tested else [])]:
        graph.add_edge("coder", branch)
    graph.verdict(reviews, graph.rounds, ends=True, tested=tested)
    graph.add_conditional_edges(
        "verdict",
        lambda state: "done" if is_done(state, graph.rounds) else "revise",
        {"revise": "coder", "done": END},
    )
    return graph


def full(crew: Crew) -> Draft:
    """… coder → [reviewer, security, tester → run_tests] → verdict → *revise*: debugger | the end's roles.

    The end's roles are [optimizer, documenter].
    """
    graph = Draft(crew)
    graph.add_edge(START, graph.place(clarifier))
    graph.add_edge("clarifier", graph.place(architect))
    graph.add_edge("architect", graph.place(coder))
    own = [] if crew.config.workflow.focuses("full") else [graph.place(reviewer, "reviewer", "general")]
    reviews = [*(own or graph.reviewers("full")), graph.place(security)]
    for branch in [*reviews, graph.place(tester)]:
        graph.add_edge("coder", branch)
    graph.verdict(reviews, graph.rounds, ends=False, tested=True)
    graph.add_edge(graph.place(debugger), "coder")
    graph.end(optimizer, documenter)
    graph.add_conditional_edges(
        "verdict",
        lambda state: ["optimize", "document"] if is_done(state, graph.rounds) else ["revise"],
        {"revise": "debugger", "optimize": "optimizer", "document": "documenter"},
    )
    return graph


def review_only(crew: Crew) -> Draft:
    """[reviewers] → verdict → end. The request is the code."""
    graph = Draft(crew)
    reviews = graph.reviewers("review_only", "correctness", "security", "performance", "style")
    for review in reviews:
        graph.add_edge(START, review)
    graph.verdict(reviews, 1, ends=True)
    graph.add_edge("verdict", END)
    return graph


def custom(crew: Crew) -> Draft:
    """The user's task graph, in one node: tasks → *some failed*: tasks, when it is resumed | end."""
    if crew.config.workflow.pauses:
        raise ConfigError(
            "workflow.pause_before and pause_after have no place in a custom workflow; leave them out, "
            "and end a graph where a person is to look at it"
        )
    graph = Draft(crew, CustomState)
    graph.add_node(TASKS, TaskGraph(crew))
    graph.add_edge(START, TASKS)
    graph.add_conditional_edges(TASKS, all_done, {"again": TASKS, "done": END})
    return graph


WORKFLOWS: dict[str, Callable[[Crew], Draft]] = {
    "standard": standard,
    "full": full,
    "review_only": review_only,
    "custom": custom,
}


def build_graph(
    workflow: str = "standard",
    *,
    config: SwarmConfig | str | Path | Mapping[str, Any] | None = None,
    checkpointer: BaseCheckpointSaver[Any] | None = None,
) -> SwarmGraph:
    """The compiled LangGraph of a workflow, for synchronous and asynchronous callers.

    `config`: a SwarmConfig, a path, a dict, or None (see `load_config`). Without a configured model
    the graph still builds, and the first call of one raises ConfigError. LangSmith is switched off
    unless `features.langsmith`. Raises InputError for an unknown workflow.
    """
    if workflow not in WORKFLOWS:
        raise InputError(f"unknown workflow '{workflow}'; known workflows: {', '.join(WORKFLOWS)}")
    config = load_config(config)
    if config.prompts_dir:
        template.warn_of_unused(config.prompts_dir, roles=workflow != "custom")
    if not config.features.langsmith:
        _switch_off_langsmith()
    compiled = WORKFLOWS[workflow](Crew(config)).compile(checkpointer, name=workflow)
    return SwarmGraph(**{key: value for key, value in vars(compiled).items() if key != "__orig_class__"})


def _switch_off_langsmith() -> None:
    import langsmith

    langsmith.configure(enabled=False)
