"""Bytes sent to the models in one run of each workflow, per role, and those that a server has to evaluate.

python benchmarks/prompt_bytes.py [--server URL] [--id-slot N] [--max-tokens N]

The session is the scripted FIFO queue: two rounds in `standard` and `full`. Instructions are what a
prompt says in every session; the rest is data. "Everything" is the data of the same calls if each carried
request, requirements, design, code, tests, documentation, findings and reviews of all rounds.

A server with a prefix cache evaluates what a prompt does not share with the beginning of an earlier one.
"To evaluate" is that with an ideal cache, which forgets nothing. With `--server` the same prompts are sent
to a llama.cpp server, roles that work side by side at once, and it says how many tokens it has evaluated.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import time
from collections import Counter
from typing import Any, NamedTuple

import httpx

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
SIDE_BY_SIDE = (("reviewer", "security", "tester"), ("optimizer", "documenter"))
"""The roles that a workflow asks at the same time."""


class Measured(NamedTuple):
    """One run: its calls in their order, and bytes."""

    asks: list[Ask]
    sent: Counter[str]
    evaluated: Counter[str]
    data: int
    everything: int


def instructions(ask: Ask) -> int:
    """The bytes of a prompt that are the same in every session."""
    prompt = template.load(ask.role, holes=HOLES)
    values = dict.fromkeys(prompt.holes, "")
    if "focus" in values:
        focus = ask.node.removeprefix("review_") if ask.node != "reviewer" else "general"
        values["focus"] = template.read(template.FOCUS + focus).strip()
    return len("\n".join(prompt.messages(values, template.read(template.PREAMBLE).strip())).encode())


def measure(workflow: str) -> Measured:
    """Run a workflow with the scripted models and count the bytes of its prompts."""
    sent: Counter[str] = Counter()
    evaluated: Counter[str] = Counter()
    asks: list[Ask] = []
    states: list[int] = [len(REQUEST)]
    data = everything = 0

    def play(ask: Ask) -> None:
        nonlocal data, everything
        size = len(ask.prompt.encode())
        sent[ask.role] += size
        evaluated[ask.role] += size - max(
            (_common(ask.prompt, earlier.prompt) for earlier in asks), default=0
        )
        asks.append(ask)
        data += size - instructions(ask)
        everything += states[-1]

    graph = build_graph(workflow, config=load_config(CONFIG))
    context = SwarmContext(model=SimulatedChatModel(play=play))
    for state in graph.stream({"request": REQUEST}, context=context, stream_mode="values"):
        kept = {key: value for key, value in state.items() if key not in ("tasks", "phase")}
        states.append(len(json.dumps(kept, ensure_ascii=False).encode()))
    return Measured(asks, sent, evaluated, data, everything)


def _common(one: str, other: str) -> int:
    """The bytes with which both begin."""
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return len("".join(character for character, _ in same).encode())


async def replay(asks: list[Ask], server: str, body: dict[str, Any]) -> tuple[int, int, float]:
    """The tokens that a llama.cpp server was sent, those that it has evaluated, and the seconds."""
    sent = evaluated = 0
    async with httpx.AsyncClient(base_url=server, timeout=600, trust_env=False) as client:

        async def send(ask: Ask) -> dict[str, Any]:
            messages = [{"role": "user", "content": ask.prompt}]
            response = await client.post("/v1/chat/completions", json={"messages": messages, **body})
            return dict(response.raise_for_status().json())

        began = time.monotonic()
        for _, together in itertools.groupby(asks, _side_by_side):
            for answer in await asyncio.gather(*map(send, together)):
                sent += answer["usage"]["prompt_tokens"]
                evaluated += answer["timings"]["prompt_n"]
    return sent, evaluated, time.monotonic() - began


def _side_by_side(ask: Ask) -> tuple[Any, int]:
    """The same value for calls that a workflow makes at the same time."""
    group = next((roles for roles in SIDE_BY_SIDE if ask.role in roles), ask.node)
    return group, ask.iteration


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", help="the root of a llama.cpp server, such as http://127.0.0.1:8080")
    parser.add_argument("--id-slot", type=int, help="ask for this slot of the server in every call")
    parser.add_argument("--max-tokens", type=int, default=1, help="the tokens of each answer")
    options = parser.parse_args()
    body = {"max_tokens": options.max_tokens, "ignore_eos": True} | (
        {} if options.id_slot is None else {"id_slot": options.id_slot}
    )
    for workflow in ("standard", "full", "review_only"):
        found = measure(workflow)
        print(
            f"{workflow}: {found.sent.total():,} bytes, {found.data:,} of them data; "
            f"to evaluate: {found.evaluated.total():,}; everything: {found.everything:,}"
        )
        for role, size in found.sent.most_common():
            print(f"  {role:<11} {size:>8,} {found.evaluated[role]:>8,}")
        if options.server:
            sent, evaluated, seconds = asyncio.run(replay(found.asks, options.server, body))
            print(f"  the server: {sent:,} tokens, {evaluated:,} evaluated, {seconds:.1f} s")


if __name__ == "__main__":
    main()
