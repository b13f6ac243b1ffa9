"""The examples run as they are and print what they promise."""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "examples"


def test_hello_swarm_runs_to_its_pause_and_resumes(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", str(FOLDER / "hello_swarm.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[:3] == ["finished: clarifier", "finished: architect", "finished: __interrupt__"]
    assert lines[3].startswith("the design: ")
    assert lines[4] == "approved: True in round 2"
    assert lines[5].startswith("--- src/")
