"""Runs a command under sandlock, with the policy of the first argument: python confine.py '{...}' COMMAND…"""

from __future__ import annotations

import ctypes
import json
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> int:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    from sandlock import Sandbox, StdioMode  # type: ignore[import-untyped]

    inherit = StdioMode.INHERIT
    sandbox = Sandbox(**json.loads(sys.argv[1]))
    with sandbox.popen(sys.argv[2:], stdin=inherit, stdout=inherit, stderr=inherit) as process:
        result = process.wait()
    if result.error:
        sys.stderr.write(f"{result.error}\n")
    killed = result.signal if result.signal > 0 else signal.SIGKILL if result.exit_code < 0 else 0
    return 128 + killed if killed else int(result.exit_code)


sys.exit(main())
