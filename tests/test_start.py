"""What the program loads: nothing that a command does not use, such as LangSmith while it is off."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest
import warm

from swarm_graph.cli.without_langsmith import CHECKED

LOADED = """
import json, sys
from swarm_graph.__main__ import main
try:
    main()
finally:
    print(json.dumps([name for name, module in sys.modules.items() if getattr(module, "__file__", None)]))
"""
MODEL_CLIENTS = {
    "swarm_graph.models.probe",
    "openai",
    "langchain_openai",
    "ollama",
    "langchain_ollama",
    "aiohttp",
    "httpx_aiohttp",
}
NUMBERS = {"numpy", "pandas"}
OF_SERVERS = {"psycopg", "psycopg_pool", "procrastinate"}
OF_PAGES = {"jinja2", "multipart", "pygments.formatters.html", "starlette", "uvicorn"}
LANGSMITH = {"langsmith.client", "langsmith.run_trees", "langsmith.run_helpers", "langsmith.schemas"}


def python(program: str, *arguments: str, cwd: Path) -> str:
    """The last line that a program prints in an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=cwd, env=warm.ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def loaded(*arguments: str, cwd: Path) -> set[str]:
    """The modules that a command loads."""
    return {*json.loads(python(LOADED, *arguments, cwd=cwd))}


def test_a_simulated_run_and_a_list_load_only_what_they_use(tmp_path: Path) -> None:
    modules = loaded("run", "--simulate", "Create a FIFO queue", cwd=tmp_path)
    assert {"langgraph.pregel", "sqlite_utils.db"} <= modules
    assert not modules & (MODEL_CLIENTS | NUMBERS | LANGSMITH | OF_PAGES | OF_SERVERS)
    assert not [name for name in modules if name.startswith("swarm_graph.memory.")]
    modules = loaded("sessions", "list", cwd=tmp_path)
    assert "sqlite_utils.db" in modules
    of_runs = {"langgraph", "langchain_core"}
    assert not modules & (MODEL_CLIENTS | NUMBERS | LANGSMITH | OF_PAGES | OF_SERVERS | of_runs)


@pytest.mark.parametrize("command", ["run", "ui"])
def test_help_loads_nothing_of_the_page(command: str, tmp_path: Path) -> None:
    modules = loaded(command, "--help", cwd=tmp_path)
    assert not modules & (OF_PAGES | {"langgraph", "langchain_core", "asyncio", "subprocess", "hashlib"})


def test_langsmith_is_loaded_where_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"features": {"langsmith": true}}')
    assert loaded("run", "--simulate", "-w", "review_only", "x = 1", cwd=tmp_path) >= LANGSMITH


USED = """
import asyncio
from swarm_graph.cli.without_langsmith import leave_out_langsmith

leave_out_langsmith()
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers.langchain import LangChainTracer
from langchain_core.tracers.schemas import Run
from langgraph.graph import StateGraph

async def events():
    return [event["event"] async for event in RunnableLambda(str).astream_events(1)]

assert asyncio.run(events()) == ["on_chain_start", "on_chain_stream", "on_chain_end"]
from langsmith import RunTree, traceable, utils

run = Run(name="x", run_type="chain", inputs={}, start_time=None)
assert isinstance(run, Run) and isinstance(run, RunTree)
assert traceable(lambda: 1)() == 1
assert not utils.tracing_is_enabled()
print("fine")
"""


def test_what_the_stand_ins_lack_is_loaded(tmp_path: Path) -> None:
    assert python(USED, cwd=tmp_path) == "fine"


def test_the_stand_ins_are_checked_with_the_installed_versions() -> None:
    """After an update: run this file, correct NAMES if something fails, then write the new versions there."""
    assert {name: importlib.metadata.version(name) for name in CHECKED} == CHECKED
