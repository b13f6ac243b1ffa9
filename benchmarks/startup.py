"""How long `swarm-graph --help` and `--version` take beside an import of LangGraph.

python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

PROGRAM = str(Path(sys.executable).parent / "swarm-graph")
COMMANDS = {
    "import langgraph.graph": [sys.executable, "-c", "import langgraph.graph"],
    "swarm-graph --help": [PROGRAM, "--help"],
    "swarm-graph --version": [PROGRAM, "--version"],
}
ROUNDS = 15


def main() -> None:
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, command in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, median in medians.items():
        print(f"{name:<24} {median:.3f} s = {median / medians['import langgraph.graph']:.2f} of the import")


if __name__ == "__main__":
    main()
