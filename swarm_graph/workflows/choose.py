"""The node `choose`: it runs the tests with each candidate and keeps the best. It calls no model."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, cast

from langchain_core.runnables import RunnableConfig

from swarm_graph import aio
from swarm_graph.errors import ModelError
from swarm_graph.roles.emitter import Origin
from swarm_graph.roles.run import current_run, node_emitter
from swarm_graph.sandbox.evidence import CHOOSE, has_broken_tests, make_evidence
from swarm_graph.settings import Execution
from swarm_graph.state import CandidateRecord, CandidatesState, Evidence, Failure, Review, SwarmState
from swarm_graph.workflows.choice import Choice, Tried, choose, failure_reason
from swarm_graph.workflows.comparable import comparable
from swarm_graph.workflows.evidence_node import EvidenceNode, Found
from swarm_graph.workflows.run_tests import MAX_REWRITES, attempt_number, review

_NO_NAME = re.compile(r"ImportError: cannot import name '[^']*' from '([^']+)'")
MAX_AT_ONCE = 4
"""Test runs at once, at most; fewer on a machine with fewer processors."""


class ChooseNode(EvidenceNode):
    """Keeps the best candidate of the round: its code, and a review with the evidence of its test run.

    If every candidate failed, the node notes the failure and `next_step` sends the graph to the candidates
    again, which raise it: LangGraph drops what a node writes that raises, and a resume asks them again.
    """

    name = CHOOSE

    async def _run(self, state: SwarmState, config: RunnableConfig) -> dict[str, Any]:
        records = candidates_of_round(state)
        if not any(record["code"] for record in records):
            current_run(self.config).failure = _failure(records)
            return {}
        return await super()._run(state, config)

    def iteration(self, state: SwarmState) -> int:
        return candidates_of_round(state)[0]["iteration"]

    async def evidence(self, state: SwarmState, iteration: int) -> Found:
        records = candidates_of_round(state)
        tests = state.get("tests", {})
        tried = comparable(await try_out(records, tests, self.config.execution), tests)
        attempt = attempt_number(state, iteration)
        if broken := broken_evidence(tried):
            if is_rewritten(iteration, attempt):
                return Found({**broken, "attempt": attempt}, {"iteration": iteration})
            tried = [Tried(one.number, one.code, _without_tests(broken), {}) for one in tried]
        choice = choose(tried)
        old, code = state.get("code", {}), dict(choice.best.code)
        node_emitter(Origin("", CHOOSE, iteration=iteration))(
            "candidate_chosen", number=choice.best.number, candidates=len(records), reason=choice.reason
        )
        evidence = Evidence({**choice.best.evidence, "attempt": attempt})
        return Found(
            evidence,
            {
                "code": code,
                "changed": [path for path, text in code.items() if old.get(path) != text],
                "iteration": iteration,
                "candidates": _judged(records, tried, choice),
            },
        )

    def review(self, evidence: Evidence, iteration: int) -> Review:
        return review(evidence, iteration, required=self.config.execution.mode == "required")


def pause_after_choice(
    pause: Callable[[SwarmState], dict[str, Any]], settings: Execution
) -> Callable[[SwarmState], dict[str, Any]]:
    """The pause after the coder where the tests have run before it: they did not run on edited code."""

    def wait(state: SwarmState) -> dict[str, Any]:
        update = pause(state)
        if update.get("code", state.get("code")) == state.get("code"):
            return update
        evidence = make_evidence("not_run", reason="a person has edited the code since they ran")
        required = settings.mode == "required"
        return {**update, "reviews": [review(evidence, state["iteration"], required=required)]}

    return wait


def candidates_of_round(state: SwarmState) -> list[CandidateRecord]:
    """The candidates of the latest round; none before the first has one."""
    records = cast("CandidatesState", state).get("candidates", [])
    latest = max((record["iteration"] for record in records), default=0)
    return [record for record in records if record["iteration"] == latest]


def is_rewritten(iteration: int, attempt: int) -> bool:
    """Whether tests that are broken are written again: in the first round only, as no code is chosen yet."""
    return iteration == 1 and attempt <= MAX_REWRITES


def broken_evidence(tried: Sequence[Tried]) -> Evidence | None:
    """The evidence that the tests are broken; None if a candidate shows that they can judge.

    A test run without results shows nothing: its candidate has stopped it, or lacks what the tests import.
    """
    broken = [one.evidence for one in tried if has_broken_tests(one.evidence)]
    judged = [one for one in tried if one.evidence["outcome"] in ("passed", "failed") and one.results]
    return broken[0] if broken and not judged else None


def next_step(state: SwarmState) -> str:
    """`chosen`; or `rewrite` for broken tests, or `failed` if no candidate has an answer."""
    records = candidates_of_round(state)
    if any(record["chosen"] for record in records):
        return "chosen"
    return "rewrite" if any(record["code"] for record in records) else "failed"


def after_tester(state: SwarmState) -> str:
    """`judge` for tests that were written again, since the candidates are there; else `write`."""
    records = candidates_of_round(state)
    return "judge" if records and not any(record["chosen"] for record in records) else "write"


async def try_out(
    records: Sequence[CandidateRecord], tests: Mapping[str, str], settings: Execution
) -> list[Tried]:
    """Run the tests with each candidate that has code, several at once, and equal code only once.

    When the caller is cancelled, the runs are stopped first.
    """
    cancelled, free = threading.Event(), asyncio.Semaphore(min(MAX_AT_ONCE, os.cpu_count() or 1))

    async def run(code: dict[str, str]) -> Evidence:
        from swarm_graph.sandbox.runner import run_tests

        async with free:
            if cancelled.is_set():
                return make_evidence("not_run", reason="stopped")
            return await asyncio.to_thread(run_tests, code, tests, settings, cancelled, with_results=True)

    with_code = [record for record in records if record["code"]]
    codes: list[dict[str, str]] = []
    for record in with_code:
        if record["code"] not in codes:
            codes.append(record["code"])
    found = await aio.stopped_first(asyncio.gather(*map(run, codes)), cancelled)
    return [_tried(record, found[codes.index(record["code"])]) for record in with_code]


def _tried(record: CandidateRecord, evidence: Evidence) -> Tried:
    results = evidence.get("results", {})
    rest = cast("Evidence", {key: value for key, value in evidence.items() if key != "results"})
    return Tried(record["number"], record["code"], _blamed_on_code(rest, record["code"]), results)


def _blamed_on_code(evidence: Evidence, code: Mapping[str, str]) -> Evidence:
    """The evidence, where the tests are not at fault if a module of the code lacks a name they import.

    They were there first, and the candidate was shown what they import.
    """
    modules = {_module(path) for path in code}
    failures = [
        Failure({**failure, "by_tests": failure["by_tests"] and not _lacks_name(failure["problem"], modules)})
        for failure in evidence["failures"]
    ]
    is_broken = evidence["outcome"] == "broken"
    if is_broken and failures and not any(failure["by_tests"] for failure in failures):
        return {**evidence, "outcome": "failed", "failures": failures}
    return {**evidence, "failures": failures}


def _module(path: str) -> str:
    """The name by which tests import a file: `shop.cart` for `src/shop/cart.py`."""
    return path.removesuffix(".py").removesuffix("/__init__").removeprefix("src/").replace("/", ".")


def _lacks_name(problem: str, modules: Collection[str]) -> bool:
    """Whether a test failed because one of the modules does not define a name."""
    found = _NO_NAME.match(problem)
    return found is not None and found[1] in modules


def _without_tests(evidence: Evidence) -> Evidence:
    """The evidence where the tests are broken and are not written again."""
    why = failure_reason(evidence)
    return make_evidence("not_run", reason=f"the tests themselves are broken; {why}")


def _judged(
    records: Sequence[CandidateRecord], tried: Sequence[Tried], choice: Choice
) -> list[CandidateRecord]:
    """The records with what their tests showed, their groups and the choice."""
    results = {one.number: one.results for one in tried}
    places = {number: place for place, group in enumerate(choice.groups, 1) for number in group}
    return [
        CandidateRecord(
            {
                **record,
                "results": {name: list(tests) for name, tests in results.get(record["number"], {}).items()},
                "group": places.get(record["number"], 0),
                "chosen": record["number"] == choice.best.number,
                "reason": choice.reason if record["number"] == choice.best.number else "",
            }
        )
        for record in records
    ]


def _failure(records: Sequence[CandidateRecord]) -> ModelError:
    """The error of a round in which no candidate has an answer."""
    first = records[0]
    if len({record["error"].partition(": ")[2] for record in records}) == 1:
        return ModelError(f"all {len(records)} candidates failed; {first['error']}", node=first["node"])
    errors = "; ".join(record["error"] for record in records)
    return ModelError(f"all {len(records)} candidates failed; {errors}", node=first["node"])
