"""What all roles share: render the prompt, ask the model, read the answer, update the state."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.runtime import Runtime, get_runtime
from pydantic import BaseModel

from swarm_graph import portal, prompts
from swarm_graph.answers import Reply, Unreadable, fenced, read
from swarm_graph.calls import Caller
from swarm_graph.config import ModelEntry, SwarmConfig
from swarm_graph.errors import AnswerError, Stopped
from swarm_graph.events import Event, Kind
from swarm_graph.evidence import broken_tests, test_run
from swarm_graph.models import ModelPool, call_arguments
from swarm_graph.run import RUN, Run
from swarm_graph.state import AgentRole, Finding, SwarmContext, SwarmState, TaskRecord, TaskStatus

A = TypeVar("A")

OVERRIDDEN = ModelEntry(model="the model of this run's context", api_type="simulated")
NONE = "(none)"
VIEWS: dict[str, Callable[[SwarmState], str]] = {"test_run": test_run, "broken_tests": broken_tests}
"""What prompts show besides the keys of the state."""
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

    `answer`: a pydantic model (asked for as JSON), Files or str. `complaint` says what is wrong with an
    answer that could be read, for the repair question. `unreadable` makes an answer of one
    that no repair question could mend; without it, or when it gives None, the task fails.
    `works_from`: the key that it carries on from, for a role that works alone and not beside others.
    """

    role: AgentRole
    task_type: str
    verb: str
    reads: tuple[str, ...]
    writes: str
    answer: type[A]
    update: Callable[[Answered[A]], dict[str, Any]]
    complaint: Callable[[A, SwarmState], str | None] = lambda _answer, _state: None
    unreadable: Callable[[Reply], A | None] | None = None
    opens_round: bool = False
    works_from: str = ""


@dataclass(frozen=True)
class Crew:
    """What `build_graph` binds into the nodes: configuration and models."""

    config: SwarmConfig
    models: ModelPool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "models", ModelPool(self.config))

    def node(
        self, role: Role[Any], name: str, task_id: str, focus: str | None = None, *, ends: bool = False
    ) -> Runnable[SwarmState, dict[str, Any]]:
        """A LangGraph node for a role that serves synchronous and asynchronous callers."""
        return _Place(self, role, name, task_id, focus, ends)


