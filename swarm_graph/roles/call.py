"""One call of a model: queue, stream, timeouts, retries, journal, and one clear error when it fails."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
import traceback
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig

from swarm_graph.aio import set_deadline
from swarm_graph.checkpoints.journal import BegunCall, question_key
from swarm_graph.checkpoints.steps import NoSteps, Steps
from swarm_graph.checkpoints.transcript import NO_TEXTS, Message, Texts
from swarm_graph.config import without_secrets
from swarm_graph.errors import ModelError, SlotLost
from swarm_graph.events import Event, Kind
from swarm_graph.models.answer import deltas_of
from swarm_graph.models.context_window import text_of
from swarm_graph.models.failures import explain
from swarm_graph.models.keys import secrets_of
from swarm_graph.models.masking import MaskedStream, masked
from swarm_graph.models.request import token_limit
from swarm_graph.models.slots import Limiter
from swarm_graph.models.stream import (
    COMPLETE_REASONS,
    SIGN_OF_LIFE,
    Delta,
    StreamedAnswer,
    cached_tokens,
    estimate_usage,
    finish_reason,
    is_plausible,
    reasoning_tokens,
    server_usage,
)
from swarm_graph.roles.emitter import Emitter
from swarm_graph.roles.run import RunContext
from swarm_graph.settings import ModelEntry
from swarm_graph.state import Reply, ToolCall
from swarm_graph.text import without_lone_surrogates

log = logging.getLogger("swarm_graph.calls")

NO_STEPS = NoSteps()

TOKEN_EVENT_S = 0.2
"""A `tokens` event is emitted no more often than this."""
BACKOFF_S, MAX_BACKOFF_S = 0.5, 20.0
"""The first and the longest pause before a retry; the first is also the range of the random part."""
CHECK = "`swarm-graph doctor` checks it"
"""The cure for a server that does not end its answers as it should."""
CUT_CALL = "it was cut off at the limit of the answer: write less"
"""The problem of a call that the end of its answer has cut."""
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
        steps: Keep the answer where there is no journal, in a turn with tools.
    """

    entry: ModelEntry
    model: BaseChatModel
    slots: Sequence[Limiter]
    config: RunnableConfig
    emit: Emitter
    run: RunContext
    parameters: Mapping[str, Any]
    schema: Mapping[str, Any] | None = None
    is_repair: bool = False
    may_omit_finish_reason: bool = False
    final_statuses: AbstractSet[int] = frozenset()
    steps: Steps = NO_STEPS

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
            SessionInUse: Another process works on the session by now.
        """
        origin, journal = self.emit.origin, self.run.journal
        key = question_key(
            [self.parameters, arguments, [(message.type, text_of(message)) for message in messages]]
        )
        if journal and (answered := await journal.find_answer(origin.task, origin.iteration, key)):
            return replace(answered, key=key)
        if kept := await self.steps.find_reply(key):
            return replace(kept, key=key)
        reply = await self._asked(messages, key, arguments)
        await self.steps.keep_reply(key, reply)
        return reply

    async def _asked(self, messages: list[BaseMessage], key: str, arguments: dict[str, Any]) -> Reply:
        """The model's answer, after as many attempts as its patience allows."""
        number, patience = 1, _Patience(self.entry)
        while True:
            try:
                return await self._attempt(messages, key, number, arguments)
            except SlotLost:
                pause_s = 0.0  # the next attempt waits for a slot
            except ModelError as error:
                if not self._is_retried(error) or patience.is_spent(error):
                    raise
                pause_s = patience.pause_s(error, number)
            await asyncio.sleep(pause_s)
            number += 1

    def _is_retried(self, error: ModelError) -> bool:
        return error.retryable and error.status not in self.final_statuses

    async def _attempt(
        self, messages: list[BaseMessage], key: str, number: int, arguments: dict[str, Any]
    ) -> Reply:
        queued_at = time.monotonic()
        async with AsyncExitStack() as held:
            for slots in self.slots:  # the run's first: a call that waits for it must not occupy a server
                await held.enter_async_context(slots)
            self.run.stop.check()
            if self.run.journal:
                await self.run.journal.check_lock()
            await self.run.budget.begin_call()
            attempt = _Attempt(self, key, number, time.monotonic() - queued_at, messages)
            self._debug("asks", *map(text_of, messages))
            try:
                async with AsyncExitStack() as kept:
                    for slots in self.slots:
                        await kept.enter_async_context(slots.kept())
                    reply = await self._stream(messages, arguments, attempt)
            except asyncio.CancelledError:
                await attempt.end("cancelled")
                raise
            except ModelError as error:
                await attempt.end("failed", error=str(error))
                raise
            except Exception as error:
                failure = explain(error, self.node, self.entry, self.secrets)
                await attempt.end("failed", error=str(failure))
                raise failure from self._shown_cause(error)
            self._debug("is answered", reply.text, *map(str, reply.tool_calls))
            call = await attempt.end("truncated" if reply.truncated else "answered", reply=reply)
            return replace(reply, call=call, key=key)

    def _debug(self, what: str, *texts: str) -> None:
        """Log a prompt or an answer at DEBUG, without keys."""
        if log.isEnabledFor(logging.DEBUG):
            shown = masked("\n".join(texts), self.secrets)
            log.debug("session %s, %s %s: %s", self.emit.origin.session, self.node, what, shown)

    def _shown_cause(self, error: Exception) -> Exception | None:
        """The cause of a failure; None if its traceback would show a key that the server has repeated."""
        text = "".join(traceback.format_exception(error))
        return error if masked(text, self.secrets) == text else None

    async def _stream(
        self, messages: list[BaseMessage], arguments: dict[str, Any], attempt: _Attempt
    ) -> Reply:
        try:
            await self._receive(messages, arguments, attempt)
        except TimeoutError:
            # A complete answer counts although the server left the connection open.
            if not attempt.answer.has_ended:
                raise
        return self._reply(messages, attempt)

    async def _receive(
        self, messages: list[BaseMessage], arguments: dict[str, Any], attempt: _Attempt
    ) -> None:
        """Add the parts of an answer to the attempt as they arrive, up to the bound of the answer.

        Raises:
            TimeoutError: Nothing arrives any more, not even a sign of life, or the answer takes too long.
        """
        slack = self.entry.idle_timeout / 100  # rescheduling the timeout for every token costs too much
        longest_silence = self.entry.idle_timeout + slack
        metadata = {**self.config["metadata"], "attempt": attempt.number}
        config: RunnableConfig = {**self.config, "metadata": metadata}
        async with asyncio.timeout(None) as whole, asyncio.timeout(None) as idle:
            clock = asyncio.get_running_loop().time
            rescheduled = clock()
            set_deadline(whole, rescheduled + self.entry.timeout)
            set_deadline(idle, rescheduled + longest_silence)
            async with aclosing(deltas_of(self.model, messages, config, **arguments)) as parts:
                async for deltas in parts:
                    said = [delta for delta in deltas if delta != SIGN_OF_LIFE]
                    now = clock()
                    if now - rescheduled > slack and (said or not attempt.answer.has_ended):
                        rescheduled = now
                        set_deadline(idle, now + longest_silence)
                    attempt.add(deltas if self.may_omit_finish_reason else said)
                    if attempt.answer.is_too_long:
                        return

    def _reply(self, messages: list[BaseMessage], attempt: _Attempt) -> Reply:
        answer = attempt.answer
        if not answer.deltas:
            what = "ended the stream without an answer; is this the model server's port and path?"
            raise self._error(what, retryable=True)
        usage = server_usage(answer.deltas)
        counted = is_plausible(usage)
        if usage is None or not counted:
            usage = estimate_usage(messages, answer.pieces)
        reason = attempt.finish_reason = self._reason(answer)
        if not reason:
            raise self._error(f"cut the answer off before its end; {CHECK}", retryable=True)
        if reason not in (*COMPLETE_REASONS, "length"):
            what = f"ended the answer with '{reason}' instead of 'stop'; {CHECK}"
            raise self._error(what, retryable=False)
        text = answer.text()
        calls = tuple(self._without_keys(call) for call in answer.tool_calls())
        if calls and reason == "length" and (calls[-1].problem or not calls[-1].arguments):
            calls = (*calls[:-1], calls[-1]._replace(problem=CUT_CALL))
        only_thoughts = not text.strip() and not calls and bool(answer.thoughts())
        return Reply(
            text=without_lone_surrogates(masked(text, self.secrets)),
            truncated=reason == "length",
            input_tokens=usage["input_tokens"],
            output_tokens=usage["output_tokens"],
            reasoning_tokens=usage["output_tokens"] if only_thoughts else reasoning_tokens(usage),
            cached_tokens=cached_tokens(usage) if counted else None,
            estimated=not counted,
            tool_calls=calls,
        )

    def _without_keys(self, call: ToolCall) -> ToolCall:
        """A call without API keys: whatever it is given to, it must not get one."""
        said = json.dumps([call.name, call.arguments, call.id], ensure_ascii=False)
        if (clean := masked(said, self.secrets)) == said:
            return call
        try:
            return ToolCall(*json.loads(clean))
        except ValueError:  # an escape that the mask has cut in two
            return call._replace(arguments={}, problem="it repeats an API key")

    def _reason(self, answer: StreamedAnswer) -> str:
        """Why an answer has ended; empty if it has not."""
        if given := masked(finish_reason(answer.deltas), self.secrets):
            return given
        if answer.is_too_long:
            return "length"
        may_omit = self.may_omit_finish_reason and not any(delta.has_metadata for delta in answer.deltas)
        return "stop" if may_omit else ""

    def question_texts(self, messages: Sequence[BaseMessage]) -> Texts:
        """The prompt and the parameters as the transcript keeps them, without secrets."""
        secrets = self.secrets
        prompt = [Message(message.type, _without_keys(text_of(message), secrets)) for message in messages]
        given = {name: value for name, value in self.parameters.items() if value not in (None, {})}
        parameters = {**without_secrets(given), "schema": self.schema}
        return Texts(prompt, parameters=masked(json.dumps(parameters, default=str), secrets))

    @cached_property
    def secrets(self) -> tuple[str, ...]:
        """What no text of this call may repeat."""
        return tuple(dict.fromkeys([*secrets_of(self.entry, self.parameters), *self.run.keys]))

    def _error(self, what: str, *, retryable: bool) -> ModelError:
        text = f"{self.node}: {self.entry.label} at {self.entry.server} {what}"
        return ModelError(text, node=self.node, retryable=retryable)


