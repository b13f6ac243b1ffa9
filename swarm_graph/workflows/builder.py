"""A LangGraph under construction: places roles, numbers their tasks, adds pauses, connects nodes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, StateGraph

from swarm_graph.nodes.reviewer import reviewer
from swarm_graph.roles.bindings import Bindings
from swarm_graph.roles.role import Role
from swarm_graph.roles.role_node import RoleNode
from swarm_graph.sandbox.evidence import CHECK_DOCUMENT, RUN_TESTS
from swarm_graph.state import DOCUMENT, AgentRole, SwarmContext, SwarmState
from swarm_graph.workflows.check_document import CheckDocumentNode
from swarm_graph.workflows.graph import SwarmGraph
from swarm_graph.workflows.opening import Prepared, prepare
from swarm_graph.workflows.pauses import pause_node
from swarm_graph.workflows.run_tests import RunTestsNode, next_step
from swarm_graph.workflows.verdict import complete, reviews_of_round, verdict_node

Choose = Callable[[Any], Hashable | list[Hashable]]
"""Returns the label, or the labels, of the next nodes for a state."""


class GraphBuilder(StateGraph[SwarmState, SwarmContext, SwarmState, SwarmState]):
    """LangGraph's StateGraph with the terms of our workflows: `place`, `connect`, `branch`, `verdict`, ….

    If a role has a pause, `connect` and `branch` use the pause in place of its node, so a workflow does not
    have to know about pauses.
    """

    def __init__(self, bindings: Bindings, state: type[SwarmState] = SwarmState) -> None:
        """Start an empty graph.

        Args:
            bindings: The configuration, and the models that the nodes call.
            state: A state with keys that callers do not see.
        """
        super().__init__(state, SwarmContext, output_schema=SwarmState)
        self.bindings = bindings
        self.settings = bindings.config.workflow
        self.max_iterations = self.settings.max_iterations
        self.makes_document = self.settings.kind == DOCUMENT
        self.roles: list[AgentRole] = []
        self._edges: list[tuple[str, str]] = []

    # --- for workflows ---------------------------------------------------------------------------

    def place(self, role: Role[Any], name: str = "", focus: str | None = None, *, ends: bool = False) -> str:
        """Add a node for a role.

        Args:
            role: The role.
            name: The name of the node; default the role's.
            focus: What a reviewer looks at; its task is named after it.
            ends: Whether the workflow is complete after this node.

        Returns:
            The name of the node.
        """
        name, role = name or str(role.role), role.for_kind(self.settings.kind)
        # Several reviewers need several task ids: review_style → T004_review_style.
        verb = f"{role.verb}{name.removeprefix('review')}" if focus and name != "reviewer" else role.verb
        self.roles.append(role.role)
        task_id = f"T{len(self.roles):03d}_{verb}"
        node = RoleNode(self.bindings, role, name, task_id, focus, ends=ends)
        self.add_node(name, node, input_schema=role.state)
        self.schemas[SwarmState] |= self.schemas[role.state]  # the keys of roles are part of the output, too
        if role.role in self.settings.pause_before:
            self.add_node(f"before_{name}", pause_node("before", name, role))
            self.add_edge(f"before_{name}", name)
        if role.role in self.settings.pause_after:
            self.add_node(f"after_{name}", pause_node("after", name, role))
            self.add_edge(name, f"after_{name}")
        return name

    def connect(self, start: str, end: str) -> None:
        """Add an edge between two nodes."""
        self._edges.append((self._exit(start), self._entrance(end)))

    def branch(self, source: str, choose: Choose, targets: Mapping[str, str]) -> None:
        """Add conditional edges.

        Args:
            source: The node that they leave.
            choose: Returns the labels of the next nodes.
            targets: Label to node.
        """
        nodes: dict[Hashable, str] = {label: self._entrance(name) for label, name in targets.items()}
        self.add_conditional_edges(self._exit(source), choose, nodes)

    def end_with(self, *roles: Role[Any]) -> None:
        """Add the roles, side by side, after which the workflow is complete."""
        paused = any(role.role in [*self.settings.pause_before, *self.settings.pause_after] for role in roles)
        names = [self.place(role, ends=not paused) for role in roles]
        if paused:
            self.add_node("complete", complete)
            self.add_edge([self._exit(name) for name in names], "complete")
            names = ["complete"]
        for name in names:
            self.connect(name, END)

    def reviewers(self, workflow: str, *focuses: str) -> list[str]:
        """Add one reviewer per focus; returns their names.

        Args:
            workflow: The name of the workflow, under which `workflow.reviewers` may replace the focuses.
            focuses: The workflow's own focuses.
        """
        chosen = self.settings.focuses(workflow) or focuses
        return [self.place(reviewer, f"review_{focus}", focus) for focus in chosen]

    def check_document(self) -> str:
        """Add the checks of a document, which review it like a role; returns the name of the node."""
        self.add_node(CHECK_DOCUMENT, CheckDocumentNode(self.bindings.config))
        return CHECK_DOCUMENT

    def verdict(
        self, reviews: list[str], max_iterations: int, *, ends: bool, run_tests: bool = False
    ) -> None:
        """Add the verdict on the reviews of a round.

        Args:
            reviews: The nodes that review.
            max_iterations: How many rounds there are at the most.
            ends: Whether the workflow is complete after the last verdict.
            run_tests: Whether the tests of the tester run before the verdict. The verdict is deferred then,
                because the tester may have to rewrite its tests first.
        """
        self.add_node("verdict", verdict_node(max_iterations, ends=ends), defer=run_tests)
        if not run_tests:
            self.add_edge([self._exit(review) for review in reviews], "verdict")
            return
        for review in reviews:
            self.connect(review, "verdict")
        self.add_node(RUN_TESTS, RunTestsNode(self.bindings.config))
        self.connect("tester", RUN_TESTS)
        self.branch(RUN_TESTS, next_step, {"rewrite": "tester", "done": "verdict"})

    # --- for build_graph -------------------------------------------------------------------------

    def prepare(self, given: Any, context: SwarmContext | None = None) -> Prepared:
        """Check an input before anything is written; see `SwarmGraph.prepare`."""
        return prepare(given, self.nodes, self.bindings, context)

    def build(self, name: str, checkpointer: BaseCheckpointSaver[Any] | None = None) -> SwarmGraph:
        """The compiled graph, with our rules for sessions."""
        self._add_connections()
        compiled: Any = self.compile(checkpointer, name=name)
        # `compile` has no hook for the class that it returns. SwarmGraph adds only methods, so this is safe.
        compiled.__class__ = SwarmGraph
        graph: SwarmGraph = compiled
        return graph

    def _add_connections(self) -> None:
        """Add the edges of `connect`; rejected code goes back to the coder (or its pause) if a round is left.

        The edges that leave `after_coder` become one conditional edge: LangGraph would follow plain edges
        after a rejection as well, and the reviewers would judge code that a person has rejected.
        """
        after_coder = [end for start, end in self._edges if start == "after_coder"]
        for start, end in self._edges:
            if start != "after_coder":
                self.add_edge(start, end)
        if after_coder:
            coder = self._entrance("coder")
            targets: dict[Hashable, str] = {"rejected": coder, **{end: end for end in after_coder}}

            def choose(state: SwarmState) -> list[str]:
                reviews = reviews_of_round(state)
                rejected = any(review["node"] == "person_after_coder" for review in reviews)
                return ["rejected"] if rejected and state["iteration"] < self.max_iterations else after_coder

            self.add_conditional_edges("after_coder", choose, targets)

    def _entrance(self, name: str) -> str:
        """The pause before a node where there is one, else the node."""
        return before if (before := f"before_{name}") in self.nodes else name

    def _exit(self, name: str) -> str:
        """The pause after a node where there is one, else the node."""
        return after if (after := f"after_{name}") in self.nodes else name
