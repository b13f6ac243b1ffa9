"""One call of a model: queue, stream, timeouts, retries, journal, and one clear error when it fails."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import count
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.runnables import RunnableConfig
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_exponential_jitter

from swarm_graph.checkpoints.journal import BegunCall, question_key
from swarm_graph.checkpoints.transcript import NO_TEXTS, Message, Texts
from swarm_graph.config import without_secrets
from swarm_graph.errors import ModelError
from swarm_graph.events import Event, Kind
from swarm_graph.models.failures import explain
from swarm_graph.models.keys import secrets_of
from swarm_graph.models.masking import MaskedStream, masked
from swarm_graph.models.request import token_limit
from swarm_graph.models.slots import Slots
from swarm_graph.models.stream import (
    COMPLETE_REASONS,
    LengthBound,
    as_chunk,
    cached_tokens,
    estimate_usage,
    finish_reason,
    is_empty,
    is_plausible,
    reason_of,
    reasoning_tokens,
    says_something,
    server_usage,
)
from swarm_graph.roles.emitter import Emitter
from swarm_graph.roles.run import RunContext
from swarm_graph.settings import ModelEntry
from swarm_graph.state import Reply
from swarm_graph.text import without_lone_surrogates

log = logging.getLogger("swarm_graph.calls")

TOKEN_EVENT_S = 0.2
"""A `tokens` event is emitted no more often than this."""
BACKOFF_S, MAX_BACKOFF_S = 0.5, 20.0
"""The first and the longest pause before a retry; the first is also the range of the random part."""
LOADING_PAUSE_S, MAX_LOADING_PAUSE_S = 0.2, 2.0
"""The first and the longest pause while a server loads its model; each pause is longer by the first."""


@dataclass(frozen=True)
class ModelCall:
    """Calls one model for a role at its place in the graph.

    Attributes:
        entry: Label, server, timeouts and prices of the model.
        model: The LangChain chat model.
        slots: The limits that a call waits for: of the run, and of the server.
        config: LangChain's configuration of the node: callbacks, tags, metadata.
        emit: Emits the events of the call.
        run: The run that the call belongs to.
        parameters: What an answer depends on besides the messages: it is part of the journal's key.
        schema: The JSON schema that the server is given for the answer, for the transcript.
        is_repair: Whether it is the repair question after an answer that could not be read.
        may_omit_finish_reason: Whether an answer without any response metadata is complete.
        final_statuses: HTTP statuses after which this call is not retried.
    """

    entry: ModelEntry
    model: BaseChatModel
    slots: Sequence[Slots]
    config: RunnableConfig
    emit: Emitter
    run: RunContext
    parameters: Mapping[str, Any]
    schema: Mapping[str, Any] | None = None
    is_repair: bool = False
    may_omit_finish_reason: bool = False
    final_statuses: AbstractSet[int] = frozenset()

    @property
    def node(self) -> str:
        """The node that calls."""
        return self.emit.origin.node

    async def __call__(self, messages: list[BaseMessage], **arguments: Any) -> Reply:
        """The model's answer, or the journal's if an earlier run of the session got one to the same question.

        Raises:
            ModelError: The call failed and retries are spent or cannot help.
            OverBudget: The session has used what `limits` allow.
            Stopped: The run is to stop.
        """
        origin, journal = self.emit.origin, self.run.journal
        key = question_key(
            [self.parameters, arguments, [(message.type, message.text) for message in messages]]
        )
        if journal and (answered := await journal.find_answer(origin.task, origin.iteration, key)):
            return answered
        patience = _Patience(self.entry)
        retrying = AsyncRetrying(
            retry=retry_if_exception(self._is_retried),
            stop=patience.is_spent,
            wait=patience.pause_s,
            reraise=True,
        )
        return await retrying(self._attempt, messages, key, count(1), arguments)

    def _is_retried(self, error: BaseException) -> bool:
        return isinstance(error, ModelError) and error.retryable and error.status not in self.final_statuses

    async def _attempt(
        self, messages: list[BaseMessage], key: str, numbers: Iterator[int], arguments: dict[str, Any]
    ) -> Reply:
        queued_at, number = time.monotonic(), next(numbers)
        async with AsyncExitStack() as held:
            for slots in self.slots:  # the run's first: a call that waits for it must not occupy a server
                await held.enter_async_context(slots)
            self.run.stop.check()
            self.run.budget.begin_call()
            attempt = _Attempt(self, key, number, time.monotonic() - queued_at, messages)
            self._debug("asks", "\n".join(message.text for message in messages))
            try:
                reply = await self._stream(messages, arguments, attempt)
            except asyncio.CancelledError:
                await attempt.end("cancelled")
                raise
            except ModelError as error:
                await attempt.end("failed", error=str(error))
                raise
            except Exception as error:
                failure = explain(error, self.node, self.entry, self.secrets())
                await attempt.end("failed", error=str(failure))
                raise failure from self._shown_cause(error)
            self._debug("is answered", reply.text)
            call = await attempt.end("truncated" if reply.truncated else "answered", reply=reply)
            return replace(reply, call=call)

    def _debug(self, what: str, text: str) -> None:
        """Log a prompt or an answer at DEBUG, without keys."""
        if log.isEnabledFor(logging.DEBUG):
            shown = masked(text, self.secrets())
            log.debug("session %s, %s %s: %s", self.emit.origin.session, self.node, what, shown)

    def _shown_cause(self, error: Exception) -> Exception | None:
        """The cause of a failure; None if its traceback would show a key that the server has repeated."""
        text = "".join(traceback.format_exception(error))
        return error if masked(text, self.secrets()) == text else None

    async def _stream(
        self, messages: list[BaseMessage], arguments: dict[str, Any], attempt: _Attempt
    ) -> Reply:
        chunks: list[AIMessageChunk] = []
        # A simulated or supplied model is not told the role's limit.
        limit = None if self.entry.api_type == "simulated" else token_limit(self.parameters)
        bound = LengthBound(limit)
        try:
            await self._receive(messages, arguments, attempt, chunks, bound)
        except TimeoutError:
            if not finish_reason(chunks):  # else the answer is complete and only the connection stayed open
                raise
        return self._reply(messages, chunks, attempt, too_long=bound.exceeded)

    async def _receive(
        self,
        messages: list[BaseMessage],
        arguments: dict[str, Any],
        attempt: _Attempt,
        chunks: list[AIMessageChunk],
        bound: LengthBound,
    ) -> None:
        """Append the chunks of an answer as they arrive, up to its bound.

        Raises:
            TimeoutError: Nothing arrives any more, not even a sign of life, or the answer takes too long.
        """
        slack = self.entry.idle_timeout / 100  # rescheduling the timeout for every token costs too much
        longest_silence = self.entry.idle_timeout + slack
        async with asyncio.timeout(self.entry.timeout), asyncio.timeout(longest_silence) as idle:
            clock = asyncio.get_running_loop().time
            rescheduled, ended = clock(), False
            config: RunnableConfig = {
                **self.config,
                "metadata": {**self.config["metadata"], "attempt": attempt.number},
            }
            stream: Any = self.model.astream(messages, config, **arguments)
            async with aclosing(stream) as parts:
                async for chunk in parts:
                    received = as_chunk(chunk)
                    is_sign = is_empty(received)
                    now = clock()
                    if now - rescheduled > slack and not (is_sign and ended):
                        rescheduled = now
                        idle.reschedule(now + longest_silence)
                    if is_sign and not self.may_omit_finish_reason:
                        continue
                    ended = bool(reason_of(received)) or (ended and not says_something(received))
                    chunks.append(received)
                    attempt.add(received)
                    bound.add(received)
                    if bound.exceeded:
                        return

    def _reply(
        self,
        messages: list[BaseMessage],
        chunks: list[AIMessageChunk],
        attempt: _Attempt,
        *,
        too_long: bool,
    ) -> Reply:
        if not chunks:
            raise self._error("ended the stream without an answer", retryable=True)
        whole = add_ai_message_chunks(chunks[0], *chunks[1:])
        usage = server_usage(chunks, whole)
        counted = is_plausible(usage)
        if usage is None or not counted:
            usage = estimate_usage(messages, attempt.tokens)
        without_metadata = not any(chunk.response_metadata for chunk in chunks)
        complete = self.may_omit_finish_reason and without_metadata
        reason = self._reason(chunks) or ("length" if too_long else "stop" if complete else "")
        attempt.finish_reason = reason
        if not reason:
            raise self._error("cut the answer off before its end", retryable=True)
        if reason not in (*COMPLETE_REASONS, "length"):
            raise self._error(f"ended the answer with '{reason}' instead of 'stop'", retryable=False)
        only_thoughts = not whole.text.strip() and "reasoning_content" in whole.additional_kwargs
        return Reply(
            text=without_lone_surrogates(masked(whole.text, self.secrets())),
            truncated=reason == "length",
            input_tokens=usage["input_tokens"],
            output_tokens=usage["output_tokens"],
            reasoning_tokens=usage["output_tokens"] if only_thoughts else reasoning_tokens(usage),
            cached_tokens=cached_tokens(usage) if counted else None,
            estimated=not counted,
        )

    def _reason(self, chunks: list[AIMessageChunk]) -> str:
        return masked(finish_reason(chunks), self.secrets())

    def question_texts(self, messages: Sequence[BaseMessage]) -> Texts:
        """The prompt and the parameters as the transcript keeps them, without secrets."""
        secrets = tuple(self.secrets())
        prompt = [Message(message.type, _without_keys(message.text, secrets)) for message in messages]
        given = {name: value for name, value in self.parameters.items() if value not in (None, {})}
        parameters = {**without_secrets(given), "schema": self.schema}
        return Texts(prompt, parameters=masked(json.dumps(parameters, default=str), secrets))

    def secrets(self) -> list[str]:
        """What no text of this call may repeat."""
        return list(dict.fromkeys([*secrets_of(self.entry, self.parameters), *self.run.keys]))

    def _error(self, what: str, *, retryable: bool) -> ModelError:
        return ModelError(
            f"{self.node}: {self.entry.label} at {self.entry.server} {what}; `swarm-graph doctor` checks it",
            node=self.node,
            retryable=retryable,
        )


@lru_cache(maxsize=64)
def _without_keys(text: str, secrets: tuple[str, ...]) -> str:
    """A text of a prompt without API keys. Prompts repeat, and masking a long one takes milliseconds."""
    return without_lone_surrogates(masked(text, secrets))


class _Patience:
    """How long a call is repeated: `retries` times, or up to `timeout` while the server loads its model."""

    def __init__(self, entry: ModelEntry) -> None:
        self._entry, self._failures = entry, 0
        self._backoff = wait_exponential_jitter(multiplier=BACKOFF_S, max=MAX_BACKOFF_S, jitter=BACKOFF_S)

    def is_spent(self, state: RetryCallState) -> bool:
        """Called by tenacity once per failed attempt, which it counts, unless the server is still loading."""
        error = _error_of(state)
        if error.loading:
            return (state.seconds_since_start or 0.0) >= self._entry.timeout
        self._failures += 1
        return self._failures > self._entry.retries

    def pause_s(self, state: RetryCallState) -> float:
        error = _error_of(state)
        if error.loading:
            return min(MAX_LOADING_PAUSE_S, LOADING_PAUSE_S * state.attempt_number)
        return max(error.retry_after, self._backoff(state))


def _error_of(state: RetryCallState) -> ModelError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, ModelError)
    return error


class _Attempt:
    """One attempt of a call, from dispatch to its end: its events, and its record."""

    def __init__(
        self, call: ModelCall, key: str, number: int, queued_s: float, messages: Sequence[BaseMessage]
    ) -> None:
        self._call, self._key, self.number = call, key, number
        self._common = {
            "attempt": number,
            "repair": call.is_repair,
            "model": call.entry.label,
            "server": call.entry.server,
            "queued_s": queued_s,
        }
        self._started_at = time.monotonic()
        self._emitted_at = self._started_at
        self._first_token_s: float | None = None
        self.tokens = 0
        self.finish_reason = ""
        self._text, self._thoughts = MaskedStream(call.secrets()), MaskedStream(call.secrets())
        self._received: list[AIMessageChunk] = []
        journal = call.run.journal
        self._journal = journal if journal and journal.keeps_texts else None
        event = self._event("call_started")
        self._begun: BegunCall | None = None
        if self._journal:
            self._begun = self._journal.begin_call(event, partial(call.question_texts, messages))
        call.emit.send(event)

    def add(self, chunk: AIMessageChunk) -> None:
        """Count a chunk of the answer, and emit it with others every TOKEN_EVENT_S."""
        if self._journal:
            self._received.append(chunk)
        if not chunk.content and not chunk.additional_kwargs:
            return
        now = time.monotonic()
        if self._first_token_s is None:
            self._first_token_s = now - self._started_at
        self.tokens += 1  # servers send about one token per chunk; exact counts come last, if at all
        self._text.add(chunk.text)
        self._thoughts.add(_thoughts(chunk))
        if now - self._emitted_at >= TOKEN_EVENT_S:
            self._emitted_at = now
            self._emit_tokens()

    def _emit_tokens(self, *, last: bool = False) -> None:
        text, thoughts = (
            without_lone_surrogates(stream.take(last=last)) for stream in (self._text, self._thoughts)
        )
        if text or thoughts or not last:
            self._call.emit.send(
                self._event("tokens", output_tokens=self.tokens, text=text, thoughts=thoughts)
            )

    async def end(self, outcome: str, *, reply: Reply | None = None, error: str | None = None) -> int | None:
        """Commit the attempt with its answer, then emit its end: no observer is ahead of the database.

        Returns:
            The id of the call in the transcript; None if it is not kept.
        """
        input_tokens, output_tokens = (reply.input_tokens, reply.output_tokens) if reply else (0, 0)
        prices = self._call.entry.prices
        columns = {
            "outcome": outcome,
            "finish_reason": self.finish_reason,
            "first_token_s": self._first_token_s,
            "seconds": time.monotonic() - self._started_at,
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "reasoning_tokens": reply.reasoning_tokens if reply else 0,
            "cut_tokens": 0 if reply else self.tokens,
            "estimated": bool(reply and reply.estimated),
            "cost": (input_tokens * prices.input + output_tokens * prices.output) / 1e6,
            "error": error,
        }
        run, number = self._call.run, None
        run.budget.end_call(input_tokens + output_tokens if reply else self.tokens)
        event = self._event("call_ended", **columns)
        if run.journal:
            row = {**self._call.emit.origin.to_dict(), **event.data, "time": event.time}
            texts = partial(self._answer_texts, reply)
            number = await run.journal.record_call(row, self._key, reply, event, texts, self._begun)
        if self._emitted_at > self._started_at:
            self._emit_tokens(last=True)
        self._call.emit.send(event)
        return number

    def _answer_texts(self, reply: Reply | None) -> Texts:
        """What has arrived of the answer, as the transcript keeps it, without secrets."""
        if not self._received:
            return NO_TEXTS
        secrets = self._call.secrets()
        thoughts = "".join(map(_thoughts, self._received))
        answer = reply.text if reply else "".join(chunk.text for chunk in self._received)
        tools = self._tool_calls()
        return Texts(
            thoughts=without_lone_surrogates(masked(thoughts, secrets)),
            answer=without_lone_surrogates(answer if reply else masked(answer, secrets)),
            tool_calls=masked(json.dumps(tools, default=str), secrets) if tools else "",
        )

    def _tool_calls(self) -> list[Any]:
        """The tools that the answer calls, well formed or not."""
        chunks = [chunk for chunk in self._received if chunk.tool_call_chunks]
        if not chunks:
            return []
        whole = add_ai_message_chunks(chunks[0], *chunks[1:])
        return [*whole.tool_calls, *whole.invalid_tool_calls]

    def _event(self, kind: Kind, **data: Any) -> Event:
        return self._call.emit.event(kind, **self._common, **data)


def _thoughts(chunk: AIMessageChunk) -> str:
    return str(chunk.additional_kwargs.get("reasoning_content", ""))