@lru_cache(maxsize=64)
def _without_keys(text: str, secrets: tuple[str, ...]) -> str:
    """A text of a prompt without API keys. Prompts repeat, and masking a long one takes milliseconds."""
    return without_lone_surrogates(masked(text, secrets))


class _Patience:
    """How long a call is repeated: `retries` times, or up to `timeout` while the server loads its model."""

    def __init__(self, entry: ModelEntry) -> None:
        self._entry, self._failures, self._began_at = entry, 0, time.monotonic()

    def is_spent(self, error: ModelError) -> bool:
        """Called once per failed attempt, which it counts, unless the server is still loading."""
        if error.loading:
            return time.monotonic() - self._began_at >= self._entry.timeout
        self._failures += 1
        return self._failures > self._entry.retries

    def pause_s(self, error: ModelError, attempt: int) -> float:
        """The pause after the attempt with this number."""
        if error.loading:
            return min(MAX_LOADING_PAUSE_S, LOADING_PAUSE_S * attempt)
        backoff = BACKOFF_S * 2.0 ** min(attempt - 1, 10) + random.uniform(0, BACKOFF_S)
        return max(error.retry_after, min(backoff, MAX_BACKOFF_S))


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
        # A simulated or supplied model is not told the role's limit.
        limit = None if call.entry.api_type == "simulated" else token_limit(call.parameters)
        self.answer, self._emitted = StreamedAnswer(limit), 0
        self.finish_reason = ""
        self._text, self._thoughts = MaskedStream(call.secrets), MaskedStream(call.secrets)
        event = self._event("call_started")
        self._begun: BegunCall | None = None
        if call.run.journal:
            self._begun = call.run.journal.begin_call(event, partial(call.question_texts, messages))
        call.emit.send(event)

    def add(self, deltas: Sequence[Delta]) -> None:
        """Add parts of the answer, and emit them with others every TOKEN_EVENT_S."""
        pieces = self.answer.pieces
        self.answer.add(deltas)
        if self.answer.pieces == pieces:
            return
        now = time.monotonic()
        if self._first_token_s is None:
            self._first_token_s = now - self._started_at
        if now - self._emitted_at >= TOKEN_EVENT_S:
            self._emitted_at = now
            self._emit_tokens()

    def _emit_tokens(self, *, last: bool = False) -> None:
        answer, since = self.answer, self._emitted
        self._text.add(answer.text(since))
        self._thoughts.add(answer.thoughts(since))
        self._emitted = len(answer.deltas)
        text, thoughts = (
            without_lone_surrogates(stream.take(last=last)) for stream in (self._text, self._thoughts)
        )
        if text or thoughts or not last:
            said = {"output_tokens": answer.pieces, "text": text, "thoughts": thoughts}
            event = self._event("tokens", **said)
            if self._call.run.journal and self._begun:
                self._call.run.journal.record_tokens(replace(event, data=said), self._begun)
            self._call.emit.send(event)

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
            "prompt_tokens_evaluated": reply.prompt_tokens_evaluated if reply else None,
            "output_tokens": output_tokens,
            "reasoning_tokens": reply.reasoning_tokens if reply else 0,
            "cut_tokens": 0 if reply else self.answer.pieces,
            "estimated": bool(reply and reply.estimated),
            "cost": (input_tokens * prices.input + output_tokens * prices.output) / 1e6,
            "error": error,
        }
        run, number = self._call.run, None
        run.budget.end_call(input_tokens + output_tokens if reply else self.answer.pieces)
        if self._emitted_at > self._started_at:
            self._emit_tokens(last=True)
        event = self._event("call_ended", **columns)
        if run.journal:
            row = {**self._call.emit.origin.to_dict(), **event.data, "time": event.time}
            texts = partial(self._answer_texts, reply)
            number = await run.journal.record_call(row, self._key, reply, event, texts, self._begun)
        self._call.emit.send(event)
        return number

    def _answer_texts(self, reply: Reply | None) -> Texts:
        """What has arrived of the answer, as the transcript keeps it, without secrets."""
        if not self.answer.deltas:
            return NO_TEXTS
        secrets, tools = self._call.secrets, self.answer.tool_calls()
        return Texts(
            thoughts=without_lone_surrogates(masked(self.answer.thoughts(), secrets)),
            answer=reply.text if reply else without_lone_surrogates(masked(self.answer.text(), secrets)),
            tool_calls=masked(json.dumps([call._asdict() for call in tools]), secrets) if tools else "",
        )

    def _event(self, kind: Kind, **data: Any) -> Event:
        return self._call.emit.event(kind, **self._common, **data)
