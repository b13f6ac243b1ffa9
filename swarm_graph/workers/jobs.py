"""The job of a session: resume it here, whoever has submitted it.

A job holds the id of its session, and the submitter's signature of what is asked. What is run, with which
settings, lies in the session, which its submitter has signed, too. A session of somebody else runs with the
worker's own configuration.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from procrastinate.jobs import Job

from swarm_graph.checkpoints.open_database import borrowed
from swarm_graph.checkpoints.postgres import ServerGone, Undone
from swarm_graph.checkpoints.postgres_schema import OtherVersion
from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.saver import saver_of
from swarm_graph.checkpoints.signatures import is_own
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.config import SwarmConfig, load_config
from swarm_graph.errors import InputError, NoModel, SessionInUse, SwarmError
from swarm_graph.models.slots import CALL_PRIORITY
from swarm_graph.sessions.apply import state_of
from swarm_graph.sessions.background import BackgroundSessions
from swarm_graph.sessions.coordinator import SwarmCoordinator
from swarm_graph.sessions.resume import resume_config
from swarm_graph.sessions.run import OnEvent
from swarm_graph.settings import PROMPT_PACKS
from swarm_graph.state import QUEUED, has_ended
from swarm_graph.tasks.elsewhere import ELSEWHERE
from swarm_graph.workers.conductor import Conductors
from swarm_graph.workers.files import ReceivedRepository, send_commits
from swarm_graph.workers.outcome import Again, Done, Failed, Outcome
from swarm_graph.workers.session_order import is_signed_order
from swarm_graph.workflows.commit import SEND_COMMITS

if TYPE_CHECKING:
    from swarm_graph.roles.run import RunOptions
    from swarm_graph.state import Repository, SwarmResult

PASSING = (SessionInUse, ServerGone, Undone)
"""Errors that say nothing about a session: it is resumed a little later, here or elsewhere."""
NO_MODEL = (
    "no model is configured; submit it with --config FILE, or --url URL --model NAME "
    "(a session of somebody else takes the models of the worker's --config)"
)
IN_USE_PAUSE_S = 2.0
"""How long the job of a session waits that another process works on."""
OTHER_VERSION_PAUSE_S = 10.0
"""How long it waits after a worker of another version has taken it."""


class SessionJobs:
    """Does the jobs of sessions in this process.

    Args:
        url: The database.
        data_dir: The data folder of this machine.
        folder: Where this worker keeps what it receives.
        own: The worker's configuration for the sessions of others; None for what may be used of theirs.
        concurrency: How many run at once.
        say: Called with a line for the operator.
    """

    def __init__(
        self,
        url: str,
        data_dir: Path,
        folder: Path,
        own: SwarmConfig | None,
        concurrency: int,
        say: Callable[[str], None],
    ) -> None:
        self._url, self._data_dir, self._folder = url, data_dir, folder
        self._own, self._say = own, say
        self._sessions = BackgroundSessions(2 * concurrency, report=lambda _: None)
        self._is_draining = False
        self.conductors: Callable[[int], Conductors] | None = None
        """Makes, for a job's priority, what has the tasks of its session run by any worker."""

    async def __call__(self, job: Job) -> Outcome:
        """Work on the session of a job until it ends, pauses, fails or is stopped."""
        session_id = str(job.task_kwargs.get("session"))
        if self._is_draining:
            return Again()
        try:
            outcome = await self._work(session_id, job)
        except PASSING:
            return Again(IN_USE_PAUSE_S)
        except OtherVersion as error:  # the database was upgraded, and this worker is still the old one
            self._say(f"session '{session_id}' is left to workers of the right version: {error}")
            return Again(OTHER_VERSION_PAUSE_S)
        except SwarmError as error:
            outcome = Failed(str(error))
        if isinstance(outcome, Failed):
            self._say(f"session '{session_id}' failed: {outcome.reason}")
        return outcome

    async def _work(self, session_id: str, job: Job) -> Outcome:
        if self._sessions.live(session_id):  # this worker had lost the job, and has it again
            return Again(IN_USE_PAUSE_S)
        began = await asyncio.to_thread(self._prepare, session_id, job.task_kwargs)
        if began is None:
            return Done()
        session, is_trusted = began
        run = SessionJob(self, session, is_trusted, job.priority)
        self._say(f"session '{session_id}' begins")
        try:
            await self._sessions.begin(session_id, run.work, run.new_coordinator)
        except InputError:
            if self._is_draining:
                return Again()
            raise
        if live := self._sessions.live(session_id):
            await asyncio.wait([live.task])
        return await asyncio.to_thread(run.outcome, self._sessions.error(session_id))

    def _prepare(self, session_id: str, arguments: Mapping[str, Any]) -> tuple[Session, bool] | None:
        """The session, and whether it is the user's own, with its files in place; None if it has ended.

        Raises:
            InputError: It is the user's own, and asks something else than when the user submitted it.
        """
        with self.saver() as saver:
            session = saver.catalogue.get(session_id)
            if session is None or has_ended(session.phase):
                return None
            is_trusted = is_own(saver.catalogue, session)
            if is_trusted and not is_signed_order(saver.catalogue, arguments):
                raise InputError(
                    "it is not what you have submitted: its request, its prompts or its job has changed; "
                    f"look at it, then `swarm-graph submit resume {session_id}` submits it"
                )
            self.received(session_id).receive(saver.database, state_of(saver, session_id))
            return session, is_trusted

    def received(self, session_id: str) -> ReceivedRepository:
        """What has been received of a session."""
        return ReceivedRepository(self._folder, session_id)

    @contextmanager
    def saver(self) -> Iterator[SwarmSaver]:
        """The database, for a short look."""
        with borrowed(self._url, self._data_dir) as database:
            yield saver_of(database)

    def coordinator(
        self, session: Session, is_trusted: bool, received: ReceivedRepository, on_event: OnEvent
    ) -> SwarmCoordinator:
        """A coordinator for a session."""
        resume = resume_config(
            session,
            _recorded(session) if is_trusted else self._own,
            trusted=is_trusted,
            simulate=session.simulated,
            repo=received.settings,
        )
        return _Coordinator(
            resume.config,
            data_dir=self._data_dir,
            output=received.output,
            database=self._url,
            config_origin=session.config_file if is_trusted else resume.origin,
            on_event=on_event,
        )

    @property
    def is_draining(self) -> bool:
        """Whether running sessions stop, for other workers to go on with."""
        return self._is_draining

    def say(self, line: str) -> None:
        """Tell the operator."""
        self._say(line)

    async def drain(self) -> None:
        """Stop the running sessions, for other workers to go on with; returns when they have stopped."""
        self._is_draining = True
        await self._sessions.close()

    def cancel_calls(self) -> None:
        """Cancel the calls in flight."""
        self._sessions.cancel_calls()


