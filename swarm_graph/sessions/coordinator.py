"""Running a session: the graph, its database, its files, its figures; the seed's SwarmCoordinator."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from langgraph.types import Command

from swarm_graph import aio
from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.config import SwarmConfig, config_path, load_config
from swarm_graph.errors import ConfigError, InputError, ModelError, OverBudget, Stopped, UnfinishedSession
from swarm_graph.events import Event, Kind, event
from swarm_graph.models.keys import check_model
from swarm_graph.roles.run import Run
from swarm_graph.sessions.ids import (
    DATABASE,
    checked_session_id,
    find_session,
    known_session,
    new_session_id,
)
from swarm_graph.sessions.logs import log, log_event, log_to_stderr
from swarm_graph.sessions.metrics import call_row, same_run, summary, swaps, test_run_row, test_summary
from swarm_graph.sessions.output import Output, file_name, write_file
from swarm_graph.sessions.state_json import failed_task, finished_task, folded, task_row
from swarm_graph.sessions.store import Desk
from swarm_graph.sessions.summary_html import session_html
from swarm_graph.sessions.tracing import spans
from swarm_graph.state import Evidence, SwarmContext, SwarmState, Task, TaskRecord, TaskStatus, has_ended
from swarm_graph.tasks.results import FINISHED, in_order
from swarm_graph.tasks.spec import TaskSpec, task_specs
from swarm_graph.text import to_json
from swarm_graph.workflows.build import build_graph
from swarm_graph.workflows.graph import SwarmGraph
from swarm_graph.workflows.pauses import Decision, Pause
from swarm_graph.workflows.run_tests import in_thread

DATA_DIR = ".swarm"
OUTPUT_DIR = "swarm-output"
STATUSES = {
    "task_started": str(TaskStatus.RUNNING),
    "task_stopped": str(TaskStatus.PENDING),
    "task_failed": str(TaskStatus.FAILED),
    "task_skipped": str(TaskStatus.SKIPPED),
}
"""Where a task of a custom graph stands after an event."""


class SwarmCoordinator:
    """Runs workflows, keeps them resumable and writes their files.

    `config_file`: a path, a dict, a SwarmConfig or None (see `load_config`). `output_dir`: where a
    session's folder is made; `output` names that folder itself. `on_event` is called with every Event.
    """

    def __init__(
        self,
        config_file: SwarmConfig | str | Path | Mapping[str, Any] | None = None,
        *,
        data_dir: str | Path = DATA_DIR,
        output_dir: str | Path = OUTPUT_DIR,
        output: str | Path | None = None,
        context: SwarmContext | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        self.config = load_config(config_file)
        self.config_file = config_path(config_file)
        if self.config.workflow.verbose_logging:
            log_to_stderr()
        self.data_dir, self.output_dir, self.output = Path(data_dir), Path(output_dir), output
        self.context, self.on_event = context, on_event
        self._spans = spans(self.config)
        self.session_id, self.workflow = "", ""
        self.state: SwarmState = {}
        self.files: Output | None = None
        self.pauses: list[Pause] = []
        self._calls: list[dict[str, Any]] = []
        self._test_runs: list[dict[str, Any]] = []
        self._failed: dict[str, Task] = {}
        self._tasks: dict[str, TaskSpec] = {}
        self._working: Run | None = None
        self.calls_in_flight = 0
        self.stopped_by = ""

    # --- running ---------------------------------------------------------------------------------

    def add_task(self, task: Task | TaskSpec | Mapping[str, Any]) -> None:
        """Adds a task for the next `run_workflow("", workflow_type="custom")`.

        InputError when its id is taken or it cannot be read; its dependencies may be added later.
        """
        (spec,) = task_specs([task])
        if spec.task_id in self._tasks:
            raise InputError(f"two tasks have the id '{spec.task_id}'; every task needs its own")
        self._tasks[spec.task_id] = spec

    def run_workflow(
        self,
        user_request: str,
        workflow_type: str = "standard",
        *,
        session_id: str | None = None,
        follow_up: bool = False,
    ) -> SwarmState:
        """Runs a workflow to its end and returns the final state; also inside a running event loop.

        A model's failure does not raise: the state's phase is `failed`, the task is among
        `completed_tasks`, and `resume` asks only for what is missing. Raises InputError for an empty
        request, an unknown workflow, or a session that exists (unless `follow_up`); ConfigError;
        StorageError.
        """
        return aio.run(
            self.arun_workflow(user_request, workflow_type, session_id=session_id, follow_up=follow_up)
        )

    async def arun_workflow(
        self,
        user_request: str,
        workflow_type: str = "standard",
        *,
        session_id: str | None = None,
        follow_up: bool = False,
    ) -> SwarmState:
        """`run_workflow` for asynchronous callers."""
        session = checked_session_id(session_id) if session_id else new_session_id()
        graph = self._graph(workflow_type)
        given = graph.checked(self._input(user_request, workflow_type), self.context)
        known = known_session(self.data_dir, session) if self.config.features.enable_checkpointing else None
        if known and not follow_up:
            goes_on = f"`swarm-graph resume {session}` goes on with it"
            cure = "a follow-up (`run --follow-up`) asks it for more" if has_ended(known.phase) else goes_on
            raise InputError(
                f"session '{session}' exists ({known.phase}); {cure}, another session id begins a new one"
            )
        if follow_up and not known:
            raise InputError(f"no session '{session}' to follow up; without --follow-up it begins anew")
        if known and not has_ended(known.phase):
            raise UnfinishedSession(
                f"session '{session}' has not ended ({known.phase}); `swarm-graph resume {session}` goes on "
                "with it, then it can be followed up"
            )
        self._tasks = {}
        return await self._run(graph, session, known, given)

    def _input(self, request: str, workflow: str) -> dict[str, Any]:
        """What the graph is given. InputError for added tasks that the workflow does not work off."""
        if workflow == "custom":
            return {"request": request, "tasks": list(self._tasks.values())}
        if self._tasks:
            raise InputError(
                f"{len(self._tasks)} tasks were added, but the workflow '{workflow}' has tasks of its own; "
                "run them with workflow_type='custom'"
            )
        return {"request": request}

    def resume(self, session_id: str | None = None, decision: Decision | None = None) -> SwarmState:
        """Goes on with a session (None: the newest that has not ended); returns as `run_workflow` does.

        `decision` answers the pauses at which it waits for a person: `"approve"`, `{"edit": ...}` or
        `{"reject": remark}`; without one it goes on waiting (phase `paused`, see `pauses`). A session that
        has ended gives its state. Raises InputError when there is none, SessionInUse when it is at work.
        """
        return aio.run(self.aresume(session_id, decision))

    async def aresume(self, session_id: str | None = None, decision: Decision | None = None) -> SwarmState:
        """`resume` for asynchronous callers.

        A session that has not ended keeps its reviewers and pauses, whatever today's configuration says.
        """
        known = find_session(self.data_dir, session_id)
        given: Any = None if decision is None else Command(resume=decision)
        if not has_ended(known.phase):
            self.config = self.config.shaped_like(known.config)
        return await self._run(self._graph(known.workflow), known.session, known, given)

    def verify(self, session_id: str) -> Evidence:
        """Runs the tests of a session's latest state again, records what they showed, and returns it.

        The session itself stays as it is. Raises InputError when there is no such session, ConfigError and
        SandboxError when its tests cannot be run.
        """
        return aio.run(self.averify(session_id))

    async def averify(self, session_id: str) -> Evidence:
        """`verify` for asynchronous callers."""
        known = find_session(self.data_dir, session_id)
        with open_checkpointer(self.data_dir / DATABASE) as saver:
            saved = await saver.aget_tuple({"configurable": {"thread_id": known.session}})
            state = cast("SwarmState", saved.checkpoint["channel_values"] if saved else {})
            shown = await in_thread(state, self.config.execution)
            iteration = state.get("iteration", 0)
            catalogue = saver.catalogue
            await saver.database.run(catalogue.add_verification, known.session, iteration, shown)
        return shown

    def check(self, workflow: str) -> None:
        """Raises ConfigError or SandboxError when a workflow cannot run; asks no server."""
        self._graph(workflow)

    @property
    def last_round(self) -> int:
        """The round after which a session ends whatever the reviewers say."""
        return 1 if self.workflow == "review_only" else self.config.workflow.max_iterations

    def stop(self) -> None:
        """Lets the model calls in flight end, begins no other, and ends the run (phase `cancelled`)."""
        if self._working:
            self._working.stop()

    def _graph(self, workflow: str) -> SwarmGraph:
        """The graph, checked before anything is written.

        Raises ConfigError when a role has no usable model, SandboxError when required tests cannot run.
        """
        graph = build_graph(workflow, config=self.config)
        for role in getattr(graph.builder, "roles", ()) if self.context is None else ():
            check_model(self.config.model_for(role))
        graph.check()
        if self.config.workflow.pauses and not self.config.features.enable_checkpointing:
            raise ConfigError(
                "workflow.pause_before and pause_after need features.enable_checkpointing: "
                "a session that waits for a person is kept in the database"
            )
        return graph

    async def _run(self, graph: SwarmGraph, session: str, known: Session | None, given: Any) -> SwarmState:
        folder = self._folder(session, known)
        self._working = run = Run(output=str(folder.absolute()), config_file=self.config_file)
        self.session_id, self.workflow = session, graph.name
        self.files = Output(folder, session)
        self.files.prepare()
        if not self.config.features.enable_checkpointing:
            return await self._work(Desk(session, graph, run, None), given)
        with open_checkpointer(self.data_dir / DATABASE) as saver:
            graph.checkpointer = saver
            self.files.ledger = saver.catalogue
            if self.output:
                self.files.check_free()
            return await self._work(Desk(session, graph, run, saver), given)

    def _folder(self, session: str, known: Session | None) -> Path:
        folder = self.output or (known and known.output) or (self.output_dir / file_name(session)).absolute()
        return Path(folder)

    async def _work(self, desk: Desk, given: Any) -> SwarmState:
        self.state, self._calls = await desk.saved(), await desk.calls()
        self._test_runs = await desk.test_runs()
        self._failed, self.pauses, self.calls_in_flight, self.stopped_by = {}, [], 0, ""
        phase = "cancelled"
        usual = await desk.usual_seconds(self.config)
        nodes = [name for name in desk.graph.nodes if not name.startswith("__")]
        before = await desk.seconds_at_work()
        ended = set() if isinstance(given, Mapping) else _nodes_that_ended(self.state)
        done = [name for name in nodes if name in ended]
        about = {"workflow": self.workflow, "nodes": nodes, "max_iterations": self.last_round}
        times = {"usual_seconds": usual, "seconds_before": before}
        self._tell("session_started", **about, **times, resumed=bool(self.state), done=done)
        try:
            async with aclosing(desk.stream(given, self.context)) as parts:
                async for mode, part in parts:
                    self._follow(mode, part)
            self.pauses = await desk.pauses()
            phase = "paused" if self.pauses else self.state["phase"]
        except ModelError as error:
            phase = "failed"
            log.info("session %s failed: %s", desk.session, error)
        except OverBudget as error:
            phase, self.stopped_by = "over_budget", str(error)
            log.info("session %s stopped: %s", desk.session, error)
        except Stopped:
            log.info("session %s stopped", desk.session)
        except InputError:  # refused before it began: the files may be those of another process at work
            phase = ""
            raise
        except Exception:
            phase = "failed"
            raise
        finally:
            self._working = None
            if phase:
                self.state = cast("SwarmState", {**self.state, "phase": phase})
                self._write()
                self._tell_end(phase)
        return self.state

    def _tell(self, kind: Kind, **data: Any) -> None:
        """An event of the session as a whole."""
        happened = Event(kind, time.time(), self.session_id, "", data=data)
        self._hear(happened)

    def _hear(self, happened: Event) -> None:
        """Hands an event to the log and to everybody who listens."""
        log_event(happened)
        for listener in (self._spans, self.on_event):
            if listener:
                listener(happened)

    def _tell_end(self, phase: str) -> None:
        findings, approved = len(self.state.get("findings", [])), self.state.get("approved", False)
        output = str(self.files.folder.absolute()) if self.files else ""
        came_to = {"phase": phase, "approved": approved, "findings": findings, "output": output}
        self._tell("session_ended", workflow=self.workflow, **came_to)

    def _follow(self, mode: str, part: Any) -> None:
        if mode == "custom" and (happened := event(part)):
            self._note(replace(happened, session=self.session_id))
        elif mode == "values":
            own_tasks = dict(part.get("tasks", {}))  # the copy is ours to change
            self.state = cast("SwarmState", {**part, "tasks": own_tasks})
        elif mode == "updates":
            self.state = folded(self.state, part)
            self._write()

    def _note(self, happened: Event) -> None:
        if happened.kind == "call_started":
            self.calls_in_flight += 1
        elif happened.kind == "call_ended":
            self.calls_in_flight -= 1
            self._calls.append(call_row(happened))
        elif happened.kind == "tests_ended":
            row = test_run_row(happened)
            again = [run for run in self._test_runs if not same_run(run, row)]
            self._test_runs = [*again, row]
        elif self.workflow == "custom" and happened.task:
            self._note_task(happened)
        elif happened.kind == "task_failed":
            self._failed[happened.task] = failed_task(happened)
        self._hear(happened)

    def _note_task(self, happened: Event) -> None:
        """A task of a custom graph has ended: its result's file is written now, all others at the end."""
        assert self.files is not None
        tasks = self.state["tasks"]
        if "record" in happened.data:
            tasks[happened.task] = happened.data["record"]
        elif happened.kind in STATUSES:
            why = {key: value for key, value in happened.data.items() if key in ("error", "note")}
            changed = {**tasks[happened.task], "status": STATUSES[happened.kind], **why}
            tasks[happened.task] = cast("TaskRecord", changed)
        if happened.kind == "task_ended":
            self.files.write_result(tasks[happened.task])

    def _write(self) -> None:
        assert self.files is not None
        self.files.update(self.state)
        self.files.write_state(self.document())

    def _repr_html_(self) -> str:
        return session_html(self.document(), str(self.files.folder) if self.files else "")

    # --- looking at the result -------------------------------------------------------------------

    @property
    def completed_tasks(self) -> list[Task]:
        """The tasks that ended, failed and skipped ones included, in the order of their ids.

        Those of a custom graph are in the order added.
        """
        records = self.state.get("tasks", {})
        if self.workflow == "custom":
            ended = [record for record in in_order(records) if record["status"] in FINISHED]
            return [finished_task(record["task_id"], self.state) for record in ended]
        done = {task_id: finished_task(task_id, self.state) for task_id in records}
        return [task for _, task in sorted({**done, **self._failed}.items())]

    def get_metrics_summary(self) -> dict[str, Any]:
        """Figures of the session: `["agents"][role]` as `metrics.summary` gives them, `["tests"]`, and how
        often servers had to swap models."""
        return {
            "session": self.session_id,
            "workflow": self.workflow,
            "agents": summary(self._calls),
            "tests": test_summary(self._test_runs),
            "model_swaps": swaps(self._calls),
        }

    def save_state(self, path: str | Path) -> None:
        """Writes the session's state JSON to a path. StorageError when it cannot be written."""
        target = Path(path)
        write_file(target.parent, target.name, to_json(self.document()))

    def document(self) -> dict[str, Any]:
        """The session as the seed's state JSON has it."""
        tasks = self.completed_tasks
        records = self.state.get("tasks", {})
        done = {task.task_id: task for task in tasks if task.status == TaskStatus.COMPLETED}
        return {
            "workflow_id": self.session_id,
            "workflow": self.workflow,
            "simulated": self.config.is_simulated,
            "phase": self.state.get("phase", "running"),
            "approved": self.state.get("approved", False),
            "iteration": self.state.get("iteration", 0),
            "request": self.state.get("request", ""),
            "findings": self.state.get("findings", []),
            "context": {
                f"{task.task_type}_{records[task_id]['node']}": {
                    "task_id": task_id,
                    "result": task.result,
                    "completed_at": task.completed_at,
                }
                for task_id, task in done.items()
            },
            "pauses": [vars(pause) for pause in self.pauses],
            "completed_tasks": [task_row(task, records.get(task.task_id)) for task in tasks],
            "evidence": [
                {"iteration": review["iteration"], **review["evidence"]}
                for review in self.state.get("reviews", [])
                if "evidence" in review
            ],
            "metrics": summary(self._calls),
            "test_metrics": test_summary(self._test_runs),
            "files": self.files.files() if self.files else [],
        }


def _nodes_that_ended(state: SwarmState) -> set[str]:
    records, reviews = state.get("tasks", {}).values(), state.get("reviews", [])
    ended = {record["node"] for record in records if record["status"] == TaskStatus.COMPLETED}
    if any("evidence" in review for review in reviews):
        ended.add("run_tests")
    if any(review["iteration"] < state.get("iteration", 0) for review in reviews):
        ended.add("verdict")
    return ended
