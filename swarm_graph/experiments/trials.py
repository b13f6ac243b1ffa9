"""Runs the trials of an experiment: sessions, several at once, each judged as soon as it has ended."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from swarm_graph import aio
from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.experiments import Experiments, TrialRow
from swarm_graph.checkpoints.locks import lock_session
from swarm_graph.checkpoints.open_database import place_of
from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.config import SwarmConfig
from swarm_graph.experiments.arm import Arm
from swarm_graph.experiments.arms import SessionSetup, session_setup
from swarm_graph.sandbox.runner import check_execution
from swarm_graph.sessions.coordinator import SwarmCoordinator
from swarm_graph.sessions.run import OnEvent
from swarm_graph.sessions.store import SessionStore
from swarm_graph.settings import Execution, SessionLimits
from swarm_graph.state import DATA_DIR, OUTPUT_DIR, OwnWorkflow, Review, SwarmState, has_ended
from swarm_graph.suites.case import Case
from swarm_graph.suites.judge import judge
from swarm_graph.suites.score import Score
from swarm_graph.text import format_count

MAX_OUTAGES = 3
"""After so many sessions in a row of one arm in which no model answered, no other is begun."""
OnTrial = Callable[[TrialRow, int, int], None]
"""Called with a trial when it is judged, how many are judged, and how many there are."""


class TrialsEnd(NamedTuple):
    """How a run of trials ended.

    Attributes:
        reason: Why trials are left open, for people, with the cure; empty if all that were to run are judged.
        open: The numbers of the trials that are left open.
    """

    reason: str
    open: tuple[int, ...]

    @property
    def text(self) -> str:
        """Why trials are left open, and how many, for people."""
        left = format_count(len(self.open), "trial")
        return f"{self.reason}; {left} {'is' if len(self.open) == 1 else 'are'} left"


@dataclass(frozen=True)
class _Ended:
    """A session that has ended, as the database has it.

    Attributes:
        trial: Its trial, with the figures.
        state: Its latest state.
        is_answered: Whether a model answered; if not, it says nothing until a later session is answered.
    """

    trial: TrialRow
    state: SwarmState
    is_answered: bool = True


class TrialRunner:
    """Runs trials of a recorded experiment.

    A trial is a session in the experiment's database. Sessions that were begun by a killed process are
    resumed, those that have ended are judged, and judged trials stay as they are.

    When the caller is cancelled, no other session begins, and the calls in flight have
    `workflow.grace_period` to end; a second cancellation ends them at once.

    Attributes:
        experiment: The id of the experiment.
    """

    def __init__(
        self,
        experiment: str,
        arms: Sequence[Arm],
        cases: Sequence[Case],
        *,
        execution: Execution,
        data_dir: str | Path = DATA_DIR,
        output_dir: str | Path = OUTPUT_DIR,
        max_sessions: int = 4,
        limits: SessionLimits | None = None,
        on_trial: OnTrial | None = None,
        on_event: OnEvent | None = None,
    ) -> None:
        """Set up the runner; `run` starts it.

        Args:
            experiment: The id of an experiment that is recorded with all its trials.
            arms: Its arms.
            cases: Its cases.
            execution: How hidden tests run; the same for all arms.
            data_dir: The folder of the session database.
            output_dir: The folder in which the experiment gets a folder for the files of its sessions.
            max_sessions: How many sessions run at once.
            limits: Of the whole experiment. When one is reached, no other session begins.
            on_trial: Called with each judged trial.
            on_event: Called with every event of its sessions.
        """
        self.experiment = experiment
        self._arms = {arm.name: arm for arm in arms}
        self._cases = {(case.suite, case.name): case for case in cases}
        self._execution, self._limits = execution, limits or SessionLimits()
        self._data_dir, self._output_dir = Path(data_dir), Path(output_dir) / experiment
        self._place = place_of(self._data_dir)
        self._max_sessions, self._on_trial, self._on_event = max_sessions, on_trial, on_event
        self._trials: dict[int, TrialRow] = {}
        self._live: dict[int, SwarmCoordinator] = {}
        self._outages: Counter[str] = Counter()
        self._unanswered: dict[str, list[_Ended]] = {}
        self._outage, self._stopped, self._is_stopping = "", "", False

    async def run(self, numbers: Collection[int] | None = None) -> TrialsEnd:
        """Run and judge trials that are not judged yet.

        Args:
            numbers: Their numbers; None for all of the experiment.

        Raises:
            SessionInUse: Another process works on the experiment.
            SandboxError: Hidden tests cannot be run.
            StorageError: The database or the output folder cannot be used.
        """
        await asyncio.to_thread(check_execution, self._execution.model_copy(update={"mode": "required"}))
        with (
            open_checkpointer(self._place, data_dir=self._data_dir) as saver,
            lock_session(saver.catalogue, self.experiment, "experiment"),
        ):
            self._saver, self._experiments = saver, Experiments(saver.database)
            rows = await saver.database.run(self._experiments.trials, self.experiment)
            self._trials = {row.number: row for row in rows}
            wanted = [row for row in rows if numbers is None or row.number in numbers]
            self._worked_s = await saver.database.run(self._experiments.seconds, self.experiment)
            self._started_at = time.monotonic()
            await self._run([row for row in wanted if row.judged_at is None])
        left = tuple(row.number for row in wanted if self._trials[row.number].judged_at is None)
        return TrialsEnd(
            (self._stopped or self._outage or "stopped by another process") if left else "", left
        )

    async def _run(self, rows: Sequence[TrialRow]) -> None:
        """Begin the sessions of trials in their order; returns when all are judged or left open."""
        self._slots = asyncio.Semaphore(self._max_sessions)
        self._judges = asyncio.Semaphore(os.cpu_count() or 1)
        self._is_stopping, self._stopped, self._outage = False, "", ""
        self._unanswered = {}
        tasks: list[asyncio.Task[None]] = []
        try:
            for row in rows:
                await self._slots.acquire()
                if self._must_stop() or any(map(_problem, tasks)):
                    break
                tasks.append(asyncio.create_task(self._try(row)))
            if tasks:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            if not self._unserved():
                for arm in list(self._unanswered):
                    await self._judge_unanswered(arm)
        finally:
            await self._end(tasks)
        if problem := next(filter(None, map(_problem, tasks)), None):
            raise problem

    async def _end(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Stop what still runs; returns when it has ended. A cancellation cancels its calls."""
        self._is_stopping = True
        left = {task for task in tasks if not task.done()}
        for coordinator in self._live.values():
            coordinator.stop()
        grace_s = max((one.config.workflow.grace_period for one in self._live.values()), default=0.0)
        try:
            if left:
                await asyncio.wait(left, timeout=grace_s)
        finally:
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left)

    def _must_stop(self) -> bool:
        """Whether no other session may begin; `_stopped` says why."""
        if not self._stopped:
            self._stopped = self._reached() or self._unserved()
        return bool(self._stopped)

    def _reached(self) -> str:
        """The limit of the experiment that is reached, in words; empty if none is."""
        calls = sum(trial.calls for trial in self._trials.values())
        tokens = sum(trial.tokens for trial in self._trials.values())
        seconds = self._worked_s + time.monotonic() - self._started_at
        limits = self._limits
        if limits.calls is not None and calls >= limits.calls:
            return f"reached --max-calls {limits.calls} ({calls:,} calls)"
        if limits.tokens is not None and tokens >= limits.tokens:
            return f"reached --max-tokens {limits.tokens} ({tokens:,} tokens)"
        if limits.seconds is not None and seconds >= limits.seconds:
            return f"reached --max-seconds {limits.seconds:g}"
        return ""

    def _unserved(self) -> str:
        """That no server answers an arm, in words; empty if one does."""
        return self._outage if any(count >= MAX_OUTAGES for count in self._outages.values()) else ""

    # --- one trial -------------------------------------------------------------------------------

    async def _try(self, row: TrialRow) -> None:
        """Run the session of a trial, judge it, and record the score. The slot of the session is held."""
        case = self._cases[row.suite, row.case]
        try:
            ended = await self._ended_session(row, session_setup(self._arms[row.arm], case))
        finally:
            self._slots.release()
        if ended is None or self._is_stopping:
            return
        if ended.is_answered:
            await self._judge_unanswered(row.arm)
            await self._judge(ended)
        else:
            self._unanswered.setdefault(row.arm, []).append(ended)

    async def _judge_unanswered(self, arm: str) -> None:
        """Judge the sessions of an arm in which no model answered, as others were answered."""
        for ended in self._unanswered.pop(arm, []):
            await self._judge(ended)

    async def _judge(self, ended: _Ended) -> None:
        """Judge a session that has ended, and record its score."""
        case = self._cases[ended.trial.suite, ended.trial.case]
        async with self._judges:
            score = await self._score(case, ended) if case.is_scored else None
        judged = replace(
            ended.trial,
            solved=score.solved if score else None,
            score=score.to_dict() if score else None,
            judged_at=time.time(),
        )
        await self._saver.database.run(self._experiments.judge, judged)
        self._trials[judged.number] = judged
        if self._on_trial:
            done = sum(trial.judged_at is not None for trial in self._trials.values())
            self._on_trial(judged, done, len(self._trials))

    async def _ended_session(self, row: TrialRow, setup: SessionSetup) -> _Ended | None:
        """Run the session of a trial to its end; None if it was stopped, or no server answered."""
        session = await self._saver.database.run(self._saver.catalogue.get, row.session)
        failure = None
        if session is None or await self._saver.database.run(_can_go_on, self._saver.catalogue, session):
            coordinator = self._new_coordinator(setup.config)
            self._live[row.number] = coordinator
            try:
                if session is None:
                    await coordinator.arun_workflow(
                        self._cases[row.suite, row.case].request,
                        OwnWorkflow(setup.workflow),
                        session_id=row.session,
                        kind=setup.kind,
                    )
                else:
                    await coordinator.aresume(row.session)
            finally:
                del self._live[row.number]
            failure = coordinator.failure
            if coordinator.state["phase"] == "cancelled":
                return None
        is_answered = failure is None or not (
            failure.outage
            or (failure.retryable and not await self._saver.database.run(self._was_answered, row.session))
        )
        if is_answered:
            self._outages[row.arm] = 0
        else:
            self._outages[row.arm] += 1
            self._outage = f"no model answered the arm '{row.arm}': {failure}"
        if failure and failure.outage:
            return None
        trial = await self._saver.database.run(trial_figures, self._saver.catalogue, row)
        self._trials[row.number] = trial
        return _Ended(trial, await SessionStore(row.session, self._saver).state(), is_answered)

    def _was_answered(self, session: str) -> bool:
        """Whether a model answered any call of a session."""
        return any(call["outcome"] == "answered" for call in self._saver.catalogue.calls(session))

    def _new_coordinator(self, config: SwarmConfig) -> SwarmCoordinator:
        return SwarmCoordinator(
            config,
            data_dir=self._data_dir,
            output_dir=self._output_dir,
            on_event=self._on_event,
            config_origin="",
            experiment=self.experiment,
            database=self._place,
        )

    async def _score(self, case: Case, ended: _Ended) -> Score:
        """The score of a session. One that did not come to its end, or has no answer, has solved nothing."""
        trial = ended.trial
        if not has_ended(trial.phase):
            return Score(solved=False, outcome="not_run", reason=trial.error)
        if case.assignment == "review" and not any(map(_is_readable, ended.state.get("reviews", []))):
            return Score(solved=False, outcome="not_run", reason="no reviewer has answered what can be read")
        cancelled = threading.Event()
        code, findings = ended.state.get("code", {}), ended.state.get("findings", [])
        work = asyncio.to_thread(judge, case, code, findings, self._execution, cancelled)
        return await aio.stopped_first(work, cancelled)


