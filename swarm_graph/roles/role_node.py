"""A role as a node of a graph: render the prompt, ask the model, update the state."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, cast

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_core.runnables import Runnable, RunnableConfig

from swarm_graph import aio
from swarm_graph.prompts import template
from swarm_graph.roles.answered_change import repository_of
from swarm_graph.roles.answers import Reading
from swarm_graph.roles.bindings import Bindings
from swarm_graph.roles.chat_markup import FinalMessage
from swarm_graph.roles.emitter import Emitter, Origin
from swarm_graph.roles.file_blocks import fenced
from swarm_graph.roles.findings import GRAVE, findings_text
from swarm_graph.roles.question import LEFT_OUT, NONE, PromptVersions, Question
from swarm_graph.roles.registry import role_source
from swarm_graph.roles.repository_context import SIZES, RepositoryContext, Sizes, judged_texts, read_context
from swarm_graph.roles.role import Answered, Role
from swarm_graph.roles.run import RunContext, current_run, node_emitter, part_of_run
from swarm_graph.roles.turn import Turn
from swarm_graph.roles.views import views
from swarm_graph.state import CHANGE, AgentRole, SwarmState, TaskRecord, TaskStatus, end_phase

if TYPE_CHECKING:
    from swarm_graph.roles.recollection import Recaller, Recollection
    from swarm_graph.roles.workplace import ToolPrompts, Workplace

A = TypeVar("A")
NOTHING: Mapping[str, str] = {}


class RepositoryPrompt(NamedTuple):
    """A prompt that shows a part of a repository.

    Attributes:
        messages: The prompt.
        note: What it leaves out, for people.
        shown: The paths of the files in it, and whether all of each is.
        prompt: Returns the prompt with more in it, by the arguments of `RoleNode.messages`.
    """

    messages: list[BaseMessage]
    note: str
    shown: dict[str, bool]
    prompt: Callable[..., list[BaseMessage]]


class RoleNode(Runnable[SwarmState, dict[str, Any]], Generic[A]):
    """A role at its place in a graph, for synchronous and asynchronous callers.

    Attributes:
        name: The name of the node.
        prompt_names: The names of the prompts that it uses.
        model: The entry of multi_model that it asks; None: the role's model.
    """

    name: str
    model: str | None = None

    def __init__(
        self,
        bindings: Bindings,
        role: Role[A],
        name: str,
        task_id: str,
        focus: str | None = None,
        *,
        ends: bool = False,
    ) -> None:
        """Load the prompt of the role.

        Args:
            bindings: The configuration and the models of the graph.
            role: The role.
            name: The name of the node.
            task_id: The id of its task.
            focus: What a reviewer looks at, as in `security` for `prompts/review_security.md`.
            ends: Whether the workflow is complete after this node.

        Raises:
            ConfigError: A prompt is missing or has a hole that nothing fills.
        """
        self.bindings, self.role, self.name, self.task_id, self.ends = bindings, role, name, task_id, ends
        roles = bindings.roles
        self.recalls = bindings.recalled_by(role.role)
        holes = dict.fromkeys([*role.reads, *([template.FOCUS_HOLE] if focus else []), template.MEMORY_HOLE])
        prompt = role.prompt if role.role in list(AgentRole) and role.prompt else str(role.role)
        self.prompt = roles.prompt(prompt, *holes)
        self.repair = roles.prompt(template.REPAIR, "problem")
        self.preamble = roles.preamble
        self.prompt_names = [prompt, template.PREAMBLE, template.REPAIR]
        self.fixed = {}
        self.form = ""
        if schema := roles.shown_schema(role):
            typed = roles.prompt(template.TYPED, "schema").instructions
            self.form = typed.substitute(schema=json.dumps(schema, ensure_ascii=False))
            self.prompt_names.append(template.TYPED)
        if role_source(role.role) in roles.files:
            self.prompt_names.append(role_source(role.role))
        if focus:
            self.prompt_names.append(template.FOCUS + focus)
            self.fixed[template.FOCUS_HOLE] = roles.prompt_text(template.FOCUS + focus).strip()
        self.fixed["packages"] = bindings.config.execution.packages_text
        self.tool_prompts: ToolPrompts | None = None
        if bindings.has_tools(role.role):
            from swarm_graph.roles.workplace import ToolPrompts  # roles without tools do not need it

            self.tool_prompts = ToolPrompts.of(roles)
            self.prompt_names += template.OF_TOOLS
        self.told_of_memory = ""
        if self.recalls:
            self.told_of_memory = roles.prompt(template.RECALL).instructions.substitute()
            self.prompt_names.append(template.RECALL)
        self.parameters = roles.parameters(role.role)

    def invoke(self, input: SwarmState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:
        return aio.run(self._take_turn(input, config or {}, in_own_loop=True))

    async def ainvoke(
        self, input: SwarmState, config: RunnableConfig | None = None, **_: Any
    ) -> dict[str, Any]:
        return await self._take_turn(input, config or {})

    async def _take_turn(
        self, state: SwarmState, config: RunnableConfig, *, in_own_loop: bool = False
    ) -> dict[str, Any]:
        """Ask the model; returns what changes in the state."""
        run = current_run(self.bindings.config)
        iteration = state.get("iteration", 0) + (1 if self.role.opens_round else 0)
        session = str(config["configurable"].get("thread_id", ""))
        # Rounds count from 1: the roles before the first coder belong to round 1 as well.
        origin = Origin(session, self.name, str(self.role.role), self.task_id, max(iteration, 1))
        emit = node_emitter(origin)
        workplace = self._workplace(state, run, origin, config, in_own_loop=in_own_loop)
        turn = Turn(self.bindings, run, emit, config, workplace)
        async with part_of_run(run), run.branch():
            started_at = turn.clock()

            def record(status: TaskStatus, note: str = "") -> TaskRecord:
                return self._record(state, origin.iteration, started_at, turn.clock(), status, note)

            async with turn.task(self.role.task_type, lambda _: record(TaskStatus.FAILED)):
                recollection = await self._recall(state, run, emit, config, in_own_loop=in_own_loop)
                turn.notes += filter(None, [recollection.note if recollection else ""])
                answer, note = await turn.ask(await self._question(state, recollection))
            completed = record(TaskStatus.COMPLETED, note)
            if run.journal:
                run.journal.end_task(completed)
            turn.emit("task_ended", note=note)
        update = await self._changes(Answered(answer, self.name, iteration, state))
        update["tasks"] = {self.task_id: completed}
        if recollection:
            update["recalled"] = [recollection.record()]
        if self.role.opens_round:
            update["iteration"] = iteration
        if self.ends:
            update["phase"] = end_phase(state)
        return update

    def _workplace(
        self,
        state: SwarmState,
        run: RunContext,
        origin: Origin,
        config: RunnableConfig,
        *,
        in_own_loop: bool,
    ) -> Workplace | None:
        """Where the tools of the role work; None for a role without tools."""
        if self.tool_prompts is None:
            return None
        from swarm_graph.roles.approval import Person
        from swarm_graph.roles.project_files import project_of_state
        from swarm_graph.roles.steps_of import steps_of
        from swarm_graph.roles.workplace import Workplace

        has_memory = self.bindings.config.memory is not None
        recaller = self._recaller(run, config, in_own_loop=in_own_loop) if has_memory else None
        return Workplace(
            project=lambda: project_of_state(state),
            steps=steps_of(run, origin, config, in_own_loop=in_own_loop),
            ask_person=Person(run.journal).ask,
            prompts=self.tool_prompts,
            memory=recaller.search if recaller else None,
        )

    def _recaller(self, run: RunContext, config: RunnableConfig, *, in_own_loop: bool) -> Recaller:
        from swarm_graph.roles.recollection import Recaller  # roles without memory do not need it

        return Recaller(run, config, in_own_loop)

    async def _recall(
        self,
        state: SwarmState,
        run: RunContext,
        emit: Emitter,
        config: RunnableConfig,
        *,
        in_own_loop: bool,
    ) -> Recollection | None:
        """What the role recalls from memory; None if it recalls nothing."""
        if not self.recalls:
            return None
        from swarm_graph.roles.recollection import query_of_role

        judged = await asyncio.to_thread(judged_texts, state) if self.role.form == "reviews" else None
        query = query_of_role(state, self.role.reads, judged)
        recaller = self._recaller(run, config, in_own_loop=in_own_loop)
        return await recaller.recall(query, self.recalls, emit)

    async def _changes(self, answered: Answered[A]) -> dict[str, Any]:
        if repository_of(answered.state):  # its files are read
            return await asyncio.to_thread(self.role.changes, answered)
        return self.role.changes(answered)

    async def _question(self, state: SwarmState, recollection: Recollection | None) -> Question[A]:
        if repository_of(state):
            versions = await asyncio.to_thread(self._of_repository, state)
            question = self._about_repository(state, versions)
            return self._recalling(question, versions[0].prompt, recollection)
        question = self._asking(
            self.messages(state),
            lambda message: self.role.read(message, state),
            lambda: ((messages, _left_out(what)) for messages, what in self._shorter(state)),
        )
        return self._recalling(question, partial(self.messages, state), recollection)

    def _recalling(
        self,
        question: Question[A],
        prompt: Callable[..., list[BaseMessage]],
        recollection: Recollection | None,
    ) -> Question[A]:
        """A question whose prompt shows what was recalled, if the role recalls.

        Args:
            question: The question without passages.
            prompt: Returns its prompt; `memory` are the passages.
            recollection: What was recalled; None if the role recalls nothing.
        """
        if recollection is None:
            return question
        return recollection.shown_in(question, lambda text: prompt(memory=text))

    def _about_repository(self, state: SwarmState, versions: list[RepositoryPrompt]) -> Question[A]:
        """The question with these versions of its prompt, the longest first."""
        first, *shorter = versions
        sent = first  # the last version that was tried is the one that fits

        def others() -> PromptVersions:
            nonlocal sent
            sent = first  # another model may have more room than the one before
            return tried()

        def tried() -> PromptVersions:
            nonlocal sent
            for sent in shorter:
                yield sent.messages, sent.note

        question = self._asking(
            first.messages, lambda message: self.role.read(message, state, sent.shown), others
        )
        return replace(question, note=first.note)

    def _asking(
        self,
        messages: list[BaseMessage],
        read: Callable[[FinalMessage], Reading[A]],
        shorter: Callable[[], PromptVersions],
    ) -> Question[A]:
        return Question(
            messages=messages,
            entry=lambda: current_run(self.bindings.config).config.model_for(self.role.role, self.model),
            parameters=self.parameters,
            read=read,
            repair=self.repair,
            schema=self.role.schema,
            substitute=self.role.substitute,
            shorter=shorter,
        )

    def messages(
        self,
        state: SwarmState,
        omitted: str = "",
        given: Mapping[str, str] = NOTHING,
        memory: str = "",
    ) -> list[BaseMessage]:
        """The prompt of the role.

        Args:
            state: The state that the prompt shows.
            omitted: A line below the code that names the files that were left out.
            given: Texts of keys and views that are known already.
            memory: Passages from memory.
        """
        roles = self.bindings.roles
        values = {
            key: (given[key] or NONE) if key in given else rendered(key, state, as_json=roles.is_data(key))
            for key in self.role.reads
        } | self.fixed
        if omitted:
            values["code"] = f"{values['code']}\n\n{omitted}"
        prompt, shown = self.prompt.with_passages(values, memory, NONE, self.role.reads)
        told = self.told_of_memory if memory else ""
        form = "\n\n".join(filter(None, [told, self.form]))
        system, user = prompt.messages(shown, self.preamble, form)
        return [SystemMessage(system), HumanMessage(user)]

    def _shorter(self, state: SwarmState) -> Iterator[tuple[list[BaseMessage], str]]:
        """Prompts for a small context: without what is optional, minor findings, then unchanged files.

        Reviewers always see all files: no code is approved unread.
        """
        left_out = [key for key in self.role.optional if key in self.prompt.holes and state.get(key)]
        if left_out:
            state = cast("SwarmState", {**state, **dict.fromkeys(left_out, LEFT_OUT)})
            yield self.messages(state), ", ".join(left_out)
        findings = state.get("findings", [])
        grave = [finding for finding in findings if finding["severity"] in GRAVE]
        if "findings" in self.role.reads and len(grave) < len(findings):
            left_out.append(f"{len(findings) - len(grave)} minor findings")
            state = cast("SwarmState", {**state, "findings": grave})
            yield self.messages(state), ", ".join(left_out)
        code, changed = state.get("code", {}), state.get("changed", [])
        unchanged = [path for path in code if path not in changed]
        if "code" in self.role.reads and self.role.form != "reviews" and changed and unchanged:
            names = ", ".join(unchanged)
            shown = {path: text for path, text in code.items() if path in changed}
            omitted = f"(Not shown, unchanged since the round before: {names}.)"
            left_out.append(f"unchanged files ({names})")
            yield self.messages(cast("SwarmState", {**state, "code": shown}), omitted), ", ".join(left_out)

    def _of_repository(self, state: SwarmState) -> list[RepositoryPrompt]:
        """Prompts that show less and less of the repository, each with a note that says so.

        The change itself is never cut: no code is approved unread.
        """
        context = read_context(state)
        assert context is not None
        reads = [key for key in self.role.reads if key in self.prompt.holes]
        whole = context.values(SIZES[0], reads)
        versions = [self._of_size(context, SIZES[0], state, whole, [])]
        left_out = [key for key in self.role.optional if key in reads and (whole.get(key) or state.get(key))]
        spared = {**whole, **dict.fromkeys(left_out, LEFT_OUT)}
        findings = state.get("findings", [])
        grave = [finding for finding in findings if finding["severity"] in GRAVE]
        if "findings" in reads and len(grave) < len(findings):
            left_out.append(f"{len(findings) - len(grave)} minor findings")
            state = cast("SwarmState", {**state, "findings": grave})
        return [*versions, *(self._of_size(context, sizes, state, spared, left_out) for sizes in SIZES)]

    def _of_size(
        self,
        context: RepositoryContext,
        sizes: Sizes,
        state: SwarmState,
        whole: Mapping[str, str],
        left_out: list[str],
    ) -> RepositoryPrompt:
        """A prompt that shows the repository in given sizes.

        Args:
            context: The repository as the role may see it.
            sizes: How much of it is shown.
            state: The state that the prompt shows.
            whole: The views as they are where there is room, or LEFT_OUT.
            left_out: What is left out entirely.
        """
        shown = [key for key in whole if whole[key] != LEFT_OUT]
        given = {**whole, **context.values(sizes, shown)}
        cut = [f"a part of {key}" for key in shown if key != "files" and given[key] != whole[key]]
        count = context.note(sizes) if "files" in shown else ""
        note = "; ".join(filter(None, [count, _left_out(", ".join([*left_out, *cut]))]))
        prompt = partial(self.messages, state, given=given)
        return RepositoryPrompt(prompt(), note, context.seen(sizes, shown), prompt)

    def _record(
        self,
        state: SwarmState,
        iteration: int,
        started_at: float,
        finished_at: float,
        status: TaskStatus,
        note: str,
    ) -> TaskRecord:
        earlier = state.get("tasks", {}).get(self.task_id)
        record = TaskRecord(
            task_id=self.task_id,
            task_type=self.role.task_type,
            node=self.name,
            role=str(self.role.role),
            status=str(status),
            iteration=iteration,
            created_at=earlier["created_at"] if earlier else started_at,
            completed_at=finished_at,
        )
        notes = _with_earlier_notes(earlier, iteration, note)
        return {**record, "note": notes} if notes else record


def _with_earlier_notes(earlier: TaskRecord | None, iteration: int, note: str) -> str:
    """A task's note, after the notes of its earlier rounds."""
    before = earlier.get("note", "") if earlier and earlier["iteration"] != iteration else ""
    if not earlier or not before:
        return note
    if not before.startswith("round "):
        before = f"round {earlier['iteration']}: {before}"
    return f"{before}; round {iteration}: {note}" if note else before


def _left_out(what: str) -> str:
    return f"left out for lack of context: {what}" if what else ""


def rendered(key: str, state: SwarmState, *, as_json: bool = False) -> str:
    """A key of the state, or a view of it, as a prompt shows it."""
    shown = views(CHANGE if repository_of(state) else "code")
    value = shown[key](state) if key in shown else state.get(key)
    if not value:
        return NONE
    if as_json:
        return json.dumps(value, indent=2, ensure_ascii=False)
    if isinstance(value, dict):
        return fenced(value)
    if isinstance(value, list):
        return findings_text(value)
    return str(value)
