"""The custom workflow: one node that works a graph of tasks off, each task a LangGraph thread of its own.

A task begins the moment the last one that it waits for has ended (see `scheduler`), which LangGraph's own
steps would not allow. What a task came to is kept in its own thread, named by its id, until all that can be
done is done; then the node returns everything. A killed run finds the ended tasks there, so no result can
ever be taken for that of another task. Tasks that failed are tried again when the session is resumed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextvars import copy_context
from typing import Any, cast

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.errors import GraphBubbleUp
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime, get_runtime
from typing_extensions import TypedDict

from swarm_graph import aio
from swarm_graph.checkpoints.children import child_thread, for_any_loop
from swarm_graph.errors import ConfigError, InputError, ModelError, SwarmError
from swarm_graph.events import Event
from swarm_graph.roles.run import RUN, Run
from swarm_graph.roles.turn import Crew, Turn, override
from swarm_graph.state import SwarmContext, SwarmState, TaskRecord, TaskStatus
from swarm_graph.tasks.affinity import Job
from swarm_graph.tasks.conditions import Condition
from swarm_graph.tasks.dependencies import added_by, needs_of
from swarm_graph.tasks.prompting import Room, Workbench, do_task
from swarm_graph.tasks.scheduler import Scheduler
from swarm_graph.tasks.spec import TaskSpec, pending

TASKS = "tasks"
"""The name of the node."""
WORK = "swarm_work"
"""The key in a task's own `configurable` under which its node finds what to do."""
SHOWN_FAILURES = 5


class CustomState(SwarmState, total=False):
    """The state of a custom session."""

    children: str
    """What the names of its tasks' own threads begin with, after the session's."""


class TaskState(TypedDict, total=False):
    """The state of a task's own thread."""

    task: str
    record: TaskRecord


