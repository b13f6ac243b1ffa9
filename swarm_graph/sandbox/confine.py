"""Run a command under sandlock: python confine.py POLICY COMMAND…, where POLICY is a JSON object.

Orphaned processes of the command become children of this process. They are killed when the command ends, and
also when the process that started this one is killed.
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
PARENT_DIED = signal.SIGRTMAX - 1
"""The signal that the kernel sends this process when its parent dies."""


def main() -> int:
    prctl = ctypes.CDLL(None).prctl
    # Blocked before any thread starts, so that every thread inherits it and only sigwait receives the signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, [PARENT_DIED])
    prctl(PR_SET_PDEATHSIG, PARENT_DIED)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    threading.Thread(target=end_with_the_parent, daemon=True).start()
    from sandlock import Sandbox, StdioMode  # type: ignore[import-untyped]

    inherit = StdioMode.INHERIT
    sandbox = Sandbox(**json.loads(sys.argv[1]))
    with sandbox.popen(sys.argv[2:], stdin=inherit, stdout=inherit, stderr=inherit) as process:
        result = process.wait()
    kill_descendants()
    if result.error:
        sys.stderr.write(f"{result.error}\n")
    killed_by = result.signal if result.signal > 0 else signal.SIGKILL if result.exit_code < 0 else 0
    return 128 + killed_by if killed_by else int(result.exit_code)


def end_with_the_parent() -> None:
    signal.sigwait([PARENT_DIED])
    kill_descendants()
    os._exit(128 + signal.SIGKILL)


def kill_descendants() -> None:
    """Kill every descendant, repeatedly: a process that loses its parent moves up to this one."""
    while alive := [child for child in psutil.Process().children(recursive=True) if is_alive(child)]:
        for child in alive:
            try:
                child.kill()
            except psutil.Error:
                continue
        psutil.wait_procs(alive, timeout=0.1)


def is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


if __name__ == "__main__":
    sys.exit(main())
