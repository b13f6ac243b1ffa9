"""swarm_graph's own session of the `standard` workflow, with its database; also of an earlier checkout."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import Any

from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.runnables import RunnableConfig
from role_prompts import REQUEST
from worker import Session, Setting

from swarm_graph import build_graph, open_checkpointer


@asynccontextmanager
async def opened(setting: Setting, *, callback: bool = False, events: bool = True) -> AsyncIterator[Session]:
    """Sessions.

    Args:
        setting: Where they run.
        callback: With a callback of LangChain's that does nothing.
        events: Whether the database keeps their events.
    """
    model = {"url": setting.url, "model": "sleeper", "slots": 1024}
    config: dict[str, Any] = {
        "model_config": {"single_model": model},
        "workflow": {"max_parallel_agents": 1024},
    }
    if not events:
        config["ui"] = {"events": False}
    numbers = count()

    async def session() -> bool:
        thread: RunnableConfig = {"configurable": {"thread_id": f"session-{next(numbers)}"}}
        if callback:
            thread["callbacks"] = [AsyncCallbackHandler()]
        return bool((await graph.ainvoke({"request": REQUEST}, thread))["approved"])

    async with open_checkpointer(setting.folder / "ours.db") as saver:
        graph = build_graph("standard", config=config, checkpointer=saver)
        yield session


contender = partial(opened)
with_callback = partial(opened, callback=True)
without_events = partial(opened, events=False)
