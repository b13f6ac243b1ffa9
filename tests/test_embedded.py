"""Embedded models: llama.cpp's server as a process of its own, shared, and never left over."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import warm
from servers.tiny_model import write_tiny_model

from swarm_graph import build_graph
from swarm_graph.models.shared_server import PROGRAM

REVIEW = ("run", "x = 1", "--workflow", "review_only", "--session", "s")
SECONDS = 60
SHORT = {"max_tokens": 40}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture
def tiny(written: Path, tmp_path: Path) -> Path:
    """A file of this test alone: a program keeps its servers until it ends."""
    (tmp_path / "models").mkdir()
    return shutil.copy(written, tmp_path / "models" / "tiny.gguf")


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the servers of this test, which all end with it."""
    folder = tmp_path / "runtime"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    yield folder / "swarm-graph"
    for process in servers(folder):
        process.kill()


def servers(runtime: Path) -> list[psutil.Process]:
    """The processes that have a file in a folder open: supervisors, and servers below them."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(PROGRAM) in process.cmdline() and _belongs_to(process, runtime):
                found.append(process)
        except psutil.Error:
            continue
    return found


def _belongs_to(process: psutil.Process, runtime: Path) -> bool:
    supervisor = process if "serve" not in process.cmdline() else process.parent()
    return supervisor is not None and any(
        Path(file.path).is_relative_to(runtime) for file in supervisor.open_files()
    )


def until(condition: Callable[[], Any]) -> Any:
    ends = time.monotonic() + SECONDS
    while not (result := condition()):
        assert time.monotonic() < ends
        time.sleep(0.05)
    return result


def address(runtime: Path) -> dict[str, str]:
    """The address of the only server of a test."""
    (file,) = runtime.glob("*/address")
    found: dict[str, str] = json.loads(file.read_text())
    return found


def environment(runtime: Path, **more: str) -> dict[str, str]:
    return {**warm.ENVIRONMENT, "XDG_RUNTIME_DIR": str(runtime.parent), **more}


def config_of(model: Path, **entry: Any) -> dict[str, Any]:
    return {
        "model_config": {"single_model": {"model": str(model), "api_type": "llamacpp", **entry}},
        "agent_parameters": {"reviewer": SHORT},
    }


def swarm(folder: Path, runtime: Path, *words: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    return warm.run(*words, cwd=folder, env=environment(runtime, **env), text=True, given="")


# --- a run ---------------------------------------------------------------------------------------


def test_a_file_is_all_that_a_run_needs(tiny: Path, runtime: Path, tmp_path: Path) -> None:
    done = swarm(tmp_path, runtime, *REVIEW, "--model", tiny, HTTP_PROXY="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("swarm-graph: every role asks tiny.gguf (0.2 MB), served on this machine\n")
    until(lambda: not servers(runtime))


def test_its_address_is_recorded_nowhere(tiny: Path, runtime: Path, tmp_path: Path) -> None:
    graph = build_graph("review_only", config=config_of(tiny))
    graph.invoke({"request": "x = 1"})
    (listening,) = (at for process in servers(runtime) for at in process.net_connections("tcp"))
    port, key = address(runtime)["url"].rpartition(":")[2].removesuffix("/v1"), address(runtime)["key"]
    assert listening.laddr == ("127.0.0.1", int(port))
    assert swarm(tmp_path, runtime, *REVIEW, "--model", tiny, "--log-file", "log.jsonl").returncode == 0
    for file in [path for path in tmp_path.rglob("*") if path.is_file() and runtime not in path.parents]:
        content = file.read_bytes()
        assert f":{port}".encode() not in content, file
        assert key.encode() not in content, file


def test_a_request_needs_the_key(tiny: Path, runtime: Path) -> None:
    graph = build_graph("review_only", config=config_of(tiny))
    graph.invoke({"request": "x = 1"})
    url, key = address(runtime).values()
    with httpx.Client(trust_env=False) as client:
        assert client.get(f"{url}/models").status_code == 401
        assert client.get(f"{url}/models", headers={"authorization": f"Bearer {key}"}).status_code == 200
    assert all(file.stat().st_mode & 0o077 == 0 for file in [runtime, *runtime.rglob("*")])


def test_nothing_is_started_before_a_call(tiny: Path, runtime: Path) -> None:
    build_graph("full", config=config_of(tiny))
    assert not runtime.exists()


# --- its life ------------------------------------------------------------------------------------


def test_two_programs_share_a_server_and_their_death_ends_it(
    tiny: Path, runtime: Path, tmp_path: Path
) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    (tmp_path / "config.json").write_text(json.dumps(config_of(tiny)))
    runs = []
    for folder in folders:
        folder.mkdir()
        words = (*REVIEW, "--config", "../config.json")
        runs.append(warm.Process(*words, cwd=folder, env=environment(runtime), stdout=subprocess.DEVNULL))
    until(lambda: [*runtime.glob("*/address")])
    assert len(servers(runtime)) == 2  # a supervisor, and llama.cpp below it
    for run in runs:
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    until(lambda: not servers(runtime))
