"""The review fan-out of four beside one call, for several caps, against a server that sleeps.

python benchmarks/fan_out.py
"""

from __future__ import annotations

import asyncio
import statistics
import time

from server import running_server

from swarm_graph import build_graph

DELAY_S = 0.5
ROUNDS = 7


def seconds(url: str, reviewers: list[str], cap: int) -> float:
    """Median seconds of a review_only run with these reviewers."""
    config = {
        "model_config": {"single_model": {"url": url, "model": "sleeper", "slots": 64}},
        "workflow": {"max_parallel_agents": cap, "reviewers": reviewers},
    }
    graph = build_graph("review_only", config=config)

    async def runs() -> list[float]:
        measured = []
        for _ in range(ROUNDS + 1):
            started = time.perf_counter()
            await graph.ainvoke({"request": "x = 1"})
            measured.append(time.perf_counter() - started)
        return measured[1:]

    return statistics.median(asyncio.run(runs()))


def main() -> None:
    focuses = ["correctness", "security", "performance", "style"]
    with running_server(DELAY_S, 16) as server:
        one = seconds(server.url, focuses[:1], 1)
        print(f"one reviewer: {one:.3f} s")
        for cap in (1, 2, 4):
            four = seconds(server.url, focuses, cap)
            print(f"four reviewers, cap {cap}: {four:.3f} s = {four / one:.2f} times one")


if __name__ == "__main__":
    main()
