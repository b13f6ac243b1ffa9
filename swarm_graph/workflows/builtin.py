"""The shapes of the built-in workflows, and `build_graph`, which makes one ready to run."""

from __future__ import annotations

from langgraph.graph import END, START

from swarm_graph.errors import ConfigError
from swarm_graph.nodes.architect import architect
from swarm_graph.nodes.clarifier import clarifier
from swarm_graph.nodes.coder import coder
from swarm_graph.nodes.debugger import debugger
from swarm_graph.nodes.documenter import documenter
from swarm_graph.nodes.optimizer import optimizer
from swarm_graph.nodes.reviewer import reviewer
from swarm_graph.nodes.security import security
from swarm_graph.nodes.tester import tester
from swarm_graph.roles.turn import Crew
from swarm_graph.tasks.node import TASKS, CustomState, TaskGraph, all_done
from swarm_graph.workflows.builder import Draft
from swarm_graph.workflows.verdict import is_done


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
