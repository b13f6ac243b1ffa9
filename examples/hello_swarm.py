"""The parts of swarm_graph, wired by hand: configuration, graph, checkpointer, a stream, a resume.

    python examples/hello_swarm.py

The model is simulated. For a real one, name your server: {"url": "http://localhost:1234/v1", "model": "..."}.
"""

from langgraph.types import Command

from swarm_graph import build_graph, load_config, open_checkpointer

config = load_config(
    {
        "model_config": {"single_model": {"model": "simulated", "api_type": "simulated"}},
        "workflow": {"pause_after": ["architect"]},  # so that a person can check the design
    }
)
thread = {"configurable": {"thread_id": "hello"}}

# Run until the pause. The checkpointer saves the state after every step.
with open_checkpointer("hello.db") as saver:
    graph = build_graph("standard", config=config, checkpointer=saver)
    for update in graph.stream({"request": "Create a FIFO queue"}, thread, stream_mode="updates"):
        print("finished:", *update)  # the last line is `__interrupt__`, the pause

# Another process can resume from the same file. After a crash, without a pause: `graph.invoke(None, thread)`.
with open_checkpointer("hello.db") as saver:
    graph = build_graph("standard", config=config, checkpointer=saver)
    print("the design:", graph.get_state(thread).values["design"].splitlines()[0])
    state = graph.invoke(Command(resume="approve"), thread)

print("approved:", state["approved"], "in round", state["iteration"])
for path, text in state["code"].items():
    print(f"--- {path}: {len(text.splitlines())} lines")
