"""A LangGraph under construction: places roles, numbers their tasks, adds pauses, connects nodes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from langchain_core.runnables import Runnable
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.store.base import BaseStore

from swarm_graph.errors import ConfigError
from swarm_graph.nodes.reviewer import reviewer
from swarm_graph.nodes.tester import tests_first
from swarm_graph.roles.bindings import Bindings
from swarm_graph.roles.role import Role
from swarm_graph.roles.role_node import RoleNode
from swarm_graph.sandbox.evidence import CHECK_DOCUMENT, CHOOSE, RUN_TESTS
from swarm_graph.state import (
    CHANGE,
    DOCUMENT,
    CandidatesState,
    ChangeState,
    MemoryState,
    SwarmContext,
    SwarmState,
)
from swarm_graph.workflows.candidate_node import BeginCandidates, CandidateNode, check_candidates
from swarm_graph.workflows.check_document import CheckDocumentNode
from swarm_graph.workflows.choose import ChooseNode, after_tester, pause_after_choice
from swarm_graph.workflows.choose import next_step as next_step_of_choice
from swarm_graph.workflows.commit import COMMIT, COMMIT_LAST, CommitNode
from swarm_graph.workflows.graph import SwarmGraph
from swarm_graph.workflows.in_loop import InLoop
from swarm_graph.workflows.opening import Prepared, prepare
from swarm_graph.workflows.pauses import pause_node
from swarm_graph.workflows.run_tests import RunTestsNode, next_step
from swarm_graph.workflows.verdict import (
    complete,
    complete_own,
    complete_unreviewed,
    reviews_of_round,
    verdict_node,
)

Choose = Callable[[Any], Hashable | list[Hashable]]
"""Returns the label, or the labels, of the next nodes for a state."""


COMPLETE = "complete"
"""The node that ends a workflow of the user's own, and built-in ones whose last roles have pauses."""


