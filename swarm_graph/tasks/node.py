"""The node `tasks` of the custom workflow: it runs a graph of tasks.

A task starts the moment its last dependency is finished (see `scheduler`), which LangGraph's supersteps would
not allow. Its record is saved in a thread of its own, named by its id. When no task can run any more, the
node returns all records. After a kill, a new run loads the finished tasks from their threads by id, so it
cannot confuse the results of two tasks. Failed tasks run again when the session is resumed.

A task that waits for a person's decision about the call of a tool is put aside: its dependents wait, all
other tasks run. Then the node asks the person about all such calls at once, and the tasks run again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from contextvars import copy_context
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.errors import GraphBubbleUp
from langgraph.runtime import get_runtime

from swarm_graph import aio
from swarm_graph.checkpoints.task_threads import TaskThreads
from swarm_graph.errors import ConfigError, InputError, ModelError, SwarmError
from swarm_graph.events import Kind
from swarm_graph.roles.approval import Person, WaitsForPerson, read_decision
from swarm_graph.roles.bindings import Bindings
from swarm_graph.roles.emitter import Emitter, Origin
from swarm_graph.roles.run import RunContext, current_run, part_of_run
from swarm_graph.roles.turn import Turn, supplied_model
from swarm_graph.state import Recalled, SwarmState, TaskRecord, TaskStatus, ToolDecision
from swarm_graph.tasks.affinity import Job
from swarm_graph.tasks.asking import Asking
from swarm_graph.tasks.citations import unknown_places
from swarm_graph.tasks.dependencies import added_ids, all_dependencies
from swarm_graph.tasks.expansion import TaskLimit
from swarm_graph.tasks.file_texts import NO_FILES
from swarm_graph.tasks.outcomes import failure_of, skip_reason, without_failure
from swarm_graph.tasks.part_questions import MIN_CHARACTERS, PartQuestions
from swarm_graph.tasks.prompting import TaskPrompts
from swarm_graph.tasks.scheduler import Scheduler
from swarm_graph.tasks.spec import TaskSpec, pending_record
from swarm_graph.tasks.task_run import config_in_tasks, run_task

if TYPE_CHECKING:
    from swarm_graph.roles.recollection import Recaller, Recollection
    from swarm_graph.roles.workplace import ToolPrompts, Workplace

TASKS = "tasks"
"""The name of the node."""
NO_TEXTS: Mapping[str, str] = {}


class CustomState(SwarmState, total=False):
    """The state of a custom session."""

    children: str
    """The part of the task threads' ids that is new for every request: a follow-up finds no old results."""


