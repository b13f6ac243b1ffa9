"""What our layer costs: sessions of the `standard` workflow beside a plain LangGraph peer and the seed's way.

    python benchmarks/overhead.py [--sessions 200] [--pieces 16] [--in-a-row 4]

All ask the same sleeping server (benchmarks/server.py) for the same six answers in one round, in one
process and interleaved, after warming up.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

from peer import open_peer
from seed_way import run_session
from server import Server, running_server

from swarm_graph import build_graph, open_checkpointer

REQUEST = """Create a Python class for managing a FIFO queue with these features:
- Thread-safe operations
- Max capacity with blocking
- Timeout support
- Statistics tracking (items in/out, avg wait time)"""
CALLS = 6
WARM_UP = 20

Session = Callable[[], Awaitable[bool]]


@asynccontextmanager
async def contestants(server: Server, folder: Path) -> AsyncIterator[dict[str, Session]]:
    """How each one runs a session; a session returns whether it was approved."""
    model = {"url": server.url, "model": "sleeper", "slots": 1024}
    config = {"model_config": {"single_model": model}, "workflow": {"max_parallel_agents": 1024}}
    numbers = count()

    def session(graph: Any) -> Session:
        async def run() -> bool:
            thread = {"configurable": {"thread_id": f"session-{next(numbers)}"}}
            return bool((await graph.ainvoke({"request": REQUEST}, thread))["approved"])

        return run

    async def in_a_thread() -> bool:
        return await asyncio.to_thread(run_session, server.url, REQUEST)

    async with (
        open_peer(server.url, folder / "peer.db") as peer,
        open_peer(server.url, folder / "peer_on_aiohttp.db", aiohttp=True) as peer_on_aiohttp,
        open_checkpointer(folder / "ours.db") as saver,
    ):
        yield {
            "swarm_graph": session(build_graph("standard", config=config, checkpointer=saver)),
            "peer": session(peer),
            "peer, aiohttp": session(peer_on_aiohttp),
            "seed's way": in_a_thread,
        }


async def latency(sessions: int, pieces: int) -> dict[str, list[float]]:
    """Seconds per session of each, one session at a time, against a server that answers at once."""
    with running_server(0.0, pieces) as server, tempfile.TemporaryDirectory() as folder:
        async with contestants(server, Path(folder)) as runs:
            seconds: dict[str, list[float]] = {name: [] for name in runs}
            for number in range(sessions + WARM_UP):
                for name, run in runs.items() if number % 2 else reversed(runs.items()):
                    started = time.perf_counter()
                    assert await run()
                    if number >= WARM_UP:
                        seconds[name].append(time.perf_counter() - started)
            assert server.stats()["calls"] == (sessions + WARM_UP) * CALLS * len(runs)
    return seconds


async def throughput(at_once: int, in_a_row: int, rounds: int, pieces: int) -> dict[str, list[float]]:
    """Sessions per second of each against a server that takes 200 ms for an answer.

    `at_once` users begin together and run `in_a_row` sessions each. With one session each the figure
    is that of a burst: everybody waits for the server at the same time, and chance decides how long.
    """

    async def user(run: Session) -> bool:
        return all([await run() for _ in range(in_a_row)])

    with running_server(0.2, pieces) as server, tempfile.TemporaryDirectory() as folder:
        async with contestants(server, Path(folder)) as runs:
            del runs["seed's way"]
            rates: dict[str, list[float]] = {name: [] for name in runs}
            for number in range(rounds + 1):
                for name, run in runs.items() if number % 2 else reversed(runs.items()):
                    started = time.perf_counter()
                    assert all(await asyncio.gather(*(user(run) for _ in range(at_once))))
                    if number:
                        rates[name].append(at_once * in_a_row / (time.perf_counter() - started))
            stats = server.stats()
            assert stats["calls"] == at_once * in_a_row * (rounds + 1) * CALLS * len(runs)
            print(f"most calls in flight: {stats['most_in_flight']}")
    return rates


def show(title: str, figures: dict[str, list[float]], unit: str, scale: float) -> None:
    """Medians and quartiles of each, and how the first compares with the others."""
    print(f"\n{title}")
    medians = {name: statistics.median(values) for name, values in figures.items()}
    for name, values in figures.items():
        low, _, high = (scale * value for value in statistics.quantiles(values, n=4))
        ratio = medians["swarm_graph"] / medians[name]
        print(
            f"  {name:<13} {scale * medians[name]:8.2f} {unit}  (quartiles {low:.2f} to {high:.2f})"
            + (f"  swarm_graph / {name} = {ratio:.2f}" if name != "swarm_graph" else "")
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, default=200, help="measured sessions of each, one at a time")
    parser.add_argument("--at-once", type=int, default=50, help="sessions at once in the second part")
    parser.add_argument("--in-a-row", type=int, default=4, help="sessions of each of them in a row")
    parser.add_argument("--rounds", type=int, default=4, help="measured rounds of the second part")
    parser.add_argument("--pieces", type=int, default=16, help="chunks that an answer comes in")
    arguments = parser.parse_args()
    seconds = asyncio.run(latency(arguments.sessions, arguments.pieces))
    show(f"One session at a time, answers in {arguments.pieces} chunks, no delay", seconds, "ms", 1000)
    at_once, in_a_row = arguments.at_once, arguments.in_a_row
    rates = asyncio.run(throughput(at_once, in_a_row, arguments.rounds, arguments.pieces))
    show(f"{at_once} sessions at once, {in_a_row} in a row, 200 ms an answer", rates, "sessions/s", 1)


if __name__ == "__main__":
    main()
