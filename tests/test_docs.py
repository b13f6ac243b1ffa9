"""Every command and every snippet of docs/ runs, in sessions that went wrong as the page says."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import warm
from click.testing import CliRunner, Result
from support import SIMULATED, dead_port, write_config

from swarm_graph.cli.main import swarm_graph

PAGE = (Path(__file__).parents[1] / "docs" / "when-something-goes-wrong.md").read_text(encoding="utf-8")
SETTINGS = [name for name in os.environ if name.startswith("SWARM_")]
MODEL = SIMULATED["model_config"]["single_model"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)


def swarm(folder: Path, command: str) -> Result:
    with contextlib.chdir(folder):
        return CliRunner().invoke(swarm_graph, shlex.split(command), env=dict.fromkeys(SETTINGS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sessions in the states that the page is about."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "design.md").write_text("Two files.\n")
    (folder / "other.json").write_text(
        json.dumps({"model_config": {"single_model": {**MODEL, "model": "b"}}})
    )
    killed(folder)
    dead = {"url": f"http://127.0.0.1:{dead_port()}/v1", "model": "m", "retries": 0}
    write_config(folder, model_config={"single_model": dead})
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


def test_every_command_of_the_page_does_what_it_says(folder: Path) -> None:
    commands = [
        line.removeprefix("$ swarm-graph ") for block in blocks("console") for line in block.splitlines()
    ]
    assert len(commands) > 15
    for command in commands:
        done = swarm(folder, command)
        pauses = "queue-4" in command and "--approve" not in command
        assert done.exit_code == (3 if pauses else 0), (command, done.output, done.exception)
    listed = swarm(folder, "sessions list --json")
    phases = {row["session"]: row["phase"] for row in json.loads(listed.stdout)}
    assert {phases[f"queue-{number}"] for number in (1, 2, 3, 5)} == {"complete"}


def test_the_python_of_the_page_runs(folder: Path) -> None:
    (code,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "T003_code COMPLETED" in done.stdout
    assert "begin" in done.stdout
