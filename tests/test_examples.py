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


def test_a_role_calls_tools_of_the_program_and_a_person_approves_one(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", str(FOLDER / "tools.py")]
    for _ in range(2):  # the second run finds the database of the first
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines() == [
            "waits: open_work_order {'tag': 'FALL-103', 'text': 'Check the trip at 12.5 m3/h.'}",
            "P_101A_LOW_FLOW = 12.5  # m3/h, FALL-103, work order 4711",
        ]


def test_a_role_reads_the_procedure_that_fits_its_task_and_names_it(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", str(FOLDER / "memory.py")]
    for _ in range(2):  # the second run finds the memory of the first
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        lines = done.stdout.splitlines()
        assert lines[0].startswith("found: OP-110.md, section")
        assert "A gas test is void after twenty minutes (OP-110.md, section" in done.stdout
        assert sum(line.startswith("architect read: ") for line in lines) == 3
