"""The sessions that run in the server's process: begun by one request, they outlive it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any

from swarm_graph.errors import InputError, SwarmError
from swarm_graph.events import Event
from swarm_graph.sessions.coordinator import SwarmCoordinator
from swarm_graph.sessions.run import OnEvent
from swarm_graph.state import SwarmResult
from swarm_graph.text import first_names, format_count

NewCoordinator = Callable[[OnEvent], SwarmCoordinator]
"""Returns a coordinator that calls a function with every event."""
Work = Callable[[SwarmCoordinator], Awaitable[SwarmResult]]
"""Begins or resumes a session on a coordinator."""

STARTED = ("task_started", "tests_started")
ENDED = ("task_ended", "tests_ended", "node_ended")
AROUND = ("session_started", "session_ended")
"""With only these, nothing has begun: a request may be refused after the first."""
STOPPED = ("task_failed", "task_stopped", "task_skipped")


@dataclass
class Progress:
    """How far a running session is, from its events.

    Attributes:
        round: The round, from 1; 0 outside of rounds.
        rounds: The greatest number of rounds.
        done: The nodes that are done in this round.
        running: The nodes that run now.
        steps: How many steps there were; it grows with each.
        step: The latest step, for people.
    """

    round: int = 0
    rounds: int = 0
    done: dict[str, None] = field(default_factory=dict)
    running: dict[str, None] = field(default_factory=dict)
    steps: int = 0
    step: str = ""

    def on_event(self, event: Event) -> None:
        """Take an event of the session."""
        if event.kind == "session_started":
            self.rounds, self.done = event.data["max_iterations"], dict.fromkeys(event.data["done"])
        elif event.kind in STARTED:
            if event.iteration > self.round:
                self.round = event.iteration
            self.running[event.node] = None
            self.done.pop(event.node, None)
            self._note(event, f"{event.node} works")
        elif event.kind in (*ENDED, *STOPPED):
            self.running.pop(event.node, None)
            if event.kind in ENDED:
                self.done[event.node] = None
            self._note(event, f"{event.node} {'is done' if event.kind in ENDED else 'stopped'}")
        elif event.kind == "tool_started":
            self._note(event, f"{event.node} calls {event.data['tool']}")
        elif event.kind == "recalled":
            self._note(event, f"{event.node} recalled {format_count(event.data['passages'], 'passage')}")

    def _note(self, event: Event, what: str) -> None:
        self.steps += 1
        in_round = f"round {event.iteration} of {self.rounds}: " if event.iteration and self.rounds else ""
        self.step = f"{in_round}{what}"


class LiveSession:
    """A session that runs in this process.

    Attributes:
        progress: How far it is.
        task: The task that works on it.
    """

    task: asyncio.Task[None]

    def __init__(self, new_coordinator: NewCoordinator) -> None:
        self.progress = Progress()
        self._coordinator = new_coordinator(self._on_event)
        self.begun = asyncio.Event()
        self._changed = asyncio.Event()

    @property
    def grace_s(self) -> float:
        """How long calls in flight may go on after a stop."""
        return self._coordinator.config.workflow.grace_period

    async def work(self, work: Work) -> None:
        """Work on the session until it ends, pauses or fails."""
        try:
            await work(self._coordinator)
        finally:
            self._wake()

    def _on_event(self, event: Event) -> None:
        steps = self.progress.steps
        self.progress.on_event(event)
        if event.kind not in AROUND:
            self.begun.set()
        if self.progress.steps > steps:
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def change(self, seconds: float) -> None:
        """Return at the next step, at the end of the session, or after some seconds."""
        await _first(self._changed, self.task, seconds)

    async def beginning(self) -> None:
        """Return when the work has begun, or has ended."""
        await _first(self.begun, self.task, None)

    def stop(self) -> None:
        """Start no new call. What has not even begun is cancelled at once."""
        self._coordinator.stop()
        if not self.begun.is_set():
            self.task.cancel()

    async def end(self, seconds: float | None = None) -> None:
        """Stop the session, and return when it has ended; after some seconds its calls are cancelled."""
        self.stop()
        await asyncio.wait([self.task], timeout=self.grace_s if seconds is None else seconds)
        self.task.cancel()
        await asyncio.wait([self.task])


async def _first(event: asyncio.Event, task: asyncio.Task[None], seconds: float | None) -> None:
    """Wait for an event or the end of a task, whichever comes first."""
    waits: asyncio.Future[Any] = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait([waits, task], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waits.cancel()


class BackgroundSessions:
    """The sessions that run in this process, at most so many at once.

    Args:
        limit: How many may run at once.
        report: Called with a line about a session that ended with an error nobody waits for.
    """

    def __init__(self, limit: int, report: Callable[[str], None]) -> None:
        self._limit, self._report = limit, report
        self._live: dict[str, LiveSession] = {}
        self._errors: dict[str, str] = {}
        self._is_closing = False
        self._ending: set[asyncio.Task[None]] = set()

    def live(self, session_id: str) -> LiveSession | None:
        """A session that runs in this process; None if it does not."""
        return self._live.get(session_id)

    @property
    def count(self) -> int:
        """How many run now."""
        return len(self._live)

    def error(self, session_id: str) -> str:
        """The error that ended the last run of a session in this process; empty if none did."""
        return self._errors.get(session_id, "")

    async def begin(self, session_id: str, work: Work, new_coordinator: NewCoordinator) -> None:
        """Begin to work on a session; returns once a role has begun, or the work has ended.

        Args:
            session_id: The session.
            work: Begins or resumes it.
            new_coordinator: Makes its coordinator.

        Raises:
            InputError: It runs already, or too many sessions do.
            SwarmError: The work was refused before it began; nothing was changed.
        """
        self._check(session_id)
        live = LiveSession(new_coordinator)
        # A context of its own: what the request brings, such as spans, ends with the request.
        live.task = asyncio.create_task(self._work(session_id, live, work), context=Context())
        live.task.add_done_callback(lambda task: task.cancelled() or task.exception())  # somebody has seen it
        self._live[session_id] = live
        self._errors.pop(session_id, None)
        await live.beginning()
        if live.begun.is_set():
            return
        if live.task.cancelled():
            raise InputError(f"session '{session_id}' was stopped before it began")
        live.task.result()

    def _check(self, session_id: str) -> None:
        if self._is_closing:
            raise InputError("the server ends; start it again")
        if session_id in self._live:
            raise InputError(f"session '{session_id}' runs already")
        if len(self._live) >= self._limit:
            count = format_count(len(self._live), "session")
            raise InputError(
                f"{count} ({first_names([*self._live])}) run already, and the server allows {self._limit}; "
                "wait for one to end, or stop one"
            )

    async def _work(self, session_id: str, live: LiveSession, work: Work) -> None:
        try:
            await live.work(work)
        except Exception as error:
            if not live.begun.is_set():
                raise
            text = str(error) if isinstance(error, SwarmError) else f"unexpected {type(error).__name__}"
            self._errors[session_id] = text
            self._report(f"session '{session_id}' failed: {text}")
        finally:
            del self._live[session_id]

    async def cancel(self, session_id: str) -> None:
        """Stop a session that runs in this process, and return when it has ended."""
        if live := self._live.get(session_id):
            await live.end()

    def stop(self, session_id: str) -> bool:
        """Stop a session if it runs in this process, without waiting for its end; returns whether it does."""
        live = self._live.get(session_id)
        if live is None:
            return False
        live.stop()
        ending = asyncio.create_task(live.end())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        return True

    async def close(self) -> None:
        """Stop all sessions, and return when they have ended. They can be resumed."""
        self._is_closing = True
        await asyncio.gather(*(live.end() for live in [*self._live.values()]))

    def cancel_calls(self) -> None:
        """Cancel the calls in flight of all sessions."""
        for live in self._live.values():
            live.task.cancel()
