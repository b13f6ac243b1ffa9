"""Inside a sandbox: write a repository's copy, and become the command that runs its tests.

`inside.py` loads it. Runs on any Python from 3.9 on, and imports nothing of swarm_graph.
"""

from __future__ import annotations

import json
import os
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

PYTHON = "python"
"""As the first argument of a command: this interpreter."""
CURE = "lend the folder that it is in with execution.readable"
OFFLINE = {
    "CARGO_NET_OFFLINE": "true",
    "CI": "true",
    "GOPROXY": "off",
    "GOTOOLCHAIN": "local",
    "NO_COLOR": "1",
    "PIP_NO_INDEX": "1",
    "npm_config_audit": "false",
    "npm_config_offline": "true",
    "npm_config_update_notifier": "false",
}
"""Tools that look for the network would wait for it; the sandbox has none."""


def run(job: dict[str, Any], project: Path, log: int, install_filter: Callable[[bytes], None]) -> None:
    """Write the copy that stdin brings, and replace this process by the command.

    Args:
        job: `command`, `reporter` (the text of `reporter.py`, or empty), `runner`, `paths` and `plugins`.
        project: The folder of the copy.
        log: Where the reporter writes its lines.
        install_filter: Installs the filter of system calls.
    """
    try:
        write_copy(project)
    except (OSError, tarfile.TarError) as error:
        give_up(log, f"the copy of the repository cannot be written: {error}")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    install_filter(bytes.fromhex(job["filter"]))
    set_environment(job)
    command, own = job["command"], os.pathsep.join(str(project / path) for path in job["paths"])
    if job["reporter"]:
        os.set_inheritable(log, True)
        command = [PYTHON, "-c", job["reporter"], str(log), own, job["runner"], *command]
    else:
        os.environ["PYTHONPATH"] = own
    if command[0] == PYTHON:
        command = [sys.executable, *command[1:]]
    try:
        os.execvp(command[0], command)
    except OSError as error:
        give_up(log, f"the sandbox cannot run '{command[0]}' ({error.strerror}); {CURE}")


def give_up(log: int, problem: str) -> None:
    """Say why the tests cannot be run, and end the process."""
    os.write(log, json.dumps({"kind": "unusable", "problem": problem}).encode() + b"\n")
    os._exit(127)


def write_copy(project: Path) -> None:
    """Write the files and links of the archive that stdin brings. It names no file below a link."""
    with tarfile.open(fileobj=os.fdopen(0, "rb", closefd=False), mode="r|") as archive:
        for member in archive:
            target = project / member.name
            target.parent.mkdir(parents=True, exist_ok=True)
            if member.issym():
                target.symlink_to(member.linkname)
                continue
            # The mode is given here: where the filter is installed, it cannot be changed any more.
            file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, member.mode)
            with os.fdopen(file, "wb") as opened:
                content = archive.extractfile(member)
                opened.write(content.read() if content else b"")


def set_environment(job: dict[str, Any]) -> None:
    """Let the tests find the interpreter and the tools that were lent."""
    programs = [str(Path(sys.executable).parent), *job["programs"], os.environ["PATH"]]
    os.environ.update(OFFLINE)
    os.environ["PATH"] = os.pathsep.join(programs)
    if not job["plugins"]:
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
