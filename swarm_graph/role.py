"""What all roles share: render the prompt, ask the model, read the answer, update the state."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.runtime import Runtime, get_runtime
from pydantic import BaseModel

from swarm_graph import portal, prompts
from swarm_graph.answers import Unreadable, fenced, read
from swarm_graph.calls import Caller, Reply, Report
from swarm_graph.config import ModelEntry, SwarmConfig
from swarm_graph.errors import AnswerError
from swarm_graph.events import Event, Kind
from swarm_graph.limits import Run
from swarm_graph.models import ModelPool, call_arguments
from swarm_graph.state import AgentRole, Finding, SwarmContext, SwarmState, TaskRecord, TaskStatus

A = TypeVar("A")

RUN = "swarm_run"
"""The key in a run's `configurable` under which its branches find what they share."""

OVERRIDDEN = ModelEntry(model="the model of this run's context", api_type="simulated")
NONE = "(none)"
QUOTED_CHARACTERS = 2000


@dataclass(frozen=True)
class Answered(Generic[A]):
    """A role's answer and where it belongs: which node, which round, over which state."""

    answer: A
    node: str
    iteration: int
    state: SwarmState


@dataclass(frozen=True)
class Role(Generic[A]):
    """One of the nine: what it reads, the form of its answer, and what it changes in the state.

    `answer`: a pydantic model (asked for as JSON), Files or str. `unreadable` makes an answer of one
    that no repair question could mend; without it, or when it gives None, the task fails.
    """

    role: AgentRole
    task_type: str
    verb: str
    reads: tuple[str, ...]
    answer: type[A]
    update: Callable[[Answered[A]], dict[str, Any]]
    unreadable: Callable[[Reply], A | None] | None = None
    opens_round: bool = False


@dataclass(frozen=True)
class Crew:
    """What `build_graph` binds into the nodes: configuration and models."""

    config: SwarmConfig
    models: ModelPool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "models", ModelPool(self.config))

    def node(
        self, role: Role[Any], name: str, task_id: str, focus: str | None = None, *, ends: bool = False
    ) -> RunnableLambda[Any, Any]:
        """A LangGraph node for a role that serves synchronous and asynchronous callers."""
        worker = _Worker(self, role, name, task_id, focus, ends)
        return RunnableLambda(worker.invoke, worker.ainvoke, name=name)


