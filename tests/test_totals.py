"""Totals equal the server's counts of calls and tokens, with failures, retries, cuts, resumes, branches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from servers.faults import FaultyOllama, FaultyProxy, Plan
from servers.grammars import FILES_GRAMMAR, TESTS_GRAMMAR, TEXT_GRAMMAR
from servers.llama import Llama

from swarm_graph import AgentRole, SwarmCoordinator, SwarmManager
from swarm_graph.reports.terminal import session_text

GRAMMARS = {"coder": FILES_GRAMMAR, "tester": TESTS_GRAMMAR, "debugger": TEXT_GRAMMAR}
UNENDED = ("reset", "broken", "cut", "no_end")
"""Faults that cut a call off: its tokens are in no total."""
ENDED = ("", "length", "two_ends", "left_open")


def settings(server: FaultyProxy | FaultyOllama) -> dict[str, Any]:
    api_type = "ollama" if isinstance(server, FaultyOllama) else "openai"
    entry = {
        "url": server.url,
        "model": "tiny",
        "api_type": api_type,
        "retries": 1,
        "slots": 4,
        "idle_timeout": 5,
    }
    return {
        "model_config": {"single_model": entry},
        "agent_parameters": {
            str(role): {
                "seed": 7,
                "max_tokens": 3000,
                "extra_body": {"grammar": GRAMMARS[role]} if role in GRAMMARS else {},
            }
            for role in AgentRole
        },
        "workflow": {"max_iterations": 2},
        "execution": {"mode": "off"},
    }


@pytest.mark.parametrize("kind", [FaultyProxy, FaultyOllama])
def test_totals_equal_what_the_server_counted(
    kind: type[FaultyProxy] | type[FaultyOllama], llama: Llama, tmp_path: Path
) -> None:
    with kind(llama.root, Plan(rate=0.3, seed=5, among=(*UNENDED, *ENDED[1:]))) as server:
        phases: list[str] = []
        for _ in range(20):
            swarm = SwarmCoordinator(
                settings(server), data_dir=tmp_path / ".swarm", output_dir=tmp_path / "out"
            )
            state = swarm.resume("s") if phases else swarm.run_workflow("Count", "full", session_id="s")
            phases.append(state["phase"])
            if state["phase"] != "failed":
                break
        calls = list(server.calls)
    assert phases[-1] in ("complete", "not_converged")
    ended = [call for call in calls if call.fault in ENDED]
    assert len(ended) < len(calls), "some went wrong"
    agents = swarm.get_metrics_summary()["agents"].values()

    def total(name: str) -> int:
        return sum(int(agent[name]) for agent in agents)

    assert total("total_calls") == len(calls)
    assert total("successful_calls") == len(ended)
    assert total("input_tokens") == sum(call.usage["prompt_tokens"] for call in ended)
    assert total("output_tokens") == sum(call.usage["completion_tokens"] for call in ended)
    assert total("prompt_tokens_evaluated") == total("input_tokens") - sum(
        call.usage["prompt_tokens_details"]["cached_tokens"] for call in ended
    )
    assert 0 < total("prompt_tokens_evaluated") < total("input_tokens"), "the cache held a part"
    assert total("cut_tokens") > 0, "what was cut off is counted apart"
    figures = SwarmManager(tmp_path / "out", data_dir=tmp_path / ".swarm").analyze_session("s").figures()
    assert figures["calls"] == len(calls)
    assert figures["output_tokens"] == total("output_tokens")


@pytest.mark.parametrize(("times", "note"), [(1, " (1 call estimated)"), (None, " (estimated)"), (0, "")])
def test_calls_that_a_server_did_not_count_are_reported(
    times: int | None, note: str, llama: Llama, tmp_path: Path
) -> None:
    with FaultyProxy(llama.root, Plan("no_usage", times=times)) as server:
        swarm = SwarmCoordinator(settings(server), data_dir=tmp_path / ".swarm", output_dir=tmp_path / "out")
        swarm.run_workflow("x = 1", "review_only")
        calls = len(server.calls)
    assert f"\n{calls} calls, " in (text := session_text(swarm, "swarm-graph"))
    assert f" tokens out{note}\n" in text
