"""LangGraph's compiled graph with our rules for beginning, following up and resuming a session."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, StateUpdate

from swarm_graph.checkpoints.saver import SwarmSaver
from swarm_graph.config import SwarmConfig
from swarm_graph.errors import InputError, SwarmError, UnfinishedSession
from swarm_graph.models.slots import Budget
from swarm_graph.roles.run import RUN, Run
from swarm_graph.roles.turn import Crew
from swarm_graph.sandbox.evidence import RUN_TESTS
from swarm_graph.sandbox.runner import check
from swarm_graph.state import SwarmContext, SwarmState, has_ended
from swarm_graph.tasks.dependencies import checked_graph
from swarm_graph.tasks.node import TASKS
from swarm_graph.tasks.prompting import check_tasks
from swarm_graph.tasks.spec import TaskSpec, absolute, pending, task_specs
from swarm_graph.text import check_plain
from swarm_graph.workflows import pauses
from swarm_graph.workflows.drawing import draw
from swarm_graph.workflows.recording import Record, changing

START_CHANNEL = "__start__"


class SwarmGraph(CompiledStateGraph[SwarmState, SwarmContext, SwarmState, SwarmState]):
    """A compiled workflow. `invoke`, `ainvoke` and every other way to run it come through here.

    A request on a finished thread is a follow-up: rounds, reviews, findings and verdict start anew,
    requirements, design and code stay. On an unfinished thread it raises UnfinishedSession, and
    nothing is written. None resumes; `Command(resume=decision)` answers the pauses at which it waits
    (see `pauses.Decision`). With the checkpointer of `open_checkpointer` every run is recorded in its
    catalogue, and a session that is at work elsewhere raises SessionInUse.
    """

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        config = with_run(config)
        saver = self._saver(config)
        with self._record(saver, config) as record:
            saved = saver.get_tuple(config) if saver else None
            given = self._begin(input, config, saved, record, kwargs.get("context"))
            yield from super().stream(given, config, **kwargs)

    async def astream(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        config = with_run(config)
        saver = self._saver(config)
        with self._record(saver, config) as record:
            saved = await saver.aget_tuple(config) if saver else None
            begin = partial(self._begin, input, config, saved, record, kwargs.get("context"))
            given = await record.saver.database.run(begin) if record else begin()
            stream: Any = super().astream(given, config, **kwargs)
            async with aclosing(stream) as parts:
                async for part in parts:
                    yield part

    def bulk_update_state(
        self, config: RunnableConfig, supersteps: Sequence[Sequence[StateUpdate]]
    ) -> RunnableConfig:
        with self._changing(config):
            return super().bulk_update_state(config, supersteps)

    async def abulk_update_state(
        self, config: RunnableConfig, supersteps: Sequence[Sequence[StateUpdate]]
    ) -> RunnableConfig:
        with self._changing(config):
            return await super().abulk_update_state(config, supersteps)

    def check(self) -> None:
        """Raises ConfigError or SandboxError when its tests can never be run as the config wants it."""
        if RUN_TESTS in self.nodes:
            check(self._config.execution)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """Its drawing in Jupyter, made on this machine: LangGraph's own asks a service in the network."""
        mermaid = self.get_graph().draw_mermaid()
        bundle = {"text/plain": repr(self), "text/vnd.mermaid": mermaid}
        with suppress(SwarmError):  # without the extra `draw` JupyterLab draws the Mermaid text
            bundle["image/svg+xml"] = draw(mermaid, "svg").decode()
        return bundle

    def _saver(self, config: RunnableConfig) -> BaseCheckpointSaver[Any] | None:
        if "thread_id" not in config["configurable"] or not isinstance(
            self.checkpointer, BaseCheckpointSaver
        ):
            return None
        run: Run = config["configurable"][RUN]
        run.saver = self.checkpointer
        return self.checkpointer

    def _begin(
        self,
        given: Any,
        config: RunnableConfig,
        saved: CheckpointTuple | None,
        record: Record | None,
        context: SwarmContext | None,
    ) -> Any:
        """The input for LangGraph, and with a catalogue the record that this run begins."""
        self.check()
        if given is not None and not isinstance(given, Command):
            given = self.checked(given, context)
        going, resumed = saved is not None and unfinished(saved), given is None
        if resumed and record and not going:
            given = record.pending(saved)
        taken = self._taken(given, config, saved)
        if record and (given is not None or going or _is_replay(config) or record.left_open):
            request = given if isinstance(given, Mapping) else None
            kind = "resume" if resumed or not request else "follow_up" if saved else "begin"
            record.begin(self.name, self._config, "replay" if _is_replay(config) else kind, request, saved)
        elif not record:
            run: Run = config["configurable"][RUN]
            run.budget = Budget(self._config.limits)
        return taken

    def _taken(self, given: Any, config: RunnableConfig, saved: CheckpointTuple | None) -> Any:
        """None as it is, answers to pauses, a request with what it starts anew; refuses what does not fit."""
        session = config["configurable"].get("thread_id", "")
        going = saved is not None and unfinished(saved)
        if saved is not None and going:
            self._refuse_other_shape(session, saved)
        if given is None and saved is None:
            raise InputError(f"no session '{session}' to resume: nothing was saved under this thread_id")
        if given is None:
            return given
        if isinstance(given, Command):
            return self._answered(given, session, saved)
        if going:
            raise UnfinishedSession(
                f"session '{session}' has not ended; resume it with `graph.invoke(None, thread)` or "
                f"`swarm-graph resume {session}`, or use another thread_id"
            )
        return self.start(given)

    def _refuse_other_shape(self, session: str, saved: CheckpointTuple) -> None:
        """InputError when a session is on its way to a node that this graph does not have."""
        channels = saved.checkpoint["channel_values"]
        if missing := [name for name in channels if name not in self.channels]:
            raise InputError(
                f"session '{session}' began in a graph of another shape ({', '.join(missing)}); build it "
                "with the workflow, reviewers and pauses that the session began with"
            )

    def _answered(self, given: Command[Any], session: str, saved: CheckpointTuple | None) -> Command[Any]:
        if given.resume is None:
            return given
        waiting = pauses.waiting(saved)
        if not waiting or saved is None:
            raise InputError(f"session '{session}' does not wait for a person; resume it without an answer")
        state = cast("SwarmState", saved.checkpoint["channel_values"])
        return replace(given, resume=pauses.answer(given.resume, waiting, state))

    def start(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """A request with everything that it starts anew; other keys given with it stay as given."""
        first = 0 if "coder" in self.nodes else 1
        anew = {"approved": False, "findings": [], "diagnosis": "", "phase": "running", "iteration": first}
        anew |= {"best": None, "codes": [], "circling": "", "changed": []}
        empty = {"reviews": {"__overwrite__": []}, "tasks": {"__overwrite__": {}}}
        if TASKS in self.nodes:
            specs = [TaskSpec.model_validate(task) for task in given["tasks"]]
            records = {spec.task_id: pending(spec, [number]) for number, spec in enumerate(specs)}
            own = {"tasks": {"__overwrite__": records}, "children": secrets.token_hex(4), "approved": None}
            return {**anew, **empty, **given, **own}
        return {**anew, **empty, **given}

    def checked(self, given: Any, context: SwarmContext | None = None) -> dict[str, Any]:
        """The input of a new run, as plain data. InputError when it holds no request, or no fitting tasks."""
        if TASKS not in self.nodes:
            return checked(given)
        if not isinstance(given, Mapping):
            raise InputError('the input is no object; expected {"tasks": [...]}')
        graph = checked_graph(task_specs(given.get("tasks", ())))
        check_tasks(graph, self._crew, overridden=bool(context and context.model))
        plain = [absolute(spec, Path()).plain() for spec in graph.values()]
        return {**given, "request": _encodable(str(given.get("request") or "")), "tasks": plain}

    # --- the catalogue ---------------------------------------------------------------------------

    def _record(
        self, saver: BaseCheckpointSaver[Any] | None, config: RunnableConfig
    ) -> AbstractContextManager[Record | None]:
        """Holds the session's lock and records how the run ends; nothing with a saver that is not ours."""
        if not isinstance(saver, SwarmSaver):
            return nullcontext()
        return Record(saver, config)

    @property
    def _crew(self) -> Crew:
        return cast("Crew", cast("Any", self.builder).crew)

    @property
    def _config(self) -> SwarmConfig:
        return self._crew.config

    def _changing(self, config: RunnableConfig) -> AbstractContextManager[None]:
        """Nobody works on the session while its state is changed; what it answered before is asked anew."""
        saver = self._saver(with_run(config))
        if not isinstance(saver, SwarmSaver):
            return nullcontext()
        return changing(saver.catalogue, str(config["configurable"]["thread_id"]))


def unfinished(saved: CheckpointTuple) -> bool:
    """Whether a saved thread began a request and has not ended it."""
    values = saved.checkpoint["channel_values"]
    phase = values.get("phase")
    return START_CHANNEL in values or (phase is not None and not has_ended(phase))


def checked(given: Any) -> dict[str, Any]:
    """The input of a new run. InputError when it holds no request."""
    request = given.get("request") if isinstance(given, Mapping) else None
    if not isinstance(request, str) or not request.strip():
        raise InputError('the request is empty; expected {"request": "what you want built or reviewed"}')
    _encodable(request)
    return dict(given)


def _encodable(request: str) -> str:
    """The same request. InputError when no file and no database takes it."""
    try:
        check_plain(request)
    except ValueError as error:
        raise InputError("the request holds bytes that are not UTF-8 text") from error
    return request


def with_run(config: RunnableConfig | None) -> RunnableConfig:
    """The config with what the nodes of one run share."""
    configurable = (config or {}).get("configurable", {})
    return {**(config or {}), "configurable": {**configurable, RUN: configurable.get(RUN) or Run()}}


def _is_replay(config: RunnableConfig) -> bool:
    return "checkpoint_id" in config["configurable"]
