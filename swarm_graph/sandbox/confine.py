"""Runs a command under sandlock, with the policy of the first argument: python confine.py '{...}' COMMAND…

Whatever the command leaves behind comes to be a child of this process, and ends with it, also when the one
that started it is killed.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading

import psutil

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
ORPHANED = signal.SIGRTMAX - 1
"""What this process is told when the one that started it has died."""


def main() -> int:
    prctl = ctypes.CDLL(None).prctl
    signal.pthread_sigmask(signal.SIG_BLOCK, [ORPHANED])
    prctl(PR_SET_PDEATHSIG, ORPHANED)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    threading.Thread(target=end_with_the_parent, daemon=True).start()
    from sandlock import Sandbox, StdioMode  # type: ignore[import-untyped]

    inherit = StdioMode.INHERIT
    sandbox = Sandbox(**json.loads(sys.argv[1]))
    with sandbox.popen(sys.argv[2:], stdin=inherit, stdout=inherit, stderr=inherit) as process:
        result = process.wait()
    kill_all_below()
    if result.error:
        sys.stderr.write(f"{result.error}\n")
    killed = result.signal if result.signal > 0 else signal.SIGKILL if result.exit_code < 0 else 0
    return 128 + killed if killed else int(result.exit_code)


def end_with_the_parent() -> None:
    signal.sigwait([ORPHANED])
    kill_all_below()
    os._exit(128 + signal.SIGKILL)


def kill_all_below() -> None:
    """Again and again, because what loses its parents comes up from below."""
    while below := [child for child in psutil.Process().children(recursive=True) if is_alive(child)]:
        for child in below:
            try:
                child.kill()
            except psutil.Error:
                continue
        psutil.wait_procs(below, timeout=0.1)


def is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


if __name__ == "__main__":
    sys.exit(main())
