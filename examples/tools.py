"""Tools of your own: the coder looks up a tag in the plant's list, and a person approves a work order.

    python examples/tools.py

The model is scripted. For a real one, leave `context` out and name your server in the configuration:
{"url": "http://localhost:1234/v1", "model": "..."}.
"""

import csv
from pathlib import Path
from uuid import uuid4

from langchain_core.tools import tool
from langgraph.types import Command

from swarm_graph import build_graph, open_checkpointer
from swarm_graph.testing import ScriptedModels, simulated_config

TAGS = Path(__file__).with_name("tags.csv")


@tool
def look_up_tag(tag: str) -> str:
    """Return the row of a tag in the plant's list: description, range, unit and trip."""
    with TAGS.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["tag"] == tag]
    return str(rows[0]) if rows else f"there is no tag {tag}"


@tool
def open_work_order(tag: str, text: str) -> str:
    """Open a work order for the maintenance of a tag."""
    return f"work order 4711 for {tag}: {text}"


def coder(ask):
    """Stands for a model: it looks the tag up, opens a work order, and answers."""
    if "12.5" not in ask.prompt:
        return '<tool_call>{"name": "look_up_tag", "arguments": {"tag": "FALL-103"}}</tool_call>'
    if "4711" not in ask.prompt:
        arguments = '{"tag": "FALL-103", "text": "Check the trip at 12.5 m3/h."}'
        return f'<tool_call>{{"name": "open_work_order", "arguments": {arguments}}}</tool_call>'
    return "```python path=trips.py\nP_101A_LOW_FLOW = 12.5  # m3/h, FALL-103, work order 4711\n```"


models = ScriptedModels({"coder": coder})
config = simulated_config(workflow={"max_iterations": 1}, approve=["open_work_order"])
thread = {"configurable": {"thread_id": f"trips-{uuid4()}"}}  # a new session each time

with open_checkpointer("tools.db") as saver:
    tools = {"coder": [look_up_tag, open_work_order]}
    graph = build_graph("standard", config=config, checkpointer=saver, tools=tools)
    graph.invoke({"request": "Write the low-flow trip of P-101A"}, thread, context=models.context)

    # The session waits now: an hour or a week, in this process or in another one.
    (interrupt,) = graph.get_state(thread).interrupts
    (pause,) = interrupt.value["pauses"]
    print("waits:", pause["value"]["tool"], pause["value"]["arguments"])
    state = graph.invoke(Command(resume="approve"), thread, context=models.context)

print(state["code"]["trips.py"], end="")
