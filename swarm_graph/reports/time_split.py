"""Where the time of a session went: models, tests, tools, queues, a person, the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from swarm_graph.checkpoints.records import Run

PURPOSES = ("models", "tests", "tools", "queues", "other", "person")
"""Where several go on at once, the first of these counts, so that no second counts twice."""

LEAST_SECONDS = 0.05
"""Less is shown as nothing."""


class Span(NamedTuple):
    """A stretch of time, in seconds since the epoch."""

    begin: float
    end: float


def run_spans(runs: Iterable[Run], until: float) -> list[Span]:
    """When processes worked on a session.

    Args:
        runs: Its runs.
        until: The end of a run that has none.
    """
    return [Span(run.started_at, max(run.ended_at or until, run.started_at)) for run in runs]


def waits_for_person(runs: Sequence[Run], until: float) -> list[Span]:
    """When a session waited for a person: from a run that paused to the next one.

    Args:
        runs: The runs of the session, oldest first.
        until: The end of a wait that goes on.
    """
    begins = [*(run.started_at for run in runs[1:]), until]
    return [
        Span(run.ended_at, max(begin, run.ended_at))
        for run, begin in zip(runs, begins, strict=False)
        if run.phase == "paused" and run.ended_at
    ]


def call_spans(calls: Iterable[Mapping[str, Any]]) -> list[Span]:
    """When models worked, from rows of the catalogue's calls."""
    return [Span(call["time"] - call["seconds"], call["time"]) for call in calls]


def queue_spans(calls: Iterable[Mapping[str, Any]]) -> list[Span]:
    """When calls waited in our queue."""
    begins = [(call["time"] - call["seconds"], call["queued_s"]) for call in calls]
    return [Span(begin - queued, begin) for begin, queued in begins]


def test_spans(tests: Iterable[Mapping[str, Any]]) -> list[Span]:
    """When tests ran, from rows of the catalogue's test runs."""
    return [Span(test["time"] - test["seconds"], test["time"]) for test in tests]


def tool_spans(tools: Iterable[Mapping[str, Any]]) -> list[Span]:
    """When tools worked, from the figures of their calls; calls without an end are left out."""
    return [
        Span(tool["started_at"], tool["started_at"] + tool["seconds"]) for tool in tools if tool["outcome"]
    ]


def split_time(spans: Mapping[str, Sequence[Span]], runs: Sequence[Span]) -> dict[str, float]:
    """The seconds for each of PURPOSES that took at least LEAST_SECONDS.

    Args:
        spans: By purpose. Of those of `person` all counts, of the others what lies within the runs.
        runs: When processes worked on the session; what nothing else explains is `other`.
    """
    order = [purpose for purpose in PURPOSES if purpose not in ("other", "person")]
    changes = [
        (moment, rank, step)
        for rank, purpose in enumerate([*order, "other"])
        for span in (runs if purpose == "other" else spans.get(purpose, ()))
        for moment, step in ((span.begin, 1), (span.end, -1))
    ]
    seconds = dict.fromkeys(PURPOSES, 0.0)
    open_spans, before = [0] * (len(order) + 1), 0.0
    for moment, rank, step in sorted(changes):
        if open_spans[-1]:  # a run
            at_work = next(number for number, count in enumerate(open_spans) if count)
            seconds[[*order, "other"][at_work]] += moment - before
        open_spans[rank] += step
        before = moment
    seconds["person"] = sum(span.end - span.begin for span in spans.get("person", ()))
    return {purpose: spent for purpose, spent in seconds.items() if spent >= LEAST_SECONDS}
