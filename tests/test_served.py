"""langgraph.json names factories that exist, without a checkpointer of their own."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from swarm_graph.state import WORKFLOWS

ROOT = Path(__file__).parents[1]


def test_langgraph_json_serves_every_workflow() -> None:
    graphs = json.loads((ROOT / "langgraph.json").read_text())["graphs"]
    assert list(graphs) == list(WORKFLOWS)
    for name, reference in graphs.items():
        path, _, factory = reference.partition(":")
        spec = importlib.util.spec_from_file_location("served", ROOT / path)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        graph = getattr(module, factory)()
        assert graph.name == name
        assert graph.checkpointer is None
