"""What a model's server takes: how many calls at once, and how many tokens in one of them.

Ollama cuts a prompt that does not fit without a word, and loads a model anew when `num_ctx` changes; so
every call to one of its models gets the same `num_ctx`, and that is the size that prompts are held to.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swarm_graph.config import SwarmConfig
from swarm_graph.errors import ConfigError
from swarm_graph.settings import ModelEntry
from swarm_graph.state import AgentRole

if TYPE_CHECKING:
    from swarm_graph.models.probe import ServerReport

OLLAMA_CONTEXT = 16384
"""Tokens that are asked of Ollama unless configured; its own default, 4096, holds no second round."""
OLLAMA_SLOTS = 1
"""Ollama's own default; OLLAMA_NUM_PARALLEL or `slots` say otherwise."""


@dataclass(frozen=True)
class Capacity:
    """`slots`: calls at once. `context`: tokens of one call, prompt and answer; None when nobody knows.

    `num_ctx`: what each call asks of Ollama. `tokenizer`: where the server counts tokens, or empty.
    """

    slots: int
    context: int | None = None
    num_ctx: int | None = None
    tokenizer: str = ""


def capacity(config: SwarmConfig, entry: ModelEntry, report: ServerReport | None) -> Capacity:
    """What is known of a model's server; `report` is what it says of itself."""
    if report is None or not report.reachable:
        return Capacity(slots(config, entry, None), num_ctx=_wanted_context(config, entry))
    if entry.api_type == "ollama":
        num_ctx = _wanted_context(config, entry) or _ollama_context(entry, report)
        return Capacity(slots(config, entry, report), num_ctx, num_ctx)
    tokenizer = f"{entry.url.removesuffix('/v1')}/tokenize" if report.kind == "llama.cpp" else ""
    return Capacity(slots(config, entry, report), report.context_of(entry.model), tokenizer=tokenizer)


def slots(config: SwarmConfig, entry: ModelEntry, report: ServerReport | None) -> int:
    """How many calls a server gets at once: as configured, as it says, or what is safe."""
    if entry.slots:
        return entry.slots
    if report is not None and report.slots:
        return report.slots
    if entry.api_type == "ollama":
        said = os.environ.get("OLLAMA_NUM_PARALLEL", "")
        return int(said) if said.isdecimal() and int(said) else OLLAMA_SLOTS
    return config.workflow.max_parallel_agents


def _ollama_context(entry: ModelEntry, report: ServerReport) -> int:
    """Enough for the later rounds, no more than the model has, and what is loaded already if that is more."""
    own = report.lengths.get(entry.model) or report.lengths.get(f"{entry.model}:latest") or OLLAMA_CONTEXT
    return max(report.contexts.get(entry.model, 0), min(own, OLLAMA_CONTEXT))


def _wanted_context(config: SwarmConfig, entry: ModelEntry) -> int | None:
    """The largest `num_ctx` that a role which asks this model is configured with."""
    if entry.api_type != "ollama":
        return None
    wanted = []
    for role in AgentRole:
        try:
            asked = config.model_for(role)
        except ConfigError:
            continue
        if (asked.server, asked.model) == (entry.server, entry.model):
            wanted.append(config.parameters_for(role).num_ctx or 0)
    return max(wanted, default=0) or None
