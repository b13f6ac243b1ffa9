"""Bytes sent to the models in one run of each workflow, per role, beside sending everybody everything.

python benchmarks/prompt_bytes.py

The session is the scripted FIFO queue: two rounds in `standard` and `full`. "Everything" is the same
calls with request, requirements, design, code, tests, documentation, findings and reviews of all rounds.
"""

from __future__ import annotations

import json
from collections import Counter

from swarm_graph import SwarmContext, build_graph, load_config
from swarm_graph.simulated import Ask, SimulatedChatModel

REQUEST = """Create a Python class for managing a FIFO queue with these features:
- Thread-safe operations
- Max capacity with blocking
- Timeout support
- Statistics tracking (items in/out, avg wait time)"""
CONFIG = {"model_config": {"single_model": {"model": "simulated", "api_type": "simulated"}}}


def measure(workflow: str) -> tuple[Counter[str], int]:
    """Bytes per role, and what the same calls would be with the whole state in each."""
    sent: Counter[str] = Counter()
    states: list[int] = [len(REQUEST)]
    everything = 0

    def play(ask: Ask) -> None:
        nonlocal everything
        sent[ask.role] += len(ask.prompt.encode())
        everything += states[-1]

    graph = build_graph(workflow, config=load_config(CONFIG))
    context = SwarmContext(model=SimulatedChatModel(play=play))
    for state in graph.stream({"request": REQUEST}, context=context, stream_mode="values"):
        kept = {key: value for key, value in state.items() if key not in ("tasks", "phase")}
        states.append(len(json.dumps(kept, ensure_ascii=False).encode()))
    return sent, everything


def main() -> None:
    for workflow in ("standard", "full", "review_only"):
        sent, everything = measure(workflow)
        total = sum(sent.values())
        print(f"{workflow}: {total:,} bytes ({everything:,} of state alone if everybody got everything)")
        for role, size in sent.most_common():
            print(f"  {role:<11} {size:>8,}")


if __name__ == "__main__":
    main()
