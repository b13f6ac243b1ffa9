"""The figures of roles as the rows of a table, with bars for their tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from swarm_graph.text import cost_cell


class RoleRow(NamedTuple):
    """The figures of a role; texts are empty where there is nothing to say.

    Attributes:
        role: The role.
        calls: All attempts.
        answered: The share of them that was answered, in percent.
        tokens_in: Tokens of the prompts.
        tokens_out: Tokens of the answers.
        percent_in: The length of the bar for the tokens in; the role with the most tokens has 100 in all.
        percent_out: The length of the bar for the tokens out.
        median_s: Seconds of a call.
        slow_s: Seconds that 95 of 100 calls do not exceed.
        queued_s: Seconds in our queue.
        rate: Tokens a second.
        cost: In the currency of the configured prices.
        tools: Calls of tools.
    """

    role: str
    calls: int
    answered: str
    tokens_in: int
    tokens_out: int
    percent_in: float
    percent_out: float
    median_s: float
    slow_s: float
    queued_s: float
    rate: str
    cost: str
    tools: str


def role_rows(agents: Mapping[str, Mapping[str, Any]], rates: Mapping[str, float]) -> list[RoleRow]:
    """A row for each role.

    Args:
        agents: The figures, by role (`metrics.summary`).
        rates: Tokens per second by role; a role whose model is simulated has none.
    """
    most = max((figures["total_tokens"] for figures in agents.values()), default=0) or 1
    return [
        RoleRow(
            role=role,
            calls=figures["total_calls"],
            answered=f"{figures['success_rate']:.0%}",
            tokens_in=figures["input_tokens"],
            tokens_out=figures["output_tokens"],
            percent_in=100 * figures["input_tokens"] / most,
            percent_out=100 * figures["output_tokens"] / most,
            median_s=figures["p50_seconds"],
            slow_s=figures["p95_seconds"],
            queued_s=figures["queued_seconds"],
            rate=f"{rates[role]:,.1f}" if rates.get(role) else "",
            cost=cost_cell(figures["cost"]),
            tools=_tools(figures),
        )
        for role, figures in agents.items()
    ]


def _tools(figures: Mapping[str, Any]) -> str:
    if not figures["tool_calls"]:
        return ""
    failed = figures["failed_tool_calls"]
    return f"{figures['tool_calls']:,}" + (f", {failed:,} failed" if failed else "")
