"""CONTRIBUTING.md: the map is that of the house, and each recipe works in a copy of it."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import test_architecture
from servers.canned_embeddings import CannedEmbeddings
from servers.counting_proxy import CountingProxy
from servers.llama import Llama

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(diff|python|markdown|html) (\S+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
SIMULATED = {"model_config": {"single_model": {"model": "m", "api_type": "simulated"}}}
MOST_LINES = 30


def recipe(title: str) -> list[tuple[str, str, str]]:
    """The blocks of a recipe: their kind, their file, their text."""
    section = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    found = BLOCK.findall(section)
    assert found
    return found


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The house, to be changed."""
    for folder in ("swarm_graph", "nodes", "prompts", "checkpoints"):
        shutil.copytree(
            ROOT / folder, tmp_path / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    return tmp_path


def apply(title: str, folder: Path) -> None:
    for kind, name, text in recipe(title):
        path = folder / name
        if kind != "diff":
            path.write_text(text, encoding="utf-8")
            continue
        lines = [(line[:1], line[1:]) for line in text.splitlines()]
        before = "".join(f"{line}\n" for mark, line in lines if mark != "+")
        after = "".join(f"{line}\n" for mark, line in lines if mark != "-")
        source = path.read_text(encoding="utf-8")
        assert source.count(before) == 1, f"{name} has this once:\n{before}"
        path.write_text(source.replace(before, after), encoding="utf-8")


def run(folder: Path, code: str) -> Any:
    """What a script prints that runs with the copy."""
    script = f"import json, sys\nsys.path.insert(0, {str(folder)!r})\n{code}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "title",
    [
        "Add a role",
        "Add a workflow",
        "Add a server type",
        "Add a kind of document",
        "Add a test command",
        "Add a built-in tool",
        "Add a family of embedding models",
        "Add a vector store",
        "Add a data set for experiments",
        "Add a part of a session's report",
        "Add a page",
    ],
)
def test_a_recipe_is_short(title: str) -> None:
    code = [text for kind, _, text in recipe(title) if kind not in ("markdown", "html")]
    added = [
        line
        for text in code
        for line in text.splitlines()
        if line.strip() and not line.startswith((" ", "-"))
    ]
    assert len(added) < MOST_LINES


def test_a_role_and_a_workflow_with_it_are_added(copy: Path) -> None:
    """The result of the role is everywhere where the results of the nine are."""
    apply("Add a role", copy)
    apply("Add a workflow", copy)
    code = f"""
from pathlib import Path
from swarm_graph import SwarmCoordinator, SwarmManager, build_graph
config = {SIMULATED!r} | {{"execution": {{"mode": "off"}}}}
events = []
swarm = SwarmCoordinator(config, on_event=events.append)
state = swarm.run_workflow("Build it", "draft", session_id="s")
manager = SwarmManager()
manager.session_report("s", "s.html")
output = Path("swarm-output/s")
document = json.loads((output / "swarm_state_s.json").read_text())
print(json.dumps({{
    "state": state["estimate"],
    "phase": state["phase"],
    "task": next(task.result for task in swarm.completed_tasks if task.assigned_role == "estimator"),
    "state JSON": document["context"]["estimation_estimator"]["result"],
    "notes": (output / "notes.md").read_text().partition("# Estimate")[2].strip(),
    "metrics": swarm.get_metrics_summary()["agents"]["estimator"]["total_calls"],
    "analysis": manager.analyze_session("s", quiet=True).agents["estimator"]["successful_calls"],
    "events": [event.kind for event in events if event.node == "estimator"],
    "drawing": "estimator" in build_graph("draft", config=config).get_graph().draw_mermaid(),
    "report": "estimator" in Path("s.html").read_text(),
}}))
"""
    seen = run(copy, code)
    estimate = seen["state"]
    assert "estimator" in estimate
    assert {seen["task"], seen["state JSON"], seen["notes"]} == {estimate}
    assert (seen["metrics"], seen["analysis"]) == (1, 1)
    assert seen["events"] == ["task_started", "call_started", "call_ended", "task_ended"]
    assert (seen["drawing"], seen["report"], seen["phase"]) == (True, True, "complete")


def test_a_role_that_was_added_works_in_custom_graphs(copy: Path) -> None:
    apply("Add a role", copy)
    code = f"""
from swarm_graph import SwarmCoordinator
swarm = SwarmCoordinator({SIMULATED!r})
swarm.add_task({{"task_id": "cost", "assigned_role": "estimator", "description": "What does it cost?"}})
swarm.run_workflow("Build it", "custom", session_id="s")
print(json.dumps([task.result for task in swarm.completed_tasks]))
"""
    (result,) = run(copy, code)
    assert "cost" in result


def test_a_server_type_is_added(copy: Path, llama: Llama) -> None:
    apply("Add a server type", copy)
    with CountingProxy(llama.root) as proxy:
        entry = {"url": proxy.url, "model": "tiny", "api_type": "llamafile"}
        code = f"""
from swarm_graph import build_graph
config = {{"model_config": {{"single_model": {entry!r}}}}}
config["agent_parameters"] = {{"reviewer": {{"max_tokens": 400}}}}
state = build_graph("review_only", config=config).invoke({{"request": "x = 1"}})
print(json.dumps(state["phase"]))
"""
        assert run(copy, code) == "complete"
        assert {body["cache_prompt"] for body in proxy.calls.bodies} == {True}


