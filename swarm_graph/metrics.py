"""Figures of a session, added up from the calls and the runs of its tests that ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from swarm_graph.events import Event


def call_row(happened: Event) -> dict[str, Any]:
    """A `call_ended` event as one flat row: who, when, how it ended, tokens and seconds."""
    return {
        "session": happened.session,
        "time": happened.time,
        "node": happened.node,
        "role": happened.role,
        "task": happened.task,
        "iteration": happened.iteration,
        **happened.data,
    }


def summary(calls: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Per role, in the order of their names: the seed's figures and where the time went.

    `total_calls` counts every attempt; `avg_response_time` is seconds per answered call, from
    dispatch to the last token, without the time in our queue (`queued_seconds`, all calls together).
    """
    agents: dict[str, dict[str, Any]] = {}
    for call in calls:
        agent = agents.setdefault(call["role"], _nothing())
        answered = call["outcome"] in ("answered", "truncated")
        agent["total_calls"] += 1
        agent["successful_calls"] += answered
        agent["input_tokens"] += call["input_tokens"]
        agent["output_tokens"] += call["output_tokens"]
        agent["total_tokens"] += call["input_tokens"] + call["output_tokens"]
        agent["queued_seconds"] += call["queued_s"]
        if answered:
            agent["model_seconds"] += call["seconds"]
            agent["avg_response_time"] = agent["model_seconds"] / agent["successful_calls"]
    return dict(sorted(agents.items()))


def swaps(calls: Iterable[Mapping[str, Any]]) -> int:
    """How often a server was asked for another model than just before; it may have to swap them then."""
    loaded: dict[str, str] = {}
    count = 0
    for call in sorted(calls, key=lambda call: float(call["time"] - call["seconds"])):
        count += loaded.get(call["server"], call["model"]) != call["model"]
        loaded[call["server"]] = call["model"]
    return count


def test_run_row(happened: Event) -> dict[str, Any]:
    """A `tests_ended` event as one flat row, as the catalogue keeps it."""
    known = {name: value for name, value in happened.data.items() if name != "output"}
    return {"kind": "run", "time": happened.time, "iteration": happened.iteration, **known}


def same_run(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two rows are of the same run of the tests, which a killed session runs again."""
    return all(one[name] == other[name] for name in ("kind", "iteration", "attempt"))


def test_summary(runs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """How often the tests ran, for how many seconds, and what each run came to (a count by outcome)."""
    outcomes: dict[str, int] = {}
    seconds = 0.0
    for run in runs:
        outcomes[run["outcome"]] = outcomes.get(run["outcome"], 0) + 1
        seconds += run["seconds"]
    return {"runs": sum(outcomes.values()), "seconds": seconds, "outcomes": dict(sorted(outcomes.items()))}


def _nothing() -> dict[str, Any]:
    counts = ("total_calls", "successful_calls", "input_tokens", "output_tokens", "total_tokens")
    seconds = ("avg_response_time", "model_seconds", "queued_seconds")
    return {**dict.fromkeys(counts, 0), **dict.fromkeys(seconds, 0.0)}
