"""What the node `tasks` needs to have its tasks run by other processes, which `workers` provides.

The node decides as ever which task is next. What runs elsewhere is only the task itself, from its prompt to
the record that is committed under its id.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from swarm_graph.roles.run import RunContext
from swarm_graph.state import TaskRecord, ToolDecision


@dataclass(frozen=True)
class ReadyTask:
    """A task that can run now.

    Attributes:
        record: Its record until now, which holds the task itself.
        needs: The ids of its completed dependencies, whose records lie in task threads.
        below: The ids of all tasks whose names begin with its own: those that it adds need others.
        others: How many other tasks the session has.
        initial: How many tasks the request began with.
        decisions: What a person has decided about calls of tools, by the name of the call.
    """

    record: TaskRecord
    needs: tuple[str, ...] = ()
    below: tuple[str, ...] = ()
    others: int = 0
    initial: int = 0
    decisions: Mapping[str, ToolDecision] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskEnd:
    """How a task ended elsewhere.

    Attributes:
        record: The record of the completed task; None if it has not completed.
        error: Why it failed; empty if it did not.
        pause: The call of a tool about which a person has to decide; None if there is none.
        events: Its events, which are recorded already.
    """

    record: TaskRecord | None = None
    error: str = ""
    pause: Mapping[str, Any] | None = None
    events: tuple[Mapping[str, Any], ...] = ()


class Deputies(Protocol):
    """Those who run the tasks of one request."""

    @property
    def ahead(self) -> int:
        """How many tasks may be given out for each that runs at once, so that nobody waits for the next."""

    async def run(self, task: ReadyTask) -> TaskEnd:
        """Have a task run, and return how it ended.

        Raises:
            Stopped: The run is to stop.
            OverBudget: The session has used what `limits` allow.
            StorageError: The database cannot be used.
        """


class Elsewhere(Protocol):
    """Gives the tasks of a run to others."""

    def deputies(
        self, run: RunContext, session: str, request: str, purpose: str
    ) -> AbstractAsyncContextManager[Deputies]:
        """Those who run the tasks of a request, as long as the context is open.

        Args:
            run: The run of the session.
            session: The session.
            request: An id that all tasks of the request share.
            purpose: The purpose of the whole work, which their prompts show.
        """


ELSEWHERE: ContextVar[Elsewhere | None] = ContextVar("ELSEWHERE", default=None)
"""Set by a worker around the session that it runs; otherwise the tasks run where the session does."""
