"""Bytes sent to the models in one run of each workflow, per role, beside sending everybody everything.

python benchmarks/prompt_bytes.py

The session is the scripted FIFO queue: two rounds in `standard` and `full`. Instructions are what a
prompt says in every session; the rest is data. "Everything" is the data of the same calls if each carried
request, requirements, design, code, tests, documentation, findings and reviews of all rounds.
"""

from __future__ import annotations

import json
from collections import Counter

from swarm_graph import SwarmContext, SwarmState, build_graph, load_config
from swarm_graph.models.invented import Ask
from swarm_graph.models.simulated import SimulatedChatModel
from swarm_graph.prompts import template
from swarm_graph.roles.views import VIEWS

REQUEST = """Create a Python class for managing a FIFO queue with these features:
- Thread-safe operations
- Max capacity with blocking
- Timeout support
- Statistics tracking (items in/out, avg wait time)"""
CONFIG = {"model_config": {"single_model": {"model": "simulated", "api_type": "simulated"}}}


HOLES = (*SwarmState.__annotations__, *VIEWS, "focus", "packages")


def instructions(ask: Ask) -> int:
    """The bytes of a prompt that are the same in every session."""
    prompt = template.load(ask.role, holes=HOLES)
    values = dict.fromkeys(prompt.holes, "")
    if "focus" in values:
        focus = ask.node.removeprefix("review_") if ask.node != "reviewer" else "general"
        values["focus"] = template.read(template.FOCUS + focus).strip()
    return len("\n".join(prompt.render(values)).encode())


def measure(workflow: str) -> tuple[Counter[str], int, int]:
    """Bytes per role, how many of all are data, and how many would be with the whole state in each call."""
    sent: Counter[str] = Counter()
    states: list[int] = [len(REQUEST)]
    data = everything = 0

    def play(ask: Ask) -> None:
        nonlocal data, everything
        size = len(ask.prompt.encode())
        sent[ask.role] += size
        data += size - instructions(ask)
        everything += states[-1]

    graph = build_graph(workflow, config=load_config(CONFIG))
    context = SwarmContext(model=SimulatedChatModel(play=play))
    for state in graph.stream({"request": REQUEST}, context=context, stream_mode="values"):
        kept = {key: value for key, value in state.items() if key not in ("tasks", "phase")}
        states.append(len(json.dumps(kept, ensure_ascii=False).encode()))
    return sent, data, everything


def main() -> None:
    for workflow in ("standard", "full", "review_only"):
        sent, data, everything = measure(workflow)
        print(f"{workflow}: {sum(sent.values()):,} bytes, {data:,} of them data; everything: {everything:,}")
        for role, size in sent.most_common():
            print(f"  {role:<11} {size:>8,}")


if __name__ == "__main__":
    main()