def _is_readable(review: Review) -> bool:
    """Whether the answer of a reviewer could be read."""
    return review["approved"] is not None


def _problem(task: asyncio.Task[None]) -> BaseException | None:
    """The error that ended a task; None if it still runs, was cancelled, or came to its end."""
    return task.exception() if task.done() and not task.cancelled() else None


def _can_go_on(catalogue: Catalogue, session: Session) -> bool:
    """Whether a session has more to do: it was stopped or killed, or its last call failed.

    A session that failed for an answer that cannot be used, that went over its budget or waits for a person
    is judged as it is.
    """
    if session.phase != "failed":
        return session.phase in ("running", "cancelled")
    calls = catalogue.calls(session.session)
    return bool(calls) and calls[-1]["outcome"] == "failed"


def trial_figures(catalogue: Catalogue, trial: TrialRow) -> TrialRow:
    """A trial with the figures of its session, as the catalogue has them."""
    calls = catalogue.calls(trial.session)
    session, runs = catalogue.get(trial.session), catalogue.runs(trial.session)
    phase = session.phase if session else ""
    return replace(
        trial,
        calls=len(calls),
        input_tokens=sum(call["input_tokens"] for call in calls),
        output_tokens=sum(call["output_tokens"] for call in calls),
        cost=sum(call["cost"] for call in calls),
        seconds=catalogue.working_seconds(trial.session).get(trial.session, 0.0),
        phase=phase,
        error="" if has_ended(phase) else _why(phase, runs[-1].error if runs else ""),
    )


def _why(phase: str, error: str) -> str:
    """Why a session has no result, for people."""
    if phase == "paused":
        return (
            "it waits for a person, whom an experiment does not ask: leave out the tools that need approval"
        )
    return error or f"the session ended as {phase}"
