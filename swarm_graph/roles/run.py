"""The context that all nodes of one run share; LangGraph hands it to them as the run's context."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.runtime import get_runtime
from langgraph.store.base import BaseStore

from swarm_graph.checkpoints.database import MEMORY
from swarm_graph.checkpoints.journal import Journal
from swarm_graph.checkpoints.places import UNMOVED, Places
from swarm_graph.checkpoints.records import Source
from swarm_graph.config import SwarmConfig
from swarm_graph.errors import ModelError, Stopped, SwarmError
from swarm_graph.events import Event
from swarm_graph.models.budget import Budget
from swarm_graph.models.keys import keys_of
from swarm_graph.models.slots import SessionSlots, Slots
from swarm_graph.roles.emitter import Emitter, Origin
from swarm_graph.state import SwarmContext, ToolDecision

if TYPE_CHECKING:
    from swarm_graph.tools.mcp_servers import McpServers

T = TypeVar("T")

SIBLING_GRACE_S = 0.02
"""How long a failed branch waits for LangGraph to save what its last sibling returned."""
STOP_POLL_S = 0.1
"""How often work that may be given up looks whether the run is to stop."""
STOPPED = "stopped; what had been finished is kept"
NO_DECISIONS: Mapping[str, ToolDecision] = {}
A_PROGRAM = "a program"
"""Who decides at a pause, unless the caller names somebody."""


class StopFlag:
    """A request to stop a run: calls in flight may finish, and no other begins."""

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        """Request the stop."""
        self._is_set = True

    @property
    def is_set(self) -> bool:
        """Whether the stop was requested."""
        return self._is_set

    def check(self) -> None:
        """Raises Stopped once the stop was requested."""
        if self._is_set:
            raise Stopped(STOPPED)

    async def unless_set(self, work: Awaitable[T]) -> T:
        """The result of work, which is cancelled when the stop is requested. Raises Stopped then."""
        doing = asyncio.ensure_future(work)
        try:
            while not doing.done():
                self.check()
                await asyncio.wait({doing}, timeout=STOP_POLL_S)
            return doing.result()
        finally:
            doing.cancel()


@dataclass(frozen=True)
class RunOptions(SwarmContext):
    """A SwarmContext with what the coordinator adds for one run.

    Attributes:
        output: The session's output folder, recorded in the catalogue.
        config_file: The file of the configuration, recorded in the catalogue; empty when there is none.
        sources: What the request is made from, recorded in the catalogue; None leaves what is recorded.
        stop: Set from outside to stop the run.
        explore: Whether models that a role may have are drawn, where none is chosen yet.
        drawn: The tasks of a task graph that explore, each with its entry of multi_model.
        decided_by: Who answers the pauses at which the session waits, and where.
        on_decision: Called with the event of the chosen models and of each answered pause, once they are
            committed.
        experiment: The experiment that the session is a trial of, recorded in the catalogue; empty if none.
    """

    output: str = ""
    config_file: str = ""
    sources: Sequence[Source] | None = None
    stop: StopFlag = field(default_factory=StopFlag)
    explore: bool = False
    drawn: Mapping[str, str] = field(default_factory=dict)
    decided_by: str = A_PROGRAM
    on_decision: Callable[[Event], None] | None = None
    experiment: str = ""


class RunContext:
    """Context shared by all nodes of a run: call limit, budget, journal, stop flag.

    Attributes:
        config: The configuration, with the models that the session has chosen.
        overrides: What the caller overrides for this run.
        slots: Limits the calls of this run that are in flight at once.
        saver: The graph's checkpointer, if it has one.
        journal: The call journal, when the checkpointer is ours.
        budget: What the calls of this run may still use.
        is_own: Whether the user began the session, or has trusted it.
        is_new: Whether the run works on a new request; it finds nothing that an earlier one has recalled.
        store: The store that the graph was built with; None if it takes that of a graph around it.
        places: Where the files of the session are now.
        decisions: What a person has decided about calls of tools when the run began, by the name of the call.
        stop: Set to stop the run.
        failure: Why tasks of a custom session failed in this run.
        keys: The API keys of all configured models, and those of MCP servers: no text may repeat them.
    """

    def __init__(
        self,
        config: SwarmConfig,
        overrides: SwarmContext | None = None,
        *,
        saver: BaseCheckpointSaver[Any] | None = None,
        journal: Journal | None = None,
        budget: Budget | None = None,
        is_own: bool = True,
        is_new: bool = True,
        store: BaseStore | None = None,
        places: Places = UNMOVED,
        decisions: Mapping[str, ToolDecision] = NO_DECISIONS,
    ) -> None:
        self.config = config
        self.is_own, self.is_new, self.decisions = is_own, is_new, decisions
        self.overrides = overrides or SwarmContext()
        self.slots = Slots(config.workflow.parallel)
        self.saver, self.journal, self.store = saver, journal, store
        self.budget = budget or Budget(config.limits)
        self.places = places
        self.stop = overrides.stop if isinstance(overrides, RunOptions) else StopFlag()
        self.failure: ModelError | None = None
        self.keys = keys_of(config.entries)
        if config.mcp_servers:
            from swarm_graph.tools.mcp_variables import secrets_of  # runs without servers do not need it

            self.keys += secrets_of(config.mcp_servers.values())
        self._tool_servers: McpServers | None = None
        self._working = 0
        self._idle = asyncio.Event()

    def tool_servers(self, config: SwarmConfig) -> McpServers:
        """The connections to the MCP servers of the configuration; each is made when it is first needed."""
        if self._tool_servers is None:
            from swarm_graph.tools.mcp_servers import McpServers  # runs without tools do not need it

            self._tool_servers = McpServers(
                config.mcp_servers,
                config.tool_limits,
                proxy=config.proxy,
                secrets=self.keys,
                logs=self._log_folder,
            )
        return self._tool_servers

    @property
    def shared_limits(self) -> SessionSlots | None:
        """The limits that the calls share with other machines; None if this machine is the only one."""
        if self.journal is None or (limits := self.journal.catalogue.database.limits) is None:
            return None
        return SessionSlots(limits, self.journal.session_id, self.config.workflow.parallel)

    @property
    def record(self) -> Callable[[Event], None] | None:
        """Records an event of a node in the database; None if it keeps none."""
        return self.journal.record_event if self.journal and self.journal.keeps_events else None

    @property
    def _log_folder(self) -> Path | None:
        """Where the session's MCP servers keep their logs: beside its database."""
        if self.journal is None or str(self.journal.catalogue.database.path) == MEMORY:
            return None
        from swarm_graph.tools.mcp_log import log_folder

        return log_folder(self.journal.catalogue.database.folder, self.journal.session_id)

    @property
    def has_servers(self) -> bool:
        """Whether there are connections to MCP servers."""
        return self._tool_servers is not None

    async def close(self) -> None:
        """End the connections to MCP servers, in the event loop of the nodes."""
        if self._tool_servers is not None:
            servers, self._tool_servers = self._tool_servers, None
            await servers.close()

    @asynccontextmanager
    async def branch(self) -> AsyncIterator[None]:
        """Run a node. When it fails, the error is raised only after its siblings have finished.

        LangGraph cancels the siblings of a node that raises, and what they had written would be lost.
        """
        self._working += 1
        self._idle.clear()
        try:
            self.stop.check()
            yield
        except SwarmError:
            self._leave()
            await self._siblings_finished()
            raise
        except BaseException:
            self._leave()
            raise
        self._leave()

    async def _siblings_finished(self) -> None:
        """Wait until no node works, and none begins while LangGraph saves what the last one returned."""
        while True:
            await self._idle.wait()
            await asyncio.sleep(SIBLING_GRACE_S)
            if self._idle.is_set():
                return

    def _leave(self) -> None:
        self._working -= 1
        if not self._working:
            self._idle.set()


def outer_context() -> SwarmContext | None:
    """What the run around the caller overrides; None outside of a run, or if its context is not ours."""
    try:
        runtime: Any = get_runtime()
    except (RuntimeError, KeyError):  # nothing runs around the caller
        return None
    context = runtime.context if runtime is not None else None  # LangChain's own runnables have no runtime
    if isinstance(context, RunContext):
        return context.overrides
    return context if isinstance(context, SwarmContext) else None


def current_run(config: SwarmConfig) -> RunContext:
    """The context of the run that the calling node is part of; a new one for a node invoked by itself."""
    context: Any = get_runtime().context
    return context if isinstance(context, RunContext) else RunContext(config, context)


def node_emitter(origin: Origin) -> Emitter:
    """Emits the events of the calling node."""
    runtime: Any = get_runtime()
    record = runtime.context.record if isinstance(runtime.context, RunContext) else None
    return Emitter(origin, runtime.stream_writer, record)


@asynccontextmanager
async def part_of_run(run: RunContext) -> AsyncIterator[None]:
    """Hold a node's run; that of a node invoked by itself is closed when the node ends."""
    try:
        yield
    finally:
        if run is not get_runtime().context:
            await run.close()
