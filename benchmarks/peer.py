"""A plain peer of our `standard` workflow: what a LangGraph user writes by hand for the same calls.

Same prompts, same shape, same streaming, and a SQLite checkpointer; no retries, limits, events, records
or repair questions. It holds all prompt data in its state as we do, so the calls carry the same text.
"""

from __future__ import annotations

import json
import operator
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import Annotated, Any, TypedDict

from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from openai import DefaultAioHttpClient, DefaultAsyncHttpxClient
from pydantic import SecretStr
from role_prompts import FOCUSES, REQUEST, RolePrompts
from worker import Session, Setting

Graph = CompiledStateGraph[Any, Any, Any, Any]


class PeerState(TypedDict, total=False):
    request: str
    requirements: str
    design: str
    code: str
    reviews: Annotated[list[dict[str, Any]], operator.add]
    approved: bool
    rounds: int


def peer_graph(model: ChatOpenAI, prompts: RolePrompts, saver: AsyncSqliteSaver | None) -> Graph:
    """clarifier → architect → coder → three reviewers → verdict → coder or end."""

    def asks(name: str) -> Callable[[PeerState], Any]:
        async def ask(state: PeerState) -> str:
            texts = {key: value for key, value in state.items() if isinstance(value, str)}
            system, user = prompts.messages(name, texts)
            messages = [SystemMessage(system), HumanMessage(user)]
            return "".join([chunk.text async for chunk in model.astream(messages)])

        return ask

    clarify, design, code = asks("clarifier"), asks("architect"), asks("coder")

    async def clarifier(state: PeerState) -> PeerState:
        answer = json.loads(await clarify(state))
        return {"requirements": "\n".join(f"- {line}" for line in answer["requirements"])}

    async def architect(state: PeerState) -> PeerState:
        return {"design": await design(state)}

    async def coder(state: PeerState) -> PeerState:
        return {"code": await code(state), "rounds": state.get("rounds", 0) + 1}

    def reviewer(name: str) -> Callable[[PeerState], Any]:
        ask = asks(name)

        async def review(state: PeerState) -> PeerState:
            return {"reviews": [json.loads(await ask(state))]}

        return review

    async def verdict(state: PeerState) -> PeerState:
        return {"approved": all(review["approved"] for review in state["reviews"][-3:])}

    graph = StateGraph(PeerState)
    graph.add_node("clarifier", clarifier)
    graph.add_node("architect", architect)
    graph.add_node("coder", coder)
    graph.add_node("verdict", verdict)
    graph.add_edge(START, "clarifier")
    graph.add_edge("clarifier", "architect")
    graph.add_edge("architect", "coder")
    reviews = [f"review_{focus}" for focus in FOCUSES]
    for name in reviews:
        graph.add_node(name, reviewer(name))
        graph.add_edge("coder", name)
    graph.add_edge(reviews, "verdict")
    graph.add_conditional_edges(
        "verdict",
        lambda state: "done" if state["approved"] or state["rounds"] >= 3 else "revise",
        {"revise": "coder", "done": END},
    )
    return graph.compile(saver)


@asynccontextmanager
async def open_peer(setting: Setting, *, aiohttp: bool) -> AsyncIterator[Session]:
    """The peer over a SQLite file of its own; `aiohttp`: on the transport that we use."""
    numbers = count()

    async def session() -> bool:
        thread = {"configurable": {"thread_id": f"session-{next(numbers)}"}}
        return bool((await graph.ainvoke({"request": REQUEST}, thread))["approved"])

    async with (
        DefaultAioHttpClient() if aiohttp else DefaultAsyncHttpxClient() as client,
        AsyncSqliteSaver.from_conn_string(str(setting.folder / "peer.db")) as saver,
    ):
        model = ChatOpenAI(
            model="sleeper",
            base_url=setting.url,
            api_key=SecretStr("none"),
            temperature=0.6,
            stream_usage=True,
            stream_chunk_timeout=None,
            http_async_client=client,
        )
        graph = peer_graph(model, setting.prompts, saver)
        yield session


on_httpx = partial(open_peer, aiohttp=False)
on_aiohttp = partial(open_peer, aiohttp=True)