class TaskGraphNode(Runnable[CustomState, dict[str, Any]]):
    """The node `tasks`, for synchronous and asynchronous callers."""

    name: str = TASKS

    def __init__(self, bindings: Bindings) -> None:
        self.bindings = bindings

    def invoke(self, input: CustomState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:
        # The caller's saver may belong to an event loop that is blocked until this call returns.
        return aio.run(_Pass(self.bindings, input, config or {}, in_own_loop=True).run())

    async def ainvoke(
        self, input: CustomState, config: RunnableConfig | None = None, **_: Any
    ) -> dict[str, Any]:
        return await _Pass(self.bindings, input, config or {}).run()


def next_step(state: SwarmState) -> str:
    """`done`, or `again` when tasks failed: the second pass only raises the failure (see `_Pass.run`)."""
    return "done" if state.get("phase") == "complete" else "again"


class _Pass:
    """One pass over the task graph: run every task that has not completed."""

    def __init__(
        self, bindings: Bindings, state: CustomState, config: RunnableConfig, *, in_own_loop: bool = False
    ) -> None:
        self._bindings, self._config = bindings, config
        self._run: RunContext = current_run(bindings.config)
        self._node_context, self._stream_writer = copy_context(), get_runtime().stream_writer
        self._recalled: list[Recalled] = []
        self._task_config = config_in_tasks(config, self._write)
        self._session = str(config["configurable"].get("thread_id", ""))
        self._request = state.get("children", "")
        self._threads = self._task_threads(self._request, in_own_loop=in_own_loop)
        self._records = {name: without_failure(record) for name, record in state["tasks"].items()}
        self._specs = {
            name: TaskSpec.model_validate(record["spec"]) for name, record in self._records.items()
        }
        self._added = added_ids(self._records)
        self._changed: dict[str, TaskRecord] = {}
        self._recorded: set[tuple[str, str]] = set()
        """The kind and the task of events that earlier runs have recorded."""
        self._waiting: dict[str, Mapping[str, Any]] = {}
        self._decisions: dict[str, ToolDecision] = {**self._run.decisions}
        # A task of the request has a rank of one number; a task that was added has its parent's and one more.
        initial = sum(len(record["rank"]) == 1 for record in self._records.values())
        self._limit = TaskLimit(bindings.config.workflow.max_tasks, set(self._records), initial)
        # The tasks of somebody else's session may name any file, so only those in this folder are read.
        folder = None if self._run.is_own else Path.cwd()
        request = state.get("request", "")
        self._prompts = TaskPrompts(
            bindings, request, self._limit, self._run.places, folder, config=self._run.config
        )
        self._server_slots: dict[str, int] = {}
        self._in_own_loop = in_own_loop

    def _task_threads(self, request: str, *, in_own_loop: bool) -> TaskThreads | None:
        saver, journal = self._run.saver, self._run.journal
        if saver is None:
            return None
        catalogue = journal.catalogue if journal else None
        return TaskThreads(saver, self._session, request, catalogue=catalogue, in_own_loop=in_own_loop)

    async def run(self) -> dict[str, Any]:
        """The update of the state. A second pass in the same run raises the failure of the first.

        LangGraph drops the update of a node that raises. So a pass with failed tasks returns its records,
        they are saved, and `next_step` sends the graph here again only to raise.
        """
        async with part_of_run(self._run):
            return await self._update()

    async def _update(self) -> dict[str, Any]:
        if self._run.failure:
            raise self._run.failure
        await self._load_finished()
        counts = {"tasks": len(self._records), "done": len(self._records) - len(self._pending())}
        Emitter(Origin(self._session, TASKS), self._write, self._run.record)("graph_started", **counts)
        await self._run_pending()
        person = Person()
        while pauses := [self._waiting[name] for name in self._records if name in self._waiting]:
            self._decisions |= person.decide(pauses)
            self._waiting.clear()
            await self._run_pending()
        self._run.failure = failure_of(self._records)
        phase = "running" if self._run.failure else "complete"
        recalled = {"recalled": self._recalled} if self._recalled else {}
        return {"tasks": self._changed, "phase": phase, **recalled}

    async def _run_pending(self) -> None:
        """Run all tasks that can run, with those whose dependencies they are."""
        cap = self._bindings.config.workflow.parallel
        slots = self._server_slots
        scheduler = Scheduler(cap, lambda server: slots.get(server, cap), self._start, self._admit)
        await scheduler.run([self._job(name) for name in self._pending()])

    async def _ask_person(self, pause: Mapping[str, Any]) -> ToolDecision:
        """A person's decision about a call of a task. Raises WaitsForPerson if there is none yet."""
        try:
            return read_decision(self._decisions[pause["call"]], pause)
        except (KeyError, InputError) as missing:
            raise WaitsForPerson(pause) from missing

    def _pending(self) -> list[str]:
        return [name for name, record in self._records.items() if record["status"] == TaskStatus.PENDING]

    def _write(self, event: Any) -> None:
        """Write to the node's stream, which LangGraph finds in the node's context; tasks have their own."""
        # A copy: a role's own code may write from another thread, and a context is entered once at a time.
        self._node_context.copy().run(self._stream_writer, event)

    def _emitter(self, name: str) -> Emitter:
        role = self._records[name]["role"]
        origin = Origin(self._session, name, role, task=name, iteration=1)
        return Emitter(origin, self._write, self._run.record)

    # --- for the scheduler -----------------------------------------------------------------------

    def _job(self, name: str) -> Job:
        spec, record = self._specs[name], self._records[name]
        server, model = self._server_and_model(spec)
        waits_for = [
            need for need in self._needs(name) if self._records[need]["status"] == TaskStatus.PENDING
        ]
        return Job(name, tuple(record["rank"]), spec.priority, tuple(waits_for), server, model)

    def _server_and_model(self, spec: TaskSpec) -> tuple[str, str]:
        if supplied_model(self._run.overrides, spec.assigned_role):
            return "", ""
        try:
            entry = self._run.config.model_for(spec.assigned_role, spec.model)
        except ConfigError:  # the task fails with this error when it starts
            return "", ""
        self._server_slots[entry.server] = self._bindings.models.known_slots(entry)
        return entry.server, entry.model

    def _needs(self, name: str) -> list[str]:
        return all_dependencies(self._specs[name], self._added, lambda task: self._records[task]["rank"])

    def _admit(self, name: str) -> bool:
        """Called when the dependencies of a task are finished; False skips or fails the task."""
        needs = {need: self._records[need] for need in self._needs(name)}
        try:
            reason = skip_reason(self._specs[name], needs)
        except InputError as error:
            self._fail(name, f"{name}: {error}")
            return False
        if reason is None:
            return True
        self._put({**self._records[name], "status": str(TaskStatus.SKIPPED), **reason})
        self._emitter(name)("task_skipped", task_type=self._specs[name].task_type, **reason)
        return False

    async def _start(self, name: str) -> Iterable[Job] | None:
        """Run a task and save its record; returns the tasks that it adds, None if it waits for a person."""
        try:
            record = await run_task(name, self._ask, self._task_config)
            if self._threads:
                await self._threads.keep(record)
        except (ModelError, InputError, ConfigError) as error:
            self._put_failed(name, str(error))  # its turn has emitted the failure
            return []
        except WaitsForPerson as waits:
            self._waiting[name] = waits.pause
            return None
        except (SwarmError, GraphBubbleUp):  # a stop, a spent budget, a broken database: they end the run
            raise
        except Exception as error:  # from a supplied model or saver: the other tasks go on
            self._fail(name, f"{name}: unexpected {type(error).__name__}: {error}")
            return []
        return [self._job(added) for added in self._finish(record)]

    # --- one task --------------------------------------------------------------------------------

    async def _ask(self, name: str) -> TaskRecord:
        """Ask a task's model; returns the record of the completed task."""
        spec, record = self._specs[name], self._records[name]
        turn = self._turn(name)
        started_at = turn.clock()

        def updated(status: TaskStatus, **changes: Any) -> TaskRecord:
            times = {"created_at": started_at, "completed_at": turn.clock()}
            return cast("TaskRecord", {**record, "status": str(status), **times, **changes})

        async with turn.task(spec.task_type, lambda error: updated(TaskStatus.FAILED, error=str(error))):
            self._run.stop.check()
            files = await asyncio.to_thread(self._prompts.read_files, spec) if spec.files else NO_FILES
            recollection = await self._recall(spec, files.texts)
            questions = PartQuestions(self._prompts, spec, self._results_for(name), files, recollection)
            asking = Asking(questions, lambda: self._turn(name, files.texts), self._emitter(name))
            limit = await self._part_limit(questions)
            outcome = await (asking.whole() if limit is None else asking.parts(limit))
        note = "; ".join(
            filter(
                None,
                [
                    *files.notes,
                    recollection.note if recollection else "",
                    *asking.notes,
                    unknown_places(outcome.result, files.marks),
                ],
            )
        )
        changes: dict[str, Any] = {"result": outcome.result}
        if outcome.value is not None:
            changes["value"] = outcome.value
        if outcome.adds:
            changes["added"] = [added.to_dict() for added in outcome.adds]
        if note:
            changes["note"] = note
        if recollection:
            changes["recalled"] = recollection.record()
        return updated(TaskStatus.COMPLETED, **changes)

    async def _recall(self, spec: TaskSpec, files: Mapping[str, str]) -> Recollection | None:
        """What a task recalls from memory, for all parts of its files; None if its role recalls nothing."""
        limit = self._bindings.recalled_by(spec.assigned_role)
        if not limit:
            return None
        from swarm_graph.roles.recollection import query_of_task

        query = query_of_task(self._prompts.request, spec.description, spec.metadata, files)
        return await self._recaller.recall(query, limit, self._emitter(spec.task_id))

    def _turn(self, name: str, texts: Mapping[str, str] = NO_TEXTS) -> Turn:
        """A turn for a task.

        Args:
            name: The task.
            texts: The texts of its files, which its tools may read.
        """
        emit = self._emitter(name)
        return Turn(self._bindings, self._run, emit, self._config, self._workplace(emit.origin, texts))

    def _workplace(self, origin: Origin, texts: Mapping[str, str]) -> Workplace | None:
        """Where the tools of a task's role work; None for a role without tools."""
        if not self._bindings.has_tools(origin.role):
            return None
        from swarm_graph.roles.project_files import project_of_files
        from swarm_graph.roles.steps_of import steps_of
        from swarm_graph.roles.workplace import Workplace

        return Workplace(
            project=lambda: project_of_files(texts),
            steps=steps_of(
                self._run, origin, self._config, in_own_loop=self._in_own_loop, request=self._request
            ),
            ask_person=self._ask_person,
            prompts=self._tool_prompts,
            memory=self._recaller.search if self._bindings.config.memory else None,
        )

    @cached_property
    def _recaller(self) -> Recaller:
        """Searches the memory of the graph for the tasks."""
        from swarm_graph.roles.recollection import Recaller  # graphs without memory do not need it

        return Recaller(self._run, self._config, self._in_own_loop, self._request)

    @cached_property
    def _tool_prompts(self) -> ToolPrompts:
        from swarm_graph.roles.workplace import ToolPrompts

        return ToolPrompts.of(self._bindings.roles)

    async def _part_limit(self, questions: PartQuestions) -> int | None:
        """The most characters of the parts in which a task asks about its files; None if it asks about all.

        Estimates of tokens differ from run to run. So a resumed run takes the limit of the first one: only
        the same parts have their answers in the journal.
        """
        name, threads = questions.spec.task_id, self._threads
        if questions.spec.split is None:
            return None
        kept = await threads.find_limit(name) if threads else None
        if kept and kept >= MIN_CHARACTERS:
            return kept
        limit = await questions.limit(self._turn(name).prompt_size)
        if threads and limit:
            await threads.keep_limit(name, limit)
        return limit

    def _results_for(self, name: str) -> dict[str, TaskRecord]:
        """The records of the completed dependencies of a task, by id."""
        needs = {need: self._records[need] for need in self._needs(name)}
        return {need: record for need, record in needs.items() if record["status"] == TaskStatus.COMPLETED}

    async def _load_finished(self) -> None:
        """Load the tasks that an earlier, killed run finished, and the tasks that they added."""
        if self._run.journal:
            self._recorded = await self._run.journal.recorded_ends()
        unread = deque(self._pending())
        while unread:
            if record := await self._finished_record(unread.popleft()):
                unread += self._finish(record, kept=True)

    async def _finished_record(self, name: str) -> TaskRecord | None:
        journal = self._run.journal
        if self._threads is None or (journal and not journal.has_answers):
            return None  # a new request has no task threads yet: this saves a query per task
        return await self._threads.find(name)

    # --- records ---------------------------------------------------------------------------------

    def _finish(self, record: TaskRecord, *, kept: bool = False) -> list[str]:
        """Take over the record of a finished task; returns the names of the tasks that it adds."""
        record = cast("TaskRecord", {**record})
        if recalled := record.pop("recalled", None):
            self._recalled.append(recalled)
        self._put(record)
        self._tell(record["task_id"], "task_ended", note=record.get("note", ""), record=record, kept=kept)
        return self._add_tasks(record)

    def _add_tasks(self, parent: TaskRecord) -> list[str]:
        specs = [TaskSpec.model_validate(task) for task in parent.get("added", ())]
        names = [spec.task_id for spec in specs]
        if names:
            self._added[parent["task_id"]] = names
        for number, spec in enumerate(specs):
            self._specs[spec.task_id] = spec
            self._limit.names.add(spec.task_id)
            record = pending_record(spec, [*parent["rank"], number], parent["completed_at"])
            self._put(record)
            self._tell(spec.task_id, "task_added", record=record)
        return names

    def _tell(self, name: str, kind: Kind, **data: Any) -> None:
        """Emit an event of a task; if an earlier run has recorded it, to live observers alone."""
        emit = self._emitter(name)
        if (kind, name) in self._recorded:
            emit.send(emit.event(kind, **data))
        else:
            emit(kind, **data)

    def _put(self, record: Mapping[str, Any]) -> None:
        changed = cast("TaskRecord", record)
        name = changed["task_id"]
        self._records[name] = self._changed[name] = changed
        if self._run.journal and changed["status"] != TaskStatus.PENDING:
            self._run.journal.ended_tasks[name] = changed

    def _put_failed(self, name: str, error: str) -> None:
        self._put({**self._records[name], "status": str(TaskStatus.FAILED), "error": error})

    def _fail(self, name: str, error: str) -> None:
        """Fail a task outside its turn: before it starts, or after an unexpected error."""
        self._put_failed(name, error)
        self._emitter(name)("task_failed", task_type=self._specs[name].task_type, error=error)