class GraphBuilder(StateGraph[SwarmState, SwarmContext, SwarmState, SwarmState]):
    """LangGraph's StateGraph with the terms of our workflows: `place`, `connect`, `branch`, `verdict`, ….

    If a role has a pause, `connect` and `branch` use the pause in place of its node, so a workflow does not
    have to know about pauses. What StateGraph has works, too: `add_node` adds a function as a node.

    Attributes:
        bindings: The configuration, the models and the roles of the graph.
        settings: `workflow` of the configuration.
        max_iterations: How many rounds there are at the most.
        makes_document: Whether the sessions make a document.
        makes_change: Whether the sessions change or review a repository.
        roles: The names of the roles that were placed, in order.
    """

    def __init__(
        self,
        bindings: Bindings,
        state: type[SwarmState] = SwarmState,
        *,
        completes: bool = False,
        recalls: bool = False,
    ) -> None:
        """Start an empty graph.

        Args:
            bindings: The configuration, and the models that the nodes call.
            state: A state with keys that callers do not see.
            completes: Whether the workflow is complete when it reaches END; else its function says with
                `ends` after which nodes it is.
            recalls: Whether the state holds what roles have recalled from memory, even if none recalls now.
        """
        self.settings = bindings.config.workflow
        self.makes_change = self.settings.kind == CHANGE
        if self.makes_change and state is SwarmState:
            state = ChangeState
        super().__init__(state, SwarmContext, output_schema=SwarmState)
        if state is ChangeState:
            self.show(state)
        memory = bindings.config.memory
        if recalls or (memory and memory.recall):
            self.show(MemoryState)
        self.bindings = bindings
        self.max_iterations = self.settings.max_iterations
        self.makes_document = self.settings.kind == DOCUMENT
        self.roles: list[str] = []
        self.writes_files = False
        """Whether a role of it writes files."""
        self.opens_round = False
        """Whether a role of it opens the rounds, as the coder does."""
        self._completes = completes
        self.has_rounds = True
        """Whether the coder may be asked again."""
        self.candidates: list[str] = []
        """The nodes of several candidates of the coder."""
        self._edges: list[tuple[str, str]] = []

    # --- for workflows ---------------------------------------------------------------------------

    def place(
        self, role: Role[Any] | str, name: str = "", focus: str | None = None, *, ends: bool = False
    ) -> str:
        """Add a node for a role.

        Args:
            role: The role, or its name.
            name: The name of the node; default the role's.
            focus: What a reviewer looks at; its task is named after it.
            ends: Whether the workflow is complete after this node. A workflow of your own is complete when it
                reaches END, and needs no `ends`.

        Returns:
            The name of the node.

        Raises:
            ConfigError: There is no such role, or the name is taken.
        """
        role = self.bindings.roles.placed(role)
        if role.role == "coder" and self.settings.coders:
            raise ConfigError("workflow.candidates: place the coder with graph.place_coder()")
        name = name or str(role.role)
        self._check_new(name, role)
        # Several reviewers need several task ids: review_style → T004_review_style.
        verb = f"{role.verb}{name.removeprefix('review')}" if focus and name != "reviewer" else role.verb
        task_id = self._task_id(role, verb)
        node = RoleNode(self.bindings, role, name, task_id, focus, ends=ends and not self._completes)
        self._add_turn(role, name, node)
        before, after = self._add_pauses(role, name)
        if before:
            self.add_edge(before, name)
        if after:
            self.add_edge(name, after)
        return name

    def _task_id(self, role: Role[Any], verb: str) -> str:
        self.roles.append(role.role)
        return f"T{len(self.roles):03d}_{verb}"

    def _add_turn(self, role: Role[Any], name: str, node: RoleNode[Any]) -> None:
        """Add the node of a role."""
        self.add_node(name, node, input_schema=self.bindings.roles.state_of(role))
        self.show(self.bindings.roles.state_of(role))
        self.opens_round = self.opens_round or role.opens_round
        self.writes_files = self.writes_files or role.form == "files"

    def _add_pauses(self, role: Role[Any], name: str) -> tuple[str, str]:
        """Add the configured pauses before and after a role; returns their names, empty for none."""
        before = after = ""
        if role.role in self.settings.pause_before:
            before = f"before_{name}"
            self.add_node(before, InLoop(pause_node("before", name, role, self.bindings.roles)))
        if role.role in self.settings.pause_after:
            after = f"after_{name}"
            pause = pause_node("after", name, role, self.bindings.roles)
            if name == "coder" and self.candidates:
                pause = pause_after_choice(pause, self.bindings.config.execution)
            self.add_node(after, InLoop(pause))
        return before, after

    def place_coder(self) -> str:
        """Add the coder; if `workflow.candidates` asks for several, the tester, the candidates, and a choice.

        Then the node `coder` begins the candidates, and what follows it follows the choice.

        Returns:
            The node to which the first edge leads: the coder, or the tester, whose tests come first.

        Raises:
            ConfigError: Several candidates cannot be made here.
        """
        if not self.settings.coders:
            return self.place("coder")
        check_candidates(self.bindings)
        self.show(CandidatesState)
        self.place(tests_first)
        coder = self.bindings.roles.placed("coder")
        self.add_node("coder", BeginCandidates())
        for number, candidate in enumerate(self.settings.coders, 1):
            task_id = self._task_id(coder, f"{coder.verb}_{number}")
            node = CandidateNode(self.bindings, coder, number, candidate, task_id)
            self.candidates.append(node.name)
            self._add_turn(coder, node.name, node)
            self.add_edge("coder", node.name)
        self.add_node(CHOOSE, ChooseNode(self.bindings.config))
        self.add_edge(self.candidates, CHOOSE)
        before, after = self._add_pauses(coder, "coder")
        if before:
            self.add_edge(before, "coder")
        if after:
            self._edges.append((CHOOSE, after))
        self.branch("tester", after_tester, {"write": "coder", "judge": CHOOSE})
        return "tester"

    def show(self, state: type[Any]) -> None:
        """Make the keys of a state part of the result, such as those that a function of yours writes.

        Args:
            state: A TypedDict with the keys.
        """
        self._add_schema(state)
        self.schemas[SwarmState] |= self.schemas[state]

    def connect(self, start: str, end: str) -> None:
        """Add an edge between two nodes, or from START, or to END.

        Raises:
            ConfigError: There is no such node yet.
        """
        self._edges.append((self._exit(start), self._entrance(end)))

    def branch(self, source: str, choose: Choose, targets: Mapping[str, str]) -> None:
        """Add conditional edges.

        Args:
            source: The node that they leave.
            choose: Returns the labels of the next nodes.
            targets: Label to node.

        Raises:
            ConfigError: There is no such node yet.
        """
        nodes: dict[Hashable, str] = {label: self._entrance(name) for label, name in targets.items()}
        # A user's function may wait for something, so LangGraph calls it in a thread.
        path = choose if self._completes else InLoop(choose)
        self.add_conditional_edges(self._exit(source), path, nodes)

    def end_with(self, *roles: Role[Any]) -> None:
        """Add the roles, side by side, after which the workflow is complete."""
        paused = not self._completes and any(
            role.role in [*self.settings.pause_before, *self.settings.pause_after] for role in roles
        )
        commits = self.makes_change and not self._completes
        names = [self.place(role, ends=not (paused or commits)) for role in roles]
        if commits:
            names = [self._join(names, COMMIT_LAST, CommitNode(self.bindings, COMMIT_LAST, ends=not paused))]
        if paused:
            names = [self._join(names, COMPLETE, InLoop(complete))]
        for name in names:
            self.connect(name, END)

    def end_unreviewed(self, node: str) -> None:
        """End after a node whose work nobody reviews: it may be refused, but it is never approved."""
        self.has_rounds = self._exit(node) == f"after_{node}"  # a person may send it back
        if self.makes_change:
            self.add_node(COMMIT_LAST, CommitNode(self.bindings, COMMIT_LAST))
            self.connect(node, COMMIT_LAST)
            node = COMMIT_LAST
        self.add_node(COMPLETE, InLoop(complete_unreviewed))
        self.connect(node, COMPLETE)
        self.connect(COMPLETE, END)

    def _join(self, names: list[str], join: str, node: Runnable[Any, dict[str, Any]]) -> str:
        """Add a node that runs when all these have ended; returns its name."""
        self.add_node(join, node)
        self.add_edge([self._exit(name) for name in names], join)
        return join

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
        self,
        reviews: list[str],
        max_iterations: int | None = None,
        *,
        ends: bool = False,
        run_tests: bool = False,
    ) -> None:
        """Add the node `verdict` after the reviews of a round: it decides whether they approve.

        Args:
            reviews: The nodes that review.
            max_iterations: How many rounds there are at the most; default as configured.
            ends: Whether the workflow is complete after the last verdict; see `place`.
            run_tests: Whether the tests of the tester run before the verdict, or for a document its checks,
                or for a change the tests of the repository.
                For tests the verdict is deferred, because the tester may have to rewrite them first.

        Raises:
            ConfigError: There is no review, or a node is missing.
        """
        if not reviews:
            raise ConfigError("a verdict needs reviews: give the names that graph.reviewers(…) returns")
        rounds = self.max_iterations if max_iterations is None else max_iterations
        ends = ends and not self._completes
        commits = self.makes_change and self.writes_files
        run_tests = run_tests and not self.candidates  # their tests have run when one was chosen
        if run_tests and self.makes_document:
            self.connect("tester", self.check_document())
            reviews, run_tests = [*reviews, CHECK_DOCUMENT], False
        elif run_tests and self.makes_change and "tester" not in self.nodes:
            self.connect("coder", self._place_run_tests())
            reviews, run_tests = [*reviews, RUN_TESTS], False
        verdict = verdict_node(rounds, ends=ends and not commits)
        # The verdict on a change reads files of the repository, so LangGraph calls it in a thread.
        self.add_node("verdict", verdict if self.makes_change else InLoop(verdict), defer=run_tests)
        if commits:
            self.add_node(COMMIT, CommitNode(self.bindings, COMMIT, last_round=rounds, ends=ends))
            self.add_edge("verdict", COMMIT)
        if not run_tests:
            self.add_edge([self._exit(review) for review in reviews], "verdict")
            return
        for review in reviews:
            self.connect(review, "verdict")
        self.connect("tester", self._place_run_tests())
        self.branch(RUN_TESTS, next_step, {"rewrite": "tester", "done": "verdict"})

    def _place_run_tests(self) -> str:
        """Add the node `run_tests`; returns its name."""
        self.add_node(RUN_TESTS, RunTestsNode(self.bindings.config))
        return RUN_TESTS

    @property
    def silent_nodes(self) -> list[str]:
        """The nodes of a workflow of the user's own that emit no event themselves: functions, pauses."""
        ours = (RoleNode, RunTestsNode, CheckDocumentNode, BeginCandidates, ChooseNode, CommitNode)
        nodes = self.nodes.items() if self._completes else ()
        return [name for name, node in nodes if name != "verdict" and not isinstance(node.runnable, ours)]

    # --- for build_graph -------------------------------------------------------------------------

    def prepare(self, given: Any, context: SwarmContext | None = None) -> Prepared:
        """Check an input before anything is written; see `SwarmGraph.prepare`."""
        return prepare(given, self.nodes, self.bindings, context)

    def build(
        self,
        name: str,
        checkpointer: BaseCheckpointSaver[Any] | None = None,
        store: BaseStore | None = None,
    ) -> SwarmGraph:
        """The compiled graph, with our rules for sessions.

        Args:
            name: Its name.
            checkpointer: Any LangGraph checkpointer.
            store: What its nodes recall from; see `store_of`.
        """
        self._add_connections()
        if self._completes:
            self._complete_at_end()
        compiled: Any = self.compile(checkpointer, store=store, name=name)
        # `compile` has no hook for the class that it returns. SwarmGraph adds only methods, so this is safe.
        compiled.__class__ = SwarmGraph
        graph: SwarmGraph = compiled
        return graph

    def _add_connections(self) -> None:
        """Add the edges of `connect`; rejected code goes back to the coder (or its pause) if a round is left.

        The edges that leave `after_coder` become one conditional edge: LangGraph would follow plain edges
        after a rejection as well, and the reviewers would judge code that a person has rejected.
        """
        after_coder, chosen = (
            [end for start, end in self._edges if start == source] for source in ("after_coder", CHOOSE)
        )
        for start, end in self._edges:
            if start not in ("after_coder", CHOOSE):
                self.add_edge(start, end)
        if chosen:
            steps: dict[Hashable, str] = {"rewrite": self._entrance("tester"), "failed": "coder"}
            path = InLoop(lambda state: chosen if (step := next_step_of_choice(state)) == "chosen" else step)
            self.add_conditional_edges(CHOOSE, path, {**steps, **{end: end for end in chosen}})
        if after_coder:
            coder = self._entrance("coder")
            targets: dict[Hashable, str] = {"rejected": coder, **{end: end for end in after_coder}}

            def choose(state: SwarmState) -> list[str]:
                reviews = reviews_of_round(state)
                rejected = any(review["node"] == "person_after_coder" for review in reviews)
                return ["rejected"] if rejected and state["iteration"] < self.max_iterations else after_coder

            self.add_conditional_edges("after_coder", InLoop(choose), targets)

    def check(self) -> None:
        """Raises ConfigError for a node that leads nowhere, or to which nothing leads."""
        targets = [targets.ends for specs in self.branches.values() for targets in specs.values()]
        edges = {*self._edges, *self.edges, *((one, end) for many, end in self.waiting_edges for one in many)}
        starts = {*(start for start, _ in edges), *self.branches}
        ends = {*(end for _, end in edges), *(end for found in targets if found for end in found.values())}
        for name, node in self.nodes.items():
            if name not in starts and not node.ends:
                raise ConfigError(f"the node '{name}' leads nowhere; connect it to another node or to END")
            if name not in ends and all(targets) and not any(one.ends for one in self.nodes.values()):
                raise ConfigError(f"nothing leads to the node '{name}'; connect START or another node to it")

    def _complete_at_end(self) -> None:
        """Put the node `complete` before END: however the graph gets there, it is complete.

        What was written after the last verdict is committed before that.
        """
        commits = self.makes_change and self.writes_files
        last = COMMIT_LAST if commits else COMPLETE

        def end_of(node: str) -> str:
            return last if node == END else node

        self.edges = {(start, end_of(end)) for start, end in self.edges}
        self.waiting_edges = {(starts, end_of(end)) for starts, end in self.waiting_edges}
        for specs in self.branches.values():
            for name, spec in specs.items():
                ends = {label: end_of(node) for label, node in spec.ends.items()} if spec.ends else None
                specs[name] = spec._replace(ends=ends)
        self.add_node(COMPLETE, InLoop(complete_own), defer=not commits)
        self.add_edge(COMPLETE, END)
        if commits:
            self.add_node(COMMIT_LAST, CommitNode(self.bindings, COMMIT_LAST), defer=True)
            self.add_edge(COMMIT_LAST, COMPLETE)

    def _check_new(self, name: str, role: Role[Any]) -> None:
        if name in self.nodes:
            raise ConfigError(f"two nodes have the name '{name}'; give one another: place(…, name=…)")
        if name != role.role and (role.opens_round or role.role == "tester"):
            raise ConfigError(f"the node of the {role.role} has its name: rounds and tests refer to it")

    def _check_known(self, name: str) -> None:
        if name not in self.nodes and name not in (START, END):
            hint = "; graph.verdict(reviews) places it" if name == "verdict" else ""
            names = ", ".join(self.nodes) or "none"
            raise ConfigError(f"the node '{name}' is not placed yet{hint}; placed so far: {names}")

    def _entrance(self, name: str) -> str:
        """The pause before a node where there is one, else the node."""
        self._check_known(name)
        return before if (before := f"before_{name}") in self.nodes else name

    def _exit(self, name: str) -> str:
        """The pause after a node where there is one, or after the verdict its commit, else the node.

        After several candidates of the coder it is their choice.
        """
        self._check_known(name)
        if name == "verdict" and COMMIT in self.nodes:
            return COMMIT
        if (after := f"after_{name}") in self.nodes:
            return after
        return CHOOSE if name == "coder" and self.candidates else name
