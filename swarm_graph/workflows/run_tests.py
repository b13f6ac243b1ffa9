"""The node that runs the tester's tests on the coder's code. It asks no model."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.runtime import get_runtime

from swarm_graph import aio
from swarm_graph.events import Event, Kind
from swarm_graph.roles.run import RUN, Run
from swarm_graph.sandbox.evidence import RUN_TESTS, findings, is_broken
from swarm_graph.settings import Execution
from swarm_graph.state import Evidence, Review, SwarmContext, SwarmState, own_review

REWRITES = 2
"""How often the tester writes tests again in one round when they are at fault themselves."""


class RunTests(Runnable[SwarmState, dict[str, Any]]):
    """Appends a review with evidence. Tests that were not run neither approve nor refuse."""

    name = RUN_TESTS

    def __init__(self, settings: Execution) -> None:
        self.settings = settings

    def invoke(self, input: SwarmState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:
        return aio.run(self._take(input, config or {}, get_runtime(SwarmContext).stream_writer))

    async def ainvoke(
        self, input: SwarmState, config: RunnableConfig | None = None, **_: Any
    ) -> dict[str, Any]:
        return await self._take(input, config or {}, get_runtime(SwarmContext).stream_writer)

    async def _take(self, state: SwarmState, config: RunnableConfig, write: Any) -> dict[str, Any]:
        session = str(config["configurable"].get("thread_id", ""))
        run: Run = config["configurable"].get(RUN) or Run()
        iteration = max(state.get("iteration", 0), 1)

        def report(kind: Kind, **data: Any) -> None:
            write(Event(kind, time.time(), session, RUN_TESTS, iteration=iteration, data=data).plain())

        async with run.branch():
            report("tests_started")
            shown = await in_thread(state, self.settings)
            shown["attempt"] = attempt(state, iteration)
            if run.journal:
                await run.journal.tested(shown, iteration)
            report("tests_ended", **{key: value for key, value in shown.items() if key != "failures"})
        return {"reviews": [review(shown, iteration, required=self.settings.mode == "required")]}


async def in_thread(state: SwarmState, settings: Execution) -> Evidence:
    """Runs the tests of a state; when the caller is cancelled nothing of the run is left."""
    from swarm_graph.sandbox.runner import run_tests

    cancelled = threading.Event()
    work = asyncio.ensure_future(
        asyncio.to_thread(run_tests, state.get("code", {}), state.get("tests", {}), settings, cancelled)
    )
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        cancelled.set()
        await asyncio.gather(work, return_exceptions=True)
        raise


def attempt(state: SwarmState, iteration: int) -> int:
    """Which run of its round the next one is."""
    last = own_review(RUN_TESTS, state)
    return last["evidence"]["attempt"] + 1 if last and last["iteration"] == iteration else 1


def review(shown: Evidence, iteration: int, *, required: bool) -> Review:
    """The evidence as a review; `required`: tests that were not run are no approval."""
    abstains = shown["outcome"] == "not_run" and not required
    return Review(
        node=RUN_TESTS,
        iteration=iteration,
        approved=None if abstains else shown["outcome"] == "passed",
        findings=[] if abstains else findings(shown),
        evidence=shown,
    )


def next_step(state: SwarmState) -> str:
    """`rewrite` while tests that are at fault themselves can be written again, else `done`."""
    last = own_review(RUN_TESTS, state)
    assert last is not None
    shown = last["evidence"]
    return "rewrite" if is_broken(shown) and shown["attempt"] <= REWRITES else "done"
