"""LangGraph's compiled graph with our rules for sessions: begin, follow up, resume, record."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, aclosing, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast, overload

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, Durability, StateSnapshot, StateUpdate

from swarm_graph import aio
from swarm_graph.checkpoints.places import UNMOVED
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.config import SwarmConfig
from swarm_graph.events import Event
from swarm_graph.roles.bindings import Bindings
from swarm_graph.roles.run import RunContext, RunOptions, outer_context
from swarm_graph.sandbox.evidence import CHOOSE, RUN_TESTS
from swarm_graph.state import CHANGE, SwarmContext, SwarmResult, SwarmState, with_every_key
from swarm_graph.tasks.node import TASKS
from swarm_graph.workflows import schemas
from swarm_graph.workflows.admission import inside_run, open_runs, openings
from swarm_graph.workflows.drawing import States, workflow_svg
from swarm_graph.workflows.opening import (
    Opening,
    Prepared,
    Repositories,
    open_run,
    prepare,
    with_recorded_paths,
)
from swarm_graph.workflows.pauses import Answer, decisions_of
from swarm_graph.workflows.recording import RunRecorder, manual_edit, models_chosen
from swarm_graph.workflows.thread import CallThread, call_thread, state_config

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool
    from pydantic import BaseModel

Context: TypeAlias = SwarmContext | Mapping[str, Any] | None

Given: TypeAlias = SwarmState | Mapping[str, Any] | Command[Any] | None
"""A request (for a custom workflow `{"tasks": [...]}`), the answer to a pause, or None to resume."""

OTHER_RESULTS = ("stream_mode", "output_keys", "version")
"""The arguments of LangGraph's `invoke` that make it return something else than the state."""


class _Opened(NamedTuple):
    """An opened run: the input for LangGraph, the context for the nodes, a person's answers to commit."""

    input: Any
    run: RunContext
    answers: Sequence[Answer]
    decided: Sequence[Event]
    """An event for each pause that the answers are for."""
    chosen: Sequence[Event]
    """An event that says which models were chosen, where roles may have several."""


