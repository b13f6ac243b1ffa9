"""The Python that runs the tests: swarm_graph's own, or the one of a virtual environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from swarm_graph.errors import ConfigError
from swarm_graph.sandbox.protocol import Interpreter

ASK = """
import importlib.util, json, sys, sysconfig
paths = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix]
paths += [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
found = importlib.util.find_spec("pytest")
print(json.dumps([paths, sys.version.split()[0], bool(found)]))
"""


@cache
def interpreter(python: str | None) -> Interpreter:
    """The interpreter of a path to one, or to its virtual environment; None: the one that runs this.

    Raises ConfigError when it cannot be run, or has no pytest.
    """
    path = _executable(python)
    try:
        answer = subprocess.run(
            [path, "-s", "-c", ASK], capture_output=True, text=True, timeout=30, check=True, env={}, cwd="/"
        )
        paths, version, has_pytest = json.loads(answer.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise ConfigError(
            f"execution.python: cannot run '{path}' ({error}); name a Python 3.9 or newer"
        ) from error
    if not has_pytest:
        raise ConfigError(f"execution.python: '{path}' has no pytest; install it there, or name another one")
    return Interpreter(path, tuple(_outermost(paths)), version)


def _executable(python: str | None) -> str:
    if python is None:
        return sys.executable
    path = Path(python).expanduser().absolute()
    inside = [path / "bin" / "python", path / "Scripts" / "python.exe"]
    return str(next((candidate for candidate in inside if candidate.exists()), path))


def _outermost(paths: list[str]) -> list[str]:
    """Existing folders without those inside another, and without what every sandbox has."""
    folders = {os.path.realpath(path) if not Path(path).is_symlink() else path for path in paths}
    found: list[str] = []
    for folder in sorted(folders):
        known = any(Path(folder).is_relative_to(other) for other in ["/usr", *found])
        if Path(folder).is_dir() and not known:
            found.append(folder)
    return found
