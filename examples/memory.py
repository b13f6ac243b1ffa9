"""Memory: procedures are added once, and a role gets the passages that fit its task, with their sources.

    python examples/memory.py

The model is scripted; search, prompt and record are real. For a real model, leave `context` out and name your
server in the configuration: {"url": "http://localhost:1234/v1", "model": "..."}.
"""

import re
from pathlib import Path
from uuid import uuid4

from swarm_graph import SwarmMemory, build_graph, open_checkpointer, open_store
from swarm_graph.testing import ScriptedModels, simulated_config

PROCEDURES = Path(__file__).with_name("procedures")


def architect(ask):
    """Stands for a model: it designs by the rule that it finds in its prompt, and names the source."""
    rule = re.search(r"valid for (\w+) minutes", ask.prompt)
    source = re.search(r"OP-110\.md, [^\n<]*[^\n<:]", ask.prompt)
    return (
        f"A gas test is void after {rule[1]} minutes ({source[0]})." if rule and source else "No rule known."
    )


models = ScriptedModels({"architect": architect})
config = simulated_config(workflow={"max_iterations": 1}, memory={"recall": {"architect": 3}})
thread = {"configurable": {"thread_id": f"furnace-{uuid4()}"}}  # a new session each time

with open_store("memory.db") as store, open_checkpointer("memory.db") as saver:
    memory = SwarmMemory(store)
    memory.add(PROCEDURES, collection="plant")
    for passage in memory.search("How long is the gas test of a furnace valid?", limit=2):
        print("found:", passage.citation)

    graph = build_graph("standard", config=config, checkpointer=saver, store=store)
    request = {"request": "A timer that says when the gas test of furnace H-101 is no longer valid"}
    state = graph.invoke(request, thread, context=models.context)

print(state["design"])
for recalled in state["recalled"]:
    for passage in recalled["passages"]:
        print(recalled["role"], "read:", f"{passage['source']}, {passage['place']}")
