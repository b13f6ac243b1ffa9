"""`langgraph dev` serves every workflow, with each kind of config; it sends nothing to anybody."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from pages import Page
from servers.llama import Llama
from support import SIMULATED, dead_port, sandbox, write_config

from swarm_graph.state import WORKFLOWS, empty_state

ROOT = Path(__file__).parents[1]
KEYS = empty_state().keys()
NOTE_SERVER = ROOT / "tests" / "chaos" / "note_server.py"


class Server(NamedTuple):
    """A running `langgraph dev`; it reads `folder/config.json` for each run."""

    folder: Path
    http: httpx.Client
    outside: socket.socket
    """The proxy for everything but this machine; it accepts nobody."""

    def run(self, workflow: str, /, **given: Any) -> dict[str, Any]:
        """The final state of one run."""
        response = self.http.post("/runs/wait", json={"assistant_id": workflow, "input": given})
        state: dict[str, Any] = response.raise_for_status().json()
        return state

    def schemas(self, workflow: str) -> httpx.Response:
        (assistant,) = self.http.post("/assistants/search", json={"graph_id": workflow}).json()
        return self.http.get(f"/assistants/{assistant['assistant_id']}/schemas")

    def configure(self, **sections: Any) -> None:
        write_config(self.folder, **sections)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder, port = tmp_path_factory.mktemp("served"), dead_port()
    (folder / "langgraph.json").write_text((ROOT / "langgraph.json").read_text())
    outside = socket.create_server(("127.0.0.1", 0))
    proxy = f"http://127.0.0.1:{outside.getsockname()[1]}"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SWARM_")}
    environ |= {"http_proxy": proxy, "https_proxy": proxy, "no_proxy": "127.0.0.1", "NO_COLOR": "1"}
    environ["LANGGRAPH_CLI_NO_ANALYTICS"] = "1"  # langgraph.json has the other switch
    command = [sys.executable, "-m", "langgraph_cli", "dev", "--no-browser", "--no-reload"]
    with (
        outside,
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            env=environ,
            stdout=log,
            stderr=log,
        ) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, trust_env=False) as http,
    ):
        try:
            _wait_until_ready(process, http, folder / "log")
            yield Server(folder, http, outside)
        finally:
            process.terminate()


def _wait_until_ready(process: subprocess.Popen[bytes], http: httpx.Client, log: Path) -> None:
    while process.poll() is None:
        try:
            if http.get("/ok").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise RuntimeError(f"langgraph dev ended with {process.returncode}:\n{log.read_text()}")


def test_langgraph_json_serves_every_workflow() -> None:
    settings = json.loads((ROOT / "langgraph.json").read_text())
    assert settings["graphs"] == {name: f"swarm_graph.cli.served:{name}" for name in WORKFLOWS}
    ((_, documented),) = Page("langgraph.md").blocks("json")
    assert json.loads(documented) == settings
    ((_, start), _) = Page("langgraph.md").blocks("shell")
    assert start.startswith("LANGGRAPH_CLI_NO_ANALYTICS=1 langgraph dev --no-browser --host 127.0.0.1 ")


@pytest.mark.slow
def test_a_prompt_pack(server: Server) -> None:
    server.configure(prompts_dir="process-safety")
    state = server.run("standard", request="A pump trips at start-up")
    assert state["phase"] == "complete"
    assert state.keys() == KEYS


@pytest.mark.slow
def test_a_model_for_each_role_on_a_real_server(server: Server, llama: Llama) -> None:
    models = {
        **SIMULATED["model_config"],
        "mode": "multi",
        "multi_model": {"reviewer": {"url": llama.url, "model": llama.alias}},
    }
    server.configure(model_config=models, agent_parameters={"reviewer": {"max_tokens": 4000, "seed": 7}})
    state = server.run("review_only", request="x = 1")
    assert state["phase"] == "complete"
    assert len(state["reviews"]) == 4


@pytest.mark.slow
def test_a_sandbox_and_a_pause(server: Server) -> None:
    server.configure(
        features={"execute_tests": True},
        execution={"mode": "required", "sandbox": sandbox()},
        workflow={"pause_before": ["documenter"]},
    )
    state = server.run("full", request="Create a queue")
    assert [one["value"]["node"] for one in state["__interrupt__"]] == ["documenter"]
    assert any("evidence" in review for review in state["reviews"])


@pytest.mark.slow
def test_a_pause_is_answered_on_a_thread_of_the_server(server: Server) -> None:
    server.configure(workflow={"pause_before": ["coder"], "max_iterations": 1})
    thread = server.http.post("/threads", json={}).json()["thread_id"]
    run = {"assistant_id": "standard", "context": {"temperature": 0.2}}
    waiting = server.http.post(
        f"/threads/{thread}/runs/wait", json={**run, "input": {"request": "Create a queue"}}
    ).json()
    assert waiting["__interrupt__"][0]["value"]["when"] == "before"
    refused = server.http.post(
        f"/threads/{thread}/runs/wait", json={**run, "input": {"request": "Create a stack"}}
    ).json()
    assert "has not ended" in refused["__error__"]["message"]
    ended = server.http.post(
        f"/threads/{thread}/runs/wait", json={**run, "command": {"resume": "approve"}}
    ).json()
    assert ended["phase"] == "complete"


@pytest.mark.slow
def test_roles_recall_from_the_store_of_the_server(server: Server) -> None:
    server.configure(memory={"recall": {"architect": 2}}, workflow={"max_iterations": 1})
    passage = {"text": "The queue holds 16 samples.", "source": "rules.md", "place": "p. 3"}
    item = {"namespace": ["swarm", "memory", "knowledge", "plant"], "key": "1/0001", "value": passage}
    server.http.put("/store/items", json=item).raise_for_status()
    (recalled,) = server.run("standard", request="Create a queue")["recalled"]
    assert recalled["passages"] == [{"id": "1/0001", **passage}]
    assert recalled["note"] == ""


@pytest.mark.slow
def test_a_task_graph_with_files(server: Server) -> None:
    server.configure(prompts_dir=str(ROOT / "prompts" / "process-safety"))
    (server.folder / "note.txt").write_text("P-101 cavitates.\n")
    causes = {"task_id": "causes", "assigned_role": "debugger", "files": ["note.txt"]}
    report = {"task_id": "report", "assigned_role": "documenter", "dependencies": ["causes"]}
    state = server.run("custom", tasks=[causes, report])
    assert {name: task["status"] for name, task in state["tasks"].items()} == {
        "causes": "COMPLETED",
        "report": "COMPLETED",
    }


@pytest.mark.slow
@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_the_schemas_name_what_a_client_gives(server: Server, workflow: str) -> None:
    server.configure()
    schemas = server.schemas(workflow).json()
    assert schemas["input_schema"]["required"] == ["tasks" if workflow == "custom" else "request"]
    assert [*schemas["context_schema"]["properties"]] == ["temperature"]
    assert KEYS >= schemas["output_schema"]["properties"].keys() >= {"code", "reviews", "approved"}
    assert schemas["config_schema"] is not None


@pytest.mark.slow
def test_errors_reach_the_client_in_one_line(server: Server) -> None:
    server.configure(workflow={"max_iterations": 0})
    config = server.folder / "config.json"
    error = server.run("standard", request="Create a queue")["__error__"]
    assert error["message"].startswith(f"{config.name}: workflow.max_iterations: 0 is not allowed")
    assert server.schemas("standard").json() == {"detail": error["message"]}
    assert error["message"] in server.log
    server.configure()
    assert server.run("standard", request="")["__error__"]["message"].startswith("the request is empty")
    dead = {"url": f"http://127.0.0.1:{dead_port()}/v1", "model": "m", "retries": 0}
    server.configure(model_config={"single_model": dead})
    error = server.run("standard", request="Create a queue")["__error__"]
    assert error["error"] == "ModelError"
    assert "is the server running at" in error["message"]


@pytest.mark.slow
def test_nothing_was_sent_and_nothing_blocked(server: Server) -> None:
    assert "BlockingError" not in server.log
    assert "Failed to get" not in server.log, "a schema"
    server.outside.settimeout(0)
    with pytest.raises(BlockingIOError):
        server.outside.accept()


@pytest.mark.slow
def test_a_call_of_an_mcp_server_waits_for_a_person(server: Server) -> None:
    noted, script = server.folder / "noted", server.folder / "script.md"
    call = '<tool_call>{"name": "notes__note", "arguments": {"text": "served"}}</tool_call>'
    design = "One file holds a ring of slots, guarded by one lock. " * 10
    script.write_text(f"<!-- architect 1 -->\n{design}\n{call}\n")
    simulated = {"model": "simulated", "api_type": "simulated", "simulation": {"script": str(script)}}
    server.configure(
        model_config={"single_model": simulated},
        mcp_servers={"notes": {"command": sys.executable, "args": [str(NOTE_SERVER), str(noted)]}},
        tools={"architect": ["project.*", "notes.*"]},
        tool_limits={"calls": 1},
        workflow={"max_iterations": 1},
    )
    thread = server.http.post("/threads", json={}).json()["thread_id"]
    run = {"assistant_id": "standard"}
    waiting = server.http.post(
        f"/threads/{thread}/runs/wait", json={**run, "input": {"request": "Create a queue"}}
    ).json()
    (pause,) = waiting["__interrupt__"][0]["value"]["pauses"]
    assert (pause["value"]["tool"], pause["value"]["arguments"]) == ("notes.note", {"text": "served"})
    assert not noted.exists()
    ended = server.http.post(
        f"/threads/{thread}/runs/wait", json={**run, "command": {"resume": "approve"}}
    ).json()
    assert ended["phase"] == "complete"
    assert noted.read_text() == "served\n"
