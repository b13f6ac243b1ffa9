"""A turn of somebody who asks a model: what is asked, of which model, and the one repair question."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableConfig

from swarm_graph.answers import Reply, Unreadable
from swarm_graph.calls import Caller
from swarm_graph.config import AgentParameters, ModelEntry, SwarmConfig
from swarm_graph.errors import AnswerError, OverBudget, Stopped
from swarm_graph.events import Event, Kind
from swarm_graph.models import ModelPool, call_arguments
from swarm_graph.prompts import Prompt
from swarm_graph.run import RUN, Run
from swarm_graph.state import AgentRole, SwarmContext, TaskRecord

A = TypeVar("A")

OVERRIDDEN = ModelEntry(model="the model of this run's context", api_type="simulated")
NONE = "(none)"
QUOTED_CHARACTERS = 2000


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

    `read` raises Unreadable; `unreadable` makes an answer of one that no repair question could mend, and
    without it, or when it gives None, the task fails. `entry`: called for the model when it is needed.
    """

    messages: list[BaseMessage]
    entry: Callable[[], ModelEntry]
    parameters: AgentParameters
    read: Callable[[Reply], A]
    repair: Prompt
    schema: dict[str, Any] | None = None
    unreadable: Callable[[Reply], A | None] | None = None


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
        """The answer, and a note for people when it could not be read at once.

        AnswerError when it cannot be used at all; ModelError when there is none.
        """
        call = self._caller(question)
        arguments = call_arguments(call.model, question.parameters.extra_body, question.schema)
        reply = await call(question.messages, **arguments)
        try:
            return _read(question, reply), ""
        except Unreadable as problem:
            again = question.repair.system.substitute(problem=problem)
        said = AIMessage(reply.text[:QUOTED_CHARACTERS] or NONE)
        reply = await call([*question.messages, said, HumanMessage(again)], **arguments)
        try:
            return _read(question, reply), "repaired"
        except Unreadable as problem:
            answer = question.unreadable(reply) if question.unreadable else None
            if answer is None:
                raise self._failure(problem) from problem
            return answer, f"unreadable: {problem}"

    def _failure(self, problem: Unreadable) -> AnswerError:
        node = self.about["node"]
        what = str(problem).replace("the answer", f"the {self.about['role']}'s answer", 1)
        return AnswerError(f"{node}: {what} (after one repair question); try a stronger model", node=node)

    def _caller(self, question: Question[Any]) -> Caller:
        own = override(self.context, AgentRole(self.about["role"]))
        entry = OVERRIDDEN if own else question.entry()
        model = own or self.crew.models.chat(entry, question.parameters)
        slots = [self.run.slots(self.crew.config.workflow.parallel)]
        if own is None:
            slots.append(self.crew.models.slots(entry))
        if self.context.temperature is not None and "temperature" in type(model).model_fields:
            model = model.model_copy(update={"temperature": self.context.temperature})
        given = question.parameters.model_dump(exclude_none=True)
        name = own._llm_type if own else entry.model
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
        raise Unreadable(f"the answer was cut off at {limit}; answer more briefly")
    return question.read(reply)


def override(context: SwarmContext, role: AgentRole) -> BaseChatModel | None:
    """The model that a run's context puts in the place of the configured one."""
    model = context.model.get(role) if isinstance(context.model, Mapping) else context.model
    assert model is None or isinstance(model, BaseChatModel)
    return model
