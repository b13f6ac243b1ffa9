"""`swarm-graph doctor --measure`: a few tiny calls to each model, and the settings that follow from them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.messages.ai import add_ai_message_chunks

from swarm_graph.config import SwarmConfig
from swarm_graph.errors import ConfigError, ModelError, UnreadableAnswer
from swarm_graph.models.failures import explain
from swarm_graph.models.keys import secrets_of
from swarm_graph.models.pool import ModelPool
from swarm_graph.models.request import call_arguments
from swarm_graph.models.stream import is_count, reason_of, usage_of
from swarm_graph.roles.answers import read_typed
from swarm_graph.roles.thoughts import without_thoughts
from swarm_graph.settings import AgentParameters, ModelEntry
from swarm_graph.setup.doctor import Check
from swarm_graph.state import AgentRole

TOKENS = 64
"""The longest answer that is asked for."""
TYPED_TOKENS = 512
"""The same for the one in JSON, before which a model may think."""
MOST_AT_ONCE = 16
WORTH_IT = 1.15
"""Twice as many calls at once must bring so much more, or they only wait at the server."""
CALL_S = 300.0
QUESTION = "Count from one to one hundred in words."
UNRELATED = "Write one sentence about the sea."
SCHEMA = {
    "title": "Probe",
    "type": "object",
    "properties": {"color": {"enum": ["red", "green"]}},
    "required": ["color"],
    "additionalProperties": False,
}


@dataclass
class Measured:
    """What a model's server did. `rates`: tokens a second, all calls together, by calls at once."""

    context: int | None
    slots: int
    rates: dict[int, float] = field(default_factory=dict)
    first_token_s: float = 0.0
    usage: bool = False
    enforced: bool | None = None
    """Whether a JSON schema binds the answer; None when that could not be seen."""
    thinks: bool = False

    @property
    def best(self) -> int:
        """How many calls at once are worth it."""
        best = 1
        for at_once, rate in self.rates.items():
            if rate > self.rates[best] * WORTH_IT:
                best = at_once
        return best


async def measure(config: SwarmConfig) -> list[Check]:
    """Checks of every configured model that asks a server, one model after the other."""
    pool = ModelPool(config)
    entries = {(entry.server, entry.model): entry for entry in _asked(config)}
    checks: list[Check] = []
    for entry in entries.values():
        try:
            checks += _told(config, entry, await _measured(pool, entry))
        except (ModelError, ConfigError) as error:
            text, _, cure = str(error).removeprefix("measure: ").rpartition("; ")
            checks.append(Check(f"measured {entry.label}", False, text, cure))
    return checks or [Check("measured", None, "every model is simulated; there is nothing to measure")]


def _asked(config: SwarmConfig) -> Iterator[ModelEntry]:
    for role in AgentRole:
        try:
            entry = config.model_for(role)
        except ConfigError:
            continue
        for one in (entry, *config.fallbacks_of(entry)):
            if one.api_type != "simulated":
                yield one


