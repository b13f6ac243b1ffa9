"""Runs projects as an ordinary user where root runs the tests: a job of JSON a line in, its evidence out.

`unshare --mount` starts it as root. It lets the user pass the private folders above the interpreter and the
repository, as /root is one, in a mount namespace of its own; then it gives up root and serves.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path

NOBODY = 65534
MS_BIND, MS_REC = 4096, 16384
REPOSITORY = Path(__file__).resolve().parents[1]
LIBC = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    if os.geteuid() != 0:
        serve()
        return
    reveal({Path(sys.prefix), Path(sys.base_prefix).resolve(), REPOSITORY})
    change = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    change += ["--bounding-set=-all", "--inh-caps=-all", "--"]
    os.execvp(change[0], [*change, sys.executable, __file__])


def serve() -> None:
    from swarm_graph.sandbox.runner import run_tests
    from swarm_graph.settings import Execution

    for line in sys.stdin:
        job = json.loads(line)
        shown = run_tests(job["code"], job["tests"], Execution.model_validate(job["settings"]))
        sys.stdout.write(json.dumps(shown) + "\n")
        sys.stdout.flush()


def reveal(folders: set[Path]) -> None:
    """Hides each private parent behind an empty folder that everybody may pass, with `folders` in it."""
    hidden = {parent for parent in map(private_parent, folders) if parent}
    kept = {folder: os.open(folder, os.O_PATH) for folder in folders if private_parent(folder)}
    for parent in hidden:
        mount("tmpfs", parent, "tmpfs", 0, "mode=755")
    for folder, descriptor in sorted(kept.items()):
        folder.mkdir(parents=True, exist_ok=True)
        mount(f"/proc/self/fd/{descriptor}", folder, "", MS_BIND | MS_REC, "")


def private_parent(folder: Path) -> Path | None:
    """The outermost folder above, or itself, that others cannot pass."""
    above = [*reversed(folder.parents), folder]
    return next((parent for parent in above if not parent.stat().st_mode & 0o001), None)


def mount(source: str, target: Path, kind: str, flags: int, options: str) -> None:
    if LIBC.mount(source.encode(), bytes(target), kind.encode(), flags, options.encode()):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(target))


if __name__ == "__main__":
    main()
