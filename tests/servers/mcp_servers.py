"""MCP servers from the registries."""

import shutil
import sys
from pathlib import Path
from typing import Any

from servers.installed import installed, lacks, npm_packages

HERE = Path(__file__).parent
NPM_SERVER = "@modelcontextprotocol/server-filesystem/dist/index.js"
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
    if not (node := shutil.which("node")):
        lacks("node")
    return {"command": node, "args": [str(npm_packages() / NPM_SERVER), *folders]}


def sqlite_server(database: str) -> dict[str, Any]:
    """The settings of a server on version 1 of the package mcp."""
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
    folder = installed(
        "pip", [HERE / PYTHON_PINS], [*pip, "--require-hashes", "--target", ".", "-r", PYTHON_PINS]
    )
    code = "from mcp_server_sqlite import main; main()"
    environment = {"PYTHONPATH": str(folder), "PYTHONWARNINGS": "ignore"}
    return {"command": sys.executable, "args": ["-c", code, "--db-path", database], "env": environment}
