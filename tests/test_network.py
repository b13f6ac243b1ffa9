"""Nothing phones home: every connection and name look-up of a run goes to a configured server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from servers.counting_proxy import CountingProxy
from servers.ollama_front import OllamaFront

WATCHED = """
import json, sys
seen = []

def watch(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        seen.append(list(arguments[1][:2]))
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        seen.append([str(arguments[0]), arguments[1] if len(arguments) > 1 else None])

sys.addaudithook(watch)
from swarm_graph import SwarmCoordinator, build_graph, open_checkpointer

swarm = SwarmCoordinator("config.json")
state = swarm.run_workflow("x = 1", "review_only", session_id="s")
graph = build_graph("review_only", config="config.json", checkpointer=open_checkpointer("other.db"))
graph.invoke({"request": "x = 1"}, {"configurable": {"thread_id": "t"}})
print(json.dumps({"phase": state["phase"], "seen": seen, "tracer": "langsmith" in repr(graph.config)}))
"""
TEMPTATIONS = {
    "LANGSMITH_TRACING": "true",
    "LANGCHAIN_TRACING_V2": "true",
    "LANGSMITH_API_KEY": "lsv2_not_a_key",
    "LANGSMITH_ENDPOINT": "http://127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "ALL_PROXY": "http://127.0.0.1:9",
    "OPENAI_API_BASE": "http://127.0.0.1:9",
    "OPENAI_BASE_URL": "http://127.0.0.1:9",
    "OLLAMA_HOST": "http://127.0.0.1:9",
}


def test_no_socket_is_opened_to_anything_but_the_configured_servers(
    counted: CountingProxy, ollama: OllamaFront, tmp_path: Path
) -> None:
    openai = {"url": counted.url, "model": "tiny"}
    models = {
        "mode": "multi",
        "single_model": openai,
        "multi_model": {"reviewer": {"url": ollama.root, "model": "tiny", "api_type": "ollama"}},
    }
    (tmp_path / "config.json").write_text(json.dumps({"model_config": models}))
    done = subprocess.run(
        [sys.executable, "-c", WATCHED],
        cwd=tmp_path,
        env={**os.environ, **TEMPTATIONS},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["phase"] == "complete"
    allowed = {("127.0.0.1", server.server_port) for server in (counted, ollama)}
    assert {(host, int(port)) for host, port in result["seen"]} <= allowed
    assert len(ollama.calls) == 8


def test_the_help_loads_neither_langgraph_nor_langchain() -> None:
    code = (
        "import sys; sys.argv = ['swarm-graph', '--help']\n"
        "from swarm_graph.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([n for n in sys.modules if n.split('.')[0] in"
        " ('langgraph', 'langchain_core', 'pydantic', 'httpx', 'rich', 'sqlite_utils')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
