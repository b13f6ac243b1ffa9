"""Many sessions at once in one process: do all end well, and does the event loop stay free?

    python benchmarks/at_once.py [--sessions 1000] [--files 1024] [--before DIR]

All start in the same moment on one graph and one database, against a server that takes 200 ms for an answer.
`--files`: the limit of open files of the process (`ulimit -n`). The lag is how much later than asked the loop
wakes a task that sleeps 10 ms. `--before`: the same in another checkout with its own .venv.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from ours import contender
from role_prompts import our_prompts
from server import running_server
from worker import Setting

TICK_S = 0.01


class Watch:
    """Looks every 10 ms at what the process uses.

    Attributes:
        lag: The longest lag of the event loop, seconds.
        files: Most open files.
        memory: Most resident memory, bytes.
    """

    def __init__(self) -> None:
        self.process = psutil.Process()
        self.lag = 0.0
        self.files = self.memory = 0
        self.looks = 0

    async def run(self) -> None:
        while True:
            self.look()
            began = time.perf_counter()
            await asyncio.sleep(TICK_S)
            self.lag = max(self.lag, time.perf_counter() - began - TICK_S)

    def look(self) -> None:
        self.looks += 1
        if self.looks % 10 == 1:  # listing the files takes time itself
            self.files = max(self.files, len(os.listdir("/proc/self/fd")))  # noqa: PTH208
            self.memory = max(self.memory, self.process.memory_info().rss)


async def measure(sessions: int, url: str, folder: Path) -> dict[str, Any]:
    async with contender(Setting(url, folder, our_prompts())) as session:
        await session()
        watch = Watch()
        watch.look()
        files, memory = watch.files, watch.memory
        watcher = asyncio.create_task(watch.run())
        began, cpu = time.perf_counter(), time.process_time()
        outcomes = await asyncio.gather(*(session() for _ in range(sessions)), return_exceptions=True)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        watcher.cancel()
    errors = [repr(outcome) for outcome in outcomes if outcome is not True]
    return {
        "errors": f"{len(errors)} {errors[0][:300] if errors else ''}".rstrip(),
        "sessions a second": sessions / seconds,
        "CPU ms a session": 1000 * cpu / sessions,
        "KiB a session": (watch.memory - memory) / 1024 / sessions,
        "descriptors a session": (watch.files - files) / sessions,
        "longest lag of the loop, s": watch.lag,
    }


def child(sessions: int, files: int, url: str) -> None:
    """Measure in this process and print JSON."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(asyncio.run(measure(sessions, url, Path(folder)))))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--files", type=int, default=1024, help="limit of open files")
    parser.add_argument("--before", type=Path, help="another checkout with its own .venv")
    parser.add_argument("--url", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.url:
        child(given.sessions, given.files, given.url)
        return
    pythons = {"swarm_graph": sys.executable}
    if given.before:
        pythons["before"] = str(given.before.resolve() / ".venv/bin/python")
    for name, python in pythons.items():
        with running_server(0.2, 16) as server:
            command = [python, __file__, f"--sessions={given.sessions}", f"--files={given.files}"]
            done = subprocess.run([*command, f"--url={server.url}"], stdout=subprocess.PIPE, check=True)
            print(f"{name}: {given.sessions} sessions at once, {given.files} files")
            for label, figure in json.loads(done.stdout).items():
                print(f"  {label:<28} {figure if isinstance(figure, str) else f'{figure:.2f}'}")
            print(f"  {'most calls in flight':<28} {server.stats()['most_in_flight']}")


if __name__ == "__main__":
    main()
