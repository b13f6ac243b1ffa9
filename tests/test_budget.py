"""What a session may use, and what its calls are recorded as having used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from storages import ON_BOTH, opened
from support import Crew, config, thread, write_config
from test_cli import swarm

from swarm_graph import SwarmCoordinator, build_graph
from swarm_graph.errors import OverBudget
from swarm_graph.sessions.metrics import percentile, summary, total_evaluated

REQUEST: Any = {"request": "Build it"}


@ON_BOTH
@pytest.mark.parametrize(
    ("limits", "calls"), [({"calls": 3}, 3), ({"tokens": 1300}, 3), ({"seconds": 0.000_001}, 0)]
)
def test_a_session_stops_at_its_limit_and_goes_on_with_a_raised_one(
    limits: dict[str, float], calls: int, tmp_path: Path
) -> None:
    with opened(tmp_path) as saver:
        crew = Crew()
        graph = build_graph("standard", config=config(limits=limits), checkpointer=saver)
        name = next(iter(limits))
        with pytest.raises(OverBudget, match=rf"of {limits[name]:g} {name} \(limits.{name}\)"):
            graph.invoke(REQUEST, thread(), context=crew.context)
        assert len(crew.asked) == calls
        session = saver.catalogue.get("t")
        assert session
        assert session.phase == "over_budget"
        with pytest.raises(OverBudget):
            graph.invoke(None, thread(), context=crew.context)
        assert len(crew.asked) == calls
        raised = build_graph("standard", config=config(), checkpointer=saver)
        state = raised.invoke(None, thread(), context=crew.context)
        assert state["approved"]
        assert len(crew.asked) == 6


@ON_BOTH
def test_a_follow_up_has_a_budget_of_its_own(tmp_path: Path) -> None:
    with opened(tmp_path) as saver:
        crew = Crew()
        graph = build_graph("standard", config=config(limits={"calls": 6}), checkpointer=saver)
        for _ in range(2):
            assert graph.invoke(REQUEST, thread(), context=crew.context)["approved"]


@ON_BOTH
def test_a_task_graph_over_its_budget_keeps_what_was_done(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"n": {n}}}\n' for n in range(9)))
    (tmp_path / "p.md").write_text("Look at $n.")
    write_config(tmp_path, limits={"calls": 4}, workflow={"max_parallel_agents": 2})
    over = swarm("batch", "rows.jsonl", "--prompt", "p.md", "--session", "b", cwd=tmp_path)
    assert over.returncode == 1
    assert b"the session has used 4 of 4 calls (limits.calls)" in over.stderr
    assert b"continue with `swarm-graph resume b`" in over.stderr
    assert over.stderr.count(b"\n") == 1
    assert len(list((tmp_path / "swarm-output/b/results").iterdir())) == 4
    done = swarm("resume", "b", cwd=tmp_path, SWARM_LIMITS__CALLS="9")
    assert done.returncode == 0, done.stderr
    shown = json.loads(swarm("sessions", "show", "b", "--json", cwd=tmp_path).stdout)
    assert shown["metrics"]["coder"]["total_calls"] == 9


def test_calls_cost_what_their_model_s_prices_say(tmp_path: Path) -> None:
    entry = {"model": "s", "api_type": "simulated", "prices": {"input": 2.0, "output": 10.0}}
    coordinator = SwarmCoordinator(
        config(model_config={"single_model": entry}), data_dir=tmp_path, output=tmp_path / "out"
    )
    coordinator.run_workflow("x", "review_only")
    told = coordinator.get_metrics_summary()["agents"]["reviewer"]
    assert told["cost"] == pytest.approx((2 * told["input_tokens"] + 10 * told["output_tokens"]) / 1e6)
    assert told["cost"] > 0


def call(outcome: str, seconds: float, **more: Any) -> dict[str, Any]:
    tokens = {"input_tokens": 10, "output_tokens": 20, "reasoning_tokens": 5, "cut_tokens": 0}
    if outcome == "failed":
        tokens = {"input_tokens": 0, "output_tokens": 0, "reasoning_tokens": 0, "cut_tokens": 7}
    base = {"role": "coder", "queued_s": 0.5, "first_token_s": 0.1, "cost": 0.25, "estimated": seconds > 18}
    return {**base, "outcome": outcome, "seconds": seconds, **tokens, **more}


def test_the_figures_of_a_role() -> None:
    calls = [call("answered", float(n)) for n in range(1, 20)] + [call("failed", 100.0)]
    stopped = summary([*calls, call("cancelled", 1.0)])["coder"]
    assert (stopped["total_calls"], stopped["cancelled_calls"], stopped["success_rate"]) == (21, 1, 0.95)
    told = summary(calls)["coder"]
    assert (told["total_calls"], told["successful_calls"], told["success_rate"]) == (20, 19, 0.95)
    assert (told["p50_seconds"], told["p95_seconds"], told["avg_response_time"]) == (10, 19, 10)
    assert (told["total_tokens"], told["reasoning_tokens"], told["cut_tokens"]) == (19 * 30, 19 * 5, 7)
    assert told["tokens_per_second"] == 19 * 20 / 190
    assert told["estimated_calls"] == 1
    assert (told["queued_seconds"], told["cost"]) == (10, 5)
    assert told["first_token_seconds"] == pytest.approx(0.1)
    assert told["prompt_tokens_evaluated"] is None, "no server has said it"
    assert (
        summary([call("answered", 1.0, prompt_tokens_evaluated=n) for n in (0, 4)])["coder"][
            "prompt_tokens_evaluated"
        ]
        == 4
    )


def test_a_role_that_got_no_answer_hides_no_total() -> None:
    answered = [call("answered", 1.0, role=role, prompt_tokens_evaluated=4) for role in ("coder", "tester")]
    failed = call("failed", 1.0, role="security")
    assert total_evaluated(summary([*answered, failed]).values()) == 8
    unknown = call("answered", 1.0, role="security")
    assert total_evaluated(summary([*answered, unknown]).values()) is None
    assert total_evaluated(summary([failed]).values()) is None


@pytest.mark.parametrize(("share", "expected"), [(0.5, 2), (0.75, 3), (0.76, 4), (1.0, 4), (0.01, 1)])
def test_percentiles(share: float, expected: float) -> None:
    assert percentile([1, 2, 3, 4], share) == expected
    assert percentile([], share) == 0
