"""Three hundred sessions, every fifth call of which goes wrong: all end, or fail and can be resumed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from chaos.model_server import ModelServer, answer
from servers.faults import Answer, FaultyProxy, FaultyProxyHandler, Plan
from servers.loopback import Call

from swarm_graph import SwarmCoordinator
from swarm_graph.state import WorkflowName

pytestmark = pytest.mark.slow

SESSIONS, REQUESTS, AT_ONCE, RATE = 300, 60, 24, 0.2
WORKFLOWS: tuple[WorkflowName, ...] = (
    "review_only",
    "standard",
    "review_only",
    "full",
    "review_only",
    "standard",
)
HARMLESS = (
    "reset", "hang_up", "slow_first_token", "cut", "no_end", "error_inside", "broken", "busy", "loading",
    "invalid_utf8", "think", "open_think", "reasoning", "no_usage", "wrong_type",
)  # fmt: skip
"""Faults that leave the answer as it was, if it comes at all."""
CHANGING = ("length", "empty", "not_found")
"""Faults that ask for a repair question, or end the run."""


class _Handler(FaultyProxyHandler):
    """Answers as the chaos tests' model does: what it says follows from the messages alone."""

    def ask(self, body: dict[str, Any], call: Call) -> Answer:
        said = answer(body, sha256(str(body["messages"]).encode()).hexdigest()[:16])
        sizes = {"prompt_tokens": len(str(body["messages"])) // 4, "completion_tokens": len(said) // 4}
        call.usage = {**sizes, "total_tokens": sum(sizes.values())}
        return Answer(said, call.usage)


@contextmanager
def server(plan: Plan) -> Iterator[FaultyProxy]:
    with ModelServer() as upstream, FaultyProxy(f"http://127.0.0.1:{upstream.port}", plan) as proxy:
        proxy.RequestHandlerClass = _Handler
        yield proxy


@dataclass
class Came:
    """What a session came to. `notes`: what its tasks say of repairs and the like."""

    files: dict[str, str]
    notes: list[str]
    phases: Sequence[str] = ()


async def session(folder: Path, url: str, number: int) -> Came:
    """A session, resumed for as long as it fails."""

    def coordinator() -> SwarmCoordinator:
        entry = {"url": url, "model": "m", "retries": 2, "timeout": 60, "idle_timeout": 20, "slots": AT_ONCE}
        settings = {"model_config": {"single_model": entry}, "execution": {"mode": "off"}}
        return SwarmCoordinator(settings, data_dir=folder / ".swarm", output_dir=folder / "out")

    swarm, name = coordinator(), f"s{number}"
    state = await swarm.arun_workflow(
        f"Build number {number % REQUESTS}", WORKFLOWS[number % len(WORKFLOWS)], session_id=name
    )
    phases = [state["phase"]]
    while phases[-1] == "failed" and len(phases) < 30:
        assert [task.error for task in swarm.completed_tasks if task.error], "it says why"
        swarm = coordinator()
        phases.append((await swarm.aresume(name))["phase"])
    out = folder / "out" / name
    files = {
        str(path.relative_to(out)): path.read_text()
        for path in sorted(out.rglob("*"))
        if path.is_file() and not path.name.startswith("swarm_state_")
    }
    notes = [record["note"] for record in swarm.state["tasks"].values() if record.get("note")]
    return Came(files, notes, phases)


async def all_of(folder: Path, url: str, count: int) -> list[Came]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> Came:
        async with gate:
            return await session(folder, url, number)

    return await asyncio.gather(*(one(number) for number in range(count)))


def test_three_hundred_sessions_at_twenty_percent_faults(tmp_path: Path) -> None:
    with server(Plan()) as sound:
        expected = asyncio.run(all_of(tmp_path / "sound", sound.url, REQUESTS))
    with server(Plan(rate=RATE, seed=1, among=(*HARMLESS, *CHANGING))) as faulty:
        came = asyncio.run(all_of(tmp_path / "faulty", faulty.url, SESSIONS))
        played = Counter(faulty.plan.played)
    faults = sum(count for name, count in played.items() if name)
    assert 0.15 < faults / played.total() < 0.25
    assert set(played) == {"", *HARMLESS, *CHANGING}
    ended = {"complete", "not_converged"}
    assert {one.phases[-1] for one in (*expected, *came)} <= ended
    assert {phase for one in came for phase in one.phases[:-1]} <= {"failed"}
    assert sum(len(one.phases) > 1 for one in came) > 10, "some failed and were resumed"
    pairs = list(zip(came, expected * (SESSIONS // REQUESTS), strict=True))
    silent = [
        number for number, (one, wanted) in enumerate(pairs) if one.files != wanted.files and not one.notes
    ]
    assert not silent, "what came out otherwise says what a repair changed"
    same = sum(one.files == wanted.files for one, wanted in pairs)
    assert same > SESSIONS / 3
