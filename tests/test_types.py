"""Type checkers know what the public names take and return: mypy --strict and pyright on the first hour."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from swarm_graph.state import (
    WORKFLOWS,
    CandidatesState,
    ChangeState,
    MemoryState,
    SwarmResult,
    SwarmState,
    WorkflowName,
    empty_state,
)

ROOT = Path(__file__).parents[1]
PAGES = ("first-hour", "langgraph", "memory")
WRONG = """
from swarm_graph import OwnWorkflow, SwarmCoordinator, build_graph

build_graph("fulll")
SwarmCoordinator().run_workflow("Build it", "fulll")
build_graph("full").invoke({"request": "Build it"})["fase"]
build_graph(OwnWorkflow("mine")).invoke(None)["approved"] + ""
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python blocks of the pages, a file each, and wrong.py with an error in each of its last lines."""
    folder = tmp_path_factory.mktemp("types")
    for page in PAGES:
        text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
        blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
        for number, block in enumerate(blocks):
            (folder / f"{page.replace('-', '_')}_{number}.py").write_text(block)
    (folder / "wrong.py").write_text(WRONG)
    settings = {"typeCheckingMode": "standard", "extraPaths": [str(ROOT)], "reportUnusedExpression": False}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    return folder


def errors(command: list[str], cwd: Path) -> dict[str, set[int]]:
    """The lines of the errors that a type checker finds, by file."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=cwd, capture_output=True, text=True, check=False
    )
    found: dict[str, set[int]] = {}
    for path, line in re.findall(r"(\w+\.py):(\d+):.* error", done.stdout):
        found.setdefault(path, set()).add(int(line))
    assert found, done.stdout + done.stderr
    return found


@pytest.mark.slow
def test_mypy_strict_finds_the_errors_and_no_other(programs: Path) -> None:
    files = [str(path) for path in sorted(programs.glob("*.py"))]
    assert errors(["mypy", *files], ROOT) == {"wrong.py": {4, 5, 6, 7}}


@pytest.mark.slow
def test_pyright_finds_the_errors_and_no_other(programs: Path) -> None:
    command = ["basedpyright", "--level", "error", "--pythonpath", sys.executable]
    assert errors(command, programs) == {"wrong.py": {4, 5, 6, 7}}


def test_the_types_say_what_is_there() -> None:
    result, state = get_type_hints(SwarmResult), get_type_hints(SwarmState)
    assert result.pop("__interrupt__")
    optional = get_type_hints(MemoryState) | get_type_hints(CandidatesState)
    assert result == get_type_hints(ChangeState) | optional
    assert [*empty_state()] == [*state]
    assert get_args(WorkflowName) == (*WORKFLOWS,)
