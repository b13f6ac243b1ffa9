"""SwarmCoordinator, named as in the seed: runs sessions, keeps them resumable and writes their files."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping
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
from swarm_graph.events import Event, Kind, parse_event
from swarm_graph.models.keys import check_model
from swarm_graph.roles.run import RunOptions, StopFlag
from swarm_graph.sessions.ids import (
    DATABASE,
    checked_session_id,
    find_session,
    known_session,
    new_session_id,
)
from swarm_graph.sessions.logs import log, log_event, log_to_stderr
from swarm_graph.sessions.output import Output, file_name, make_folder, write_file
from swarm_graph.sessions.resume import resume_config
from swarm_graph.sessions.state_json import state_document
from swarm_graph.sessions.store import SessionStore, open_store
from swarm_graph.sessions.summary_html import session_html
from swarm_graph.sessions.tracing import spans
from swarm_graph.sessions.tracker import SessionTracker
from swarm_graph.state import Evidence, SwarmContext, SwarmState, Task, has_ended
from swarm_graph.tasks.spec import TaskSpec, task_specs
from swarm_graph.text import to_json
from swarm_graph.workflows.build import start_graph
from swarm_graph.workflows.builder import GraphBuilder
from swarm_graph.workflows.graph import SwarmGraph
from swarm_graph.workflows.opening import Prepared
from swarm_graph.workflows.pauses import Decision, Pause
from swarm_graph.workflows.run_tests import run_in_thread

DATA_DIR = ".swarm"
OUTPUT_DIR = "swarm-output"

OnEvent = Callable[[Event], None]


class SwarmCoordinator:
    """Runs workflows, keeps them resumable and writes their files.

    Attributes:
        config: The configuration.
        session_id: The latest session; empty before the first one.
        workflow: Its workflow.
        state: Its state.
        pauses: The pauses at which it waits for a person.
        files: Its output folder; None before the first session.
        stopped_by: Which limit stopped it, in words; empty if none did.
    """

    def __init__(
        self,
        config_file: SwarmConfig | str | Path | Mapping[str, Any] | None = None,
        *,
        data_dir: str | Path = DATA_DIR,
        output_dir: str | Path = OUTPUT_DIR,
        output: str | Path | None = None,
        context: SwarmContext | None = None,
        on_event: OnEvent | None = None,
        config_origin: str | None = None,
    ) -> None:
        """Load the configuration.

        Args:
            config_file: A path, a dict in the file's shape, a SwarmConfig, or None (see `load_config`).
            data_dir: The folder of the session database.
            output_dir: The folder in which each session gets a folder for its files.
            output: The folder for the files of the next session, in place of one in `output_dir`.
            context: Models, temperature or clock that override the configuration.
            on_event: Called with every Event.
            config_origin: The file to record as the origin of a configuration that is already loaded.

        Raises:
            ConfigError: The configuration cannot be used.
        """
        self.config = load_config(config_file)
        self.config_file = config_path(config_file) if config_origin is None else config_origin
        if self.config.workflow.verbose_logging:
            log_to_stderr()
        self.data_dir, self.output_dir, self.output = Path(data_dir), Path(output_dir), output
        self.context, self.on_event = context, on_event
        self._spans = spans(self.config)
        self.session_id = self.stopped_by = ""
        self.files: Output | None = None
        self.pauses: list[Pause] = []
        self._session = SessionTracker("")
        self._tasks: dict[str, TaskSpec] = {}
        self._stop = StopFlag()

    # --- running ---------------------------------------------------------------------------------

    def add_task(self, task: Task | TaskSpec | Mapping[str, Any]) -> None:
        """Add a task for the next `run_workflow("", workflow_type="custom")`.

        Its dependencies may be added later.

        Raises:
            InputError: The task cannot be read, or its id is taken.
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
        """Run a workflow to its end, also inside a running event loop; returns the final state.

        A model's failure does not raise: the phase of the state is `failed`, the failed task is among
        `completed_tasks`, and `resume` asks only for what is missing.

        Args:
            user_request: What to build or review. For a custom workflow, what all its tasks are for.
            workflow_type: `standard`, `full`, `review_only` or `custom`.
            session_id: The id of the session; default the time and four random characters.
            follow_up: Whether the session exists and is asked for more.

        Raises:
            InputError: The request is empty, the workflow is unknown, or the session exists (or does not, for
            a
                follow-up).
            ConfigError: A role has no usable model, or a prompt cannot be used.
            SandboxError: Tests are required, and no sandbox is possible.
            StorageError: The database or the output folder cannot be used.
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
        session_id = checked_session_id(session_id) if session_id else new_session_id()
        builder = self._start_graph(workflow_type)
        prepared = builder.prepare(self._request(user_request, workflow_type), self.context)
        checkpointing = self.config.features.enable_checkpointing
        session = known_session(self.data_dir, session_id) if checkpointing else None
        _check_new_request(session_id, session, follow_up=follow_up)
        self._tasks = {}
        return await self._run(builder, workflow_type, session_id, session, prepared)

    def _request(self, request: str, workflow: str) -> dict[str, Any]:
        """The input of the graph. Raises InputError for added tasks that the workflow would not run."""
        if workflow == "custom":
            return {"request": request, "tasks": list(self._tasks.values())}
        if self._tasks:
            raise InputError(
                f"{len(self._tasks)} tasks were added, but the workflow '{workflow}' has tasks of its own; "
                "run them with workflow_type='custom'"
            )
        return {"request": request}

    def resume(self, session_id: str | None = None, decision: Decision | None = None) -> SwarmState:
        """Resume a session; returns what `run_workflow` returns. An ended session only returns its state.

        Args:
            session_id: The session; default the newest that has not ended.
            decision: The answer to the pauses at which it waits for a person: `"approve"`, `{"edit": ...}` or
                `{"reject": remark}`. Without one the session keeps waiting (phase `paused`).

        Raises:
            InputError: There is no such session, or the decision cannot be used.
            SessionInUse: Another process or thread runs the session.
        """
        return aio.run(self.aresume(session_id, decision))

    async def aresume(self, session_id: str | None = None, decision: Decision | None = None) -> SwarmState:
        """`resume` for asynchronous callers."""
        session = find_session(self.data_dir, session_id)
        self.config = resume_config(session, self.config).config
        builder = self._start_graph(session.workflow)
        given: Any = None if decision is None else Command(resume=decision)
        prepared = builder.prepare(given, self.context)
        return await self._run(builder, session.workflow, session.session, session, prepared)

    def verify(self, session_id: str) -> Evidence:
        """Run the tests of a session's latest state again, record the result, and return it.

        The session itself does not change.

        Raises:
            InputError: There is no such session.
            ConfigError: The interpreter for the tests cannot be used.
            SandboxError: Tests are required, and no sandbox is possible.
        """
        return aio.run(self.averify(session_id))

    async def averify(self, session_id: str) -> Evidence:
        """`verify` for asynchronous callers."""
        session = find_session(self.data_dir, session_id)
        with open_checkpointer(self.data_dir / DATABASE) as saver:
            state = await SessionStore(session.session, saver).state()
            evidence = await run_in_thread(state, self.config.execution)
            record = saver.catalogue.add_verification
            await saver.database.run(record, session.session, state.get("iteration", 0), evidence)
        return evidence

    def check(self, workflow: str) -> None:
        """Raises ConfigError or SandboxError when a workflow cannot run. No server is asked."""
        self._start_graph(workflow).prepare(None, self.context)

    @property
    def last_round(self) -> int:
        """The round after which a session ends whatever the reviewers say."""
        return 1 if self.workflow == "review_only" else self.config.workflow.max_iterations

    @property
    def calls_in_flight(self) -> int:
        """How many model calls run now."""
        return self._session.calls_in_flight

    def stop(self) -> None:
        """Stop the run: calls in flight may finish, no other begins, and the phase becomes `cancelled`."""
        self._stop.set()

    def _start_graph(self, workflow: str) -> GraphBuilder:
        """The graph of a workflow under construction.

        Raises:
            ConfigError: A role has no usable model, or pauses have no database to wait in.
        """
        builder = start_graph(workflow, self.config)
        for role in builder.roles if self.context is None else ():
            check_model(self.config.model_for(role))
        if self.config.workflow.pauses and not self.config.features.enable_checkpointing:
            raise ConfigError(
                "workflow.pause_before and pause_after need features.enable_checkpointing: "
                "a session that waits for a person is kept in the database"
            )
        return builder

    async def _run(
        self,
        builder: GraphBuilder,
        workflow: str,
        session_id: str,
        session: Session | None,
        prepared: Prepared,
    ) -> SwarmState:
        """Open output folder and database, build the graph on them, and follow the run."""
        folder = self._folder(session_id, session)
        make_folder(folder)
        checkpointing = self.config.features.enable_checkpointing
        with open_store(self.data_dir, session_id, checkpointing=checkpointing) as store:
            output = Output(folder, session_id, store.saver.catalogue if store.saver else None)
            if self.output:
                output.check_free()
            graph = builder.build(workflow, store.saver)
            self.session_id, self.files = session_id, output
            return await self._follow(graph, store, prepared)

    def _folder(self, session_id: str, session: Session | None) -> Path:
        recorded = session.output if session else ""
        return Path(self.output or recorded or (self.output_dir / file_name(session_id)).absolute())

    async def _follow(self, graph: SwarmGraph, store: SessionStore, prepared: Prepared) -> SwarmState:
        """Run the graph; track its state, write its files and emit its events until it ends."""
        self._session = session = SessionTracker(
            graph.name, graph.channels, await store.state(), await store.calls(), await store.test_runs()
        )
        self.pauses, self.stopped_by, self._stop = [], "", StopFlag()
        await self._emit_start(graph, store, resumes=not isinstance(prepared.given, Mapping))
        phase = "cancelled"
        try:
            async with aclosing(self._stream(graph, store, prepared)) as parts:
                async for mode, part in parts:
                    self._on_part(mode, part)
            self.pauses = await store.pauses()
            phase = "paused" if self.pauses else self.state["phase"]
        except ModelError as error:
            phase = "failed"
            log.info("session %s failed: %s", self.session_id, error)
        except OverBudget as error:
            phase, self.stopped_by = "over_budget", str(error)
            log.info("session %s stopped: %s", self.session_id, error)
        except Stopped:
            log.info("session %s stopped", self.session_id)
        except InputError:  # refused before it began: the files may belong to another process that runs
            phase = ""
            raise
        except Exception:
            phase = "failed"
            raise
        finally:
            if phase:
                session.end(phase)
                self._write_files()
                self._emit_end(phase)
        return self.state

    def _stream(
        self, graph: SwarmGraph, store: SessionStore, prepared: Prepared
    ) -> AsyncGenerator[tuple[str, Any]]:
        assert self.files is not None
        context = self.context or SwarmContext()
        options = RunOptions(
            context.model,
            context.temperature,
            context.clock,
            output=str(self.files.folder.absolute()),
            config_file=self.config_file,
            stop=self._stop,
        )
        modes = ["values", "updates", "custom"]
        parts = graph.astream(prepared, store.thread, context=options, stream_mode=modes)
        return cast("AsyncGenerator[tuple[str, Any]]", parts)

    def _on_part(self, mode: str, part: Any) -> None:
        """Take one part of LangGraph's stream."""
        if mode == "values":
            self._session.on_values(part)
        elif mode == "updates":
            self._session.on_updates(part)
            self._write_files()
        elif event := parse_event(part):
            event = replace(event, session=self.session_id)
            self._session.on_event(event)
            if self.workflow == "custom" and event.kind == "task_ended":
                self._write_result(event.task)
            self._emit(event)

    def _write_result(self, task_id: str) -> None:
        """Write the result of a custom task now; all other files are written after the superstep."""
        assert self.files is not None
        self.files.write_result(self.state["tasks"][task_id])

    def _write_files(self) -> None:
        assert self.files is not None
        self.files.update(self.state)
        self.files.write_state(self.document())

    # --- events ----------------------------------------------------------------------------------

    async def _emit_start(self, graph: SwarmGraph, store: SessionStore, *, resumes: bool) -> None:
        nodes = [name for name in graph.nodes if not name.startswith("__")]
        done = self._session.nodes_done() if resumes else set()
        self._emit_session_event(
            "session_started",
            workflow=self.workflow,
            nodes=nodes,
            max_iterations=self.last_round,
            usual_seconds=await store.usual_seconds(self.workflow, self.config),
            seconds_before=await store.seconds_before(),
            resumed=bool(self.state),
            done=[name for name in nodes if name in done],
        )

    def _emit_end(self, phase: str) -> None:
        self._emit_session_event(
            "session_ended",
            workflow=self.workflow,
            phase=phase,
            approved=self.state.get("approved", False),
            findings=len(self.state.get("findings", [])),
            output=str(self.files.folder.absolute()) if self.files else "",
        )

    def _emit_session_event(self, kind: Kind, **data: Any) -> None:
        self._emit(Event(kind, time.time(), self.session_id, "", data=data))

    def _emit(self, event: Event) -> None:
        """Hand an event to the log and to the observers."""
        log_event(event)
        for observe in (self._spans, self.on_event):
            if observe:
                observe(event)

    # --- the result ------------------------------------------------------------------------------

    @property
    def state(self) -> SwarmState:
        """The state of the latest session."""
        return self._session.state

    @property
    def workflow(self) -> str:
        """The workflow of the latest session."""
        return self._session.workflow

    @property
    def completed_tasks(self) -> list[Task]:
        """The finished tasks, failed and skipped ones included, sorted by id.

        The tasks of a custom graph are in the order in which they were added.
        """
        return self._session.completed_tasks()

    def get_metrics_summary(self) -> dict[str, Any]:
        """The figures of the session.

        Returns:
            `session`, `workflow`, `agents` (the figures of each role, see `metrics.summary`), `tests` (of the
            test runs), and `model_swaps` (how often a server was asked for another model than before).
        """
        return {"session": self.session_id, "workflow": self.workflow, **self._session.metrics()}

    def save_state(self, path: str | Path) -> None:
        """Write the session's state JSON. Raises StorageError when it cannot be written."""
        target = Path(path)
        write_file(target.parent, target.name, to_json(self.document()))

    def document(self) -> dict[str, Any]:
        """The session as the seed's state JSON."""
        metrics = self._session.metrics()
        return state_document(
            self.state,
            self.completed_tasks,
            workflow_id=self.session_id,
            workflow=self.workflow,
            simulated=self.config.is_simulated,
            pauses=[vars(pause) for pause in self.pauses],
            metrics=metrics["agents"],
            test_metrics=metrics["tests"],
            files=self.files.files() if self.files else [],
        )

    def _repr_html_(self) -> str:
        return session_html(self.document(), str(self.files.folder) if self.files else "")


def _check_new_request(session_id: str, session: Session | None, *, follow_up: bool) -> None:
    """Check that a new request fits the session of its id, if there is one.

    Raises:
        InputError: The session exists (or does not, for a follow-up).
        UnfinishedSession: A follow-up of a session that has not ended.
    """
    if session and not follow_up:
        goes_on = f"`swarm-graph resume {session_id}` goes on with it"
        ended = "a follow-up (`run --follow-up`) asks it for more"
        cure = ended if has_ended(session.phase) else goes_on
        raise InputError(
            f"session '{session_id}' exists ({session.phase}); {cure}, another session id begins a new one"
        )
    if follow_up and not session:
        raise InputError(f"no session '{session_id}' to follow up; without --follow-up it begins anew")
    if session and not has_ended(session.phase):
        raise UnfinishedSession(
            f"session '{session_id}' has not ended ({session.phase}); "
            f"`swarm-graph resume {session_id}` goes on with it, then it can be followed up"
        )
