"""How long short commands take beside an import of LangGraph, and beside another checkout.

    python benchmarks/startup.py [--before DIR]

Wall and CPU time of whole processes in turns, medians; the byte code is written before. `--before`: another
checkout of swarm_graph with its own .venv. Wanted then: `run --simulate` in at most 0.75 of its wall time.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BIN = Path(sys.executable).parent
IMPORT = "import langgraph.graph"
COMMANDS = {
    "--help": ["--help"],
    "--version": ["--version"],
    "run --simulate": ["run", "--simulate", "Create a FIFO queue"],
    "sessions list": ["sessions", "list"],
}
ROUNDS = 15


def seconds(command: list[str | Path], folder: Path) -> tuple[float, float]:
    """Wall and CPU time of a process."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    cpu, wall = children_cpu(), time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return time.perf_counter() - wall, children_cpu() - cpu


def children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--before", type=Path, help="another checkout with its own .venv")
    before = parser.parse_args().before
    commands: dict[str, list[str | Path]] = {IMPORT: [sys.executable, "-c", IMPORT]}
    commands |= {f"swarm-graph {name}": [BIN / "swarm-graph", *words] for name, words in COMMANDS.items()}
    if before:
        program = before.resolve() / ".venv/bin/swarm-graph"
        commands |= {f"before: {name}": [program, *words] for name, words in COMMANDS.items()}
    with tempfile.TemporaryDirectory() as folder:
        measured: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for number in range(ROUNDS + 1):
            for name, command in commands.items():
                # An older checkout cannot use a newer database.
                place = Path(folder) / ("before" if name.startswith("before") else "now")
                place.mkdir(exist_ok=True)
                taken = seconds(command, place)
                if number:
                    measured[name].append(taken)
    walls = {name: statistics.median(wall for wall, _ in taken) for name, taken in measured.items()}
    cpus = {name: statistics.median(cpu for _, cpu in taken) for name, taken in measured.items()}
    for name in commands:
        other, ratio = name.replace("swarm-graph", "before:"), ""
        if other in walls and other != name:
            ratio = f", {walls[name] / walls[other]:.2f} of before, CPU {cpus[name] / cpus[other]:.2f}"
        print(
            f"{name:<27} {walls[name]:.3f} s, CPU {cpus[name]:.3f} s"
            f" = {walls[name] / walls[IMPORT]:.2f} of the import{ratio}"
        )


if __name__ == "__main__":
    main()
