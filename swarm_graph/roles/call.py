"""One call to a model: queue, stream, time-outs, retries, and a clear error when it fails for good."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from itertools import count
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.runnables import RunnableConfig
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_exponential_jitter

from swarm_graph.checkpoints.journal import question_key
from swarm_graph.errors import ModelError
from swarm_graph.events import Kind
from swarm_graph.models.failures import explain
from swarm_graph.models.keys import secrets_of
from swarm_graph.models.slots import Slots
from swarm_graph.models.stream import (
    ENDS,
    as_chunk,
    estimated_usage,
    is_count,
    reason_of,
    reasoning_tokens,
    usage_of,
)
from swarm_graph.roles.run import Run
from swarm_graph.settings import ModelEntry
from swarm_graph.state import Reply
from swarm_graph.text import encodable

Report = Callable[..., None]
"""Called as report(kind, **data) for every event of a call."""

log = logging.getLogger("swarm_graph.calls")

TOKEN_EVENT_S = 0.2
OVERRIDDEN = ModelEntry(model="the model of this run's context", api_type="simulated")
"""Stands for a model of somebody's own, which need not say why its answers end."""


@dataclass(frozen=True)
class Caller:
    """Everything that the calls of a role at its place have in common.

    `about`: who asks, for records and events. `parameters`: what an answer depends on besides messages.
    """

    node: str
    entry: ModelEntry
    model: BaseChatModel
    slots: Sequence[Slots]
    config: RunnableConfig
    report: Report
    run: Run
    about: Mapping[str, Any]
    parameters: Mapping[str, Any]

    async def __call__(self, messages: list[BaseMessage], **arguments: Any) -> Reply:
        """The model's answer, or the journal's when this question was answered before a kill or a pause.

        ModelError when retries are spent or cannot help; Stopped when the run is to stop.
        """
        said = [(message.type, message.text) for message in messages]
        key = question_key([self.parameters, arguments, said])
        journal = self.run.journal
        if journal and (known := await journal.find(self.about["task"], self.about["iteration"], key)):
            return known
        patience = _Patience(self.entry)
        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, ModelError) and error.retryable),
            stop=patience.spent,
            wait=patience.pause,
            reraise=True,
        )
        return await retrying(self._attempt, messages, key, count(1), arguments)

    async def _attempt(
        self, messages: list[BaseMessage], key: str, attempts: Iterator[int], arguments: dict[str, Any]
    ) -> Reply:
        queued, attempt = time.monotonic(), next(attempts)
        async with AsyncExitStack() as held:
            for slots in self.slots:
                await held.enter_async_context(slots)
            self.run.check()
            if self.run.budget:
                self.run.budget.begin_call()
            record = _Record(self, key, attempt, time.monotonic() - queued)
            self._log("asks", "\n".join(message.text for message in messages))
            try:
                reply = await self._stream(messages, arguments, record)
            except asyncio.CancelledError:
                await record.end("cancelled")
                raise
            except ModelError as error:
                await record.end("failed", error=str(error))
                raise
            except Exception as error:
                failure = explain(error, self.node, self.entry, self._secrets())
                await record.end("failed", error=str(failure))
                raise failure from error
            self._log("is answered", reply.text)
            await record.end("truncated" if reply.truncated else "answered", reply=reply)
            return reply

    def _log(self, what: str, text: str) -> None:
        """Prompts and answers, for those who want to see everything; never a key."""
        if log.isEnabledFor(logging.DEBUG):
            for secret in self._secrets():
                text = text.replace(secret, "***")
            log.debug("session %s, %s %s: %s", self.about["session"], self.node, what, text)

    async def _stream(self, messages: list[BaseMessage], arguments: dict[str, Any], record: _Record) -> Reply:
        chunks: list[AIMessageChunk] = []
        try:
            await self._listen(messages, arguments, record, chunks)
        except TimeoutError:
            if not reason_of(chunks):  # else the answer is whole, and only the connection was left open
                raise
        return self._finished(messages, chunks, record)

    async def _listen(
        self,
        messages: list[BaseMessage],
        arguments: dict[str, Any],
        record: _Record,
        chunks: list[AIMessageChunk],
    ) -> None:
        """Collects the parts of an answer as they come; TimeoutError when they do not."""
        slack = self.entry.idle_timeout / 100  # moving a timeout for every token costs too much
        patience = self.entry.idle_timeout + slack
        async with asyncio.timeout(self.entry.timeout), asyncio.timeout(patience) as idle:
            clock = asyncio.get_running_loop().time
            moved = clock()
            config: RunnableConfig = {
                **self.config,
                "metadata": {**self.config["metadata"], "attempt": record.attempt},
            }
            stream: Any = self.model.astream(messages, config, **arguments)
            async with aclosing(stream) as parts:
                async for chunk in parts:
                    now = clock()
                    if now - moved > slack:
                        moved = now
                        idle.reschedule(now + patience)
                    chunks.append(as_chunk(chunk))
                    record.token(chunks[-1])

    def _finished(self, messages: list[BaseMessage], chunks: list[AIMessageChunk], record: _Record) -> Reply:
        if not chunks:
            raise self._error("ended the stream without an answer", retryable=True)
        whole = add_ai_message_chunks(chunks[0], *chunks[1:])
        usage = usage_of(chunks, whole)
        counted = is_count(usage)
        if usage is None or not counted:
            usage = estimated_usage(messages, record.tokens)
        silent = self.entry is OVERRIDDEN and not any(chunk.response_metadata for chunk in chunks)
        record.reason = reason = "stop" if silent else reason_of(chunks)
        if not reason:
            raise self._error("cut the answer off before its end", retryable=True)
        if reason not in (*ENDS, "length"):
            raise self._error(f"ended the answer with '{reason}' instead of 'stop'", retryable=False)
        return Reply(
            text=encodable(whole.text),
            truncated=reason == "length",
            input_tokens=usage["input_tokens"],
            output_tokens=usage["output_tokens"],
            reasoning_tokens=reasoning_tokens(usage),
            estimated=not counted,
        )

    def _secrets(self) -> list[str]:
        return secrets_of(self.entry, self.parameters)

    def _error(self, what: str, *, retryable: bool) -> ModelError:
        return ModelError(
            f"{self.node}: {self.entry.label} at {self.entry.server} {what}; `swarm-graph doctor` checks it",
            node=self.node,
            retryable=retryable,
        )