async def _measured(pool: ModelPool, entry: ModelEntry) -> Measured:
    await _call(pool, entry, QUESTION)  # the model may have to be loaded first
    known, report = await pool.capacity(entry), await pool.report(entry)
    found = Measured(known.context, known.slots)
    first = await _call(pool, entry, QUESTION)
    found.first_token_s, found.usage, found.thinks = first.first_token_s, first.usage, first.thinks
    most = report.slots or max(known.slots, pool.config.workflow.max_parallel_agents)
    at_once = 1
    while at_once <= min(MOST_AT_ONCE, most):
        found.rates[at_once] = max([await _rate(pool, entry, at_once) for _ in range(2)])
        if at_once > 1 and found.rates[at_once] < found.rates[at_once // 2] * WORTH_IT:
            break
        at_once *= 2
    found.enforced = await _enforces(pool, entry)
    return found


async def _rate(pool: ModelPool, entry: ModelEntry, at_once: int) -> float:
    """Tokens a second of some calls at once."""
    began = time.monotonic()
    answers = await asyncio.gather(*(_call(pool, entry, QUESTION) for _ in range(at_once)))
    return sum(one.tokens for one in answers) / (time.monotonic() - began)


@dataclass(frozen=True)
class _Answer:
    text: str
    reason: str
    tokens: int
    first_token_s: float
    usage: bool
    thinks: bool


async def _call(pool: ModelPool, entry: ModelEntry, question: str, schema: Any = None) -> _Answer:
    """One call past all queues. ModelError when it fails."""
    model = await pool.chat(entry, AgentParameters(max_tokens=TYPED_TOKENS if schema else TOKENS))
    chunks: list[AIMessageChunk] = []
    began, first = time.monotonic(), 0.0
    try:
        async with asyncio.timeout(min(entry.timeout, CALL_S)):
            stream: Any = model.astream([HumanMessage(question)], **call_arguments(model, {}, schema))
            async for chunk in stream:
                first = first or time.monotonic() - began
                chunks.append(chunk)
    except Exception as error:
        raise explain(error, "measure", entry, secrets_of(entry, {})) from error
    whole = add_ai_message_chunks(chunks[0], *chunks[1:])
    usage, reason = usage_of(chunks, whole), reason_of(chunks)
    if not reason:
        what = f"measure: {entry.label} at {entry.server} cut the answer off before its end"
        raise ModelError(f"{what}; look at its log, no call would be taken")
    counted = is_count(usage)
    tokens = usage["output_tokens"] if usage and counted else len(chunks)
    text = without_thoughts(whole.text)
    thinks = text != whole.text or "reasoning_content" in whole.additional_kwargs
    return _Answer(text.strip(), reason, tokens, first, counted, thinks)


async def _enforces(pool: ModelPool, entry: ModelEntry) -> bool | None:
    """Whether a schema binds an answer that has no other reason to fit it."""
    try:
        answer = await _call(pool, entry, UNRELATED, SCHEMA)
        read_typed(answer.text, SCHEMA)
    except ModelError:
        return False
    except UnreadableAnswer:
        begun = not answer.text or "{" in answer.text
        return None if answer.reason == "length" and begun else False
    return True


def _told(config: SwarmConfig, entry: ModelEntry, found: Measured) -> Iterator[Check]:
    name = f"measured {entry.label}"
    rates = ", ".join(f"{rate:.0f} with {at_once} at once" for at_once, rate in found.rates.items())
    yield Check(name, True, f"tokens per second: {rates}; first token after {found.first_token_s:.2f} s")
    at_once = f"{found.best} calls at once are worth it"
    if found.best == found.slots:
        yield Check(name, True, f"{at_once}, and as many are sent")
    else:
        yield Check(name, None, f"{at_once}, {found.slots} are sent", f'set "slots": {found.best}')
    yield from _time(config, name, entry, found)
    if found.context is None:
        yield Check(name, None, "its context is unknown", "prompts are not checked before they are sent")
    if not found.usage:
        yield Check(name, None, "its server counts no tokens", "figures of its calls are estimates")
    if found.enforced is False:
        cure = "typed answers depend on the prompt; prefer a server that binds them for reviews"
        yield Check(name, None, "a JSON schema does not bind its answers", cure)
    elif found.enforced:
        yield Check(name, True, "a JSON schema binds its answers")
    else:
        yield Check(
            name, None, "whether a JSON schema binds its answers could not be seen: they were cut off"
        )
    if found.thinks:
        cure = 'give its roles more "max_tokens", or "reasoning": false'
        yield Check(name, None, "it thinks before it answers, which takes of the same tokens", cure)


def _time(config: SwarmConfig, name: str, entry: ModelEntry, found: Measured) -> Iterator[Check]:
    """Whether the longest answer can end in time when all calls run at once."""
    longest = max(config.parameters_for(role).max_tokens or 0 for role in AgentRole)
    slowest = min(rate / at_once for at_once, rate in found.rates.items())
    needed = longest / slowest if slowest else 0.0
    if needed > entry.timeout:
        text = f"an answer of {longest} tokens takes {needed:.0f} s, its timeout is {entry.timeout:g} s"
        yield Check(name, None, text, f'set "timeout": {round(needed * 1.5)}, or lower max_tokens')
