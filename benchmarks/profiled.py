"""Where the time of one of our sessions goes: milliseconds per session by package, under cProfile.

python benchmarks/profiled.py
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import tempfile
from collections import Counter
from pathlib import Path

from ours import contender
from role_prompts import our_prompts
from server import running_server
from worker import Setting

SESSIONS = 40
PACKAGES = 12


async def profile() -> pstats.Stats:
    with running_server(0.0, 16) as server, tempfile.TemporaryDirectory() as folder:
        async with contender(Setting(server.url, Path(folder), our_prompts())) as session:
            await session()
            profiler = cProfile.Profile()
            profiler.enable()
            for _ in range(SESSIONS):
                await session()
            profiler.disable()
    return pstats.Stats(profiler)


def package(path: str, function: str) -> str:
    """The package that a function belongs to; built-in functions have no file."""
    if "epoll" in function:
        return "(waiting)"
    if "site-packages" in path:
        return path.rpartition("site-packages/")[2].partition("/")[0]
    if path.startswith(("~", "<")):
        return "built-in functions"
    if f"{Path(__file__).parents[1]}/" in path:
        return "swarm_graph"
    return "standard library"


def main() -> None:
    spent: Counter[str] = Counter()
    for (path, _, function), (_, _, seconds, _, _) in asyncio.run(profile()).stats.items():  # type: ignore[attr-defined]
        spent[package(path, function)] += seconds * 1000 / SESSIONS
    total = sum(spent.values())
    for name, milliseconds in spent.most_common(PACKAGES):
        print(f"{name:<24} {milliseconds:6.2f} ms  {100 * milliseconds / total:3.0f} %")
    print(f"{'all':<24} {total:6.2f} ms")


if __name__ == "__main__":
    main()
