"""The shapes of the built-in workflows: all their edges, and nothing else.

Where they say coder, `workflow.candidates` may ask for several:
tester → [coder_1, coder_2, …] → choose → *the tests are broken*: tester | what follows the coder.
The tester writes its tests once, before there is code; no other one runs later.
"""

from __future__ import annotations

from langgraph.graph import END, START

from swarm_graph.errors import ConfigError
from swarm_graph.nodes.architect import architect
from swarm_graph.nodes.clarifier import clarifier
from swarm_graph.nodes.debugger import debugger
from swarm_graph.nodes.documenter import documenter
from swarm_graph.nodes.optimizer import optimizer
from swarm_graph.nodes.reviewer import reviewer
from swarm_graph.nodes.security import security
from swarm_graph.nodes.tester import tester
from swarm_graph.sandbox.evidence import CHECK_DOCUMENT
from swarm_graph.tasks.node import TASKS, TaskGraphNode, next_step
from swarm_graph.workflows.builder import GraphBuilder
from swarm_graph.workflows.verdict import is_done

DOCUMENT_FOCUSES = ("correctness", "completeness", "clarity")
CODE_FOCUSES = ("correctness", "performance", "style")
"""What the reviewers of `standard` look at."""


def standard(graph: GraphBuilder) -> None:
    """clarifier → architect → coder → reviewers → verdict → *revise*: coder | end.

    With `features.execute_tests` the fan-out has tester → run_tests as well. A document is always checked:
    coder → check_document, or tester → check_document. A change is always tested: coder → run_tests, or
    tester → run_tests; and verdict → commit.
    """
    with_tester = graph.bindings.config.features.execute_tests and not graph.settings.coders
    graph.connect(START, graph.place(clarifier))
    graph.connect("clarifier", graph.place(architect))
    graph.connect("architect", graph.place_coder())
    reviews = graph.reviewers("standard", *(DOCUMENT_FOCUSES if graph.makes_document else CODE_FOCUSES))
    for name in [*reviews, *([graph.place(tester)] if with_tester else [])]:
        graph.connect("coder", name)
    if graph.makes_document and not with_tester:
        graph.connect("coder", graph.check_document())
        reviews.append(CHECK_DOCUMENT)
    run_tests = with_tester or graph.makes_change
    graph.verdict(reviews, graph.max_iterations, ends=True, run_tests=run_tests)
    graph.branch(
        "verdict",
        lambda state: "done" if is_done(state, graph.max_iterations) else "revise",
        {"revise": "coder", "done": END},
    )


def full(graph: GraphBuilder) -> None:
    """… coder → [reviewer, security, tester → run_tests] → verdict → *revise*: debugger → coder | last roles.

    The last roles are [optimizer, documenter]. A document is checked (tester → check_document) in place of
    the test run.
    """
    graph.connect(START, graph.place(clarifier))
    graph.connect("clarifier", graph.place(architect))
    graph.connect("architect", graph.place_coder())
    configured = graph.settings.focuses("full")
    reviews = graph.reviewers("full") if configured else [graph.place(reviewer, "reviewer", "general")]
    reviews.append(graph.place(security))
    with_tester = not graph.candidates
    for name in [*reviews, *([graph.place(tester)] if with_tester else [])]:
        graph.connect("coder", name)
    graph.verdict(reviews, graph.max_iterations, ends=False, run_tests=True)
    graph.connect(graph.place(debugger), "coder")
    graph.end_with(optimizer, documenter)
    graph.branch(
        "verdict",
        lambda state: ["optimize", "document"] if is_done(state, graph.max_iterations) else ["revise"],
        {"revise": "debugger", "optimize": "optimizer", "document": "documenter"},
    )


def review_only(graph: GraphBuilder) -> None:
    """[reviewers] → verdict → end. The request is the code, or the document."""
    of_code = ("correctness", "security", "performance", "style")
    focuses = (*DOCUMENT_FOCUSES, "security") if graph.makes_document else of_code
    reviews = graph.reviewers("review_only", *focuses)
    for name in reviews:
        graph.connect(START, name)
    graph.verdict(reviews, max_iterations=1, ends=True)
    graph.connect("verdict", END)


def single(graph: GraphBuilder) -> None:
    """coder → end. One call of one model, to compare the other workflows with."""
    graph.connect(START, graph.place_coder())
    graph.end_unreviewed("coder")


def custom(graph: GraphBuilder) -> None:
    """The user's task graph, in one node: tasks → *some failed*: tasks, which raises the failure | end."""
    if graph.settings.pauses:
        raise ConfigError(
            "workflow.pause_before and pause_after do not apply to a custom workflow; remove them, and end "
            "the task graph where a person is to look at its results"
        )
    graph.add_node(TASKS, TaskGraphNode(graph.bindings))
    graph.connect(START, TASKS)
    graph.branch(TASKS, next_step, {"again": TASKS, "done": END})
