"""The suite `reviews`: references with one small bug that hidden tests find, beside the same ones without it.

The bugs are mutants that the hidden tests of their case are known to kill (`killed.py`): each is a bug, not
only a difference.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace

from swarm_graph.suites.case import Case, Suite
from swarm_graph.suites.case_folder import load_smoke
from swarm_graph.suites.humaneval import is_installed, load_humaneval
from swarm_graph.suites.killed import killed_mutants
from swarm_graph.suites.requests import review_request

SEED = "reviews"
_OF_A_FUNCTION = "Review this Python code. It must do what its docstring says."
_OF_A_TASK = "Review this Python code. It was written for the following task, and must do what the task says."


def load_reviews() -> Suite:
    """Reviews of the code of `smoke`, and of `humaneval` if it is installed.

    Bugs and clean code take turns, and the first half has each reference once: the first cases of the suite
    are a fair sample of it.

    Raises:
        InputError: The data of `humaneval` cannot be read.
    """
    suites = [load_smoke(), *([load_humaneval()] if is_installed() else [])]
    bases = [case for suite in suites for case in suite.cases if killed_mutants(case.id, case.solution)]
    random.Random(SEED).shuffle(bases)
    cases = (*_cases(bases, first=0), *_cases(bases, first=1))
    return Suite("reviews", "; ".join(f"{suite.name} of {suite.source}" for suite in suites), cases)


def _cases(bases: list[Case], first: int) -> Iterator[Case]:
    for number, base in enumerate(bases, first):
        yield _clean(base) if number % 2 else _with_bug(base)


def _with_bug(base: Case) -> Case:
    mutant = killed_mutants(base.id, base.solution)[0]
    return replace(_review(base, "bug", mutant.files), planted=mutant.planted)


def _clean(base: Case) -> Case:
    return replace(_review(base, "clean", base.solution), is_clean=True)


def _review(base: Case, ending: str, shown: Mapping[str, str]) -> Case:
    question = _OF_A_FUNCTION if base.suite == "humaneval" else f"{_OF_A_TASK}\n\n{base.request}"
    return Case(
        suite="reviews",
        name=f"{base.name}-{ending}",
        request=review_request(question, shown),
        hidden=base.hidden,
        assignment="review",
        solution=base.solution,
        shown=shown,
        seconds=base.seconds,
        packages=base.packages,
    )
