"""The figures of a session, computed from the rows of its model calls and test runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from typing import Any

from swarm_graph.events import Event
from swarm_graph.state import Recalled

FAILED_TOOLS = ("failed", "timed_out", "wrong_arguments", "unknown_tool")
"""The outcomes of calls of tools that failed; one that a person rejects, or that repeats another, did not."""
SIMULATED = "simulated"
"""The server of a simulated call."""
TOKENS = ("input_tokens", "output_tokens", "reasoning_tokens", "cut_tokens")


def call_row(event: Event) -> dict[str, Any]:
    """A `call_ended` event as one flat row, in the form that the catalogue returns."""
    return {
        "session": event.session,
        "time": event.time,
        "node": event.node,
        "role": event.role,
        "task": event.task,
        "iteration": event.iteration,
        **event.data,
    }


def tool_row(event: Event) -> dict[str, Any]:
    """A `tool_ended` event as one flat row, in the form that the catalogue returns."""
    data = {name: event.data[name] for name in ("number", "tool", "server", "outcome", "seconds")}
    return {"node": event.node, "role": event.role, "task": event.task, "iteration": event.iteration, **data}


def summary(
    calls: Iterable[Mapping[str, Any]], tools: Iterable[Mapping[str, Any]] = ()
) -> dict[str, dict[str, Any]]:
    """The figures of each role, sorted by role.

    Args:
        calls: Rows of calls (`call_row`).
        tools: Rows of calls of tools (`tool_row`).

    Returns:
        For each role:

        - total_calls: all attempts
        - successful_calls, cancelled_calls (stopped before they ended)
        - success_rate: successful calls per call that was not cancelled
        - input_tokens, output_tokens, reasoning_tokens
        - prompt_tokens_evaluated: the input tokens that the servers' prefix caches did not hold; None unless
          the server says so of every successful call
        - cut_tokens: estimated, of calls that did not end; in no other sum
        - total_tokens: input and output
        - avg_response_time, p50_seconds, p95_seconds: from dispatch to the last token, of successful calls
        - first_token_seconds: the mean time to the first token
        - model_seconds: the sum of the seconds of successful calls
        - queued_seconds: the sum of the time in our own queue, of all calls
        - tokens_per_second: output tokens per model second
        - estimated_calls: successful calls for which the server counted no tokens
        - cost: in the currency of the configured prices
        - tool_calls, failed_tool_calls, tool_seconds: the calls of tools that have ended
    """
    by_role: dict[str, list[Mapping[str, Any]]] = {}
    for call in calls:
        by_role.setdefault(call["role"], []).append(call)
    ended = [tool for tool in tools if tool["outcome"]]
    return {
        role: _figures(role_calls) | _tool_figures([tool for tool in ended if tool["role"] == role])
        for role, role_calls in sorted(by_role.items())
    }


def _tool_figures(tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "tool_calls": len(tools),
        "failed_tool_calls": sum(tool["outcome"] in FAILED_TOOLS for tool in tools),
        "tool_seconds": sum(tool["seconds"] for tool in tools),
    }


def _figures(calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    successful = [call for call in calls if call["outcome"] in ("answered", "truncated")]
    seconds = sorted(call["seconds"] for call in successful)
    cancelled = sum(call["outcome"] == "cancelled" for call in calls)
    first_token_s = [call["first_token_s"] for call in successful if call["first_token_s"] is not None]
    tokens = {name: sum(call[name] for call in calls) for name in TOKENS}
    return {
        "total_calls": len(calls),
        "successful_calls": len(successful),
        "cancelled_calls": cancelled,
        "success_rate": len(successful) / (len(calls) - cancelled) if len(calls) > cancelled else 0.0,
        **tokens,
        "prompt_tokens_evaluated": known_sum(call.get("prompt_tokens_evaluated") for call in successful),
        "total_tokens": tokens["input_tokens"] + tokens["output_tokens"],
        "avg_response_time": sum(seconds) / len(seconds) if seconds else 0.0,
        "p50_seconds": percentile(seconds, 0.50),
        "p95_seconds": percentile(seconds, 0.95),
        "first_token_seconds": sum(first_token_s) / len(first_token_s) if first_token_s else 0.0,
        "model_seconds": sum(seconds),
        "queued_seconds": sum(call["queued_s"] for call in calls),
        "tokens_per_second": tokens["output_tokens"] / sum(seconds) if sum(seconds) else 0.0,
        "estimated_calls": sum(bool(call["estimated"]) for call in successful),
        "cost": sum(call["cost"] for call in calls),
    }


def recalled_summary(recalled: Iterable[Recalled]) -> dict[str, int]:
    """The number of `searches` of memory, and the `passages` and `characters` that prompts have shown."""
    by_task = [[len(passage["text"]) for passage in one["passages"]] for one in recalled]
    sizes = [size for task in by_task for size in task]
    return {"searches": len(by_task), "passages": len(sizes), "characters": sum(sizes)}


def known_sum(counts: Iterable[int | None]) -> int | None:
    """The sum of counts; None if there are none, or one is unknown."""
    known = list(counts)
    return sum(count for count in known if count) if known and None not in known else None


def total_evaluated(agents: Iterable[Mapping[str, Any]]) -> int | None:
    """The prompt tokens that servers evaluated for all roles; None if that is unknown for one of them.

    Args:
        agents: The figures of each role; one without a successful call counts for nothing.
    """
    return known_sum(agent["prompt_tokens_evaluated"] for agent in agents if agent["successful_calls"])


def measured_rates(agents: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Tokens per second of each role in a summary of calls of which none was simulated."""
    return {role: figures["tokens_per_second"] for role, figures in agents.items()}


def real_calls(calls: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The calls that a model answered: a rate of simulated ones means nothing."""
    return [call for call in calls if call["server"] != SIMULATED]


def percentile(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: the smallest value that at least a share of the values does not exceed.

    Args:
        ordered: Sorted values; 0 is returned if there are none.
        share: From 0 to 1.
    """
    return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else 0.0


def swaps(calls: Iterable[Mapping[str, Any]]) -> int:
    """How often a server got a call for another model than the call before; it may have to swap them then."""
    loaded: dict[str, str] = {}
    count = 0
    for call in sorted(calls, key=lambda call: float(call["time"] - call["seconds"])):  # `time` is the end
        count += loaded.get(call["server"], call["model"]) != call["model"]
        loaded[call["server"]] = call["model"]
    return count


def test_run_row(event: Event) -> dict[str, Any]:
    """A `tests_ended` event as one flat row, in the form that the catalogue returns."""
    data = {name: value for name, value in event.data.items() if name != "output"}
    return {"kind": "run", "time": event.time, "iteration": event.iteration, **data}


def is_same_test_run(row: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two rows are of the same test run, which a resumed session repeats after a kill."""
    return all(row[name] == other[name] for name in ("kind", "iteration", "attempt"))


def test_summary(test_runs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The number of test runs (`runs`), their `seconds`, and their number by outcome (`outcomes`)."""
    outcomes: dict[str, int] = {}
    seconds = 0.0
    for run in test_runs:
        outcomes[run["outcome"]] = outcomes.get(run["outcome"], 0) + 1
        seconds += run["seconds"]
    return {"runs": sum(outcomes.values()), "seconds": seconds, "outcomes": dict(sorted(outcomes.items()))}