class SwarmGraph(CompiledStateGraph[SwarmState, SwarmContext, SwarmState, SwarmState]):
    """A compiled workflow. LangGraph's `invoke`, `ainvoke` and the like all call `stream` or `astream`.

    A request on a finished thread is a follow-up: rounds, reviews, findings and verdict start anew;
    requirements, design and code stay. A request on an unfinished thread raises UnfinishedSession, and
    nothing is written. None resumes. `Command(resume=decision)` answers the pauses at which the session waits
    (see `pauses.Decision`). With the checkpointer of `open_checkpointer` every run is recorded in its
    catalogue, and SessionInUse is raised while another process or thread runs the session. These rules hold
    for a graph that is bound, copied or wrapped, too. Inside another graph that has a checkpointer it is a
    part of that graph's thread.
    """

    # LangGraph's `invoke` returns dict[str, Any]; its callers want to know the keys.

    @overload
    def invoke(
        self,
        input: Given,
        config: RunnableConfig | None = None,
        *,
        context: Context = None,
        durability: Durability | None = None,
    ) -> SwarmResult: ...

    @overload
    def invoke(
        self, input: Given, config: RunnableConfig | None = None, *, context: Context = None, **kwargs: Any
    ) -> Any: ...

    def invoke(
        self, input: Given, config: RunnableConfig | None = None, *, context: Context = None, **kwargs: Any
    ) -> Any:
        given, run_context = cast("Any", input), cast("Any", context)
        return _completed(super().invoke(given, config, context=run_context, **kwargs), kwargs)

    @overload
    async def ainvoke(
        self,
        input: Given,
        config: RunnableConfig | None = None,
        *,
        context: Context = None,
        durability: Durability | None = None,
    ) -> SwarmResult: ...

    @overload
    async def ainvoke(
        self, input: Given, config: RunnableConfig | None = None, *, context: Context = None, **kwargs: Any
    ) -> Any: ...

    async def ainvoke(
        self, input: Given, config: RunnableConfig | None = None, *, context: Context = None, **kwargs: Any
    ) -> Any:
        given, run_context = cast("Any", input), cast("Any", context)
        return _completed(await super().ainvoke(given, config, context=run_context, **kwargs), kwargs)

    def stream(
        self, input: Any, config: RunnableConfig | None = None, *, context: Context = None, **kwargs: Any
    ) -> Iterator[Any]:
        aio.refuse_to_wait()
        thread, options = self._thread(config), _options(context)
        prepared = input if isinstance(input, Prepared) else self.prepare(input, options)
        with self._recorder(thread) as recorder:
            opens = partial(self._opened, prepared, thread, recorder, options)
            opened = recorder.saver.database.do(opens) if recorder else opens()
            _tell([*opened.chosen, *opened.decided], options)
            try:
                yield from super().stream(
                    opened.input, thread.config, context=cast("Any", opened.run), **kwargs
                )
            finally:
                if opened.run.has_servers:
                    aio.run(opened.run.close())

    async def astream(
        self, input: Any, config: RunnableConfig | None = None, *, context: Context = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        thread, options = self._thread(config), _options(context)
        prepared = input if isinstance(input, Prepared) else await self._prepared(input, options)
        async with open_runs(), AsyncExitStack() as stack:
            async with openings():
                recorder = await stack.enter_async_context(self._recorder(thread))
                opened = await self._aopened(prepared, thread, recorder, options)
                stack.push_async_callback(opened.run.close)
            _tell([*opened.chosen, *opened.decided], options)
            stream: Any = super().astream(
                opened.input, thread.config, context=cast("Any", opened.run), **kwargs
            )
            async with aclosing(stream) as parts:
                async for part in inside_run(parts):
                    yield part

    async def aqueue(
        self, input: Prepared, config: RunnableConfig | None = None, *, context: Context = None
    ) -> None:
        """Record a request, or a person's answers, and run nothing: the next resume does."""
        thread, options = self._thread(config), _options(context)
        async with openings():
            recorder = self._recorder(thread)
            assert isinstance(recorder, RunRecorder)
            async with recorder:
                recorder.leave_to_workers()
                opened = await self._aopened(input, thread, recorder, options)
                await opened.run.close()
        _tell([*opened.chosen, *opened.decided], options)

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
    def makes_change(self) -> bool:
        """Whether its sessions change or review a repository."""
        return self.bindings.config.workflow.kind == CHANGE and TASKS not in self.nodes

    @property
    def opens_round(self) -> bool:
        """Whether a role of it opens the rounds, as the coder does."""
        return bool(cast("Any", self.builder).opens_round)

    @property
    def last_round(self) -> int:
        """The round after which a session ends, approved or not."""
        builder = cast("Any", self.builder)
        has_rounds = (self.opens_round and builder.has_rounds) or TASKS in self.nodes
        return self.bindings.config.workflow.max_iterations if has_rounds else 1

    @property
    def silent_nodes(self) -> list[str]:
        """The nodes of a workflow of the user's own that emit no event themselves."""
        return list(cast("Any", self.builder).silent_nodes)

    @property
    def bindings(self) -> Bindings:
        """The configuration and the models that the nodes are bound to."""
        bindings: Bindings = cast("Any", self.builder).bindings  # the builder is a GraphBuilder
        return bindings

    def as_tool(
        self,
        args_schema: type[BaseModel] | None = None,
        *,
        name: str | None = None,
        description: str | None = None,
        arg_types: dict[str, type] | None = None,
    ) -> BaseTool:
        """A tool for agents with one argument, the request; see `tool.request_tool`.

        Args:
            args_schema: Arguments of your own, as in LangChain; the tool then takes and returns the state.
            name: Its name; default `swarm_` and the workflow.
            description: What it does, for the model.
            arg_types: Arguments of your own with their types, as in LangChain.

        Raises:
            InputError: The workflow is custom: it takes tasks, not a request.
        """
        from swarm_graph.workflows.tool import request_tool

        if args_schema or arg_types:
            return super().as_tool(args_schema, name=name, description=description, arg_types=arg_types)
        return request_tool(self, name, description)

    def get_input_jsonschema(self, config: RunnableConfig | None = None) -> dict[str, Any]:
        return schemas.input_schema(self.nodes)

    def get_context_jsonschema(self) -> dict[str, Any]:
        # LangGraph's own fails: a SwarmContext holds models and a clock, which have no form in JSON.
        return schemas.context_schema()

    def config_schema(self, *, include: Sequence[str] | None = None) -> type[BaseModel]:
        # Deprecated, but the server asks for it. Runs are set up by their context, not by configurable keys.
        return schemas.NoConfig

    # --- the state of a thread -------------------------------------------------------------------

    def get_state(self, config: RunnableConfig | None = None, *, subgraphs: bool = False) -> StateSnapshot:
        return super().get_state(self._state_config(config), subgraphs=subgraphs)

    async def aget_state(
        self, config: RunnableConfig | None = None, *, subgraphs: bool = False
    ) -> StateSnapshot:
        return await super().aget_state(self._state_config(config), subgraphs=subgraphs)

    def get_state_history(
        self, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[StateSnapshot]:
        return super().get_state_history(self._state_config(config), **kwargs)

    def aget_state_history(
        self, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[StateSnapshot]:
        return super().aget_state_history(self._state_config(config), **kwargs)

    # `update_state` and `aupdate_state` call these two.

    def bulk_update_state(
        self, config: RunnableConfig, supersteps: Sequence[Sequence[StateUpdate]]
    ) -> RunnableConfig:
        config = self._state_config(config)
        with self._manual_edit(config):
            return super().bulk_update_state(config, supersteps)

    async def abulk_update_state(
        self, config: RunnableConfig, supersteps: Sequence[Sequence[StateUpdate]]
    ) -> RunnableConfig:
        config = self._state_config(config)
        with self._manual_edit(config):
            return await super().abulk_update_state(config, supersteps)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """Its drawing in notebooks, made on this machine: LangGraph's own asks a service in the network.

        Mermaid text is not part of it: notebooks exported as HTML would load a program to draw that.
        """
        return {"text/plain": repr(self), "image/svg+xml": self.svg()}

    def svg(self, states: States | None = None) -> str:
        """Its drawing as SVG, without a network and without extras.

        Args:
            states: The state of each node, for a page with the style sheet of reports; None for a drawing
                that stands alone.
        """
        return workflow_svg(self.get_graph(), f"The workflow {self.name}", states)

    # --- opening a run ---------------------------------------------------------------------------

    def _thread(self, config: RunnableConfig | None) -> CallThread:
        return call_thread(self.name, self.checkpointer, self.config, config)

    def _state_config(self, config: RunnableConfig | None) -> RunnableConfig:
        return state_config(self.name, self.checkpointer, self.config, config)

    def _recorder(self, thread: CallThread) -> RunRecorder | nullcontext[None]:
        """Holds the session's lock and records how the run ends. Without a saver of ours it does nothing."""
        if not thread.is_session or not isinstance(thread.saver, SwarmSaver):
            return nullcontext()
        return RunRecorder(thread.saver, thread.id)

    async def _prepared(self, given: Any, options: RunOptions) -> Prepared:
        """`prepare` for an event loop: where it reads files or looks for a sandbox, in a thread."""
        if self.nodes.keys() & {RUN_TESTS, CHOOSE, TASKS} or self.makes_change:
            return await asyncio.to_thread(self.prepare, given, options)
        return self.prepare(given, options)

    def _opened(
        self, prepared: Prepared, thread: CallThread, recorder: RunRecorder | None, options: RunOptions
    ) -> _Opened:
        """Read where the thread stands, and open the run."""
        if recorder:
            recorder.forget_begin()
        saver = thread.saver if thread.is_session else None
        saved = saver.get_tuple(thread.checkpoint) if saver else None
        opened = self._open(prepared, thread, saved, recorder, options)
        if recorder and saved and (opened.answers or opened.decided):
            recorder.put_answers(saved, opened.answers, opened.decided)
        elif saver and saved:
            for answer in opened.answers:
                saver.put_writes(saved.config, *answer.write())
        return opened

    async def _aopened(
        self, prepared: Prepared, thread: CallThread, recorder: RunRecorder | None, options: RunOptions
    ) -> _Opened:
        """`_opened` for an event loop: with our saver, all of it in the database's thread."""
        if recorder:
            return await recorder.saver.database.run(self._opened, prepared, thread, recorder, options)
        saver = thread.saver if thread.is_session else None
        saved = await saver.aget_tuple(thread.checkpoint) if saver else None
        if self.makes_change:  # git runs
            opened = await asyncio.to_thread(self._open, prepared, thread, saved, None, options)
        else:
            opened = self._open(prepared, thread, saved, None, options)
        if saver and saved:
            for answer in opened.answers:
                await saver.aput_writes(saved.config, *answer.write())
        return opened

    def _open(
        self,
        prepared: Prepared,
        thread: CallThread,
        saved: CheckpointTuple | None,
        recorder: RunRecorder | None,
        options: RunOptions,
    ) -> _Opened:
        """Decide how the run begins, record that, and make the context of its nodes."""
        resumed = prepared.given is None
        is_left = recorder is not None and recorder.is_left_to_workers
        # A worker has its own copy; who answers a pause for it may have none.
        needs_repository = self.makes_change and (isinstance(prepared.given, Mapping) or not is_left)
        places = recorder.places if recorder else UNMOVED
        opening = open_run(
            with_recorded_paths(prepared, places) if TASKS in self.nodes else prepared,
            thread.id,
            saved,
            nodes=self.nodes,
            channels=self.channels,
            roles=self.bindings.roles,
            opens_round=self.opens_round,
            replay=thread.is_session and bool(thread.configurable.get("checkpoint_id")),
            pending_request=recorder.pending_request(saved) if recorder and resumed else None,
            left_open=recorder is not None and recorder.left_open,
            before=recorder.before_request if recorder else dict,
            repositories=self._repositories(thread, recorder) if needs_repository else None,
        )
        settings, saver = self._with_models(opening, thread, recorder, options), thread.saver
        chosen = models_chosen(thread.id, settings, options.drawn)
        is_new = opening.kind in ("begin", "follow_up")
        decided = [_decision_event(thread.id, options.decided_by, one) for one in opening.decided]
        if recorder is None or opening.kind is None:
            run = RunContext(
                settings,
                options,
                saver=saver,
                is_new=is_new,
                store=self.store,
                places=places,
                decisions=decisions_of(opening.answers),
            )
            return _Opened(opening.input, run, opening.answers, decided, chosen)
        nodes = [name for name in self.nodes if not name.startswith("__")]
        journal, budget = recorder.begin(opening, self.name, settings, options, saved, nodes, self.last_round)
        run = RunContext(
            settings,
            options,
            saver=saver,
            journal=journal,
            budget=budget,
            places=recorder.places,  # the first run of a session records its place
            is_own=recorder.is_own,
            is_new=is_new,
            store=self.store,
            decisions=decisions_of(opening.answers),
        )
        answers = opening.answers if run.is_own else [answer.alone() for answer in opening.answers]
        return _Opened(opening.input, run, answers, decided, chosen)

    def _with_models(
        self, opening: Opening, thread: CallThread, recorder: RunRecorder | None, options: RunOptions
    ) -> SwarmConfig:
        """The configuration with a model for each role that may have several; see `session_models`."""
        config = self.bindings.config
        if not config.choices or opening.kind is None:
            return config
        from swarm_graph.workflows.session_models import session_models  # most roles have one model

        roles = config.role_names if TASKS in self.nodes else cast("Any", self.builder).roles
        return session_models(
            config, [str(role) for role in roles], opening.kind, thread.id, recorder, explore=options.explore
        )

    def _repositories(self, thread: CallThread, recorder: RunRecorder | None) -> Repositories:
        """What finds the repository of the session."""
        from swarm_graph.workflows.repository import SessionRepository  # other kinds need no git

        is_own = recorder is None or recorder.knows_as_own
        writes_files = bool(cast("Any", self.builder).writes_files)
        places = recorder.places if recorder else UNMOVED
        return SessionRepository(thread.id, self.bindings.config.repo, is_own, writes_files, places)

    def _manual_edit(self, config: RunnableConfig) -> AbstractContextManager[None]:
        thread = self._thread(config)
        if not thread.is_session or not isinstance(thread.saver, SwarmSaver):
            return nullcontext()
        return manual_edit(thread.saver.catalogue, thread.id)


def _completed(result: Any, options: Mapping[str, Any]) -> Any:
    """What `invoke` returns: the state with every key, unless the caller asked for something else."""
    return (
        with_every_key(result) if isinstance(result, dict) and not options.keys() & OTHER_RESULTS else result
    )


def _tell(decided: Sequence[Event], options: RunOptions) -> None:
    """Tell the caller of answered pauses, once the answers are committed."""
    if options.on_decision:
        for event in decided:
            options.on_decision(event)


def _decision_event(session: str, by: str, decided: Mapping[str, Any]) -> Event:
    """The event of an answered pause."""
    place = {name: decided[name] for name in ("node", "role", "iteration")}
    said = {name: value for name, value in decided.items() if name not in place}
    return Event("pause_answered", time.time(), session, **place, data={**said, "by": by})


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
