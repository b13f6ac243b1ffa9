"""The Python that runs the generated tests: swarm_graph's own, or the one of a virtual environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from swarm_graph.errors import ConfigError
from swarm_graph.sandbox.protocol import Interpreter

_DESCRIBE = """
import importlib.util, json, sys, sysconfig
paths = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix]
paths += [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
pytest = importlib.util.find_spec("pytest")
print(json.dumps([paths, sys.version.split()[0], bool(pytest)]))
"""
_TIMEOUT_S = 30


def interpreter(python: str | None) -> Interpreter:
    """The interpreter that runs the generated tests, with the folders that it needs.

    Args:
        python: Path of a Python or of a virtual environment; None for the running interpreter.

    Raises:
        ConfigError: It cannot be run, or has no pytest.
    """
    found = any_interpreter(python)
    if not found.has_pytest:
        raise ConfigError(
            f"execution.python: '{found.path}' has no pytest; install pytest there, or name another Python"
        )
    return found


@cache
def any_interpreter(python: str | None) -> Interpreter:
    """As `interpreter`, but pytest may be missing: a repository's own tests may need none."""
    path = _executable(python)
    try:
        answer = subprocess.run(
            [path, "-s", "-c", _DESCRIBE],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=True,
            env={},
            cwd="/",
        )
        paths, version, has_pytest = json.loads(answer.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise ConfigError(
            f"execution.python: cannot run '{path}' ({error}); name a Python 3.9 or newer"
        ) from error
    return Interpreter(path, tuple(outermost(paths)), version, has_pytest)


def _executable(python: str | None) -> str:
    if python is None:
        return sys.executable
    path = Path(python).expanduser().absolute()
    in_environment = [path / "bin" / "python", path / "Scripts" / "python.exe"]
    found = next((candidate for candidate in in_environment if candidate.exists()), path)
    # A sandbox has only the folders that Python names, so the way to it may not lead through `..` or links.
    # The last name may be a link: it makes Python find its environment.
    return str(Path(os.path.realpath(found.parent), found.name))


def outermost(paths: list[str]) -> list[str]:
    """The existing folders, without those inside another one or inside /usr, which every sandbox has."""
    folders = {os.path.realpath(path) if not Path(path).is_symlink() else path for path in paths}
    outermost: list[str] = []
    for folder in sorted(folders):
        is_covered = any(Path(folder).is_relative_to(other) for other in ["/usr", *outermost])
        if Path(folder).is_dir() and not is_covered:
            outermost.append(folder)
    return outermost