class _Place(Runnable[SwarmState, dict[str, Any]], Generic[A]):
    """A role at its place in a graph: everything about it that no run changes."""

    name: str

    def __init__(
        self, crew: Crew, role: Role[A], name: str, task_id: str, focus: str | None, ends: bool
    ) -> None:
        self.crew, self.role, self.name, self.task_id, self.ends = crew, role, name, task_id, ends
        folder = crew.config.prompts_dir
        holes = role.reads + (("focus",) if focus else ())
        self.prompt = prompts.load(role.role, folder, holes=holes)
        self.repair = prompts.load(prompts.REPAIR, folder, holes=("problem",))
        self.fixed = {"focus": prompts.read(prompts.FOCUS + focus, folder).strip()} if focus else {}
        self.fixed["packages"] = crew.config.execution.packages_text
        self.schema = role.answer.model_json_schema() if issubclass(role.answer, BaseModel) else None
        self.extra_body = crew.config.parameters_for(role.role).extra_body

    def invoke(self, input: SwarmState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:
        return portal.call(_Turn(self, input, config or {}, get_runtime(SwarmContext)).take())

    async def ainvoke(
        self, input: SwarmState, config: RunnableConfig | None = None, **_: Any
    ) -> dict[str, Any]:
        return await _Turn(self, input, config or {}, get_runtime(SwarmContext)).take()

    def messages(self, state: SwarmState) -> list[BaseMessage]:
        values = {key: rendered(key, state) for key in self.role.reads} | self.fixed
        system, user = self.prompt.render(values)
        return [SystemMessage(system), HumanMessage(user)]

    def read(self, reply: Reply, state: SwarmState) -> A:
        """The answer in a reply; Unreadable when it is cut off, cannot be read, or is of no use."""
        if reply.truncated:
            limit = f"its limit of {reply.output_tokens} tokens"
            raise Unreadable(f"the answer was cut off at {limit}; answer more briefly")
        answer = read(reply.text, self.role.answer)
        if complaint := self.role.complaint(answer, state):
            raise Unreadable(complaint)
        return answer

    def failure(self, problem: Unreadable) -> AnswerError:
        what = str(problem).replace("the answer", f"the {self.role.role}'s answer", 1)
        message = f"{self.name}: {what} (after one repair question); try a stronger model"
        return AnswerError(message, node=self.name)


class _Turn(Generic[A]):
    """One time that a role is at work: over which state, in which run and round."""

    def __init__(
        self, place: _Place[A], state: SwarmState, config: RunnableConfig, runtime: Runtime[SwarmContext]
    ) -> None:
        self.place, self.state, self.config = place, state, config
        self.context = runtime.context or SwarmContext()
        self.write = runtime.stream_writer
        self.iteration = state.get("iteration", 0) + place.role.opens_round
        self.about: dict[str, Any] = {
            "session": str(config["configurable"].get("thread_id", "")),
            "role": str(place.role.role),
            "node": place.name,
            "task": place.task_id,
            "iteration": max(self.iteration, 1),
        }

    async def take(self) -> dict[str, Any]:
        """Asks the model and returns what changes in the state."""
        place, clock = self.place, self.context.clock or time.time
        run: Run = self.config["configurable"].get(RUN) or Run()
        async with run.branch():
            started = clock()
            self.report("task_started")
            try:
                answer, note = await self._ask(self._caller(run))
            except Stopped:
                self.report("task_stopped")
                raise
            except Exception as error:
                if run.journal:
                    failed = self._record(started, clock(), TaskStatus.FAILED)
                    await run.journal.fail_task(failed, error)
                self.report("task_failed", task_type=place.role.task_type, error=str(error))
                raise
            record = self._record(started, clock(), TaskStatus.COMPLETED, note)
            if run.journal:
                run.journal.ended[place.task_id] = record
            self.report("task_ended", note=note)
        update = place.role.update(Answered(answer, place.name, self.iteration, self.state))
        update["tasks"] = {place.task_id: record}
        if place.role.opens_round:
            update["iteration"] = self.iteration
        if place.ends:
            update["phase"] = "complete"
        return update

    def report(self, kind: Kind, **data: Any) -> None:
        self.write(Event(kind, time.time(), **self.about, data=data).plain())

    async def _ask(self, call: Caller) -> tuple[A, str]:
        """The answer, and a note for people when it could not be read at once."""
        place = self.place
        messages = place.messages(self.state)
        arguments = call_arguments(call.model, place.extra_body, place.schema)
        reply = await call(messages, **arguments)
        try:
            return place.read(reply, self.state), ""
        except Unreadable as problem:
            question = place.repair.system.substitute(problem=problem)
        said = AIMessage(reply.text[:QUOTED_CHARACTERS] or NONE)
        reply = await call([*messages, said, HumanMessage(question)], **arguments)
        try:
            return place.read(reply, self.state), "repaired"
        except Unreadable as problem:
            answer = place.role.unreadable(reply) if place.role.unreadable else None
            if answer is None:
                raise place.failure(problem) from problem
            return answer, f"unreadable: {problem}"

    def _caller(self, run: Run) -> Caller:
        crew, role = self.place.crew, self.place.role.role
        own = _model(self.context, role)
        model = own or crew.models.chat(role)
        slots = [run.slots(crew.config.workflow.parallel)]
        if own is None:
            slots.append(crew.models.slots(role))
        if self.context.temperature is not None and "temperature" in type(model).model_fields:
            model = model.model_copy(update={"temperature": self.context.temperature})
        return Caller(
            node=self.place.name,
            entry=OVERRIDDEN if own else crew.config.model_for(role),
            model=model,
            slots=slots,
            config={**self.config, "metadata": {**self.config.get("metadata", {}), **self.about}},
            report=self.report,
            run=run,
            about=self.about,
            parameters=self._parameters(own),
        )

    def _parameters(self, own: BaseChatModel | None) -> dict[str, Any]:
        """What an answer depends on besides the messages."""
        config, role = self.place.crew.config, self.place.role.role
        model = own._llm_type if own else config.model_for(role).model
        given = config.parameters_for(role).model_dump(exclude_none=True)
        return {**given, "model": model, "override": self.context.temperature}

    def _record(self, started: float, ended: float, status: TaskStatus, note: str = "") -> TaskRecord:
        place = self.place
        earlier = self.state.get("tasks", {}).get(place.task_id)
        record = TaskRecord(
            task_id=place.task_id,
            task_type=place.role.task_type,
            node=place.name,
            role=str(place.role.role),
            status=str(status),
            iteration=max(self.iteration, 1),
            created_at=earlier["created_at"] if earlier else started,
            completed_at=ended,
        )
        return {**record, "note": note} if note else record


def _model(context: SwarmContext, role: AgentRole) -> BaseChatModel | None:
    """The model that a run's context puts in the place of the configured one."""
    model = context.model.get(role) if isinstance(context.model, Mapping) else context.model
    assert model is None or isinstance(model, BaseChatModel)
    return model


def rendered(key: str, state: SwarmState) -> str:
    """A value of the state, or a view of it, as a prompt shows it."""
    value = VIEWS[key](state) if key in VIEWS else state.get(key)
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
