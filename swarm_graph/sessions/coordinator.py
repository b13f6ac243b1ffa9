"""SwarmCoordinator, the public class: runs sessions, keeps them resumable and writes their files.

Its names and parameters are those of the old coordinator; MIGRATION.md compares the two.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from langgraph.types import Command

from swarm_graph import aio
from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.places import UNMOVED
from swarm_graph.checkpoints.records import Session, Source, TaskFileKind, new_session_id
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.checkpoints.steps import ToolRecord
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.checkpoints.transcript import Call
from swarm_graph.config import SwarmConfig, config_path, load_config, repository_settings
from swarm_graph.database_place import place_of
from swarm_graph.errors import ConfigError, InputError, ModelError
from swarm_graph.events import Event
from swarm_graph.models.keys import check_model
from swarm_graph.roles.question import Answer
from swarm_graph.roles.registry import Roles
from swarm_graph.roles.run import A_PROGRAM, RunOptions
from swarm_graph.sessions.fingerprints import (
    Edits,
    check_decided,
    find_edits,
    move_inputs,
    new_sources,
    recorded_texts,
    request_anew,
    source_file,
    updated_sources,
)
from swarm_graph.sessions.gitignore import keep_out_of_git
from swarm_graph.sessions.history import pauses_of
from swarm_graph.sessions.ids import (
    find_session,
    get_session,
    open_catalogue,
    session_to_read,
    validated_session_id,
)
from swarm_graph.sessions.logs import log_event, log_to_stderr
from swarm_graph.sessions.new_request import check_new_request, check_repository, with_kind_of_request
from swarm_graph.sessions.output import Output, make_folder, write_file
from swarm_graph.sessions.questions import Subject, answer_question
from swarm_graph.sessions.resume import ResumeConfig, has_recalled, missing_tools, resume_config
from swarm_graph.sessions.run import OnEvent, SessionRun
from swarm_graph.sessions.store import SessionStore, open_session_store
from swarm_graph.sessions.summary_html import NO_SESSION_HTML, session_html
from swarm_graph.sessions.tracing import span_observer
from swarm_graph.sessions.trust import GROUPS, is_trusted, trust
from swarm_graph.settings import RepositorySettings
from swarm_graph.state import (
    DATA_DIR,
    DOCUMENT,
    OUTPUT_DIR,
    ChangeState,
    Evidence,
    Kind,
    SwarmContext,
    SwarmResult,
    SwarmState,
    Task,
    Workflow,
    has_ended,
    with_every_key,
)
from swarm_graph.tasks.spec import TaskSpec, names_repository, task_specs, with_paths
from swarm_graph.text import file_name, printable, to_json
from swarm_graph.workflows.build import check_store, new_builder, store_of
from swarm_graph.workflows.builder import GraphBuilder
from swarm_graph.workflows.check_document import check_evidence
from swarm_graph.workflows.opening import Prepared
from swarm_graph.workflows.pauses import Decision, Pause
from swarm_graph.workflows.run_tests import run_in_thread

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool
    from langgraph.store.base import BaseStore

    from swarm_graph.memory.experience import Remembered


class SwarmCoordinator:
    """Runs workflows, keeps them resumable and writes their files.

    Attributes:
        config: The configuration; `resume` replaces it by the one that it resumes with.
        data_dir: The folder of the session database.
        database: Where the sessions are kept: a file in the data folder, or the URL of a PostgreSQL database.
        context: Models, temperature or clock that override the configuration.
        on_event: Called with every Event.
        leaves_to_workers: Whether requests and answers are only recorded, for a worker to go on with.
    """

    leaves_to_workers = False

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
        repo: str | Path | Mapping[str, Any] | RepositorySettings | None = None,
        tools: Mapping[str, Sequence[BaseTool]] | None = None,
        store: BaseStore | None = None,
        experiment: str = "",
        database: str | Path = "",
    ) -> None:
        """Load the configuration.

        Args:
            config_file: A path, a dict in the file's shape, a SwarmConfig, or None (see `load_config`). The
                name is the old coordinator's.
            data_dir: The folder of the session database.
            output_dir: The folder in which each session gets a folder for its files.
            output: The folder for the files of every session of this coordinator, in place of `output_dir`.
            context: Models, temperature or clock that override the configuration.
            on_event: Called with every Event.
            config_origin: The file to record as the origin of a configuration that is already loaded.
            repo: The git repository that the sessions change or review: a folder in it, or an object like
                `repo` in the configuration, whose place it takes. For a resume: where it lies now.
            tools: LangChain tools that roles may call, by role, as for `build_graph`. They are not recorded:
                a resume in another program needs them again.
            store: Any LangGraph store that roles recall from (`memory`), as for `build_graph`; default: the
                memory in the session database.
            experiment: The experiment whose trials the new sessions are; they are kept out of the lists and
                figures of ordinary sessions.
            database: Where the sessions are kept: the URL of a PostgreSQL database, or a file. Default: as
                the configuration, the environment or the default config file says, else a file in `data_dir`.

        Raises:
            ConfigError: The configuration, or `repo`, cannot be used.
            InputError: The store is none of LangGraph's.
        """
        check_store(store)
        self.config, self._repo = load_config(config_file), repository_settings(repo)
        if self._repo:
            self.config = self.config.with_repo(self._repo)
        self.config_file = config_path(config_file) if config_origin is None else config_origin
        self._is_given = config_file is not None
        self._is_configured = self._is_given or bool(self.config_file) or bool(self.config.entries)
        if self.config.workflow.verbose_logging:
            log_to_stderr()
        self.data_dir, self.output_dir, self.output = Path(data_dir), Path(output_dir), output
        self.database = place_of(data_dir, database or self.config.database)
        self.context, self.on_event = context, on_event
        self._tools, self._store, self._experiment = tools or {}, store, experiment
        self._span_observer = span_observer(self.config)
        self._tasks: dict[str, TaskSpec] = {}
        self._made_from: list[Source] = []
        self._as_before = ""  # the session that was last resumed as before
        self._run = SessionRun(self.config, self._emit)

    # --- running ---------------------------------------------------------------------------------

    def add_task(self, task: Task | TaskSpec | Mapping[str, Any]) -> None:
        """Add a task for the next `run_workflow("", workflow_type="custom")`.

        Its dependencies may be added later.

        Raises:
            InputError: The task is invalid, or its id is taken.
        """
        (spec,) = task_specs([task], self.config.role_names)
        if spec.task_id in self._tasks:
            raise InputError(f"two tasks have the id '{spec.task_id}'; every task needs its own")
        self._tasks[spec.task_id] = spec

    @property
    def added_files(self) -> list[str]:
        """The input files of the tasks that were added for the next request."""
        return [*dict.fromkeys(name for spec in self._tasks.values() for name in spec.files)]

    def add_source(self, kind: TaskFileKind, file: str) -> None:
        """Name a file that the added tasks were read from, so that a resume notices its edits.

        Args:
            kind: A task file, or a table with a row per task.
            file: The file.
        """
        self._made_from.append(source_file(kind, file))

    def run_workflow(
        self,
        user_request: str,
        workflow_type: Workflow = "standard",
        *,
        session_id: str | None = None,
        follow_up: bool = False,
        kind: Kind | None = None,
        explore: int = 0,
    ) -> SwarmResult:
        """Run a workflow to its end, also inside a running event loop; returns the final state.

        A model's failure does not raise: the phase of the state is `failed`, the failed task is among
        `completed_tasks`, and `resume` repeats no finished work.

        Args:
            user_request: What to build or review; for a custom workflow, the common goal of its tasks.
            workflow_type: `standard`, `full`, `review_only` or `custom`.
            session_id: The id of the session; default the time and four random characters.
            follow_up: Whether the request is a follow-up of an existing session.
            kind: What the session makes, `code`, `document` or `change`; default as configured, and `change`
                with a repository. A follow-up makes what its session has made.
            explore: Other than 0: the roles that may have several models (`any_of`) draw theirs instead of
                the best known. For a custom workflow the number of tasks that do.

        Raises:
            InputError: The request is empty, the workflow or the kind is unknown, or the session exists (for
                a follow-up: does not exist, or makes something else).
            ConfigError: A role has no usable model, or a prompt cannot be used.
            SandboxError: Tests are required, and no sandbox is possible.
            StorageError: The database or the output folder cannot be used.
        """
        return aio.run(
            self.arun_workflow(
                user_request,
                workflow_type,
                session_id=session_id,
                follow_up=follow_up,
                kind=kind,
                explore=explore,
            )
        )

    async def arun_workflow(
        self,
        user_request: str,
        workflow_type: Workflow = "standard",
        *,
        session_id: str | None = None,
        follow_up: bool = False,
        kind: Kind | None = None,
        explore: int = 0,
    ) -> SwarmResult:
        """`run_workflow` for asynchronous callers."""
        session_id = validated_session_id(session_id) if session_id else new_session_id()
        checkpointing = self.config.features.enable_checkpointing
        session = get_session(self.data_dir, session_id, self.database) if checkpointing else None
        config = with_kind_of_request(self.config, kind, session if follow_up else None)
        if workflow_type == "custom":
            await asyncio.to_thread(self._read_from_repository, config)
            config = config.without_repo()
        check_repository(config, followed=follow_up)
        drawn = await asyncio.to_thread(self._draw_models, config, workflow_type, explore, session_id)
        builder = self._new_builder(workflow_type, config=config)
        given = self._request(user_request, workflow_type, drawn)
        if builder.makes_change:  # git runs
            prepared = await asyncio.to_thread(self._prepare_change, builder, given)
        else:
            prepared = builder.prepare(given, self.context)
        check_new_request(session_id, session, follow_up=follow_up)
        sources = await asyncio.to_thread(self._sources_of_request, builder, session_id, session, prepared)
        prepared = replace(prepared, is_first=session is None)  # also if another process begins it meanwhile
        self._tasks, self._made_from = {}, []  # only now: after a refused request they are still there
        draws = bool(explore) and workflow_type != "custom"
        return await self._start(
            builder, workflow_type, session_id, session, prepared, sources, explore=draws, drawn=drawn
        )

    def _draw_models(
        self, config: SwarmConfig, workflow: str, explore: int, session_id: str
    ) -> dict[str, str]:
        """The added tasks that ask a model that is drawn, each with its entry of multi_model.

        Raises:
            InputError: No role may have several models, or too few tasks have such a role.
        """
        if not explore:
            return {}
        from swarm_graph.sessions.exploring import drawn_tasks, evidence_of  # most do not
        from swarm_graph.workflows.session_models import NEEDS_CHOICE

        if not config.choices:
            raise InputError(NEEDS_CHOICE)  # before a session begins
        if workflow != "custom":
            return {}
        evidence = evidence_of(self.data_dir, self.database)
        return drawn_tasks(self._tasks, config, evidence, explore, session_id)

    def _read_from_repository(self, config: SwarmConfig) -> None:
        """Let the added tasks read copies of the files that they name as `repo:PATH`. Raises InputError."""
        if not config.repo and not any(names_repository(spec) for spec in self._tasks.values()):
            return
        from swarm_graph.tasks.repository_files import RepositoryCopies  # most task graphs need no git

        copies = RepositoryCopies(config.repo, self.data_dir)
        self._tasks = {name: copies.task(spec) for name, spec in self._tasks.items()}

    def _sources_of_request(
        self, builder: GraphBuilder, session_id: str, session: Session | None, prepared: Prepared
    ) -> list[Source]:
        """What a new request is made from."""
        places = UNMOVED
        if session is not None:
            with self._catalogue() as catalogue:
                places = catalogue.places(session_id)
        specs = task_specs(prepared.given.get("tasks", ()))
        specs = [with_paths(spec, places.recorded) for spec in specs]
        files = [source._replace(name=places.recorded(source.name)) for source in self._made_from]
        return new_sources(builder, specs, files, places)

    def _request(self, request: str, workflow: str, drawn: Mapping[str, str]) -> dict[str, Any]:
        """The input of the graph, with the models that were drawn for its tasks.

        Raises:
            InputError: Tasks were added that the workflow does not run.
        """
        if workflow == "custom":
            tasks = [
                spec.model_copy(update={"model": drawn.get(name, spec.model)})
                for name, spec in self._tasks.items()
            ]
            return {"request": request, "tasks": tasks}
        if self._tasks:
            raise InputError(
                f"{len(self._tasks)} tasks were added, but the workflow '{workflow}' has its own; "
                "run them with workflow_type='custom'"
            )
        return {"request": request}

    def resume(
        self,
        session_id: str | None = None,
        decision: Decision | None = None,
        *,
        trust_session: bool = False,
        as_before: bool = False,
        anew: bool = False,
        inputs: str | Path | None = None,
        decided_by: str = A_PROGRAM,
    ) -> SwarmResult:
        """Resume a session; returns its final state. If the session has ended, only returns its state.

        Args:
            session_id: The session; default the newest one that has not ended.
            decision: The answer to the pauses at which it waits for a person: `"approve"`, `{"edit": ...}` or
                `{"reject": remark}`; about the call of a tool also `{"approve": "session"}`. One for all
                pauses, or an object keyed by nodes or ids of pauses. Without one the session keeps waiting
                (phase `paused`).
            trust_session: Take a session that somebody else began for the user's own: read the files that its
                tasks name, write into the folder that it recorded, and, if this coordinator has no
                configuration, use the servers, programs and keys that it recorded.
            as_before: If a prompt, an input or a task file was edited since the session began, keep the work
                that rests on it, and go on with the prompts and tasks that were recorded.
            anew: If something was edited, begin the request again; only what has changed is asked again.
            inputs: The folder that now holds the input files of the tasks.
            decided_by: Who decides, and where; events and the log of the session name it.

        Raises:
            InputError: There is no such session, the decision cannot be used, or something was edited that
                finished work rests on, and neither `as_before` nor `anew` is set.
            SessionInUse: Another process or thread runs the session.
            UntrustedSession: Somebody else began the session, and this coordinator has no configuration.
        """
        resumed = self.aresume(
            session_id,
            decision,
            trust_session=trust_session,
            as_before=as_before,
            anew=anew,
            inputs=inputs,
            decided_by=decided_by,
        )
        return aio.run(resumed)

    async def aresume(
        self,
        session_id: str | None = None,
        decision: Decision | None = None,
        *,
        trust_session: bool = False,
        as_before: bool = False,
        anew: bool = False,
        inputs: str | Path | None = None,
        decided_by: str = A_PROGRAM,
    ) -> SwarmResult:
        """`resume` for asynchronous callers."""
        if anew and (as_before or decision is not None):
            other = "as_before" if as_before else "a decision"
            raise InputError(f"anew and {other} exclude each other: anew begins the request again; give one")
        session = self._find(session_id, trust_session)
        edits, texts, ended = Edits([]), dict[str, str](), has_ended(session.phase)
        if not ended or not self._is_configured:
            resume = self._resume_config(session, () if ended else GROUPS)
            self.config, self.config_file = resume.config, resume.origin
        if not ended:
            self._tell_missing_tools(session)
            as_before = as_before or session.session == self._as_before  # as in the run before a pause
            if inputs is not None:
                with self._catalogue() as catalogue:
                    move_inputs(catalogue, session, inputs)
            edits, texts = self._decided_edits(session, as_before=as_before, anew=anew)
        self._as_before = session.session if as_before else ""
        builder = self._new_builder(
            session.workflow, texts, asks_models=not ended, recalls=has_recalled(session)
        )
        answer: Any = None if decision is None else Command(resume=decision)
        prepared, sources = builder.prepare(answer, self.context), None
        if anew and edits.open:
            prepared, sources = self._anew(builder, session, edits)
        elif not as_before and edits.all:
            with self._catalogue() as catalogue:
                sources = updated_sources(catalogue, session, edits)
        return await self._start(
            builder, session.workflow, session.session, session, prepared, sources, decided_by
        )

    def _tell_missing_tools(self, session: Session) -> None:
        """Warn of functions that the session calls as tools, and that this program does not give to it."""
        with self._catalogue() as catalogue:
            calls = catalogue.tool_calls(session.session)
        waiting: list[Pause] = []
        if session.phase == "paused":
            with self._saver() as saver:
                waiting = pauses_of(saver, session)
        missing = missing_tools(calls, waiting, self._tools)
        if missing:
            named = printable(", ".join(f"{tool} ({role})" for role, tool in missing))
            warnings.warn(
                f"session '{session.session}' calls functions of a program that this one does not give to "
                f"its roles: {named}; its roles go on without them (in Python tools=… gives them)",
                stacklevel=3,
            )

    def edits(self, session: Session) -> Edits:
        """What was edited since a session began that has not ended."""
        if has_ended(session.phase):
            return Edits([])
        with self._catalogue() as catalogue:
            return find_edits(catalogue, session, self.config)

    def _decided_edits(
        self, session: Session, *, as_before: bool, anew: bool
    ) -> tuple[Edits, dict[str, str]]:
        """What was edited since a session began, and the recorded prompts if it goes on as before.

        Raises:
            InputError: Something was edited that finished work rests on, and nobody has decided how to go on.
        """
        with self._catalogue() as catalogue:
            edits = find_edits(catalogue, session, self.config)
            check_decided(session, edits, as_before or anew)
            return edits, self._recorded_texts(catalogue, session, edits) if as_before else {}

    def _anew(self, builder: GraphBuilder, session: Session, edits: Edits) -> tuple[Prepared, list[Source]]:
        """The input that begins the latest request of a session anew, and what it is made from now."""
        with self._catalogue() as catalogue:
            anew, places = (
                request_anew(catalogue, session, edits, self.config.role_names),
                catalogue.places(session.session),
            )
        given: dict[str, Any] = anew.request
        if anew.specs:
            here = [with_paths(spec, places.input_file) for spec in anew.specs]
            given = {**given, "tasks": here}
        builder.prepare(given, self.context)
        return Prepared(anew.request, anew=True), new_sources(builder, anew.specs, anew.made_from, places)

    def _recorded_texts(self, catalogue: Catalogue, session: Session, edits: Edits) -> dict[str, str]:
        """The prompts that a session recorded, which replace the present ones.

        Raises:
            InputError: Somebody else began the session, and its prompts differ from the present ones.
        """
        if is_trusted(self.data_dir, session, self.database):
            return recorded_texts(catalogue, session.session)
        if any(edit.source.kind == "prompt" for edit in edits.all):
            raise InputError(
                f"session '{session.session}' was not started by you, and --as-before would use the prompts "
                "that it recorded; --trust-session (in Python trust_session=True) allows that, "
                "--anew (anew=True) uses yours"
            )
        return {}

    def _catalogue(self) -> AbstractContextManager[Catalogue]:
        return open_catalogue(self.data_dir, self.database)

    def _saver(self) -> SwarmSaver:
        return open_checkpointer(self.database, data_dir=self.data_dir)

    def _find(self, session_id: str | None, trust_session: bool) -> Session:
        session = find_session(self.data_dir, session_id, database=self.database)
        return trust(self.data_dir, session, self.database) if trust_session else session

    def _resume_config(self, session: Session, uses: Collection[str]) -> ResumeConfig:
        """The configuration given to this coordinator, or if none was what may be used of the session's.

        `resume_config` decides, as for the command line.
        """
        source = self.config if self._is_given or self.context else None
        trusted = is_trusted(self.data_dir, session, self.database)
        simulate = source is None and session.simulated
        resume = resume_config(
            session, source, trusted=trusted, simulate=simulate, repo=self._repo, uses=uses
        )
        return resume if source is None else resume._replace(origin=self.config_file)

    def verify(self, session_id: str, *, trust_session: bool = False) -> Evidence:
        """Run the tests of a session's latest state again, or check its document again; returns the evidence.

        The evidence is recorded, too. The state of the session does not change.

        Args:
            session_id: The session.
            trust_session: As for `resume`.

        Raises:
            InputError: There is no such session.
            ConfigError: The interpreter for the tests cannot be used.
            SandboxError: Tests are required, and no sandbox is possible.
            UntrustedSession: Somebody else began the session, and this coordinator has no configuration.
        """
        return aio.run(self.averify(session_id, trust_session=trust_session))

    async def averify(self, session_id: str, *, trust_session: bool = False) -> Evidence:
        """`verify` for asynchronous callers."""
        session = self._find(session_id, trust_session)
        execution = self._resume_config(session, ("execution",)).config.execution
        with self._saver() as saver:
            state = await SessionStore(session.session, saver).state()
            if state.get("repo"):
                state = await asyncio.to_thread(self._found_again, state, session)
            if state.get("kind") == DOCUMENT:
                evidence = check_evidence(state)
            else:
                evidence = (await run_in_thread(state, execution)).evidence
            record = saver.catalogue.add_verification
            await saver.database.run(record, session.session, state.get("iteration", 0), evidence)
        return evidence

    def _found_again(self, state: SwarmState, session: Session) -> SwarmState:
        """A state with its repository where it lies now. Raises InputError if it may not be used."""
        from swarm_graph.workflows.repository import find_again  # other kinds need no git

        change, trusted = cast("ChangeState", state), is_trusted(self.data_dir, session, self.database)
        repo = find_again(change["repo"], session.session, self.config.repo, is_own=trusted)
        return cast("SwarmState", {**change, "repo": repo})

    def ask(self, question: str) -> str:
        """Ask a model about the latest session: why is it as it is? Returns the answer.

        The session, its files and its figures do not change; neither question nor answer is recorded. The
        model of the architect answers, or in a session without one the model of another of its roles.

        Args:
            question: The question.

        Raises:
            InputError: The question is empty, or there is no session yet.
            ConfigError: There is no model to ask.
            ModelError: There is no answer that can be used.
        """
        return aio.run(self.aask(question)).value

    async def aask(
        self, question: str, *, earlier: Sequence[tuple[str, str]] = (), on_event: OnEvent | None = None
    ) -> Answer[str]:
        """`ask` for asynchronous callers; returns the answer with a note on what was unusual about it.

        Args:
            question: The question.
            earlier: Earlier questions with their answers, which the model sees.
            on_event: Called with the events of this call.
        """
        if not self.session_id:
            raise InputError("there is no session to ask about; run_workflow begins one, resume takes one up")
        subject = Subject(self.session_id, self.workflow, self._run.state, self.completed_tasks, self.roles)
        with self._memory() as store:
            return await answer_question(
                question,
                subject,
                self._run.config,
                context=self.context,
                earlier=earlier,
                on_event=on_event,
                store=store,
            )

    @contextmanager
    def _memory(self) -> Iterator[BaseStore | None]:
        """The store that roles recall from outside of a run; None if they recall nothing."""
        memory = self.config.memory
        if self._store is not None or not (memory and memory.recall):
            yield self._store
            return
        with self._saver() as saver:
            yield store_of(self.config, saver)

    def check(self, workflow: str) -> None:
        """Raises ConfigError or SandboxError when a workflow cannot run. No server is asked."""
        self._new_builder(workflow).prepare(None, self.context)

    def stop(self) -> None:
        """Stop the run: calls in flight may finish, no new call starts, and the phase becomes `cancelled`."""
        self._run.options.stop.set()

    def _new_builder(
        self,
        workflow: str,
        texts: Mapping[str, str] | None = None,
        config: SwarmConfig | None = None,
        *,
        asks_models: bool = True,
        recalls: bool = False,
    ) -> GraphBuilder:
        """The graph of a workflow, not yet compiled.

        Args:
            workflow: The workflow.
            texts: Texts of prompts in place of those of the configuration.
            asks_models: Whether its roles will ask models, and so need them.
            recalls: Whether the state holds what roles have recalled from memory, even if none recalls now.

        Raises:
            ConfigError: A role has no usable model, or pauses or memory have no database.
        """
        config = config or self.config
        builder = new_builder(workflow, config, texts, self._tools, recalls=recalls)
        # A context may supply the models. If it does not, the first call reports what is missing.
        asks_models = asks_models and self.context is None and not self.leaves_to_workers
        for role in builder.roles if asks_models else ():
            for entry in self.config.models_for(role):
                check_model(entry)
        if config.uses_memory and self._store is None and not config.features.enable_checkpointing:
            raise ConfigError(
                "memory needs features.enable_checkpointing: it lies in the database; or give a store of "
                "your own (in Python store=...), or leave memory out"
            )
        if self.config.workflow.pauses and not self.config.features.enable_checkpointing:
            raise ConfigError(
                "workflow.pause_before and pause_after need features.enable_checkpointing: "
                "a session that waits for a person is kept in the database"
            )
        return builder

    async def _start(
        self,
        builder: GraphBuilder,
        workflow: str,
        session_id: str,
        session: Session | None,
        prepared: Prepared,
        sources: list[Source] | None,
        decided_by: str = A_PROGRAM,
        *,
        explore: bool = False,
        drawn: Mapping[str, str] | None = None,
    ) -> SwarmResult:
        """Open output folder and database, build the graph on them, and run it; returns the final state."""
        folder = self._folder(session_id, session)
        options = replace(self._options(folder, sources, decided_by), explore=explore, drawn=drawn or {})
        # If folder or database cannot be opened, the caller sees this session, without a state.
        self._run = SessionRun(self.config, self._emit, session_id, options)
        if not self.leaves_to_workers:
            make_folder(folder)
        self._keep_out_of_git(prepared)
        checkpointing = self.config.features.enable_checkpointing
        with open_session_store(
            self.data_dir, session_id, checkpointing=checkpointing, database=self.database
        ) as session_store:
            catalogue = session_store.saver.catalogue if session_store.saver else None
            places = catalogue.places(session_id) if catalogue else UNMOVED
            files = Output(folder, session_id, builder.bindings.roles, catalogue, places)
            if self.output:
                files.check_free(with_candidates=bool(builder.candidates))
            memory = self._store
            if memory is None:
                memory = store_of(builder.bindings.config, session_store.saver)
            graph = builder.build(workflow, session_store.saver, memory)
            if self.leaves_to_workers:
                tells = replace(options, on_decision=self._emit)
                await graph.aqueue(prepared, session_store.thread, context=tells)
                return self.state
            self._run = SessionRun(self.config, self._emit, session_id, options, files)
            await self._run.follow(graph, session_store, prepared)
        return self.state

    def _folder(self, session_id: str, session: Session | None) -> Path:
        recorded = session.output if session and is_trusted(self.data_dir, session, self.database) else ""
        return Path(self.output or recorded or (self.output_dir / file_name(session_id)).absolute())

    def _prepare_change(self, builder: GraphBuilder, given: Any) -> Prepared:
        """Check a request; folders of ours that earlier sessions left are no changes of the user's."""
        if repo := builder.bindings.config.repo:
            from swarm_graph.repository.git import Git  # other kinds need no git

            top = str(Git(repo.path).folder)
            if repo.with_changes and self.data_dir.resolve() == Path(top).resolve():
                raise InputError(
                    f"the data folder '{self.data_dir}' is the repository itself, so with_changes would "
                    "commit the database; name another one with --data-dir (in Python data_dir)"
                )
            for folder in filter(Path.is_dir, self._own_folders):
                keep_out_of_git(folder, top)
        return builder.prepare(given, self.context)

    def _keep_out_of_git(self, prepared: Prepared) -> None:
        """Make git ignore the data and output folders where they lie in the repository of a new request."""
        given = prepared.given
        if isinstance(given, Mapping) and (repo := given.get("repo")):
            for folder in self._own_folders:
                keep_out_of_git(folder, repo["path"])

    @property
    def _own_folders(self) -> list[Path]:
        """The data folder, and the output folder if the user has not named another one."""
        return [self.data_dir, *([] if self.output else [self.output_dir])]

    def _options(self, folder: Path, sources: list[Source] | None, decided_by: str) -> RunOptions:
        context = self.context or SwarmContext()
        return RunOptions(
            context.model,
            context.temperature,
            context.clock,
            output=str(folder.absolute()),
            config_file=self.config_file,
            sources=sources,
            decided_by=decided_by,
            experiment=self._experiment,
        )

    def _emit(self, event: Event) -> None:
        """Hand an event to the log and to the observers."""
        log_event(event)
        for observe in (self._span_observer, self.on_event):
            if observe:
                observe(event)

    # --- the latest session ----------------------------------------------------------------------

    @property
    def session_id(self) -> str:
        """The id of the latest session; empty before the first one."""
        return self._run.session_id

    @property
    def workflow(self) -> str:
        """The workflow of the latest session."""
        return self._run.workflow

    @property
    def state(self) -> SwarmResult:
        """The state of the latest session; without a session, or before it began, its keys are empty."""
        return with_every_key(self._run.state)

    @property
    def roles(self) -> Roles:
        """The roles of the latest session."""
        return self._run.tracker.roles

    @property
    def session_config(self) -> SwarmConfig:
        """The configuration of the latest session, with the models that it has chosen."""
        return self._run.config

    @property
    def drawn_models(self) -> dict[str, str]:
        """The tasks that explore in the latest run, each with its entry of multi_model."""
        return self._run.drawn

    @property
    def pauses(self) -> list[Pause]:
        """The pauses at which the latest session waits for a person."""
        return self._run.pauses

    @property
    def stopped_by(self) -> str:
        """The limit that stopped the latest session, in words; empty if none did."""
        return self._run.stopped_by

    @property
    def failure(self) -> ModelError | None:
        """The error that ended the latest run of the session; None if none did."""
        return self._run.failure

    @property
    def remembered(self) -> Remembered | None:
        """What the latest run has kept or offered for memory; None if `memory.remember` is off."""
        return self._run.remembered

    @property
    def files(self) -> Output | None:
        """The output folder of the latest session; None before the first one."""
        return self._run.files

    @property
    def last_round(self) -> int:
        """The round after which the latest session ends, approved or not."""
        return self._run.last_round

    @property
    def calls_in_flight(self) -> int:
        """How many calls of models and tools run now."""
        return self._run.tracker.calls_in_flight

    @property
    def completed_tasks(self) -> list[Task]:
        """The finished tasks, failed and skipped ones included, sorted by id.

        The tasks of a custom graph are in the order in which they were added.
        """
        return self._run.tracker.completed_tasks()

    @property
    def unreadable_nodes(self) -> list[str]:
        """The nodes with an answer in this run that could not be used, even after the repair question."""
        return [*self._run.tracker.unreadable]

    def got_answer(self, node: str) -> bool:
        """Whether anything of an answer arrived in the last call of a node."""
        rows = [row for row in self._run.tracker.calls if row["node"] == node]
        return bool(rows) and rows[-1]["first_token_s"] is not None

    def calls(self, session_id: str | None = None) -> list[Call]:
        """What the calls of a session were asked and what they answered, in the order in which they began.

        Each attempt is a Call: prompt, thoughts, answer, why it could not be used, time and tokens. With
        `features.keep_prompts` off the calls have no texts.

        Args:
            session_id: A session of the database; default the latest one of this coordinator, or if it has
                run none, the one that was worked on last.

        Raises:
            InputError: There is no such session, or no session is kept (`features.enable_checkpointing`).
        """
        with self._catalogue() as catalogue:
            session = session_to_read(catalogue, session_id or self.session_id or None)
            return [*catalogue.transcript.calls(session.session)]

    def tool_calls(self, session_id: str | None = None) -> list[ToolRecord]:
        """The calls of tools of a session, in the order in which they began.

        Each has its role, arguments, result, time, and what a person decided. Of an ended session only the
        figures are left if `features.keep_prompts` is off; `missing` says so.

        Args:
            session_id: As for `calls`.

        Raises:
            InputError: There is no such session, or no session is kept (`features.enable_checkpointing`).
        """
        with self._catalogue() as catalogue:
            session = session_to_read(catalogue, session_id or self.session_id or None)
            return catalogue.tool_calls(session.session)

    def get_metrics_summary(self) -> dict[str, Any]:
        """The figures of the session.

        Returns:
            `session`, `workflow`, `agents` (the figures of each role, see `metrics.summary`), `tests` (of the
            test runs), and `model_swaps` (how often a server was asked for another model than before); if
            roles have recalled from memory, `recalled` (see `metrics.recalled_summary`).
        """
        metrics = self._run.tracker.metrics()
        return {"session": self.session_id, "workflow": self.workflow, **metrics}

    def save_state(self, path: str | Path) -> None:
        """Write the session's state JSON. Raises StorageError when it cannot be written."""
        target = Path(path)
        write_file(target.parent, target.name, to_json(self.document()))

    def document(self) -> dict[str, Any]:
        """The session as a state JSON, in the old coordinator's structure."""
        return self._run.document()

    def __repr__(self) -> str:
        name = type(self).__name__
        if not self.session_id:
            return f"{name}(no session yet)"
        return f"{name}(session {self.session_id!r}, {self.workflow}: {self.state.get('phase', 'not begun')})"

    def _repr_html_(self) -> str:
        if not self.session_id:
            return NO_SESSION_HTML
        return session_html(self.document(), str(self.files.folder) if self.files else "")
