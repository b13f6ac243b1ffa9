"""`swarm-graph doctor --measure`: a few tiny calls to each model, and the settings that follow from them."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from langchain_core.messages import BaseMessage, HumanMessage

from swarm_graph.config import SwarmConfig
from swarm_graph.errors import ConfigError, ModelError, UnreadableAnswer
from swarm_graph.models.answer import deltas_of
from swarm_graph.models.failures import explain
from swarm_graph.models.keys import secrets_of
from swarm_graph.models.pool import ModelPool, ToolMode
from swarm_graph.models.request import REFUSAL_STATUS, call_arguments
from swarm_graph.models.stream import StreamedAnswer, finish_reason, is_plausible, server_usage
from swarm_graph.roles.answers import read_typed
from swarm_graph.roles.chat_markup import final_message
from swarm_graph.settings import AgentParameters, ModelEntry
from swarm_graph.setup.checks import Check
from swarm_graph.state import Reply
from swarm_graph.tools.tool_probe import MODES, Probe, probe

ANSWER_TOKENS = 64
"""`max_tokens` of a plain call."""
TYPED_ANSWER_TOKENS = 512
"""`max_tokens` of a call with a JSON schema, with room for thoughts before the answer."""
TOOL_ANSWER_TOKENS, TOOL_TRIES = 1024, 3
"""`max_tokens` of a question about tools, and how many there are for each way of calling."""
MAX_CONCURRENCY = 16
MIN_SPEEDUP = 1.15
"""Twice the concurrent calls must raise the tokens per second by this factor, or they only queue up."""
CALL_TIMEOUT_S = 300.0
STEADY = 2.0
"""Equal calls to an idle server differ by less than this factor."""
WAIT_S = 2.0
"""Shorter waits and shorter calls say nothing about other work on the server."""
MIN_LOAD_S = 0.5
"""A first token that comes sooner says nothing of loading."""
FAN_OUT = 4
"""Calls that begin alike, as of four reviewers of the same code."""
BEGINNING_LINES = 64
"""Lines that they begin with, of about 16 tokens each; fewer in a small context."""
QUESTION = "Count from one to one hundred in words."
UNRELATED_QUESTION = "Write one sentence about the sea."
"""Nothing in it suggests the schema, so an answer that fits was forced to."""
SCHEMA = {
    "title": "Probe",
    "type": "object",
    "properties": {"color": {"enum": ["red", "green"]}},
    "required": ["color"],
    "additionalProperties": False,
}


class FanOut(NamedTuple):
    """Seconds of the same calls, whose prompts begin alike, on a llama.cpp server."""

    all_slots: float
    one_slot: float


@dataclass
class Measurement:
    """What a model's server did.

    Attributes:
        context: Tokens of one call; None when unknown.
        slots: Concurrent calls that swarm_graph sends now.
        rates: Tokens per second of all calls together, by the number of concurrent calls.
        first_token_s: Seconds to the first token of a single call.
        usage: Whether the server counts tokens.
        enforces_schema: Whether a JSON schema binds the answer; None when the answer was cut off.
        thinks: Whether the model thinks before it answers.
        repeats: The rates of equal measurements, by the number of concurrent calls.
        token_s: Seconds between the tokens of a single call.
        fan_out: What calls that begin alike took; None on a server without slots to choose among.
        tools: How it calls tools; None if that was not measured.
        loading_s: Seconds to the first token of the very first call, for which the server may load the model.
    """

    context: int | None
    slots: int
    rates: dict[int, float] = field(default_factory=dict)
    first_token_s: float = 0.0
    usage: bool = False
    enforces_schema: bool | None = None
    thinks: bool = False
    repeats: dict[int, list[float]] = field(default_factory=dict)
    token_s: float = 0.0
    fan_out: FanOut | None = None
    tools: Probe | None = None
    loading_s: float = 0.0

    @property
    def doubt(self) -> str:
        """Why the server seems to have had other work, so that its figures mean little; empty when not."""
        for calls, rates in self.repeats.items():
            if max(rates) > min(rates) * STEADY and _lasts(calls, min(rates)):
                return f"equal calls gave {min(rates):.0f} and {max(rates):.0f} tokens per second"
        for calls, rate in self.rates.items():
            fewer = self.rates.get(calls // 2)
            if fewer and rate > 2 * MIN_SPEEDUP * fewer and _lasts(calls // 2, fewer):
                return f"{calls} calls at once were more than twice as fast as {calls // 2}"
        if self.first_token_s > max(WAIT_S, ANSWER_TOKENS * self.token_s):
            return f"the first token of a tiny call took {self.first_token_s:.0f} s"
        return ""

    @property
    def load_s(self) -> float | None:
        """Seconds in which the server loaded the model for the first call; None if it had it loaded."""
        loads = self.loading_s > max(MIN_LOAD_S, self.first_token_s * STEADY)
        return self.loading_s - self.first_token_s if loads else None

    @property
    def best(self) -> int:
        """The number of concurrent calls that is worth it."""
        best = 1
        for concurrency, rate in self.rates.items():
            if rate > self.rates[best] * MIN_SPEEDUP:
                best = concurrency
        return best


def _lasts(calls: int, rate: float) -> bool:
    """Whether calls at this rate take long enough to be compared."""
    return calls * ANSWER_TOKENS > rate * WAIT_S


KeepSpeed = Callable[[ModelEntry, Measurement], None]
"""Takes the speed of a model whose server had no other work."""


async def measure(config: SwarmConfig, keep: KeepSpeed | None = None) -> list[Check]:
    """Measure every configured model that has a server, one after the other.

    Args:
        config: The configuration.
        keep: Takes the speed of each.
    """
    pool = ModelPool(config)
    entries = {(entry.server, entry.model): entry for entry in _entries_with_server(config)}
    checks: list[Check] = []
    for entry in entries.values():
        try:
            answered = await pool.answered(entry)
            measurement = await _measure_model(pool, answered)
            if keep and not measurement.doubt:
                keep(entry, measurement)
            checks += _checks(config, answered, measurement)
        except (ModelError, ConfigError) as error:
            text, _, cure = str(error).removeprefix("measure: ").rpartition("; ")
            checks.append(Check(f"measured {entry.label}", False, text, cure))
    return checks or [Check("measured", None, "every model is simulated; there is nothing to measure")]


def _entries_with_server(config: SwarmConfig) -> Iterator[ModelEntry]:
    """The models of all roles and their fallbacks, except simulated ones."""
    for role in config.role_names:
        try:
            entries = config.models_for(role)
        except ConfigError:
            continue
        for entry in entries:
            for candidate in (entry, *config.fallbacks_of(entry)):
                if candidate.api_type != "simulated":
                    yield candidate


# --- the calls -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Answer:
    text: str
    """Without thoughts."""
    finish_reason: str
    tokens: int
    first_token_s: float
    usage: bool
    thinks: bool
    seconds: float


async def _measure_model(pool: ModelPool, entry: ModelEntry) -> Measurement:
    loading = await _call(pool, entry, QUESTION)  # the server may have to load the model first
    capacity, info = await pool.capacity(entry), await pool.server_info(entry)
    first = await _call(pool, entry, QUESTION)
    measurement = Measurement(
        capacity.context,
        capacity.slots,
        first_token_s=first.first_token_s,
        usage=first.usage,
        thinks=first.thinks,
        token_s=(first.seconds - first.first_token_s) / max(1, first.tokens - 1),
        loading_s=loading.first_token_s,
    )
    limit = info.slots or max(capacity.slots, pool.config.workflow.max_parallel_agents)
    rates, concurrency = measurement.rates, 1
    while concurrency <= min(MAX_CONCURRENCY, limit):
        repeats = [await _rate(pool, entry, concurrency) for _ in range(2)]
        measurement.repeats[concurrency], rates[concurrency] = repeats, max(repeats)
        if concurrency > 1 and rates[concurrency] < rates[concurrency // 2] * MIN_SPEEDUP:
            break
        concurrency *= 2
    measurement.enforces_schema = await _enforces_schema(pool, entry)
    measurement.tools = await probe(partial(ask_once, pool, entry), TOOL_TRIES, MODES)
    if capacity.numbered_slots > 1 and capacity.slots > 1:
        lines = min(BEGINNING_LINES, ((capacity.context or 2**15) - ANSWER_TOKENS) // 32)
        all_slots = await _fan_out_s(pool, entry, lines, min(FAN_OUT, capacity.slots))
        measurement.fan_out = FanOut(all_slots, await _fan_out_s(pool, entry, lines, 1, {"id_slot": 0}))
    return measurement


async def _fan_out_s(
    pool: ModelPool, entry: ModelEntry, lines: int, at_once: int, body: dict[str, Any] | None = None
) -> float:
    """Seconds of FAN_OUT calls that begin alike, after one that began like them."""
    unlike_earlier_ones = f"Report {secrets.token_hex(8)}.\n"
    text = unlike_earlier_ones + "".join(
        f"Line {line}: the level is {line % 7} m.\n" for line in range(lines)
    )
    slots = asyncio.Semaphore(at_once)

    async def ask(number: int) -> None:
        async with slots:
            await _call(pool, entry, f"{text}\nQuestion {number}: {QUESTION}", body=body)

    await ask(0)
    began = time.monotonic()
    await asyncio.gather(*(ask(number) for number in range(1, FAN_OUT + 1)))
    return time.monotonic() - began


async def _rate(pool: ModelPool, entry: ModelEntry, concurrency: int) -> float:
    """Tokens per second of concurrent calls, all together."""
    began = time.monotonic()
    answers = await asyncio.gather(*(_call(pool, entry, QUESTION) for _ in range(concurrency)))
    return sum(answer.tokens for answer in answers) / (time.monotonic() - began)


async def _call(
    pool: ModelPool,
    entry: ModelEntry,
    question: str,
    schema: Any = None,
    body: dict[str, Any] | None = None,
) -> _Answer:
    """Call a model without queue and retries. ModelError when the call fails."""
    max_tokens = TYPED_ANSWER_TOKENS if schema else ANSWER_TOKENS
    parameters = AgentParameters(max_tokens=max_tokens, extra_body=body or {})
    began, first_token_s = time.monotonic(), 0.0
    answer = StreamedAnswer(None)
    async for _ in _parts(pool, entry, parameters, [HumanMessage(question)], answer, schema):
        if answer.pieces:
            first_token_s = first_token_s or time.monotonic() - began
    seconds, reason = time.monotonic() - began, finish_reason(answer.deltas)
    if not reason:
        problem = f"measure: {entry.label} at {entry.server} cut the answer off before its end"
        raise ModelError(f"{problem}; look at the server's log, its answers cannot be used")
    usage = server_usage(answer.deltas)
    counted = is_plausible(usage)
    text = final_message(answer.text()).text
    return _Answer(
        text=text.strip(),
        finish_reason=reason,
        tokens=usage["output_tokens"] if usage and counted else answer.pieces,
        first_token_s=first_token_s,
        usage=counted,
        seconds=seconds,
        thinks=text != answer.text() or bool(answer.thoughts()),
    )


async def _parts(
    pool: ModelPool,
    entry: ModelEntry,
    parameters: AgentParameters,
    messages: list[BaseMessage],
    answer: StreamedAnswer,
    schema: Any = None,
    tools: Sequence[Mapping[str, Any]] = (),
) -> AsyncIterator[None]:
    """Add the parts of an answer to it as they arrive. ModelError when the call fails."""
    model = await pool.chat(entry, parameters)
    try:
        async with asyncio.timeout(min(entry.timeout, CALL_TIMEOUT_S)):
            arguments = call_arguments(model, {}, schema, tools)
            async for deltas in deltas_of(model, messages, {}, **arguments):
                answer.add(deltas)
                yield
    except Exception as error:
        raise explain(error, "measure", entry, secrets_of(entry, {})) from error


async def ask_once(
    pool: ModelPool,
    entry: ModelEntry,
    messages: list[BaseMessage],
    schema: Mapping[str, Any] | None = None,
    tools: Sequence[Mapping[str, Any]] = (),
) -> Reply | None:
    """A model's answer to one question about tools, as `tool_probe.Ask` wants it.

    Args:
        pool: The models.
        entry: The model.
        messages: The question.
        schema: The schema that binds the answer.
        tools: The tools that are offered, in OpenAI's form.

    Returns:
        The answer; None if the server refuses such a request.

    Raises:
        ModelError: The call fails in another way.
    """
    parameters = AgentParameters(max_tokens=TOOL_ANSWER_TOKENS, temperature=0)
    answer = StreamedAnswer(None)
    try:
        async for _ in _parts(pool, entry, parameters, messages, answer, schema, tools):
            pass
    except ModelError as error:
        if error.status in REFUSAL_STATUS:
            return None
        raise
    text = answer.text()
    return Reply(
        text=text if schema is None else final_message(text).text,
        truncated=finish_reason(answer.deltas) == "length",
        input_tokens=0,
        output_tokens=answer.pieces,
        estimated=True,
        tool_calls=answer.tool_calls(),
    )


async def _enforces_schema(pool: ModelPool, entry: ModelEntry) -> bool | None:
    """Whether an answer to an unrelated question fits the schema; None when it was cut off too early."""
    try:
        answer = await _call(pool, entry, UNRELATED_QUESTION, SCHEMA)
        read_typed(answer.text, SCHEMA)
    except ModelError:
        return False
    except UnreadableAnswer:
        may_be_json = not answer.text or "{" in answer.text
        return None if answer.finish_reason == "length" and may_be_json else False
    return True


# --- the checks ----------------------------------------------------------------------------------


def _checks(config: SwarmConfig, entry: ModelEntry, measurement: Measurement) -> Iterator[Check]:
    name = f"measured {entry.label}"
    rates = ", ".join(f"{rate:.0f} with {calls} at once" for calls, rate in measurement.rates.items())
    text = f"tokens per second: {rates}; first token after {measurement.first_token_s:.2f} s"
    if doubt := measurement.doubt:
        cure = "measure again when nothing else uses it; until then no slots and no timeout are proposed"
        yield Check(name, None, f"{text}; it seems busy: {doubt}", cure)
    else:
        yield Check(name, True, text)
        yield _check_slots(name, measurement)
        yield from _check_timeout(config, name, entry, measurement)
        yield from _check_fan_out(name, entry, measurement)
    if measurement.context is None:
        yield Check(name, None, "its context is unknown", "prompts are not checked before they are sent")
    if not measurement.usage:
        yield Check(name, None, "its server counts no tokens", "token figures of its calls are estimates")
    yield _check_schema(name, measurement)
    if measurement.tools:
        yield _check_tools(name, entry, measurement.tools)
    if measurement.thinks:
        text = "it thinks before it answers, and its thoughts count towards max_tokens"
        yield Check(name, None, text, 'give its roles more "max_tokens", or "reasoning": false')


def _check_slots(name: str, measurement: Measurement) -> Check:
    best, slots = measurement.best, measurement.slots
    text = f"{best} calls at once are worth it"
    if best == slots:
        return Check(name, True, f"{text}, and as many are sent")
    return Check(name, None, f"{text}, but {slots} are sent", f'set "slots": {best}')


def _check_timeout(
    config: SwarmConfig, name: str, entry: ModelEntry, measurement: Measurement
) -> Iterator[Check]:
    """Whether the longest answer can end in time while the most concurrent calls are running."""
    longest = max(config.parameters_for(role).max_tokens or 0 for role in config.role_names)
    slowest = min(rate / calls for calls, rate in measurement.rates.items())
    needed_s = longest / slowest if slowest else 0.0
    if needed_s > entry.timeout:
        text = f"an answer of {longest} tokens takes {needed_s:.0f} s, its timeout is {entry.timeout:g} s"
        yield Check(name, None, text, f'set "timeout": {round(needed_s * 1.5)}, or lower max_tokens')


def _check_fan_out(name: str, entry: ModelEntry, measurement: Measurement) -> Iterator[Check]:
    """Whether calls of one session should share a slot of a llama.cpp server, and its cache."""
    if not (found := measurement.fan_out):
        return
    seconds = f"{found.all_slots:.1f} s on all slots, {found.one_slot:.1f} s on one"
    text = f"{FAN_OUT} calls that begin alike: {seconds}"
    pays = found.all_slots > found.one_slot * MIN_SPEEDUP
    costs = found.one_slot > found.all_slots * MIN_SPEEDUP
    if (entry.slot_per_session and costs) or (pays and not entry.slot_per_session):
        yield Check(name, None, text, f'set "slot_per_session": {str(pays).lower()}')
    else:
        yield Check(name, True, text)


def _check_schema(name: str, measurement: Measurement) -> Check:
    if measurement.enforces_schema:
        return Check(name, True, "a JSON schema binds its answers")
    if measurement.enforces_schema is None:
        text = "unknown whether a JSON schema binds its answers: the test answer was cut off"
        return Check(name, None, text)
    cure = "typed answers depend on the prompt; prefer a server that enforces schemas for reviews"
    return Check(name, None, "a JSON schema does not bind its answers", cure)


WAYS: Mapping[ToolMode, str] = {
    "native": "by its server's API",
    "action": "as a bound action",
    "text": "as text",
}


def _check_tools(name: str, entry: ModelEntry, found: Probe) -> Check:
    """How the model calls tools, and the setting that follows."""
    ways = [
        f"{WAYS[mode]} {'refused' if mode in found.refused else f'{made} of {found.asked[mode]}'}"
        for mode, made in found.made.items()
    ]
    text = f"calls of a tool: {', '.join(ways)}"
    if not found.made.get(found.mode):
        return Check(name, None, text, "give its roles no tools, or another model")
    if entry.tool_calls in ("auto", found.mode):
        return Check(name, True, f'{text}; "tool_calls": "{found.mode}" saves the question')
    return Check(name, None, text, f'set "tool_calls": "{found.mode}"')
