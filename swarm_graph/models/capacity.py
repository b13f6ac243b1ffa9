"""Capacity of a model's server: concurrent calls, and tokens per call.

Ollama silently truncates a prompt that does not fit, and reloads the model when `num_ctx` changes. So all
calls to one of its models send the same `num_ctx`, and prompts are checked against it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swarm_graph.config import SwarmConfig
from swarm_graph.errors import ConfigError
from swarm_graph.prompts.chat_template import KNOWN, ChatTemplate
from swarm_graph.settings import ModelEntry

if TYPE_CHECKING:
    from swarm_graph.models.probe import ServerInfo

OLLAMA_NUM_CTX = 16384
"""Tokens requested from Ollama unless configured. Its own default, 4096, is too small for a second round."""
OLLAMA_SLOTS = 1
"""Ollama's own default; OLLAMA_NUM_PARALLEL or `slots` override it."""


@dataclass(frozen=True)
class Capacity:
    """What a model's server can take.

    Attributes:
        slots: Concurrent calls.
        context: Tokens of one call, prompt and answer together; None when unknown.
        num_ctx: The `num_ctx` that each call sends; None for servers other than Ollama.
        counts_tokens: Whether the server counts the tokens of a text when it is asked (llama.cpp).
        chat_template: The tokens of the model's chat template.
        numbered_slots: The slots of a llama.cpp server, which a call may choose among; 0 elsewhere.
    """

    slots: int
    context: int | None = None
    num_ctx: int | None = None
    counts_tokens: bool = False
    chat_template: ChatTemplate = KNOWN
    numbered_slots: int = 0


def server_capacity(config: SwarmConfig, entry: ModelEntry, info: ServerInfo | None) -> Capacity:
    """The capacity of a model's server, from the config and from what the server reports.

    Args:
        config: The whole configuration; the `num_ctx` of every role that uses this model counts.
        entry: The model.
        info: What the server reports; None or unreachable: only the config counts.
    """
    slots, num_ctx = slot_limit(config, entry, info), _configured_num_ctx(config, entry)
    if info is None or not info.reachable:
        return Capacity(slots, num_ctx=num_ctx)
    if entry.api_type == "ollama":
        num_ctx = num_ctx or _default_num_ctx(entry, info)
        return Capacity(slots, num_ctx, num_ctx, chat_template=info.chat_template)
    is_llama = info.kind == "llama.cpp"
    return Capacity(
        slots,
        info.context_of(entry.model),
        counts_tokens=is_llama,
        chat_template=info.chat_template,
        numbered_slots=info.slots or 0 if is_llama else 0,
    )


def slot_limit(config: SwarmConfig, entry: ModelEntry, info: ServerInfo | None) -> int:
    """Concurrent calls to a server: as configured, else as the server reports, else a safe default.

    Args:
        config: Its `max_parallel_agents` is the default for servers other than Ollama.
        entry: The model; its `slots` come first.
        info: What the server reports; None when it was not asked.
    """
    if entry.slots:
        return entry.slots
    if info is not None and info.slots:
        return info.slots
    if entry.api_type == "ollama":
        parallel = os.environ.get("OLLAMA_NUM_PARALLEL", "")
        return int(parallel) if parallel.isdecimal() and int(parallel) else OLLAMA_SLOTS
    return config.workflow.max_parallel_agents


def _default_num_ctx(entry: ModelEntry, info: ServerInfo) -> int:
    """OLLAMA_NUM_CTX or the model's maximum if that is less; a larger context in memory is kept."""
    trained = info.trained_contexts
    longest = trained.get(entry.model) or trained.get(f"{entry.model}:latest") or OLLAMA_NUM_CTX
    return max(info.contexts.get(entry.model, 0), min(longest, OLLAMA_NUM_CTX))


def _configured_num_ctx(config: SwarmConfig, entry: ModelEntry) -> int | None:
    """The largest configured `num_ctx` of all roles that use this model."""
    if entry.api_type != "ollama":
        return None
    configured = []
    for role in config.role_names:
        try:
            models = config.models_for(role)
        except ConfigError:
            continue
        if (entry.server, entry.model) in [(model.server, model.model) for model in models]:
            configured.append(config.parameters_for(role).num_ctx or 0)
    return max(configured, default=0) or None
