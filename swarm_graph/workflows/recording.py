"""Records one run of a graph: the lock of its session, its row in the catalogue, its journal, its events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.decisions import forget_decisions
from swarm_graph.checkpoints.journal import Journal
from swarm_graph.checkpoints.locks import SessionLock, lock_session
from swarm_graph.checkpoints.places import Places
from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.retention import compact
from swarm_graph.checkpoints.signatures import is_own, sign
from swarm_graph.checkpoints.signed_decisions import sign_decisions
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.config import SwarmConfig, recorded_choices
from swarm_graph.errors import OverBudget, Stopped, StorageError
from swarm_graph.events import Event, Kind
from swarm_graph.models.budget import Budget
from swarm_graph.roles.run import RunOptions
from swarm_graph.settings import AnyOf
from swarm_graph.state import QUEUED, SwarmState, has_ended
from swarm_graph.workflows.opening import Opening
from swarm_graph.workflows.pauses import Answer, decisions_of, waiting_pauses

if TYPE_CHECKING:
    from swarm_graph.checkpoints.model_evidence import Evidence


class Recording(NamedTuple):
    """What the nodes of a recorded run use: the journal of its calls, and the budget that is left."""

    journal: Journal
    budget: Budget


class RunRecorder:
    """Records one run of a session. Use it in `with` or `async with`; nothing is written before `begin`.

    Raises:
        SessionInUse: Another process or thread runs the session.
    """

    def __init__(self, saver: SwarmSaver, session_id: str) -> None:
        self.saver, self._catalogue, self._session_id = saver, saver.catalogue, session_id
        self._lock = SessionLock(self._catalogue, session_id)
        self._run: int | None = None
        self._workflow, self._keeps_events = "", False
        self._phase = ""
        self.is_own = True
        """Whether the user began the session or has trusted it; set by `begin`."""

    def forget_begin(self) -> None:
        """Nothing has begun: the transaction that recorded it was undone, and the run is opened again."""
        self._run = None

    def leave_to_workers(self) -> None:
        """The run ends without having run anything: a worker resumes the session."""
        self._phase = QUEUED

    @property
    def is_left_to_workers(self) -> bool:
        """Whether the run ends without having run anything."""
        return self._phase == QUEUED

    def __enter__(self) -> Self:
        self._lock.acquire()
        return self

    async def __aenter__(self) -> Self:
        return self.__enter__()

    def pending_request(self, saved: CheckpointTuple | None) -> dict[str, Any] | None:
        """The request of a killed run that no checkpoint holds yet."""
        return self._catalogue.pending_input(self._session_id, _checkpoint_id(saved))

    @property
    def left_open(self) -> bool:
        """Whether the catalogue says that the session has not ended, as after a kill right at its end."""
        session = self._catalogue.get(self._session_id)
        return session is not None and not has_ended(session.phase)

    @property
    def knows_as_own(self) -> bool:
        """Whether the user began the session or has trusted it, or it is new."""
        known = self._catalogue.get(self._session_id)
        return known is None or is_own(self._catalogue, known)

    def before_request(self) -> dict[str, Any]:
        """The state in which the session was when its latest request began."""
        base = self._catalogue.base_of_request(self._session_id)
        thread: RunnableConfig = {"configurable": {"thread_id": self._session_id, "checkpoint_id": base}}
        saved = self.saver.get_tuple(thread) if base else None
        return saved.checkpoint["channel_values"] if saved else {}

    def evidence(self) -> Evidence:
        """What the database knows of models."""
        from swarm_graph.checkpoints.model_evidence import read_evidence  # most roles have one model

        return read_evidence(self._catalogue)

    def recorded_choices(self) -> dict[str, AnyOf]:
        """The models that the session has chosen, by role; none if somebody else began it."""
        known = self._catalogue.get(self._session_id)
        if known is None or not is_own(self._catalogue, known):
            return {}
        return recorded_choices(self._catalogue.latest_config(known))

    @property
    def places(self) -> Places:
        """Where the files of the session are now."""
        return self._catalogue.places(self._session_id)

    def begin(
        self,
        opening: Opening,
        workflow: str,
        config: SwarmConfig,
        options: RunOptions,
        saved: CheckpointTuple | None,
        nodes: Sequence[str],
        last_round: int,
    ) -> Recording:
        """Record the start of the run, and open its journal.

        Args:
            opening: How the run begins.
            workflow: The name of the graph.
            config: Its configuration; secrets are not recorded.
            options: The output folder, the config file and the sources to record.
            saved: The checkpoint that the run starts from.
            nodes: The nodes of the graph.
            last_round: The round after which the session ends, approved or not.
        """
        assert opening.kind is not None
        values = saved.checkpoint["channel_values"] if saved else {}
        source = opening.request or values.get("__start__") or values
        now = time.time()
        session = Session(
            session=self._session_id,
            workflow=workflow,
            request=str(source.get("request") or f"{len(source.get('tasks', ()))} tasks"),
            config=config.redacted(),
            phase="running",
            created_at=now,
            updated_at=now,
            output=options.output,
            simulated=config.is_simulated,
            config_file=options.config_file,
            experiment=options.experiment,
        )
        self.is_own = self.knows_as_own
        with self.saver.transaction():
            run = self._catalogue.begin_run(
                session, opening.kind, opening.request, _checkpoint_id(saved), options.sources
            )
            if self.is_own:
                sign(self._catalogue, self._session_id)
            elif opening.kind != "begin":
                forget_decisions(self._catalogue, self._session_id)
            self._workflow, self._keeps_events = workflow, config.ui.events
            self._append(
                "session_started",
                workflow=workflow,
                nodes=[*nodes],
                max_iterations=last_round,
                resumed=bool(values),
                run=opening.kind,
            )
            for event in models_chosen(self._session_id, config, options.drawn) if self._keeps_events else ():
                self._catalogue.transcript.append(event)
        self._run = run  # only now: a transaction that fails, as on a full disk, has begun nothing
        resumed = opening.kind == "resume"
        keeps_texts = config.features.keep_prompts
        self._journal = Journal(
            self._catalogue,
            self._session_id,
            has_answers=resumed,
            transcript=self._catalogue.transcript if keeps_texts or self._keeps_events else None,
            keeps_texts=keeps_texts,
            keeps_events=self._keeps_events,
            run=run,
            on_stop=options.stop.set,
        )
        spent = self._catalogue.usage_of_request(self._session_id) if resumed else (0, 0, 0.0)
        return Recording(self._journal, Budget(config.limits, *spent))

    def put_answers(
        self, saved: CheckpointTuple, answers: Sequence[Answer], decided: Sequence[Event]
    ) -> None:
        """Commit a person's answers.

        Args:
            saved: The checkpoint at which the session waits for them.
            answers: The answers.
            decided: An event for each pause that they answer.
        """
        with self.saver.transaction():
            for answer in answers:
                self.saver.put_writes(saved.config, *answer.write())
            sign_decisions(self._catalogue, self._session_id, decisions_of(answers))
            for event in decided if self._keeps_events else ():
                self._catalogue.transcript.append(event)

    def _append(self, kind: Kind, **data: Any) -> None:
        """Record an event of the whole session, in the transaction around it."""
        if self._keeps_events:
            self._catalogue.transcript.append(Event(kind, time.time(), self._session_id, "", data=data))

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        try:
            self.saver.database.do(self._finish, error)
        finally:
            self._lock.release()

    async def __aexit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        finished = asyncio.ensure_future(self.saver.database.run(self._finish, error))
        # Also when this coroutine is cancelled: the next run reads what is written here.
        finished.add_done_callback(lambda _: self._lock.release())
        await asyncio.shield(finished)

    def _finish(self, error: BaseException | None) -> None:
        """Record the end of a run that was recorded; `error` ended it."""
        if self._run is None:
            return
        if error is None:
            self._end(self._run, self._phase)
            return
        stopped = isinstance(error, Stopped) or not isinstance(error, Exception)
        failed = "over_budget" if isinstance(error, OverBudget) else "failed"
        phase, text = ("cancelled", "") if stopped else (failed, str(error))
        with suppress(StorageError):  # the first error says what is wrong
            self._end(self._run, phase, text)

    def _end(self, run: int, phase: str = "", error: str = "") -> None:
        """Record the end of the run.

        Args:
            run: Its number.
            phase: The phase to record; default the one in the state. A run that stops without an error before
                the end of its session waits for a person.
            error: Why the run failed.
        """
        saved = self.saver.get_tuple({"configurable": {"thread_id": self._session_id}})
        values = saved.checkpoint["channel_values"] if saved else {}
        state_phase = values.get("phase", "running")
        phase = phase or ("paused" if state_phase == "running" else state_phase)
        with self.saver.transaction():
            tasks = {**values.get("tasks", {}), **self._journal.ended_tasks}
            self._catalogue.put_tasks(self._session_id, tasks.values())
            self._catalogue.end_run(self._session_id, run, phase, error, cast("SwarmState", values))
            self._append(
                "session_ended",
                workflow=self._workflow,
                phase=phase,
                approved=values.get("approved", False),
                findings=len(values.get("findings", ())),
                pauses=[pause.place for pause in waiting_pauses(saved)],
                error=error,
            )
            if has_ended(phase):
                compact(self.saver, self._session_id)
            else:
                self._catalogue.transcript.compact(self._session_id)


def models_chosen(session_id: str, config: SwarmConfig, drawn: Mapping[str, str]) -> list[Event]:
    """The event that says which models were chosen; none if every role has one model.

    Args:
        session_id: The session.
        config: Its configuration.
        drawn: The tasks that explore, each with its entry of multi_model.
    """
    models = {
        role: {"entry": choice.chosen, "reason": choice.reason}
        for role, choice in config.choices.items()
        if choice.chosen
    }
    data = {"models": models, "tasks": dict(drawn)}
    return [Event("models_chosen", time.time(), session_id, "", data=data)] if models else []


def _checkpoint_id(saved: CheckpointTuple | None) -> str:
    return saved.checkpoint["id"] if saved else ""


@contextmanager
def manual_edit(catalogue: Catalogue, session_id: str) -> Iterator[None]:
    """Lock a session for a manual edit of its state, and drop its cached answers afterwards."""
    with lock_session(catalogue, session_id):
        yield
        catalogue.forget_answers(session_id)
