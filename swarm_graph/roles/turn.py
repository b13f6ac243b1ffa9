"""A turn of somebody who asks a model: what is asked, of which model, and the one repair question."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Generic, TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableConfig

from swarm_graph.config import SwarmConfig
from swarm_graph.errors import AnswerError, ModelError, OverBudget, Stopped, TruncatedAnswer, UnreadableAnswer
from swarm_graph.events import Event, Kind
from swarm_graph.models.context_window import room_for_answer
from swarm_graph.models.pool import ModelPool
from swarm_graph.models.request import call_arguments, refused_field
from swarm_graph.prompts.template import Prompt
from swarm_graph.roles.call import OVERRIDDEN, Caller
from swarm_graph.roles.run import RUN, Run
from swarm_graph.roles.thoughts import without_thoughts
from swarm_graph.settings import AgentParameters, ModelEntry
from swarm_graph.state import AgentRole, Reply, SwarmContext, TaskRecord

A = TypeVar("A")

log = logging.getLogger("swarm_graph")

NONE = "(none)"
QUOTED_CHARACTERS = (2000, 200)
"""Of an answer that could not be read, in the repair question; fewer where the context is small."""


@dataclass(frozen=True)
class Crew:
    """What `build_graph` binds into the nodes: configuration and models."""

    config: SwarmConfig
    models: ModelPool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "models", ModelPool(self.config))


@dataclass(frozen=True)
class Question(Generic[A]):
    """What is asked, and how the answer is read.

    `read` raises UnreadableAnswer; `unreadable` makes an answer of one that no repair question could mend,
    and without it, or when it gives None, the task fails. `entry`: called for the model when it is needed.
    `shorter`: the messages with less and less in them, each with what was left out, for a small context.
    """

    messages: list[BaseMessage]
    entry: Callable[[], ModelEntry]
    parameters: AgentParameters
    read: Callable[[Reply], A]
    repair: Prompt
    schema: dict[str, Any] | None = None
    unreadable: Callable[[Reply], A | None] | None = None
    shorter: Callable[[], Iterable[tuple[list[BaseMessage], str]]] = tuple


class Turn:
    """One time that a role is at work: in which run, for which task (`about`), heard by whom (`write`)."""

    def __init__(
        self,
        crew: Crew,
        about: Mapping[str, Any],
        config: RunnableConfig,
        context: SwarmContext | None,
        write: Callable[[Any], None],
    ) -> None:
        self.crew, self.about, self.config = crew, about, config
        self.context = context or SwarmContext()
        self.clock = self.context.clock or time.time
        self.run: Run = config["configurable"].get(RUN) or Run()
        self._write = write
        self.notes: list[str] = []

    def report(self, kind: Kind, **data: Any) -> None:
        self._write(Event(kind, time.time(), **self.about, data=data).plain())

    @asynccontextmanager
    async def task(self, task_type: str, failed: Callable[[Exception], TaskRecord]) -> AsyncIterator[None]:
        """The task at work: says when it begins, and records why it fails or stops."""
        self.report("task_started", task_type=task_type)
        try:
            yield
        except (Stopped, OverBudget):
            self.report("task_stopped")
            raise
        except Exception as error:
            if self.run.journal:
                await self.run.journal.fail_task(failed(error), error)
            self.report("task_failed", task_type=task_type, error=str(error))
            raise

    async def ask(self, question: Question[A]) -> tuple[A, str]:
        """The answer, and a note for people when it did not come as it should.

        The model's fallbacks are asked in turn when it fails for good; one whose server is down is left
        alone for a minute. AnswerError when no answer can be used; ModelError when there is none.
        """
        own = override(self.context, AgentRole(self.about["role"]))
        first = OVERRIDDEN if own else question.entry()
        *others, last = [first, *self.crew.config.fallbacks_of(first)]
        models = self.crew.models
        for entry in others:
            if why := models.down(entry):
                self.notes.append(f"{entry.label} is down ({why}), its fallback was asked")
                continue
            try:
                return await self._ask(question, entry)
            except ModelError as error:
                if error.retryable:
                    models.set_down(entry, str(error))
                self.notes.append(f"{entry.label} failed ({error}), its fallback was asked")
                log.info("session %s, %s", self.about["session"], self.notes[-1])
        return await self._ask(question, last)

    async def _ask(self, question: Question[A], entry: ModelEntry) -> tuple[A, str]:
        """The answer of one model, with one repair question."""
        choices = chain([(question.messages, "")], question.shorter())
        messages = await self._fitting(question, entry, choices)
        reply = await self._reply(question, entry, messages)
        try:
            return _read(question, reply), self._note()
        except UnreadableAnswer as problem:
            again = question.repair.system.substitute(problem=problem)
        quotes = (reply.text[:length] or NONE for length in QUOTED_CHARACTERS)
        repairs = (([*messages, AIMessage(quote), HumanMessage(again)], "") for quote in quotes)
        reply = await self._reply(question, entry, await self._fitting(question, entry, repairs))
        try:
            return _read(question, reply), self._note("repaired")
        except UnreadableAnswer as problem:
            answer = question.unreadable(reply) if question.unreadable else None
            if answer is None:
                raise self._failure(problem) from problem
            return answer, self._note(f"unreadable: {problem}")

    def _note(self, *more: str) -> str:
        return "; ".join([*self.notes, *more])

    def _failure(self, problem: UnreadableAnswer) -> AnswerError:
        node, role = self.about["node"], self.about["role"]
        what, cure = str(problem).replace("the answer", f"the {role}'s answer", 1), "try a stronger model"
        if isinstance(problem, TruncatedAnswer):
            what = what.partition(";")[0]
            cure = f"raise agent_parameters.{role}.max_tokens or set its reasoning to false"
        return AnswerError(f"{node}: {what} (after one repair question); {cure}", node=node)

    async def _fitting(
        self, question: Question[Any], entry: ModelEntry, choices: Iterable[tuple[list[BaseMessage], str]]
    ) -> list[BaseMessage]:
        """The first messages that fit; the note says what was left out. ModelError when none do."""
        models, parameters = self.crew.models, question.parameters
        for messages, left_out in choices:
            if entry is OVERRIDDEN:
                return messages
            tokens, room = await models.prompt_tokens(entry, messages, parameters)
            if tokens <= room:
                if left_out:
                    self.notes.append(f"left out for lack of context: {left_out}")
                return messages
        answer = room_for_answer(parameters.max_tokens)
        option = "num_ctx" if entry.api_type == "ollama" else "its server's context"
        node = self.about["node"]
        raise ModelError(
            f"{node}: {entry.label} at {entry.server} has a context of {room + answer} tokens, too small for "
            f"this prompt of about {tokens} and {answer} for the answer; raise {option} or ask for less",
            node=node,
        )

    async def _reply(self, question: Question[Any], entry: ModelEntry, messages: list[BaseMessage]) -> Reply:
        """What a model answers; fields of the request that its server refuses are left out from then on."""
        models = self.crew.models
        while True:
            caller = await self._caller(question, entry)
            refused = models.refused(entry)
            schema = None if "response_format" in refused else question.schema
            arguments = call_arguments(caller.model, question.parameters.extra_body, schema)
            try:
                reply = await caller(messages, **arguments)
            except ModelError as error:
                field = refused_field(error, refused, schema)
                if field is None:
                    raise
                models.refuse(entry, field)
                self.notes.append(f"asked without {field}, which {entry.server} refuses")
                continue
            if entry is not OVERRIDDEN and not reply.estimated:
                await self._check_uncut(entry, messages, reply)
            return reply

    async def _check_uncut(self, entry: ModelEntry, messages: list[BaseMessage], reply: Reply) -> None:
        """ModelError when the server has cut the prompt without a word."""
        node = self.about["node"]
        if lost := await self.crew.models.cut_silently(entry, messages, reply.input_tokens):
            raise ModelError(
                f"{node}: {entry.label} at {entry.server} has read only {reply.input_tokens} tokens of a "
                f"prompt of about {lost}: it cuts what does not fit; raise num_ctx or its server's context",
                node=node,
            )

    async def _caller(self, question: Question[Any], entry: ModelEntry) -> Caller:
        own = entry is OVERRIDDEN
        models = self.crew.models
        model = (
            override(self.context, AgentRole(self.about["role"]))
            if own
            else await models.chat(entry, question.parameters)
        )
        assert model is not None
        slots = [self.run.slots(self.crew.config.workflow.parallel)]
        if not own:
            slots.append(await models.slots(entry))
        if self.context.temperature is not None and "temperature" in type(model).model_fields:
            model = model.model_copy(update={"temperature": self.context.temperature})
        given = question.parameters.model_dump(exclude_none=True)
        name = model._llm_type if own else entry.model
        return Caller(
            node=self.about["node"],
            entry=entry,
            model=model,
            slots=slots,
            config={**self.config, "metadata": {**self.config.get("metadata", {}), **self.about}},
            report=self.report,
            run=self.run,
            about=self.about,
            parameters={**given, "model": name, "override": self.context.temperature},
        )


def _read(question: Question[A], reply: Reply) -> A:
    if reply.truncated:
        limit = f"its limit of {reply.output_tokens} tokens"
        if not without_thoughts(reply.text).strip():
            raise TruncatedAnswer(f"the answer had not begun at {limit}: all went into thoughts; think less")
        raise TruncatedAnswer(f"the answer was cut off at {limit}; answer more briefly")
    return question.read(reply)


def override(context: SwarmContext, role: AgentRole) -> BaseChatModel | None:
    """The model that a run's context puts in the place of the configured one."""
    model = context.model.get(role) if isinstance(context.model, Mapping) else context.model
    assert model is None or isinstance(model, BaseChatModel)
    return model