def test_a_kind_of_document_is_added(copy: Path) -> None:
    apply("Add a kind of document", copy)
    (copy / "pumps.ipynb").write_text(json.dumps({"cells": [{"source": ["# Pumps\n", "P-1"]}]}))
    code = """
from swarm_graph import read_document
document = read_document("pumps.ipynb")
print(json.dumps([document.kind, document.text, document.notes]))
"""
    assert run(copy, code) == ["notebook", "# Pumps\nP-1\n", ["outputs are left out"]]


def test_a_test_command_is_added(copy: Path) -> None:
    apply("Add a test command", copy)
    code = """
from swarm_graph.repository.test_commands import find_test_command
print(json.dumps(find_test_command({"deno.json": "{}"}).text))
"""
    assert run(copy, code) == "deno test"


def test_a_built_in_tool_is_added(copy: Path) -> None:
    apply("Add a built-in tool", copy)
    (copy / "pump.py").write_text("x = 1\n" * 1500)
    code = """
from click.testing import CliRunner
from swarm_graph.cli.main import swarm_graph
from swarm_graph.tools.names import BUILT_IN_TOOLS
listed = CliRunner().invoke(swarm_graph, ["tools", "list", "--json"])
call = ["tools", "try", "project.count", "glob=*.py", "--input", "pump.py"]
print(json.dumps([
    [tool["tool"] for tool in json.loads(listed.output)["tools"]] == [*BUILT_IN_TOOLS],
    CliRunner().invoke(swarm_graph, call).stdout,
]))
"""
    assert run(copy, code) == [True, "1,500 lines\n"]


def test_a_family_of_embedding_models_and_a_vector_store_are_added(copy: Path) -> None:
    apply("Add a family of embedding models", copy)
    apply("Add a vector store", copy)
    with CannedEmbeddings() as server:
        memory = {
            "embeddings": server.settings(model="gte-Qwen2-1.5B-instruct"),
            "vector_store": {"class": "langchain_core.vectorstores.InMemoryVectorStore"},
        }
        code = f"""
from swarm_graph import open_store
with open_store("swarm.db", memory={memory!r}) as store:
    for key, text in {{"pump": "the shaft turns backwards", "valve": "it opens slowly"}}.items():
        store.put(("plant",), key, {{"text": text}}, index=["text"])
    print(json.dumps([[item.key for item in store.search((), query="backwards")], store.problem]))
"""
        assert run(copy, code) == [["pump", "valve"], ""]
    *passages, question = [text for texts in server.asked for text in texts]
    assert passages == ["the shaft turns backwards", "it opens slowly"]
    assert question.startswith("Instruct: ")


def test_a_data_set_for_experiments_is_added(copy: Path) -> None:
    apply("Add a data set for experiments", copy)
    (copy / "katas").mkdir()
    (copy / "katas" / "double.md").write_text("Write `double(number)` in `src/double.py`.\n")
    (copy / "katas" / "test_double.py").write_text(
        "from double import double\n\n\ndef test_it():\n    assert double(21) == 42\n"
    )
    code = """
from swarm_graph.suites.judge import judge
from swarm_graph.suites.load_suite import load_suite
from swarm_graph.settings import Execution
(case,) = load_suite("katas:katas").cases
answers = [f"def double(number):\\n    return number {sign} 2\\n" for sign in "*+"]
scores = [judge(case, {"src/double.py": answer}, [], Execution()) for answer in answers]
print(json.dumps([case.id, *(score.solved for score in scores)]))
"""
    assert run(copy, code) == ["katas/double", True, False]


def test_a_part_of_a_report_and_a_page_are_added(copy: Path) -> None:
    apply("Add a part of a session's report", copy)
    apply("Add a page", copy)
    code = f"""
from pathlib import Path
from swarm_graph import SwarmCoordinator, SwarmManager
SwarmCoordinator({SIMULATED!r} | {{"execution": {{"mode": "off"}}}}).run_workflow("Build it", session_id="s")
SwarmManager().session_report("s", "s.html")
print(json.dumps(Path("s.html").read_text().partition("<h2>The design</h2>")[2][:200]))
"""
    design = run(copy, code).partition("</pre>")[0]
    assert len(design) > 10
    words = [sys.executable, "-m", "swarm_graph", "ui", "--simulate", "--no-browser", "--port", "0"]
    with subprocess.Popen(words, cwd=copy, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr
            (address,) = re.findall(r"open (\S+)", server.stderr.readline())
            with httpx.Client(base_url=address.partition("/login")[0], follow_redirects=True) as client:
                origin = {"origin": str(client.base_url).rstrip("/")}
                client.post("/login", data={"token": address.partition("#")[2]}, headers=origin)
                assert "<li>complete: 1</li>" in client.get("/totals").text
                assert design in client.get("/sessions/s/parts/design").text
        finally:
            server.kill()


def test_the_map_is_that_of_the_house() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rooms = re.findall(r"^\| `(\w+)/?` \| (.*) \|$", page, re.MULTILINE)
    order = [room for room in test_architecture.ROOMS if room not in ("hall", "testing")]
    assert [name for name, _ in rooms] == order[::-1]
    for name, line in rooms:
        assert line == first_line(name), name


def first_line(room: str) -> str:
    """The first line of a room's docstring."""
    source = (ROOT / "swarm_graph" / room / "__init__.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").splitlines()[0]


def test_the_path_of_a_request_names_code_that_exists() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    places = re.findall(r"`((?:\w+/)+\w+\.py)(?:: (\w+))?`", page)
    assert len(places) > 20
    for name, symbol in places:
        path = next(base / name for base in (ROOT / "swarm_graph", ROOT) if (base / name).is_file())
        source = path.read_text(encoding="utf-8")
        assert not symbol or re.search(rf"(?:def|class) {symbol}\b", source), f"{name} has no {symbol}"
