"""LangGraph's compiled graph with our rules for sessions: begin, follow up, resume, record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext, suppress
from functools import partial
from typing import Any, NamedTuple, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import StateUpdate

from swarm_graph.checkpoints.saver import SwarmSaver
from swarm_graph.errors import SwarmError
from swarm_graph.roles.bindings import Bindings
from swarm_graph.roles.run import RunContext, RunOptions, outer_context
from swarm_graph.state import SwarmContext, SwarmState
from swarm_graph.workflows.drawing import draw
from swarm_graph.workflows.opening import Prepared, open_run, prepare
from swarm_graph.workflows.recording import RunRecorder, manual_edit

Context = SwarmContext | Mapping[str, Any] | None


class _Opened(NamedTuple):
    """An opened run: the input for LangGraph, and the context for the nodes."""

    input: Any
    run: RunContext


class SwarmGraph(CompiledStateGraph[SwarmState, SwarmContext, SwarmState, SwarmState]):
    """A compiled workflow. LangGraph's `invoke`, `ainvoke` and the like all call `stream` or `astream`.

    A request on a finished thread is a follow-up: rounds, reviews, findings and verdict start anew;
    requirements, design and code stay. A request on an unfinished thread raises UnfinishedSession, and
    nothing is written. None resumes. `Command(resume=decision)` answers the pauses at which the session waits
    (see `pauses.Decision`). With the checkpointer of `open_checkpointer` every run is recorded in its
    catalogue, and SessionInUse is raised while another process or thread runs the session.
    """

    def stream(
        self, input: Any, config: RunnableConfig | None = None, *, context: Context = None, **kwargs: Any
    ) -> Iterator[Any]:
        config, options = _with_configurable(config), _options(context)
        saver = self._session_saver(config)
        prepared = input if isinstance(input, Prepared) else self.prepare(input, options)
        with self._recorder(saver, config) as recorder:
            saved = saver.get_tuple(config) if saver else None
            opened = self._open(prepared, config, saved, recorder, options)
            yield from super().stream(opened.input, config, context=cast("Any", opened.run), **kwargs)

    async def astream(
        self, input: Any, config: RunnableConfig | None = None, *, context: Context = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        config, options = _with_configurable(config), _options(context)
        saver = self._session_saver(config)
        prepared = input
        if not isinstance(input, Prepared):
            prepared = await asyncio.to_thread(self.prepare, input, options)  # it may read files
        with self._recorder(saver, config) as recorder:
            saved = await saver.aget_tuple(config) if saver else None
            open_ = partial(self._open, prepared, config, saved, recorder, options)
            # It writes to the catalogue, so it runs in the database's thread and not in the event loop.
            opened = await recorder.saver.database.run(open_) if recorder else open_()
            stream: Any = super().astream(opened.input, config, context=cast("Any", opened.run), **kwargs)
            async with aclosing(stream) as parts:
                async for part in parts:
                    yield part

    def prepare(self, given: Any, context: SwarmContext | None = None) -> Prepared:
        """Check an input before anything is written; pass the result to `stream` or `astream` in its place.

        Args:
            given: A request, None to resume, or a Command to answer pauses.
            context: What the caller overrides.

        Raises:
            InputError: The request is empty, or its tasks do not fit together.
            ConfigError: A task has no usable model or prompt, or the interpreter for tests cannot be used.
            SandboxError: Tests are required, and no sandbox is possible.
        """
        return prepare(given, self.nodes, self.bindings, context)

    @property
    def bindings(self) -> Bindings:
        """The configuration and the models that the nodes are bound to."""
        bindings: Bindings = cast("Any", self.builder).bindings  # the builder is a GraphBuilder
        return bindings

    # `update_state` and `aupdate_state` call these two.

    def bulk_update_state(
        self, config: RunnableConfig, supersteps: Sequence[Sequence[StateUpdate]]
    ) -> RunnableConfig:
        with self._manual_edit(config):
            return super().bulk_update_state(config, supersteps)

    async def abulk_update_state(
        self, config: RunnableConfig, supersteps: Sequence[Sequence[StateUpdate]]
    ) -> RunnableConfig:
        with self._manual_edit(config):
            return await super().abulk_update_state(config, supersteps)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """Its drawing in Jupyter, made on this machine: LangGraph's own asks a service in the network."""
        mermaid = self.get_graph().draw_mermaid()
        bundle = {"text/plain": repr(self), "text/vnd.mermaid": mermaid}
        with suppress(SwarmError):  # without the extra `draw` JupyterLab draws the Mermaid text
            bundle["image/svg+xml"] = draw(mermaid, "svg").decode()
        return bundle

    # --- opening a run ---------------------------------------------------------------------------

    def _session_saver(self, config: RunnableConfig) -> BaseCheckpointSaver[Any] | None:
        """The checkpointer, when the run has a thread to keep."""
        has_thread = "thread_id" in config["configurable"]
        return (
            self.checkpointer if has_thread and isinstance(self.checkpointer, BaseCheckpointSaver) else None
        )

    def _recorder(
        self, saver: BaseCheckpointSaver[Any] | None, config: RunnableConfig
    ) -> AbstractContextManager[RunRecorder | None]:
        """Holds the session's lock and records how the run ends. Without a saver of ours it does nothing."""
        if not isinstance(saver, SwarmSaver):
            return nullcontext()
        return RunRecorder(saver, str(config["configurable"]["thread_id"]))

    def _open(
        self,
        prepared: Prepared,
        config: RunnableConfig,
        saved: CheckpointTuple | None,
        recorder: RunRecorder | None,
        options: RunOptions,
    ) -> _Opened:
        """Decide how the run begins, record that, and make the context of its nodes."""
        resumed = prepared.given is None
        opening = open_run(
            prepared,
            str(config["configurable"].get("thread_id", "")),
            saved,
            nodes=self.nodes,
            channels=self.channels,
            replay="checkpoint_id" in config["configurable"],
            pending_request=recorder.pending_request(saved) if recorder and resumed else None,
            left_open=recorder is not None and recorder.left_open,
        )
        settings, saver = self.bindings.config, self._session_saver(config)
        if recorder is None or opening.kind is None:
            return _Opened(opening.input, RunContext(settings, options, saver=saver))
        journal, budget = recorder.begin(opening, self.name, settings, options, saved)
        run = RunContext(
            settings, options, saver=saver, journal=journal, budget=budget, is_own=recorder.is_own
        )
        return _Opened(opening.input, run)

    def _manual_edit(self, config: RunnableConfig) -> AbstractContextManager[None]:
        saver = self._session_saver(_with_configurable(config))
        if not isinstance(saver, SwarmSaver):
            return nullcontext()
        return manual_edit(saver.catalogue, str(config["configurable"]["thread_id"]))


def _with_configurable(config: RunnableConfig | None) -> RunnableConfig:
    return {**(config or {}), "configurable": (config or {}).get("configurable", {})}


def _options(context: Context) -> RunOptions:
    """The caller's context as options of the run. `langgraph dev` passes it as a dict.

    Without one, a graph inside another graph takes the context of that graph's run, as in LangGraph.
    """
    if context is None:
        context = outer_context()
    if isinstance(context, RunOptions):
        return context
    overrides = SwarmContext(**context) if isinstance(context, Mapping) else context or SwarmContext()
    return RunOptions(overrides.model, overrides.temperature, overrides.clock)
