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
from pathlib import Path
from typing import Any, cast

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.errors import GraphBubbleUp
from langgraph.runtime import get_runtime

from swarm_graph import aio
from swarm_graph.checkpoints.task_threads import TaskThreads
from swarm_graph.errors import ConfigError, InputError, ModelError, SwarmError
from swarm_graph.events import Kind
from swarm_graph.roles.approval import Person, WaitsForPerson
from swarm_graph.roles.bindings import Bindings
from swarm_graph.roles.emitter import Emitter, Origin
from swarm_graph.roles.run import RunContext, current_run, part_of_run
from swarm_graph.roles.turn import supplied_model
from swarm_graph.state import Recalled, SwarmState, TaskRecord, TaskStatus
from swarm_graph.tasks.affinity import Job
from swarm_graph.tasks.dependencies import added_ids, all_dependencies
from swarm_graph.tasks.elsewhere import ELSEWHERE, Deputies, ReadyTask
from swarm_graph.tasks.expansion import TaskLimit
from swarm_graph.tasks.one_task import TaskRunner
from swarm_graph.tasks.outcomes import failure_of, skip_reason, without_failure
from swarm_graph.tasks.prompting import TaskPrompts
from swarm_graph.tasks.scheduler import Scheduler
from swarm_graph.tasks.spec import TaskSpec, pending_record
from swarm_graph.tasks.task_run import config_in_tasks, run_task

TASKS = "tasks"
"""The name of the node."""


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
        # A task of the request has a rank of one number; a task that was added has its parent's and one more.
        initial = sum(len(record["rank"]) == 1 for record in self._records.values())
        self._limit = TaskLimit(bindings.config.workflow.max_tasks, set(self._records), initial)
        # The tasks of somebody else's session may name any file, so only those in this folder are read.
        folder = None if self._run.is_own else Path.cwd()
        request = state.get("request", "")
        self._runner = TaskRunner(
            bindings,
            self._run,
            config,
            self._session,
            self._request,
            TaskPrompts(bindings, request, self._limit, self._run.places, folder, config=self._run.config),
            self._threads,
            self._write,
            in_own_loop=in_own_loop,
            decisions={**self._run.decisions},
        )
        self._server_slots: dict[str, int] = {}
        self._deputies: Deputies | None = None
        self._kept: set[str] = set()
        """The tasks whose records are known to lie in their threads."""
        self._expanding = asyncio.Lock()

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
            if self._run.failure:
                raise self._run.failure
            elsewhere = ELSEWHERE.get()
            if elsewhere is None or not self._is_recorded_alone:
                return await self._update()
            purpose = self._runner.prompts.request
            others = elsewhere.deputies(self._run, self._session, self._request, purpose)
            async with others as self._deputies:
                return await self._update()

    @property
    def _is_recorded_alone(self) -> bool:
        """Whether the database says all that the tasks need: no model, clock or tool is a program's."""
        given = self._run.overrides
        is_given = given.model is not None or given.clock is not None or bool(self._bindings.tools)
        return self._run.journal is not None and not (is_given or self._runner.in_own_loop)

    async def _update(self) -> dict[str, Any]:
        await self._load_finished()
        counts = {"tasks": len(self._records), "done": len(self._records) - len(self._pending())}
        Emitter(Origin(self._session, TASKS), self._write, self._run.record)("graph_started", **counts)
        await self._run_pending()
        person = Person(self._run.journal)
        while pauses := [self._waiting[name] for name in self._records if name in self._waiting]:
            self._runner.decisions |= person.decide(pauses)
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
        scheduler = Scheduler(
            cap, lambda server: slots.get(server, cap), self._start, self._admit, ahead=self._ahead
        )
        await scheduler.run([self._job(name) for name in self._pending()])

    def _ahead(self) -> int:
        return self._deputies.ahead if self._deputies else 1

    def _pending(self) -> list[str]:
        return [name for name, record in self._records.items() if record["status"] == TaskStatus.PENDING]

    def _write(self, event: Any) -> None:
        """Write to the node's stream, which LangGraph finds in the node's context; tasks have their own."""
        # A copy: a role's own code may write from another thread, and a context is entered once at a time.
        self._node_context.copy().run(self._stream_writer, event)

    def _emitter(self, name: str) -> Emitter:
        return self._runner.emitter(name, self._records[name]["role"])

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
            record = await self._run_task(name)
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

    async def _run_task(self, name: str) -> TaskRecord:
        """Run a task, here or elsewhere; returns its record, which is committed.

        Raises:
            WaitsForPerson: A person has to decide first.
        """
        if self._deputies is None:
            record = await run_task(name, self._ask, self._task_config)
            if self._threads:
                await self._threads.keep(record)
            return record
        if self._specs[name].expands:
            async with self._expanding:  # so that no two add their tasks up to the same limit
                return await self._run_elsewhere(self._deputies, name)
        return await self._run_elsewhere(self._deputies, name)

    async def _ask(self, name: str) -> TaskRecord:
        return await self._runner.ask(self._specs[name], self._records[name], self._results_for(name))

    async def _run_elsewhere(self, deputies: Deputies, name: str) -> TaskRecord:
        results = self._results_for(name)
        await self._keep_results(results)
        spec, names = self._specs[name], self._limit.names
        below = tuple(other for other in names if other.startswith(f"{name}.")) if spec.expands else ()
        ready = ReadyTask(
            record=self._records[name],
            needs=tuple(results),
            below=below,
            others=len(names) - len(below),
            initial=self._limit.initial,
            decisions=self._runner.decisions,
        )
        end = await deputies.run(ready)
        for event in end.events:
            self._write(event)
        if end.pause is not None:
            raise WaitsForPerson(end.pause)
        if end.record is None:
            raise ModelError(end.error, node=name)
        return end.record

    async def _keep_results(self, results: Mapping[str, TaskRecord]) -> None:
        """Commit the results that only the state has, as after a failed pass: others read them by task."""
        for name, record in results.items():
            if self._threads and name not in self._kept:
                await self._threads.keep(record)
                self._kept.add(name)

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
        self._kept.add(record["task_id"])
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
