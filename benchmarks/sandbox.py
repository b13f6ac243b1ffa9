"""What a run of the tests costs in each sandbox that can be used here, beside plain pytest in a process.

python benchmarks/sandbox.py --runs 20
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from swarm_graph.sandbox.choice import problems
from swarm_graph.sandbox.runner import run_tests
from swarm_graph.settings import Execution

CODE = {"src/sums.py": "def add(a, b):\n    return a + b\n"}
TESTS = {"tests/test_sums.py": "from sums import add\n\n\ndef test_sum():\n    assert add(2, 3) == 5\n"}
PLAIN = {"PYTHONPATH": "src", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
EVERY = Execution.model_validate({"unsafe": True})


def plain_pytest(folder: Path) -> None:
    """pytest as a person runs it, in a folder that holds the project, without the plugins of our packages."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    subprocess.run(command, cwd=folder, env=PLAIN, check=True, capture_output=True)


def in_sandbox(settings: Execution) -> None:
    shown = run_tests(CODE, TESTS, settings)
    assert shown["outcome"] == "passed", shown


def seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    usable = [sandbox.name for sandbox, problem in problems(EVERY) if not problem]
    ways: dict[str, Callable[[], None]] = {}
    for name in usable:
        known = {"unsafe": True, "sandbox": "docker"} if name.startswith("none") else {"sandbox": name}
        settings = Execution.model_validate(known)
        ways[name] = lambda settings=settings: in_sandbox(settings)  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as folder:
        for path, text in {**CODE, **TESTS}.items():
            target = Path(folder) / path
            target.parent.mkdir(exist_ok=True)
            target.write_text(text)
        ways["plain pytest"] = lambda: plain_pytest(Path(folder))
        times: dict[str, list[float]] = {name: [] for name in ways}
        for work in ways.values():
            work()
        for _ in range(runs):
            for name, work in ways.items():
                times[name].append(seconds(work))
    plain = median(times["plain pytest"])
    for name, taken in times.items():
        middle = median(taken)
        print(
            f"{name}: {middle * 1000:.0f} ms, {(middle - plain) * 1000:+.0f} ms, {middle / plain:.2f} times"
        )


if __name__ == "__main__":
    main()
