"""What all roles share: render the prompt, ask the model, read the answer, update the state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar, cast

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.runtime import Runtime, get_runtime
from pydantic import BaseModel

from swarm_graph import aio
from swarm_graph.errors import UnreadableAnswer
from swarm_graph.prompts import template
from swarm_graph.roles.answers import read
from swarm_graph.roles.file_blocks import fenced
from swarm_graph.roles.findings import GRAVE, findings_text
from swarm_graph.roles.turn import NONE, Crew, Question, Turn
from swarm_graph.roles.views import VIEWS
from swarm_graph.state import AgentRole, Reply, SwarmContext, SwarmState, TaskRecord, TaskStatus, end_phase

A = TypeVar("A")


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

    @property
    def schema(self) -> dict[str, Any] | None:
        """The JSON schema of its answer, when that is typed."""
        return _schema(cast("Any", self.answer))

    def read(self, reply: Reply, state: SwarmState) -> A:
        """The answer in a reply; UnreadableAnswer when it cannot be read or is of no use."""
        answer = read(reply.text, self.answer)
        if complaint := self.complaint(answer, state):
            raise UnreadableAnswer(complaint)
        return answer


@cache
def _schema(answer: Any) -> dict[str, Any] | None:
    return answer.model_json_schema() if issubclass(answer, BaseModel) else None


class RoleNode(Runnable[SwarmState, dict[str, Any]], Generic[A]):
    """A role at its place in a graph, a LangGraph node for synchronous and asynchronous callers.

    `ends`: the workflow is complete after it.
    """

    name: str

    def __init__(
        self,
        crew: Crew,
        role: Role[A],
        name: str,
        task_id: str,
        focus: str | None = None,
        *,
        ends: bool = False,
    ) -> None:
        self.crew, self.role, self.name, self.task_id, self.ends = crew, role, name, task_id, ends
        folder = crew.config.prompts_dir
        holes = role.reads + (("focus",) if focus else ())
        self.prompt = template.load(role.role, folder, holes=holes)
        self.repair = template.load(template.REPAIR, folder, holes=("problem",))
        self.fixed = {"focus": template.read(template.FOCUS + focus, folder).strip()} if focus else {}
        self.fixed["packages"] = crew.config.execution.packages_text
        self.parameters = crew.config.parameters_for(role.role)

    def invoke(self, input: SwarmState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:
        return aio.run(self._take_turn(input, config or {}, get_runtime(SwarmContext)))

    async def ainvoke(
        self, input: SwarmState, config: RunnableConfig | None = None, **_: Any
    ) -> dict[str, Any]:
        return await self._take_turn(input, config or {}, get_runtime(SwarmContext))

    async def _take_turn(
        self, state: SwarmState, config: RunnableConfig, runtime: Runtime[SwarmContext]
    ) -> dict[str, Any]:
        """Asks the model and returns what changes in the state."""
        iteration = state.get("iteration", 0) + self.role.opens_round
        this_round = max(iteration, 1)
        about = {
            "session": str(config["configurable"].get("thread_id", "")),
            "role": str(self.role.role),
            "node": self.name,
            "task": self.task_id,
            "iteration": this_round,
        }
        turn = Turn(self.crew, about, config, runtime.context, runtime.stream_writer)
        async with turn.run.branch():
            started = turn.clock()

            def record(status: TaskStatus, note: str = "") -> TaskRecord:
                return self._record(state, this_round, (started, turn.clock()), status, note)

            async with turn.task(self.role.task_type, lambda _: record(TaskStatus.FAILED)):
                answer, note = await turn.ask(self._question(state))
            ended = record(TaskStatus.COMPLETED, note)
            if turn.run.journal:
                await turn.run.journal.end_task(ended)
            turn.report("task_ended", note=note)
        update = self.role.update(Answered(answer, self.name, iteration, state))
        update["tasks"] = {self.task_id: ended}
        if self.role.opens_round:
            update["iteration"] = iteration
        if self.ends:
            update["phase"] = end_phase(state)
        return update

    def _question(self, state: SwarmState) -> Question[A]:
        role = self.role
        return Question(
            messages=self.messages(state),
            entry=lambda: self.crew.config.model_for(role.role),
            parameters=self.parameters,
            read=lambda reply: role.read(reply, state),
            repair=self.repair,
            schema=role.schema,
            unreadable=role.unreadable,
            shorter=lambda: self._shorter(state),
        )

    def messages(self, state: SwarmState, unshown: str = "") -> list[BaseMessage]:
        """What the model is asked. `unshown`: what the prompt says in the place of files left out."""
        values = {key: rendered(key, state) for key in self.role.reads} | self.fixed
        if unshown:
            values["code"] = f"{values['code']}\n\n{unshown}"
        system, user = self.prompt.render(values)
        return [SystemMessage(system), HumanMessage(user)]

    def _shorter(self, state: SwarmState) -> Iterator[tuple[list[BaseMessage], str]]:
        """For a small context: without the findings that block nothing, then without unchanged files.

        Who judges is shown everything: nothing is approved that nobody has read.
        """
        left_out: list[str] = []
        findings = state.get("findings", [])
        grave = [finding for finding in findings if finding["severity"] in GRAVE]
        if "findings" in self.role.reads and len(grave) < len(findings):
            left_out.append(f"{len(findings) - len(grave)} minor findings")
            state = cast("SwarmState", {**state, "findings": grave})
            yield self.messages(state), left_out[0]
        code, changed = state.get("code", {}), state.get("changed", [])
        unchanged = [path for path in code if path not in changed]
        if "code" in self.role.reads and self.role.writes != "reviews" and changed and unchanged:
            names = ", ".join(unchanged)
            shown = {path: text for path, text in code.items() if path in changed}
            unshown = f"(Not shown, unchanged since the round before: {names}.)"
            left_out.append(f"unchanged files ({names})")
            yield self.messages(cast("SwarmState", {**state, "code": shown}), unshown), ", ".join(left_out)

    def _record(
        self, state: SwarmState, iteration: int, times: tuple[float, float], status: TaskStatus, note: str
    ) -> TaskRecord:
        earlier = state.get("tasks", {}).get(self.task_id)
        record = TaskRecord(
            task_id=self.task_id,
            task_type=self.role.task_type,
            node=self.name,
            role=str(self.role.role),
            status=str(status),
            iteration=iteration,
            created_at=earlier["created_at"] if earlier else times[0],
            completed_at=times[1],
        )
        told = _told(earlier, iteration, note)
        return {**record, "note": told} if told else record


def _told(earlier: TaskRecord | None, iteration: int, note: str) -> str:
    """A task's note with what its earlier rounds had to say."""
    before = earlier.get("note", "") if earlier and earlier["iteration"] != iteration else ""
    if not earlier or not before:
        return note
    if not before.startswith("round "):
        before = f"round {earlier['iteration']}: {before}"
    return f"{before}; round {iteration}: {note}" if note else before


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
