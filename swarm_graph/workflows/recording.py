"""How one run of a graph is recorded: its session's lock, its row in the catalogue, its journal."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.journal import Journal
from swarm_graph.checkpoints.locks import SessionLock, held
from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.retention import compact
from swarm_graph.checkpoints.saver import SwarmSaver
from swarm_graph.config import SwarmConfig
from swarm_graph.errors import OverBudget, Stopped, StorageError
from swarm_graph.models.slots import Budget
from swarm_graph.roles.run import RUN, Run
from swarm_graph.state import SwarmState, has_ended


class Record:
    """One run of a session. Use it in `with`; nothing is written before `begin`.

    Raises SessionInUse when somebody else works on the session.
    """

    def __init__(self, saver: SwarmSaver, config: RunnableConfig) -> None:
        self.saver, self._catalogue = saver, saver.catalogue
        self._session = str(config["configurable"]["thread_id"])
        self._shared: Run = config["configurable"][RUN]
        self._lock = SessionLock(self._catalogue, self._session)
        self._run: int | None = None

    def __enter__(self) -> Self:
        self._lock.acquire()
        return self

    def pending(self, saved: CheckpointTuple | None) -> dict[str, Any] | None:
        """The request that a killed run had been given and that no checkpoint holds yet."""
        return self._catalogue.pending_input(self._session, _id(saved))

    @property
    def left_open(self) -> bool:
        """Whether the catalogue says that the session has not ended, as after a kill right at its end."""
        known = self._catalogue.get(self._session)
        return known is not None and not has_ended(known.phase)

    def begin(
        self,
        workflow: str,
        config: SwarmConfig,
        kind: str,
        given: Mapping[str, Any] | None,
        saved: CheckpointTuple | None,
    ) -> None:
        """Records the run, which was given a request or None, and opens the journal."""
        values = saved.checkpoint["channel_values"] if saved else {}
        begun = given or values.get("__start__") or values
        now = time.time()
        session = Session(
            session=self._session,
            workflow=workflow,
            request=str(begun.get("request") or f"{len(begun.get('tasks', ()))} tasks"),
            config=config.kept(),
            phase="running",
            created_at=now,
            updated_at=now,
            output=self._shared.output,
            simulated=config.is_simulated,
            config_file=self._shared.config_file,
        )
        self._run = self._catalogue.begin(session, kind, given, _id(saved))
        self._journal = Journal(self._catalogue, self._session, answered=kind == "resume")
        self._shared.journal = self._journal
        spent = self._catalogue.spent(self._session) if kind == "resume" else (0, 0, 0.0)
        self._shared.budget = Budget(config.limits, *spent)

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _at: TracebackType | None
    ) -> None:
        try:
            if self._run is None:
                return
            if error is None:
                self._end(self._run)
                return
            stopped = isinstance(error, Stopped) or not isinstance(error, Exception)
            over = "over_budget" if isinstance(error, OverBudget) else "failed"
            phase, text = ("cancelled", "") if stopped else (over, str(error))
            with suppress(StorageError):  # the first error says what is wrong
                self._end(self._run, phase, text)
        finally:
            self._lock.release()

    def _end(self, run: int, phase: str = "", error: str = "") -> None:
        """Records the end in the given phase, or in the one that the run left in the state.

        A run that stops before its end, without an error, waits for a person.
        """
        saved = self.saver.get_tuple({"configurable": {"thread_id": self._session}})
        values = saved.checkpoint["channel_values"] if saved else {}
        left = values.get("phase", "running")
        phase = phase or ("paused" if left == "running" else left)
        with self.saver.transaction():
            tasks = {**values.get("tasks", {}), **self._journal.ended}
            self._catalogue.put_tasks(self._session, tasks.values())
            self._catalogue.end(self._session, run, phase, error, cast("SwarmState", values))
            if has_ended(phase):
                compact(self.saver, self._session)


def _id(saved: CheckpointTuple | None) -> str:
    return saved.checkpoint["id"] if saved else ""


@contextmanager
def changing(catalogue: Catalogue, session: str) -> Iterator[None]:
    """Hold a session's lock while its state is changed by hand; its journal does not fit it any more."""
    with held(catalogue, session):
        yield
        catalogue.forget_answers(session)
