"""Installs other frameworks for overhead.py, each with the exact versions of its requirements file.

    python benchmarks/peers/install.py [pydantic_ai agent_framework autogen crewai]

Each gets a virtual environment below build/peers. None of them is a dependency of swarm_graph.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
NAMES = ("pydantic_ai", "agent_framework", "autogen", "crewai")


def interpreter(name: str) -> Path:
    """The Python of an installed framework; the file may be missing."""
    return HERE.parents[1] / "build/peers" / name / "bin/python"


def install(name: str) -> bool:
    """Whether it could be installed; pip says why not."""
    python = interpreter(name)
    venv.create(python.parents[1], with_pip=True, clear=True)
    requirements = HERE / f"{name}.txt"
    return subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", requirements]).returncode == 0


def main() -> None:
    names = sys.argv[1:] or NAMES
    if unknown := {*names} - {*NAMES}:
        sys.exit(f"unknown framework {unknown.pop()!r}; expected some of {', '.join(NAMES)}")
    failed = [name for name in names if not install(name)]
    if failed:
        sys.exit(f"not installed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