class SessionJob:
    """One session that a worker works on."""

    def __init__(self, jobs: SessionJobs, session: Session, is_trusted: bool, priority: int) -> None:
        self._jobs, self._session, self._is_trusted = jobs, session, is_trusted
        self._priority = priority
        self._received = jobs.received(session.session)
        self._coordinator: SwarmCoordinator | None = None
        self._error: SwarmError | None = None

    def new_coordinator(self, on_event: OnEvent) -> SwarmCoordinator:
        """The coordinator of the session."""
        self._coordinator = self._jobs.coordinator(self._session, self._is_trusted, self._received, on_event)
        return self._coordinator

    async def work(self, coordinator: SwarmCoordinator) -> SwarmResult:
        """Resume the session, with the prompts that its submitter had."""
        CALL_PRIORITY.set(self._priority)
        SEND_COMMITS.set(self._send_commits)
        if self._jobs.conductors:
            ELSEWHERE.set(self._jobs.conductors(self._priority))
        try:
            return await coordinator.aresume(self._session.session, as_before=self._is_trusted)
        except SwarmError as error:
            self._error = error
            raise

    def _send_commits(self, saver: SwarmSaver, repo: Repository, commit: str) -> None:
        send_commits(saver.database, self._session.session, repo, commit)

    def outcome(self, error: str) -> Outcome:
        """How the session ended here; what it has received is removed."""
        assert self._coordinator is not None
        self._received.remove()
        if isinstance(self._error, PASSING):
            self._jobs.say(str(self._error))
            return Again(IN_USE_PAUSE_S)
        name, phase = self._session.session, self._coordinator.state.get("phase")
        with self._jobs.saver() as saver:
            runs = saver.catalogue.runs(name)
            is_stopped = bool(runs) and runs[-1].stop_requested
            if phase == "cancelled" and not is_stopped:  # by a drain, or with a lost connection
                _wait_again(saver, name)
                self._jobs.say(f"session '{name}' waits for another worker")
                return Again()
        if isinstance(self._error, NoModel):
            return Failed(NO_MODEL)
        if error or phase in ("failed", "over_budget"):
            return Failed(error or (runs[-1].error if runs else "") or self._coordinator.stopped_by)
        self._jobs.say(f"session '{name}': {phase}")
        return Done()


def _recorded(session: Session) -> SwarmConfig:
    """The configuration of a session, without the submitter's folder of prompts: their texts are recorded."""
    folder = session.config.get("prompts_dir")
    is_here = folder is None or folder in PROMPT_PACKS
    return load_config(session.config if is_here else {**session.config, "prompts_dir": None})


def _wait_again(saver: SwarmSaver, session_id: str) -> None:
    """Record that a session waits for a worker, which a run of it has stopped."""
    with saver.database.transaction() as cursor:
        query = "UPDATE sessions SET phase = ? WHERE session = ? AND phase = 'cancelled'"
        cursor.execute(query, (QUEUED, session_id))


class _Coordinator(SwarmCoordinator):
    """Leaves the output folder as the submitter has recorded it, and writes elsewhere."""

    def _options(self, *given: Any) -> RunOptions:
        return replace(super()._options(*given), output="")
