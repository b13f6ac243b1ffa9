"""LangGraph's compiled graph with our rules for beginning, following up and resuming a session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command

from swarm_graph.errors import InputError, UnfinishedSession
from swarm_graph.limits import Run
from swarm_graph.role import RUN
from swarm_graph.state import SwarmContext, SwarmState

UNFINISHED = ("running", "paused")
START_CHANNEL = "__start__"


class SwarmGraph(CompiledStateGraph[SwarmState, SwarmContext, SwarmState, SwarmState]):
    """A compiled workflow. `invoke`, `ainvoke` and every other way to run it come through here.

    A request on a finished thread is a follow-up: rounds, reviews, findings and verdict start anew,
    requirements, design and code stay. On an unfinished thread it raises UnfinishedSession, and
    nothing is written. None resumes.
    """

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        config = with_run(config)
        saved = saver.get_tuple(config) if (saver := self._saver(config)) else None
        yield from super().stream(self._begin(input, config, saved), config, **kwargs)

    async def astream(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        config = with_run(config)
        saved = await saver.aget_tuple(config) if (saver := self._saver(config)) else None
        async for part in super().astream(self._begin(input, config, saved), config, **kwargs):
            yield part

    def _saver(self, config: RunnableConfig) -> BaseCheckpointSaver[Any] | None:
        if "thread_id" not in config["configurable"] or not isinstance(
            self.checkpointer, BaseCheckpointSaver
        ):
            return None
        return self.checkpointer

    def _begin(self, given: Any, config: RunnableConfig, saved: CheckpointTuple | None) -> Any:
        """The input for LangGraph: None and commands as they are, a request with the state it starts anew."""
        session = config["configurable"].get("thread_id", "")
        if given is None and saved is None:
            raise InputError(f"no session '{session}' to resume: nothing was saved under this thread_id")
        if given is None or isinstance(given, Command):
            return given
        if saved is not None and unfinished(saved):
            raise UnfinishedSession(
                f"session '{session}' has not ended; resume it with `graph.invoke(None, thread)` or "
                f"`swarm-graph resume {session}`, or use another thread_id"
            )
        return self.start(checked(given))

    def start(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """A request with everything that it starts anew; other keys given with it stay as given."""
        first = 0 if "coder" in self.nodes else 1
        anew = {"approved": False, "findings": [], "diagnosis": "", "phase": "running", "iteration": first}
        empty = {"reviews": {"__overwrite__": []}, "tasks": {"__overwrite__": {}}}
        return {**anew, **empty, **given}


def unfinished(saved: CheckpointTuple) -> bool:
    """Whether a saved thread began a request and has not ended it."""
    values = saved.checkpoint["channel_values"]
    return values.get("phase") in UNFINISHED or START_CHANNEL in values


def checked(given: Any) -> Mapping[str, Any]:
    """The input of a new run. InputError when it holds no request."""
    request = given.get("request") if isinstance(given, Mapping) else None
    if not isinstance(request, str) or not request.strip():
        raise InputError('the request is empty; expected {"request": "what you want built or reviewed"}')
    return dict(given)


def with_run(config: RunnableConfig | None) -> RunnableConfig:
    """The config with what the branches of one run share."""
    config = config or {}
    return {**config, "configurable": {**config.get("configurable", {}), RUN: Run()}}
