"""MCP servers from the registries, installed beside the virtual environment where it does not hold them.

What cannot be installed is a skipped test, and a failure in CI.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

HERE = Path(__file__).parent
NPM_FILES = ("package.json", "package-lock.json")
NPM_SERVER = "node_modules/@modelcontextprotocol/server-filesystem/dist/index.js"
PYTHON_PINS = "mcp_1.txt"
ODD_SERVER = HERE / "odd_mcp_server.py"


def program(name: str) -> str:
    """A program of the virtual environment."""
    return str(Path(sys.executable).parent / name)


def odd_server(*modes: str) -> dict[str, Any]:
    """The settings of our own server; see `odd_mcp_server.py` for its modes."""
    return {"command": sys.executable, "args": [str(ODD_SERVER), *modes]}


def filesystem_server(*folders: str) -> dict[str, Any]:
    """The settings of npm's file system server."""
    if not (node := shutil.which("node")) or not shutil.which("npm"):
        _lacks("node and npm")
    files = [HERE / "npm" / name for name in NPM_FILES]
    folder = _installed("npm", files, ["npm", "ci", "--no-audit", "--no-fund", "--no-update-notifier"])
    return {"command": node, "args": [str(folder / NPM_SERVER), *folders]}


def sqlite_server(database: str) -> dict[str, Any]:
    """The settings of a server on version 1 of the package mcp."""
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
    folder = _installed(
        "pip", [HERE / PYTHON_PINS], [*pip, "--require-hashes", "--target", ".", "-r", PYTHON_PINS]
    )
    code = "from mcp_server_sqlite import main; main()"
    environment = {"PYTHONPATH": str(folder), "PYTHONWARNINGS": "ignore"}
    return {"command": sys.executable, "args": ["-c", code, "--db-path", database], "env": environment}


def _installed(kind: str, files: Sequence[Path], command: Sequence[str]) -> Path:
    """The folder in which a command has installed what pinned files name; it runs once for all test runs."""
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    folder = Path(sys.prefix) / "mcp-servers" / f"{kind}-{digest}"
    folder.parent.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            new = folder.with_name(f"{folder.name}.new")
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir()
            for file in files:
                shutil.copy(file, new)
            done = subprocess.run(command, cwd=new, capture_output=True, text=True, check=False)
            if done.returncode:
                _lacks(f"what {files[0].name} pins ({done.stderr.strip()[-300:]})")
            new.rename(folder)
    return folder


def _lacks(what: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"missing: {what}")
    pytest.skip(f"missing: {what}")
