"""Runs one task of a graph: reads its files, recalls, asks its questions, and makes the record of its end.

What it needs comes with it: the task, the results of its dependencies, and what all tasks of a request share.
So it does the same in the node that runs the whole graph and on another machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from langchain_core.runnables import RunnableConfig

from swarm_graph.checkpoints.task_threads import TaskThreads
from swarm_graph.errors import InputError
from swarm_graph.roles.approval import WaitsForPerson, read_decision
from swarm_graph.roles.bindings import Bindings
from swarm_graph.roles.emitter import Emitter, Origin
from swarm_graph.roles.run import RunContext
from swarm_graph.roles.turn import Turn
from swarm_graph.state import TaskRecord, TaskStatus, ToolDecision
from swarm_graph.tasks.asking import Asking
from swarm_graph.tasks.citations import unknown_places
from swarm_graph.tasks.file_texts import NO_FILES
from swarm_graph.tasks.part_questions import MIN_CHARACTERS, PartQuestions
from swarm_graph.tasks.prompting import TaskPrompts
from swarm_graph.tasks.spec import TaskSpec

if TYPE_CHECKING:
    from swarm_graph.roles.recollection import Recaller, Recollection
    from swarm_graph.roles.workplace import ToolPrompts, Workplace

NO_TEXTS: Mapping[str, str] = {}


@dataclass
class TaskRunner:
    """Runs the tasks of one request, one at each call.

    Attributes:
        bindings: The configuration and the models of the graph.
        run: The run that the tasks belong to.
        config: LangGraph's configuration of the node, or one that stands in for it.
        session: The session.
        request: An id that all tasks of the request share.
        prompts: Builds their questions.
        threads: Where what a task keeps before its end lies; None without a saver.
        write: Takes the events of the tasks.
        in_own_loop: Whether the node runs in an event loop of its own, as for synchronous callers.
        decisions: What a person has decided about calls of tools, by the name of the call.
    """

    bindings: Bindings
    run: RunContext
    config: RunnableConfig
    session: str
    request: str
    prompts: TaskPrompts
    threads: TaskThreads | None
    write: Callable[[Any], None]
    in_own_loop: bool = False
    decisions: dict[str, ToolDecision] = field(default_factory=dict)

    def emitter(self, name: str, role: str) -> Emitter:
        """Emits the events of a task."""
        return Emitter(Origin(self.session, name, role, task=name, iteration=1), self.write, self.run.record)

    async def ask(self, spec: TaskSpec, record: TaskRecord, results: Mapping[str, TaskRecord]) -> TaskRecord:
        """Ask a task's model; returns the record of the completed task.

        Args:
            spec: The task.
            record: Its record until now.
            results: The records of its completed dependencies, by id.
        """
        turn = self._turn(spec)
        started_at = turn.clock()

        def updated(status: TaskStatus, **changes: Any) -> TaskRecord:
            times = {"created_at": started_at, "completed_at": turn.clock()}
            return cast("TaskRecord", {**record, "status": str(status), **times, **changes})

        async with turn.task(spec.task_type, lambda error: updated(TaskStatus.FAILED, error=str(error))):
            self.run.stop.check()
            files = await asyncio.to_thread(self.prompts.read_files, spec) if spec.files else NO_FILES
            recollection = await self._recall(spec, files.texts)
            questions = PartQuestions(self.prompts, spec, results, files, recollection)
            asking = Asking(questions, lambda: self._turn(spec, files.texts), self._emitter(spec))
            limit = await self._part_limit(questions)
            outcome = await (asking.whole() if limit is None else asking.parts(limit))
        recalled = recollection.note if recollection else ""
        notes = [*files.notes, recalled, *asking.notes, unknown_places(outcome.result, files.marks)]
        changes: dict[str, Any] = {"result": outcome.result}
        if outcome.value is not None:
            changes["value"] = outcome.value
        if outcome.adds:
            changes["added"] = [added.to_dict() for added in outcome.adds]
        if note := "; ".join(filter(None, notes)):
            changes["note"] = note
        if recollection:
            changes["recalled"] = recollection.record()
        return updated(TaskStatus.COMPLETED, **changes)

    def _emitter(self, spec: TaskSpec) -> Emitter:
        return self.emitter(spec.task_id, str(spec.assigned_role))

    async def _recall(self, spec: TaskSpec, files: Mapping[str, str]) -> Recollection | None:
        """What a task recalls from memory, for all parts of its files; None if its role recalls nothing."""
        limit = self.bindings.recalled_by(spec.assigned_role)
        if not limit:
            return None
        from swarm_graph.roles.recollection import query_of_task

        query = query_of_task(self.prompts.request, spec.description, spec.metadata, files)
        return await self._recaller.recall(query, limit, self._emitter(spec))

    def _turn(self, spec: TaskSpec, texts: Mapping[str, str] = NO_TEXTS) -> Turn:
        """A turn for a task.

        Args:
            spec: The task.
            texts: The texts of its files, which its tools may read.
        """
        emit = self._emitter(spec)
        return Turn(self.bindings, self.run, emit, self.config, self._workplace(emit.origin, texts))

    def _workplace(self, origin: Origin, texts: Mapping[str, str]) -> Workplace | None:
        """Where the tools of a task's role work; None for a role without tools."""
        if not self.bindings.has_tools(origin.role):
            return None
        from swarm_graph.roles.project_files import project_of_files
        from swarm_graph.roles.steps_of import steps_of
        from swarm_graph.roles.workplace import Workplace

        return Workplace(
            project=lambda: project_of_files(texts),
            steps=steps_of(self.run, origin, self.config, in_own_loop=self.in_own_loop, request=self.request),
            ask_person=self._ask_person,
            prompts=self._tool_prompts,
            memory=self._recaller.search if self.bindings.config.memory else None,
        )

    async def _ask_person(self, pause: Mapping[str, Any]) -> ToolDecision:
        """A person's decision about a call of a task. Raises WaitsForPerson if there is none yet."""
        try:
            return read_decision(self.decisions[pause["call"]], pause)
        except (KeyError, InputError) as missing:
            raise WaitsForPerson(pause) from missing

    @cached_property
    def _recaller(self) -> Recaller:
        """Searches the memory of the graph for the tasks."""
        from swarm_graph.roles.recollection import Recaller  # graphs without memory do not need it

        return Recaller(self.run, self.config, self.in_own_loop, self.request)

    @cached_property
    def _tool_prompts(self) -> ToolPrompts:
        from swarm_graph.roles.workplace import ToolPrompts

        return ToolPrompts.of(self.bindings.roles)

    async def _part_limit(self, questions: PartQuestions) -> int | None:
        """The most characters of the parts in which a task asks about its files; None if it asks about all.

        Estimates of tokens differ from run to run. So a resumed run takes the limit of the first one: only
        the same parts have their answers in the journal.
        """
        spec, threads = questions.spec, self.threads
        if spec.split is None:
            return None
        kept = await threads.find_limit(spec.task_id) if threads else None
        if kept and kept >= MIN_CHARACTERS:
            return kept
        limit = await questions.limit(self._turn(spec).prompt_size)
        if threads and limit:
            await threads.keep_limit(spec.task_id, limit)
        return limit
