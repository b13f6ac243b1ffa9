"""Every command and every snippet of docs/ runs, in sessions that went wrong as the page says."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import time
from pathlib import Path

import pytest
import warm
from click.testing import CliRunner, Result
from pages import Page
from support import SIMULATED, dead_port, write_config

from swarm_graph.cli.main import swarm_graph

PAGE = Page("when-something-goes-wrong.md")
PAUSED = 3
SETTINGS = [name for name in os.environ if name.startswith("SWARM_")]
MODEL = SIMULATED["model_config"]["single_model"]


def swarm(folder: Path, command: str) -> Result:
    with contextlib.chdir(folder):
        return CliRunner().invoke(swarm_graph, shlex.split(command), env=dict.fromkeys(SETTINGS))


@pytest.fixture(scope="module")
def dead() -> int:
    """The port of a server that is not running."""
    return dead_port()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, dead: int) -> Path:
    """Sessions in the states that the page is about."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "design.md").write_text("Two files.\n")
    (folder / "other.json").write_text(
        json.dumps({"model_config": {"single_model": {**MODEL, "model": "b"}}})
    )
    killed(folder)
    model = {"url": f"http://127.0.0.1:{dead}/v1", "model": "local", "retries": 0}
    write_config(folder, model_config={"single_model": model})
    for session in ("queue-2", "queue-3"):
        assert swarm(folder, f"run 'Create a queue' --session {session}").exit_code == 1
    write_config(folder, workflow={"pause_before": ["coder"], "pause_after": ["clarifier", "architect"]})
    for session in ("queue-4", "queue-6"):
        assert swarm(folder, f"run 'Create a queue' --session {session}").exit_code == 3
    write_config(folder, workflow={"max_iterations": 1})
    return folder


def killed(folder: Path) -> None:
    """queue-1 is killed by SIGKILL while its coder is at work."""
    slow = {**MODEL, "simulation": {"first_token_s": 600}}
    models = {"mode": "multi", "single_model": MODEL, "multi_model": {"coder": slow}}
    write_config(folder, model_config=models)
    process = warm.Process("run", "Create a queue", "--session", "queue-1", cwd=folder)
    notes = folder / "swarm-output" / "queue-1" / "notes.md"
    while not (notes.is_file() and "# Design" in notes.read_text()):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_the_commands_and_the_python_of_the_page_print_what_it_shows(folder: Path, dead: int) -> None:
    real = {f"{before}8080": f"{before}{dead}" for before in ("127.0.0.1:", "'127.0.0.1', ")}
    PAGE.follow(folder, real=real, codes=(0, PAUSED))
    listed = swarm(folder, "sessions list --json")
    phases = {row["session"]: row["phase"] for row in json.loads(listed.stdout)}
    assert {phases[f"queue-{number}"] for number in (1, 2, 3, 4, 5)} == {"complete"}
