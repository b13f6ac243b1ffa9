"""The process between swarm_graph and an MCP server: it ends the server, with all that the server started.

`mcp_stdio.py` starts this file as a program, alone: it imports nothing of swarm_graph. The arguments are the
number of a pipe, and the server's command. The server has stdin, stdout and stderr to itself. swarm_graph
holds the other end of the pipe, and the kernel closes that end when swarm_graph ends, however it ends. The
server then has time to end by itself, because its stdin has ended, too; after that it is killed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

GRACE_S = 2.0
"""How long a server may take to end when its stdin has ended."""
TERMINATION_S = 1.0
"""How long it may take to end after SIGTERM."""
CANNOT_START = 127
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36

_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def main() -> None:
    """Run the server until it ends, or until swarm_graph does."""
    pipe, command = int(sys.argv[1]), sys.argv[2:]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # a signal to the group is for the server
    _adopt_orphans()
    try:
        server = subprocess.Popen(command, preexec_fn=_end_with_parent)
    except OSError as error:
        cure = "install it, or correct the server's command"
        sys.stderr.write(f"cannot start '{command[0]}': {error.strerror} ({cure})\n")
        sys.exit(CANNOT_START)
    _leave_pipes_to_server()
    threading.Thread(target=_end_with_user, args=(pipe, server), daemon=True).start()
    server.wait()
    _finish(server)


def _adopt_orphans() -> None:
    """Become the parent of every process below whose own parent ends, so that none gets out of sight."""
    if _PRCTL:
        _PRCTL(PR_SET_CHILD_SUBREAPER, 1)


def _end_with_parent() -> None:
    """Let the kernel end the server if somebody kills this process: the end of its stdout says so."""
    if _PRCTL:
        _PRCTL(PR_SET_PDEATHSIG, signal.SIGKILL)


def _leave_pipes_to_server() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())


def _end_with_user(pipe: int, server: subprocess.Popen[bytes]) -> None:
    os.read(pipe, 1)
    if not _ends_in(server, GRACE_S):
        os.killpg(0, signal.SIGTERM)
        _ends_in(server, TERMINATION_S)
    _finish(server)


def _finish(server: subprocess.Popen[bytes]) -> None:
    """End with the server's exit code, after everything that it has left."""
    _kill_all()
    code = -signal.SIGKILL if server.returncode is None else server.returncode
    os._exit(code if code >= 0 else 128 - code)


def _ends_in(server: subprocess.Popen[bytes], seconds: float) -> bool:
    with suppress(subprocess.TimeoutExpired):
        server.wait(seconds)
        return True
    return False


def _kill_all() -> None:
    """Kill all processes below, and wait until none is left."""
    if sys.platform != "linux":
        os.killpg(0, signal.SIGKILL)
    while True:
        for child in _children():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)  # the children of a killed process are our own now
        except ChildProcessError:
            return


def _children() -> Iterator[int]:
    own = str(os.getpid())
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (folder / "stat").read_text().rpartition(")")[2].split()[1] == own:
                yield int(folder.name)


if __name__ == "__main__":
    main()