class TaskGraph(Runnable[CustomState, dict[str, Any]]):
    """The node `tasks`, for synchronous and asynchronous callers."""

    name: str = TASKS

    def __init__(self, crew: Crew) -> None:
        self.crew = crew

    def invoke(self, input: CustomState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:
        work = _Pass(self.crew, input, config or {}, get_runtime(SwarmContext), in_own_loop=True)
        return aio.run(work.run())

    async def ainvoke(
        self, input: CustomState, config: RunnableConfig | None = None, **_: Any
    ) -> dict[str, Any]:
        return await _Pass(self.crew, input, config or {}, get_runtime(SwarmContext)).run()


def all_done(state: SwarmState) -> str:
    """Where the node leads: to the end, or to itself for the tasks that failed."""
    return "done" if state.get("phase") == "complete" else "again"


class _Pass:
    """One time that the tasks of a session are worked off: all that have not been done, as far as it goes."""

    def __init__(
        self,
        crew: Crew,
        state: CustomState,
        config: RunnableConfig,
        runtime: Runtime[SwarmContext],
        *,
        in_own_loop: bool = False,
    ) -> None:
        self._crew, self._config = crew, config
        self._context_of_node, self._stream_writer = copy_context(), runtime.stream_writer
        self._context = runtime.context or SwarmContext()
        self._session = str(config["configurable"].get("thread_id", ""))
        self._children = state.get("children", "")
        self._shared: Run = config["configurable"].get(RUN) or Run()
        self._saver = for_any_loop(self._shared.saver) if in_own_loop else self._shared.saver
        self._records = {name: _anew(record) for name, record in state["tasks"].items()}
        self._specs = {
            name: TaskSpec.model_validate(record["spec"]) for name, record in self._records.items()
        }
        self._added = added_by(self._records)
        self._changed: dict[str, TaskRecord] = {}
        given = sum(len(record["rank"]) == 1 for record in self._records.values())
        room = Room(crew.config.workflow.max_tasks, set(self._records), given)
        self._bench = Workbench(crew, state.get("request", ""), room)
        self._widths: dict[str, int] = {}

    async def run(self) -> dict[str, Any]:
        """What changes in the state. Called again in the same run, it raises why tasks failed."""
        if self._shared.failure:
            raise self._shared.failure
        self._graph = _task_graph(self._saver)
        cap = self._crew.config.workflow.parallel
        scheduler = Scheduler(cap, lambda lane: self._widths.get(lane, cap), self._begin, self._admit)
        await self._take_kept()
        todo = self._pending()
        numbers = {"tasks": len(self._records), "done": len(self._records) - len(todo)}
        self._write(Event("graph_started", time.time(), self._session, TASKS, data=numbers).plain())
        await scheduler.run([self._job(name) for name in todo])
        self._shared.failure = self._failure()
        phase = "running" if self._shared.failure else "complete"
        return {"tasks": self._changed, "phase": phase}

    def _pending(self) -> list[str]:
        return [name for name, record in self._records.items() if record["status"] == TaskStatus.PENDING]

    async def _take_kept(self) -> None:
        """Takes what a killed run has kept before anything is asked, so that all that is ready is known."""
        unseen = deque(self._pending())
        while unseen:
            if kept := await self._kept(unseen.popleft()):
                unseen += self._take(kept, kept=True)

    def _take(self, record: TaskRecord, *, kept: bool = False) -> list[str]:
        """Takes in a task that ended; the names of those that it adds."""
        self._put(record)
        self._turn(record["task_id"]).report(
            "task_ended", note=record.get("note", ""), record=record, kept=kept
        )
        return list(self._adopt(record))

    def _write(self, event: Any) -> None:
        """LangGraph's writer finds its stream in the node's context; tasks have contexts of their own."""
        self._context_of_node.run(self._stream_writer, event)

    # --- what the scheduler asks -----------------------------------------------------------------

    def _job(self, name: str) -> Job:
        spec, record = self._specs[name], self._records[name]
        lane, model = self._lane(spec)
        open_needs = [
            need for need in self._needs(name) if self._records[need]["status"] == TaskStatus.PENDING
        ]
        return Job(name, tuple(record["rank"]), spec.priority, tuple(open_needs), lane, model)

    def _lane(self, spec: TaskSpec) -> tuple[str, str]:
        """The server and the model that a task asks."""
        if override(self._context, spec.assigned_role):
            return "", ""
        try:
            entry = self._crew.config.model_for(spec.assigned_role, spec.model)
        except ConfigError:  # it fails for that when it is begun
            return "", ""
        self._widths[entry.server] = self._crew.models.width(entry)
        return entry.server, entry.model

    def _needs(self, name: str) -> list[str]:
        return needs_of(self._specs[name], self._added, lambda one: self._records[one]["rank"])

    def _admit(self, name: str) -> bool:
        """Whether a task is begun, all that it waits for having ended; otherwise its record says why not."""
        needs = [self._records[need] for need in self._needs(name)]
        if blocked := next((need for need in needs if "error" in need), None):
            failed = blocked["status"] == TaskStatus.FAILED
            why = f"not begun: '{blocked['task_id']}' failed" if failed else blocked["error"]
            return self._skip(name, error=why)
        if needs and all(need["status"] == TaskStatus.SKIPPED for need in needs):
            return self._skip(name, note="not begun: all that it depends on was skipped")
        when = self._specs[name].when
        if when is None:
            return True
        condition = Condition(when)
        looked_at = {need: self._records[need] for need in condition.names}
        if skipped := [need for need, record in looked_at.items() if record["status"] == TaskStatus.SKIPPED]:
            return self._skip(name, note=f"not begun: {when} looks at '{skipped[0]}', which was skipped")
        try:
            holds = condition.holds({need: _values(record) for need, record in looked_at.items()})
        except InputError as error:
            self._fail(name, f"{name}: {error}")
            return False
        return holds or self._skip(name, note=f"not begun: {when} does not hold")

    async def _begin(self, name: str) -> Iterable[Job]:
        """Does a task; the tasks that it adds."""
        try:
            record = await self._done(name, self._turn(name))
        except (ModelError, InputError, ConfigError) as error:
            self._put_failed(name, str(error))  # its turn has reported it
            return []
        except (SwarmError, GraphBubbleUp):
            raise
        except Exception as error:  # of LangGraph or of somebody's own model: the other tasks go on
            self._fail(name, f"{name}: unexpected {type(error).__name__}: {error}")
            return []
        if self._shared.journal:
            await self._shared.journal.end_task(record)
        return [self._job(added) for added in self._take(record)]

    def _adopt(self, parent: TaskRecord) -> Iterator[str]:
        """Takes in the tasks that one adds; their names."""
        specs = [TaskSpec.model_validate(task) for task in parent.get("added", ())]
        if specs:
            self._added[parent["task_id"]] = [spec.task_id for spec in specs]
        for number, spec in enumerate(specs):
            self._specs[spec.task_id] = spec
            self._bench.room.names.add(spec.task_id)
            added = pending(spec, [*parent["rank"], number], parent["completed_at"])
            self._put(added)
            self._turn(spec.task_id).report("task_added", record=added)
        return (spec.task_id for spec in specs)

    # --- a task's own thread ---------------------------------------------------------------------

    async def _kept(self, name: str) -> TaskRecord | None:
        """How a task ended in an earlier run that was killed before it could return."""
        journal = self._shared.journal
        if self._saver is None or (journal and not journal.answered):
            return None
        saved = await self._saver.aget_tuple(self._thread(name))
        return cast("TaskRecord | None", saved.checkpoint["channel_values"].get("record")) if saved else None

    async def _done(self, name: str, turn: Turn) -> TaskRecord:
        needs = (self._records[need] for need in self._needs(name))
        results = [record for record in needs if record["status"] == TaskStatus.COMPLETED]

        async def work() -> TaskRecord:
            return await do_task(turn, self._bench, self._records[name], results)

        config = self._thread(name, work)
        ended = await self._graph.ainvoke({"task": name}, config, durability="exit" if self._saver else None)
        return cast("TaskRecord", ended["record"])

    def _thread(self, name: str, work: Callable[[], Awaitable[TaskRecord]] | None = None) -> RunnableConfig:
        thread = child_thread(self._session, self._children, name)
        return {
            "callbacks": self._config.get("callbacks"),
            "configurable": {"thread_id": thread, RUN: self._shared, WORK: work},
        }

    def _turn(self, name: str) -> Turn:
        about = {
            "session": self._session,
            "role": self._records[name]["role"],
            "node": name,
            "task": name,
            "iteration": 1,
        }
        return Turn(self._crew, about, self._config, self._context, self._write)

    # --- records ---------------------------------------------------------------------------------

    def _put(self, record: Mapping[str, Any]) -> None:
        changed = cast("TaskRecord", record)
        name = changed["task_id"]
        self._records[name] = self._changed[name] = changed
        if self._shared.journal and changed["status"] != TaskStatus.PENDING:
            self._shared.journal.ended[name] = changed

    def _skip(self, name: str, **why: str) -> bool:
        self._put({**self._records[name], "status": str(TaskStatus.SKIPPED), **why})
        self._turn(name).report("task_skipped", task_type=self._specs[name].task_type, **why)
        return False

    def _put_failed(self, name: str, error: str) -> None:
        self._put({**self._records[name], "status": str(TaskStatus.FAILED), "error": error})

    def _fail(self, name: str, error: str) -> None:
        """A task that fails before it is begun, or after its turn."""
        self._put_failed(name, error)
        self._turn(name).report("task_failed", task_type=self._specs[name].task_type, error=error)

    def _failure(self) -> ModelError | None:
        """Why the session has not come to its end: which tasks failed, and how many hang on them."""
        failed = [name for name, record in self._records.items() if record["status"] == TaskStatus.FAILED]
        if not failed:
            return None
        blocked = sum(
            record["status"] == TaskStatus.SKIPPED and "error" in record for record in self._records.values()
        )
        shown = ", ".join(failed[:SHOWN_FAILURES]) + (", …" if len(failed) > SHOWN_FAILURES else "")
        hanging = f" and {blocked} that depend on them were not begun" if blocked else ""
        first = self._records[failed[0]]["error"]
        return ModelError(
            f"{len(failed)} of {len(self._records)} tasks failed ({shown}){hanging}; the first: {first}; "
            "resume asks only these",
            node=failed[0],
        )


def _anew(record: TaskRecord) -> TaskRecord:
    """A task's record as a pass begins with it: what failed, or hung on that, is to be done again."""
    if "error" not in record:
        return record
    kept = {key: value for key, value in record.items() if key not in ("error", "note")}
    return cast("TaskRecord", {**kept, "status": str(TaskStatus.PENDING)})


def _values(record: TaskRecord) -> dict[str, Any]:
    """What a condition can ask of a task."""
    value = record.get("value")
    return {"result": record.get("result", ""), **(value if isinstance(value, dict) else {})}


def _task_graph(saver: BaseCheckpointSaver[Any] | None) -> Any:
    """The graph of a task's own thread."""

    async def task(_state: TaskState, config: RunnableConfig) -> dict[str, Any]:
        return {"record": await config["configurable"][WORK]()}

    graph: Any = StateGraph(TaskState)
    graph.add_node("task", task)
    graph.add_edge(START, "task")
    graph.add_edge("task", END)
    return graph.compile(checkpointer=saver, name="task")
