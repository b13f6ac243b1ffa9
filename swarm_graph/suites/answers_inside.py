"""Try many answers in one sandbox: each with its tests in a process of its own.

Runs inside a sandbox as a test file, beside `answers.json`: no import of swarm_graph. The processes are
forks, so that pytest is imported once.
"""

import json
import os
import re
import resource
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

MEMORY = 512 << 20
"""Bytes of one answer, so that a runaway does not stop the others."""
IS_TEST = re.compile(r"(test_.*|.*_test)\.py")
ANSWERS: list[dict[str, Any]] = json.loads(Path("answers.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("number", range(len(ANSWERS)))
def test_answer(number: int) -> None:
    answer = ANSWERS[number]
    child = os.fork()
    if child == 0:
        try:
            _run(answer)
        finally:
            os._exit(3)
    passes = os.waitpid(child, 0)[1] == 0
    assert passes == answer["must_pass"]


def _run(answer: dict[str, Any]) -> None:
    """Run the tests of an answer and end the process with pytest's exit code."""
    signal.setitimer(signal.ITIMER_REAL, answer["seconds"])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    folder = Path(tempfile.mkdtemp())
    for path, text in {**answer["files"], **answer["tests"]}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    os.chdir(folder)
    here = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [str(folder / "src"), str(folder), *(path for path in sys.path if path not in here)]
    options = ["-q", "-x", "-c", os.devnull, "-p", "no:cacheprovider", "--rootdir", str(folder)]
    tests = [path for path in sorted(answer["tests"]) if IS_TEST.fullmatch(Path(path).name)]
    os._exit(int(pytest.main([*options, *tests])))
