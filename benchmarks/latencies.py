"""How long the demo session takes by calls at once, on a simulated model with stated latencies.

    python benchmarks/latencies.py                      # 1 s to the first token, 30 tokens a second
    python benchmarks/latencies.py --first 4 --rate 8   # a larger model

The model plays twenty times faster than that, and the times are multiplied by twenty. Every call is as
fast as if it were alone: a real server's calls slow each other down (`swarm-graph doctor --measure`).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from swarm_graph import SwarmCoordinator

FASTER = 20
REQUEST = """Create a Python class for managing a FIFO queue with these features:
- Thread-safe operations
- Max capacity with blocking
- Timeout support
- Statistics tracking (items in/out, avg wait time)"""


def minutes(workflow: str, at_once: int, first_s: float, rate: float) -> tuple[float, int, int]:
    """The minutes of one session, and its tokens in and out."""
    simulation = {"first_token_s": first_s / FASTER, "tokens_per_s": rate * FASTER}
    settings = {
        "model_config": {
            "single_model": {
                "model": "demo", "api_type": "simulated", "slots": at_once, "simulation": simulation,
            },
        },
        "workflow": {"max_parallel_agents": at_once},
        "execution": {"mode": "off"},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        swarm = SwarmCoordinator(settings, data_dir=Path(folder) / "data", output_dir=Path(folder) / "out")
        started = time.perf_counter()
        swarm.run_workflow(REQUEST, workflow)
        seconds = (time.perf_counter() - started) * FASTER
    agents = swarm.get_metrics_summary()["agents"].values()
    return (
        seconds / 60,
        sum(agent["input_tokens"] for agent in agents),
        sum(agent["output_tokens"] for agent in agents),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--first", type=float, default=1.0, help="seconds to the first token")
    parser.add_argument("--rate", type=float, default=30.0, help="tokens a second of each call")
    given = parser.parse_args()
    print(f"first token after {given.first:g} s, {given.rate:g} tokens a second; minutes by calls at once")
    print(f"{'workflow':<12} {'1':>6} {'2':>6} {'4':>6} {'8':>6} {'tokens in':>10} {'out':>6}")
    for workflow in ("standard", "full", "review_only"):
        runs = [minutes(workflow, at_once, given.first, given.rate) for at_once in (1, 2, 4, 8)]
        times = " ".join(f"{run[0]:6.1f}" for run in runs)
        print(f"{workflow:<12} {times} {runs[0][1]:>10,} {runs[0][2]:>6,}")


if __name__ == "__main__":
    main()
