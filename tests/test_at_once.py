"""Many sessions at once in one process: those that are too many for its open files wait, and all end well."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import warm

pytest.importorskip("resource", reason="Windows has no limit of open files")

MANY = """
import asyncio, resource
from swarm_graph import build_graph, open_checkpointer

FILES = 80
resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
MODEL = {"model_config": {"single_model": {"model": "simulated", "api_type": "simulated"}}}

async def main():
    with open_checkpointer("swarm.db") as saver:
        graph = build_graph("review_only", config=MODEL, checkpointer=saver)

        async def session(number):
            thread = {"configurable": {"thread_id": f"s{number}"}}
            return await graph.ainvoke({"request": "x = 1"}, thread)

        states = await asyncio.gather(*map(session, range(2 * FILES)))
        assert {state["phase"] for state in states} == {"complete"}
        assert len(saver.catalogue.sessions()) == 2 * FILES

asyncio.run(main())
print("all ended")
"""

NESTED = """
import asyncio, resource
from langgraph.graph import END, START, MessagesState, StateGraph
from swarm_graph import build_graph, open_checkpointer

FILES = 60
resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
MODEL = {"model_config": {"single_model": {"model": "simulated", "api_type": "simulated"}}}
PLACES = FILES // 2
inside, all_inside, one = 0, asyncio.Event(), asyncio.Lock()

async def call(state):
    global inside
    inside += 1
    if inside == PLACES:
        all_inside.set()
    await all_inside.wait()
    async with one:
        if IS_BEHIND_FOREIGN_GRAPH:
            await foreign.ainvoke({"messages": [state["request"]]}, context={"user": "somebody"})
        else:
            await call_inner(state["request"])

async def call_inner(request):
    await inner.ainvoke({"request": "x"}, {"configurable": {"thread_id": f"inner-{request}"}})

async def foreign_node(state):
    await call_inner(state["messages"][0].content)

foreign = StateGraph(MessagesState, context_schema=dict)
foreign.add_node("node", foreign_node)
foreign.add_edge(START, "node")
foreign = foreign.compile()

def outer(graph):
    graph.connect(START, graph.place("clarifier"))
    graph.add_node("call", call)
    graph.add_edge("clarifier", "call")
    graph.add_edge("call", END)

async def main():
    graph = build_graph("outer", config={**MODEL, "workflows": {"outer": outer}}, checkpointer=saver)
    sessions = [graph.ainvoke({"request": str(n)}, {"configurable": {"thread_id": f"outer-{n}"}})
                for n in range(PLACES)]
    await asyncio.wait_for(asyncio.gather(*sessions), 120)

with open_checkpointer("swarm.db") as saver:
    inner = build_graph("review_only", config=MODEL, checkpointer=saver)
    asyncio.run(main())
    assert len(saver.catalogue.sessions()) == 2 * PLACES
print("all ended")
"""


PROGRAMS = {
    "many": MANY,
    "inside others": "IS_BEHIND_FOREIGN_GRAPH = False\n" + NESTED,
    "inside others, behind a graph with a context of its own": "IS_BEHIND_FOREIGN_GRAPH = True\n" + NESTED,
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_sessions_wait_for_open_files(program: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path, env=warm.ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "all ended\n", done.stderr[-2000:]
