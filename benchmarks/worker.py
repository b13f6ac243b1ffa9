"""One contender of overhead.py in a process of its own, so that different versions can take turns.

    python benchmarks/worker.py FILE FUNCTION URL FOLDER PROMPTS

FUNCTION of FILE opens the contender: an async context manager that yields a coroutine function, which runs
one session and returns whether it was approved. Each line on stdin is an order, JSON with `at_once` and
`in_a_row`; each line on stdout the outcome, with `wall` and `cpu` in seconds, or `error`. Closing stdin ends
the process.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

from role_prompts import RolePrompts

Session = Callable[[], Awaitable[bool]]


@dataclass(frozen=True)
class Setting:
    """What a contender works with.

    Attributes:
        url: The base URL of the server, for OpenAI clients.
        folder: An empty folder of its own.
        prompts: What to ask.
    """

    url: str
    folder: Path
    prompts: RolePrompts


Contender = Callable[[Setting], AbstractAsyncContextManager[Session]]


async def timed(session: Session, at_once: int, in_a_row: int) -> dict[str, Any]:
    """Seconds that some users take who begin together and run some sessions each."""

    async def user() -> bool:
        return all([await session() for _ in range(in_a_row)])

    wall, cpu = time.perf_counter(), time.process_time()
    approved = await asyncio.gather(*(user() for _ in range(at_once)))
    outcome = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    return outcome if all(approved) else {"error": "a session was not approved"}


async def serve(contender: Contender, setting: Setting, answers: TextIO) -> None:
    async with contender(setting) as session:
        print(json.dumps({"ready": True}), file=answers, flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await timed(session, **json.loads(line))), file=answers, flush=True)


def module(path: Path) -> ModuleType:
    """A file as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    loaded = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def main() -> None:
    path, function, url, folder, prompts = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    setting = Setting(url, Path(folder), RolePrompts.read(Path(prompts)))
    asyncio.run(serve(getattr(module(Path(path)), function), setting, answers))


if __name__ == "__main__":
    main()