class _Worker(Generic[A]):
    """A role at its place in a graph."""

    def __init__(
        self, crew: Crew, role: Role[A], name: str, task_id: str, focus: str | None, ends: bool
    ) -> None:
        self.crew, self.role, self.name, self.task_id, self.ends = crew, role, name, task_id, ends
        folder = crew.config.prompts_dir
        holes = role.reads + (("focus",) if focus else ())
        self.prompt = prompts.load(role.role, folder, holes=holes)
        self.repair = prompts.load(prompts.REPAIR, folder, holes=("problem",))
        self.fixed = {"focus": prompts.read(prompts.FOCUS + focus, folder).strip()} if focus else {}

    def invoke(self, state: SwarmState, config: RunnableConfig) -> dict[str, Any]:
        return portal.call(self.run(state, config, get_runtime(SwarmContext)))

    async def ainvoke(self, state: SwarmState, config: RunnableConfig) -> dict[str, Any]:
        return await self.run(state, config, get_runtime(SwarmContext))

    async def run(
        self, state: SwarmState, config: RunnableConfig, runtime: Runtime[SwarmContext]
    ) -> dict[str, Any]:
        """The node: asks the model and returns what changes in the state."""
        context = runtime.context or SwarmContext()
        clock = context.clock or time.time
        shared: Run = config["configurable"].get(RUN) or Run()
        iteration = state.get("iteration", 0) + self.role.opens_round
        report = self._reporter(runtime, config, iteration)
        async with shared.branch():
            started = clock()
            report("task_started")
            try:
                answer, note = await self._ask(
                    state, self._caller(context, config, shared, iteration, report)
                )
            except Exception as error:
                report("task_failed", task_type=self.role.task_type, error=str(error))
                raise
            record = self._record(state, iteration, started, clock(), note)
            report("task_ended", note=note)
        update = self.role.update(Answered(answer, self.name, iteration, state)) | {
            "tasks": {self.task_id: record}
        }
        if self.role.opens_round:
            update["iteration"] = iteration
        if self.ends:
            update["phase"] = "complete"
        return update

    async def _ask(self, state: SwarmState, call: Caller) -> tuple[A, str]:
        """The answer, and a note for people when it could not be read at once."""
        values = self.fixed | {key: rendered(key, state) for key in self.role.reads}
        system, user = self.prompt.render(values)
        messages: list[BaseMessage] = [SystemMessage(system), HumanMessage(user)]
        arguments = self._arguments(call.model)
        reply = await call(messages, **arguments)
        try:
            return self._read(reply), ""
        except Unreadable as problem:
            question = self.repair.system.substitute(problem=problem)
        said = AIMessage(reply.text[:QUOTED_CHARACTERS] or NONE)
        reply = await call([*messages, said, HumanMessage(question)], **arguments)
        try:
            return self._read(reply), "repaired"
        except Unreadable as problem:
            answer = self.role.unreadable(reply) if self.role.unreadable else None
            if answer is None:
                raise self._failure(problem) from problem
            return answer, f"unreadable: {problem}"

    def _read(self, reply: Reply) -> A:
        if reply.truncated:
            raise Unreadable(
                f"the answer was cut off at its limit of {reply.output_tokens} tokens; answer more briefly"
            )
        return read(reply.text, self.role.answer)

    def _failure(self, problem: Unreadable) -> AnswerError:
        role = self.role.role
        what = str(problem).replace("the answer", f"the {role}'s answer", 1)
        return AnswerError(
            f"{self.name}: {what} (after one repair question); try a stronger model", node=self.name
        )

    def _arguments(self, model: BaseChatModel) -> dict[str, Any]:
        typed = issubclass(self.role.answer, BaseModel)
        schema = self.role.answer.model_json_schema() if typed else None  # type: ignore[attr-defined]
        extra_body = self.crew.config.parameters_for(self.role.role).extra_body
        return call_arguments(model, extra_body, schema)

    def _caller(
        self, context: SwarmContext, config: RunnableConfig, shared: Run, iteration: int, report: Report
    ) -> Caller:
        crew, role = self.crew, self.role.role
        model = _model(context, role) or crew.models.chat(role)
        if context.temperature is not None and "temperature" in type(model).model_fields:
            model = model.model_copy(update={"temperature": context.temperature})
        about = {"role": str(role), "node": self.name, "task": self.task_id, "iteration": max(iteration, 1)}
        session = {"session": _session(config)}
        return Caller(
            node=self.name,
            entry=OVERRIDDEN if _model(context, role) else crew.config.model_for(role),
            model=model,
            slots=(shared.slots(crew.config.workflow.parallel), crew.models.slots(role)),
            config={**config, "metadata": {**config.get("metadata", {}), **about, **session}},
            report=report,
        )

    def _reporter(self, runtime: Runtime[SwarmContext], config: RunnableConfig, iteration: int) -> Report:
        session = _session(config)

        def report(kind: Kind, **data: Any) -> None:
            event = Event(
                kind,
                time.time(),
                session,
                self.name,
                str(self.role.role),
                self.task_id,
                max(iteration, 1),
                data,
            )
            runtime.stream_writer(event.plain())

        return report

    def _record(
        self, state: SwarmState, iteration: int, started: float, ended: float, note: str
    ) -> TaskRecord:
        earlier = state.get("tasks", {}).get(self.task_id)
        record = TaskRecord(
            task_id=self.task_id,
            task_type=self.role.task_type,
            node=self.name,
            role=str(self.role.role),
            status=str(TaskStatus.COMPLETED),
            iteration=max(iteration, 1),
            created_at=earlier["created_at"] if earlier else started,
            completed_at=ended,
        )
        return {**record, "note": note} if note else record


def _session(config: RunnableConfig) -> str:
    return str(config["configurable"].get("thread_id", ""))


def _model(context: SwarmContext, role: AgentRole) -> BaseChatModel | None:
    """The model that a run's context puts in the place of the configured one."""
    model = context.model.get(role) if isinstance(context.model, Mapping) else context.model
    assert model is None or isinstance(model, BaseChatModel)
    return model


def rendered(key: str, state: SwarmState) -> str:
    """A value of the state as a prompt shows it."""
    value = state.get(key)
    if not value:
        return NONE
    if isinstance(value, dict):
        return fenced(value)
    if isinstance(value, list):
        return findings_text(value)
    return str(value)


def findings_text(findings: list[Finding]) -> str:
    """Findings as a numbered list."""
    return "\n".join(f"{number}. {finding_line(finding)}" for number, finding in enumerate(findings, 1))


def finding_line(finding: Finding) -> str:
    """One finding on one line: severity, place, problem, suggestion, who saw it."""
    suggestion = f" Suggestion: {finding['suggestion']}" if finding["suggestion"] else ""
    seen = f" (seen by {', '.join(finding['seen_by'])})" if finding["seen_by"] else ""
    return f"[{finding['severity']}] {finding['location']} — {finding['problem']}{suggestion}{seen}"