class _Patience:
    """How long a call is repeated: `retries` times, but a model that is being loaded is waited for."""

    def __init__(self, entry: ModelEntry) -> None:
        self._entry, self._failed = entry, 0
        self._backoff = wait_exponential_jitter(multiplier=0.5, max=20.0, jitter=0.5)

    def spent(self, state: RetryCallState) -> bool:
        error = _error_of(state)
        if error.loading:
            return (state.seconds_since_start or 0.0) >= self._entry.timeout
        self._failed += 1
        return self._failed > self._entry.retries

    def pause(self, state: RetryCallState) -> float:
        error = _error_of(state)
        if error.loading:
            return min(2.0, 0.2 * state.attempt_number)
        return max(error.retry_after, self._backoff(state))


def _error_of(state: RetryCallState) -> ModelError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, ModelError)
    return error


class _Record:
    """One attempt, from dispatch to its end: its events, and its row in the journal."""

    def __init__(self, caller: Caller, key: str, attempt: int, queued_s: float) -> None:
        self._caller, self._key, self.attempt = caller, key, attempt
        self._about = {
            "attempt": attempt,
            "model": caller.entry.label,
            "server": caller.entry.server,
            "queued_s": queued_s,
        }
        self._started = time.monotonic()
        self._reported = self._started
        self._first_token_s: float | None = None
        self.tokens = 0
        self._untold: list[str] = []
        self._thoughts: list[str] = []
        self.reason = ""
        self._send("call_started")

    def token(self, chunk: AIMessageChunk) -> None:
        if not chunk.content and not chunk.additional_kwargs:
            return
        now = time.monotonic()
        if self._first_token_s is None:
            self._first_token_s = now - self._started
        self.tokens += 1
        self._untold.append(chunk.text)
        self._thoughts.append(str(chunk.additional_kwargs.get("reasoning_content", "")))
        if now - self._reported >= TOKEN_EVENT_S:
            self._reported = now
            self._tell_tokens()

    def _tell_tokens(self) -> None:
        text, thoughts = encodable("".join(self._untold)), encodable("".join(self._thoughts))
        self._untold.clear()
        self._thoughts.clear()
        self._send("tokens", output_tokens=self.tokens, text=text, thoughts=thoughts)

    async def end(self, outcome: str, *, reply: Reply | None = None, error: str | None = None) -> None:
        """Commits the attempt, with its answer, before anybody hears of it."""
        tokens = (reply.input_tokens, reply.output_tokens) if reply else (0, 0)
        prices = self._caller.entry.prices
        ended = {
            "outcome": outcome,
            "finish_reason": self.reason,
            "first_token_s": self._first_token_s,
            "seconds": time.monotonic() - self._started,
            "input_tokens": tokens[0],
            "output_tokens": tokens[1],
            "reasoning_tokens": reply.reasoning_tokens if reply else 0,
            "cut_tokens": 0 if reply else self.tokens,
            "estimated": bool(reply and reply.estimated),
            "cost": (tokens[0] * prices.input + tokens[1] * prices.output) / 1e6,
            "error": error,
        }
        if self._caller.run.budget:
            self._caller.run.budget.end_call(sum(tokens) if reply else self.tokens)
        if journal := self._caller.run.journal:
            row = {**self._caller.about, **self._about, **ended, "time": time.time()}
            await journal.record(row, self._key, reply)
        if self._untold and self._reported > self._started:
            self._tell_tokens()
        self._send("call_ended", **ended)

    def _send(self, kind: Kind, **data: Any) -> None:
        self._caller.report(kind, **self._about, **data)
