"""One run of a session: follow the graph's stream, write the session's files, and emit its events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.config import SwarmConfig
from swarm_graph.errors import InputError, ModelError, OverBudget, Stopped
from swarm_graph.events import Event, Kind, parse_event
from swarm_graph.roles.registry import Roles
from swarm_graph.roles.run import RunOptions
from swarm_graph.sessions.change_summary import change_files, made_commits
from swarm_graph.sessions.logs import log
from swarm_graph.sessions.output import Output
from swarm_graph.sessions.state_json import state_document
from swarm_graph.sessions.store import SessionStore
from swarm_graph.sessions.tracker import SessionTracker
from swarm_graph.state import SwarmState, has_ended
from swarm_graph.workflows.graph import SwarmGraph
from swarm_graph.workflows.opening import Prepared
from swarm_graph.workflows.pauses import Pause

if TYPE_CHECKING:
    from swarm_graph.memory.experience import Remembered

OnEvent = Callable[[Event], None]


class SessionRun:
    """One run of a session.

    Attributes:
        session_id: The session; empty before a coordinator's first run.
        options: What LangGraph hands to the nodes; setting its `stop` stops the run.
        files: The output folder; None before a coordinator's first run.
        tracker: The session's state, calls, test runs and tasks.
        pauses: The pauses at which the session waits for a person.
        stopped_by: The limit that stopped the run, in words; empty if none did.
        failure: The error of a model that ended the run; None if none did.
        remembered: What this run has kept or offered for memory; None if nothing.
        drawn: The tasks that explore in this run, each with its entry of multi_model.
    """

    def __init__(
        self,
        config: SwarmConfig,
        emit: OnEvent,
        session_id: str = "",
        options: RunOptions | None = None,
        files: Output | None = None,
    ) -> None:
        """Set up a run; `follow` starts it.

        Args:
            config: The configuration.
            emit: Called with every event.
            session_id: The session.
            options: What LangGraph hands to the nodes.
            files: The output folder.
        """
        self.session_id, self.files = session_id, files
        self.options = replace(options or RunOptions(), on_decision=self._on_opening)
        self.tracker = SessionTracker("", Roles())
        self.pauses: list[Pause] = []
        self.stopped_by = ""
        self.failure: ModelError | None = None
        self.remembered: Remembered | None = None
        self.drawn: dict[str, str] = {}
        self._config, self._emit, self._last_round = config, emit, config.workflow.max_iterations
        self._silent_nodes: list[str] = []
        self._catalogue: Catalogue | None = None
        self._patched: list[str] = []

    @property
    def state(self) -> SwarmState:
        """The state of the session."""
        return self.tracker.state

    @property
    def workflow(self) -> str:
        """The workflow of the session."""
        return self.tracker.workflow

    @property
    def config(self) -> SwarmConfig:
        """The configuration, with the models that the session has chosen."""
        return self._config

    def _on_opening(self, event: Event) -> None:
        """Take an event of the run's opening."""
        if event.kind == "models_chosen":
            models, self.drawn = event.data["models"], event.data["tasks"]
            chosen = {role: model["entry"] for role, model in models.items()}
            self._config = self._config.with_choices(
                chosen, {role: model["reason"] for role, model in models.items()}
            )
        self._emit(event)

    @property
    def last_round(self) -> int:
        """The round after which the session ends, approved or not."""
        return self._last_round

    async def follow(self, graph: SwarmGraph, store: SessionStore, prepared: Prepared) -> None:
        """Run the graph to its end, or to a pause, failure, limit or stop, which becomes the phase.

        Args:
            graph: The graph.
            store: What earlier runs left.
            prepared: The checked input of the graph.

        Raises:
            InputError: The graph refused the input before it ran.
            SwarmError: An error that no phase records, such as StorageError.
        """
        before = await asyncio.gather(store.state(), store.calls(), store.test_runs(), store.tools())
        self.tracker = SessionTracker(graph.name, graph.bindings.roles, graph.channels, *before)
        self._last_round = graph.last_round
        self._silent_nodes = graph.silent_nodes
        if store.saver and self._config.ui.events:
            self._catalogue = store.saver.catalogue
        await self._emit_start(graph, store, resumes=not isinstance(prepared.given, Mapping))
        phase = "cancelled"  # also when this coroutine is cancelled
        try:
            async with aclosing(self._stream(graph, store, prepared)) as parts:
                async for mode, part in parts:
                    self._on_part(mode, part)
                    await self._write_change()
            self.pauses = await store.pauses()
            phase = "paused" if self.pauses else self.state["phase"]
            if has_ended(phase):
                await self._remember(graph, store)
        except ModelError as error:
            phase, self.failure = "failed", error
            log.info("session %s failed: %s", self.session_id, error)
        except OverBudget as error:
            phase, self.stopped_by = "over_budget", str(error)
            log.info("session %s stopped: %s", self.session_id, error)
        except Stopped:
            log.info("session %s stopped", self.session_id)
        except InputError:
            phase = ""  # refused: another process may be running the session, so its files are left alone
            raise
        except Exception:
            phase = "failed"
            raise
        finally:
            if phase:
                self.tracker.end(phase)
                self._write_files()
                self._emit_end(phase)

    async def _remember(self, graph: SwarmGraph, store: SessionStore) -> None:
        """Keep or offer what the session has verified, as `memory.remember` says. It fails no session."""
        memory = self._config.memory
        if memory is None or memory.remember == "off" or graph.store is None:
            return
        from swarm_graph.sessions.remembering import remember_session  # most sessions remember nothing

        self.remembered = await remember_session(
            self.session_id,
            self.state,
            self._config,
            saver=store.saver,
            store=graph.store,
            clock=self.options.clock,
            configured=self._roles_of_configured_models(),
        )
        if any(self.remembered):
            kept, offered, note = self.remembered
            said = {"kept": len(kept), "offered": len(offered), "note": note}
            self._emit_kept(Event("remembered", time.time(), self.session_id, "", data=said))

    def _roles_of_configured_models(self) -> set[str]:
        """The roles that asked models of the configuration, not those that a program gave for this run."""
        given, asked = self.options.model, {str(row["role"]) for row in self.tracker.calls}
        if given is None:
            return asked
        return asked - {*given} if isinstance(given, Mapping) else set()

    def _stream(
        self, graph: SwarmGraph, store: SessionStore, prepared: Prepared
    ) -> AsyncGenerator[tuple[str, Any]]:
        modes = ["values", "updates", "custom"]
        parts = graph.astream(prepared, store.thread, context=self.options, stream_mode=modes)
        return cast("AsyncGenerator[tuple[str, Any]]", parts)

    def _on_part(self, mode: str, part: Any) -> None:
        """Take one part of LangGraph's stream."""
        if mode == "values":
            self.tracker.on_values(part)
        elif mode == "updates":
            self.tracker.on_updates(part)
            self._write_files()
            for node in [name for name in self._silent_nodes if name in part]:
                self._emit_kept(Event("node_ended", time.time(), self.session_id, node))
        elif event := parse_event(part):
            event = replace(event, session=self.session_id)
            self.tracker.on_event(event)
            if self.workflow == "custom" and event.kind == "task_ended":
                self._write_result(event.task)
            self._emit(event)

    # --- files -----------------------------------------------------------------------------------

    def _write_result(self, task_id: str) -> None:
        """Write the result of a custom task now; all other files are written after the superstep."""
        assert self.files is not None
        self.files.write_result(self.state["tasks"][task_id])

    def _write_files(self) -> None:
        assert self.files is not None
        self.files.update(self.state)
        self.files.write_state(self.document())

    async def _write_change(self) -> None:
        """Write the patch of a session that changes a repository, when there is a new commit."""
        commits = made_commits(self.state)
        if commits == self._patched:
            return
        assert self.files is not None
        self.files.write_change(await asyncio.to_thread(change_files, self.state))
        self._patched = commits

    def document(self) -> dict[str, Any]:
        """The session as a state JSON, in the old coordinator's structure."""
        metrics = self.tracker.metrics()
        return state_document(
            self.state,
            self.tracker.completed_tasks(),
            self.tracker.roles,
            workflow_id=self.session_id,
            workflow=self.workflow,
            simulated=self._config.is_simulated,
            pauses=[pause.to_dict() for pause in self.pauses],
            metrics=metrics["agents"],
            test_metrics=metrics["tests"],
            files=self.files.files() if self.files else [],
        )

    # --- events ----------------------------------------------------------------------------------

    async def _emit_start(self, graph: SwarmGraph, store: SessionStore, *, resumes: bool) -> None:
        nodes = [name for name in graph.nodes if not name.startswith("__")]
        done = self.tracker.nodes_done(nodes, await store.position(graph)) if resumes else []
        usual_seconds, seconds_before = await asyncio.gather(
            store.usual_seconds(self.workflow, self._config), store.seconds_before()
        )
        self._emit_session_event(
            "session_started",
            workflow=self.workflow,
            nodes=nodes,
            max_iterations=self.last_round,
            usual_seconds=usual_seconds,
            seconds_before=seconds_before,
            resumed=bool(self.state),  # a follow-up counts, too: the session existed before this run
            done=done,
        )

    def _emit_end(self, phase: str) -> None:
        self._emit_session_event(
            "session_ended",
            workflow=self.workflow,
            phase=phase,
            approved=self.state.get("approved", False),
            findings=len(self.state.get("findings", [])),
            output=self.options.output,
            pauses=[pause.place for pause in self.pauses],
        )

    def _emit_kept(self, event: Event) -> None:
        """Emit an event that no node emits, and record it; a graph without a coordinator does not have it."""
        if self._catalogue:
            self._catalogue.database.start(self._catalogue.transcript.append, event)
        self._emit(event)

    def _emit_session_event(self, kind: Kind, **data: Any) -> None:
        self._emit(Event(kind, time.time(), self.session_id, "", data=data))
