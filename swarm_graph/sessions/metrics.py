"""Figures of a session, added up from the calls and the runs of its tests that ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from typing import Any

from swarm_graph.events import Event

TOKENS = ("input_tokens", "output_tokens", "reasoning_tokens", "cut_tokens")


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
    """Per role, in the order of their names: the seed's figures, and where the time and the tokens went.

    `total_calls` counts every attempt; `cancelled_calls`, which somebody stopped, count for no failure in
    `success_rate`. Seconds are those of answered calls, from dispatch to the last
    token: `avg_response_time`, `p50_seconds`, `p95_seconds`, `model_seconds` (their sum),
    `first_token_seconds` (mean time to the first token); `queued_seconds` is the time in our own queue,
    of all calls together. `tokens_per_second` are output tokens while one call was at work.
    `cut_tokens` are those of calls that did not end, estimated and in no other sum; `estimated_calls`
    ended, but their servers counted no tokens. `cost` is in the currency of the configured prices.
    """
    by_role: dict[str, list[Mapping[str, Any]]] = {}
    for call in calls:
        by_role.setdefault(call["role"], []).append(call)
    return {role: _figures(of_role) for role, of_role in sorted(by_role.items())}


def _figures(calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    answered = [call for call in calls if call["outcome"] in ("answered", "truncated")]
    seconds = sorted(call["seconds"] for call in answered)
    cancelled = sum(call["outcome"] == "cancelled" for call in calls)
    first = [call["first_token_s"] for call in answered if call["first_token_s"] is not None]
    tokens = {name: sum(call[name] for call in calls) for name in TOKENS}
    return {
        "total_calls": len(calls),
        "successful_calls": len(answered),
        "cancelled_calls": cancelled,
        "success_rate": len(answered) / (len(calls) - cancelled) if len(calls) > cancelled else 0.0,
        **tokens,
        "total_tokens": tokens["input_tokens"] + tokens["output_tokens"],
        "avg_response_time": sum(seconds) / len(seconds) if seconds else 0.0,
        "p50_seconds": percentile(seconds, 0.50),
        "p95_seconds": percentile(seconds, 0.95),
        "first_token_seconds": sum(first) / len(first) if first else 0.0,
        "model_seconds": sum(seconds),
        "queued_seconds": sum(call["queued_s"] for call in calls),
        "tokens_per_second": tokens["output_tokens"] / sum(seconds) if sum(seconds) else 0.0,
        "estimated_calls": sum(bool(call["estimated"]) for call in answered),
        "cost": sum(call["cost"] for call in calls),
    }


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest of some ordered values that at least a share of them does not exceed; 0 for none."""
    return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else 0.0


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


def is_same_run(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
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
