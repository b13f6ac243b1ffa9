"""What the page costs: 60 pages on 20 running sessions, a session of 100,000 events, one of 10,000 tasks.

The sessions run in one process, `swarm-graph ui` in another, the model server in a third. A page is what a
browser does with it: it loads the session, follows its stream, and fetches parts anew after their events, at
most once a second each. Sessions with and without pages take turns. Wanted: with pages they are at most 5 %
slower; the first paint of both large sessions takes less than a second.

    python benchmarks/page.py [--sessions 20] [--pages 60] [--turns 2] [--events 100000] [--tasks 10000]
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlencode

from server import running_server

from swarm_graph import SwarmCoordinator, open_checkpointer
from swarm_graph.events import Event, Kind
from swarm_graph.tasks.spec import TaskSpec

PROGRAM = Path(sys.executable).parent / "swarm-graph"
SIMULATED = {"model_config": {"single_model": {"model": "s", "api_type": "simulated"}}}
PIECES, SPREAD_S = 40, 4.0
TOKENS_OF_CALL = 40
SETTLE_S, REFETCH_S = 0.15, 1.0
TOKENS: tuple[Kind, dict[str, Any]] = (
    "tokens",
    {"output_tokens": 9, "text": "def put(self, item):\n" * 4, "thoughts": ""},
)
TICKS = os.sysconf("SC_CLK_TCK")
ADDRESS = re.compile(r"http://127.0.0.1:(\d+)/login#(\S+)")
PART = re.compile(r'data-part="([^"]*)" data-refresh="([^"]*)"( data-later)?')


# --- the page's server and its users -------------------------------------------------------------


@dataclass
class Site:
    """A running page."""

    process: subprocess.Popen[str]
    port: int
    cookie: str = ""
    fetched: list[float] = field(default_factory=list)

    def ask(self, method: str, path: str, body: str | None = None) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Cookie": self.cookie, "Accept": "text/html"}
        if body:
            form = "application/x-www-form-urlencoded"
            headers |= {"Content-Type": form, "Origin": f"http://127.0.0.1:{self.port}"}
        connection.request(method, path, body, headers)
        return connection.getresponse()

    def seconds(self, path: str) -> tuple[float, int]:
        """Until the whole answer is there, and its bytes."""
        began = time.monotonic()
        with closing(self.ask("GET", path)) as answer:
            size = len(answer.read())
            assert answer.status == 200, (path, answer.status)
        return time.monotonic() - began, size

    @property
    def cpu_s(self) -> float:
        """Processor time of the server so far."""
        return cpu_s(self.process.pid)

    @property
    def memory_mb(self) -> float:
        """The most memory that it has had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024


def cpu_s(pid: int) -> float:
    values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(values[11]) + int(values[12])) / TICKS


@contextmanager
def running_site(folder: Path) -> Iterator[Site]:
    command = [str(PROGRAM), "ui", "--port", "0", "--no-browser", "--simulate"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            found = next(filter(None, map(ADDRESS.search, process.stderr)))
            site = Site(process, int(found[1]))
            with closing(site.ask("POST", "/login", urlencode({"token": found[2]}))) as answer:
                site.cookie = answer.headers["Set-Cookie"].partition(";")[0]
            yield site
        finally:
            process.kill()


class Tab:
    """A page that is open on a session, as app.js works."""

    def __init__(self, site: Site, session: str) -> None:
        self.site, self.session = site, session
        self.events = 0
        self.wanted: set[str] = set()
        self.working: dict[str, asyncio.Task[None]] = {}

    async def get(self, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.site.port)
        lines = (f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{self.site.port}", f"Cookie: {self.site.cookie}")
        writer.write("\r\n".join([*lines, "X-Part: 1", "Connection: close", "", ""]).encode())
        return reader, writer

    async def fetch(self, path: str) -> str:
        began = time.monotonic()
        reader, writer = await self.get(path)
        text = (await reader.read()).decode(errors="replace")
        writer.close()
        assert text.startswith("HTTP/1.1 200"), text[:300]
        self.site.fetched.append(time.monotonic() - began)
        return text

    async def stay(self) -> None:
        """Look at the session until it ends."""
        page = await self.fetch(f"/sessions/{self.session}")
        after = re.findall(r'data-after="(\d+)"', page)[0]
        parts = {address: kinds.split() for address, kinds, later in PART.findall(page) if not later}
        reader, writer = await self.get(f"/sessions/{self.session}/events?after={after}")
        async for line in reader:
            if line.startswith(b"data: "):
                self.events += 1
                event = json.loads(line[6:])
                for address, kinds in parts.items():
                    if event["kind"] in kinds:
                        self.refresh(address)
                if event["kind"] == "session_ended":
                    break
        writer.close()
        await asyncio.gather(*self.working.values())

    def refresh(self, address: str) -> None:
        self.wanted.add(address)
        if address not in self.working:
            self.working[address] = asyncio.create_task(self.work(address))

    async def work(self, address: str) -> None:
        wait = SETTLE_S
        while address in self.wanted:
            await asyncio.sleep(wait)
            self.wanted.discard(address)
            await self.fetch(address)
            wait = REFETCH_S
        self.working.pop(address, None)


# --- sessions ------------------------------------------------------------------------------------


def run_sessions(folder: Path, url: str, prefix: str, count: int) -> None:
    """Run sessions at once in this process; print the seconds and the processor time that they took."""
    entry = {"url": url, "model": "sleeper", "slots": 4 * count}
    config = {"model_config": {"single_model": entry}, "execution": {"mode": "off"}}

    async def one(number: int) -> None:
        name = f"{prefix}{number}"
        coordinator = SwarmCoordinator(config, data_dir=folder / ".swarm", output=folder / "out" / name)
        await coordinator.arun_workflow("Create a FIFO queue", session_id=name)

    async def all_of_them() -> None:
        await asyncio.gather(*map(one, range(count)))

    began, cpu = time.monotonic(), time.process_time()
    asyncio.run(all_of_them())
    took = {"wall": time.monotonic() - began, "cpu": time.process_time() - cpu}
    sys.stdout.write(json.dumps(took) + "\n")


async def sessions(folder: Path, url: str, prefix: str, count: int) -> dict[str, float]:
    """Run sessions in a process of their own."""
    arguments = ["--run", str(folder), url, prefix, str(count)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, *arguments, stdout=subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    return found


async def watched(
    folder: Path, url: str, prefix: str, count: int, pages: int, site: Site
) -> dict[str, float]:
    """The same while pages look at them."""
    running = asyncio.create_task(sessions(folder, url, prefix, count))
    names = {f"{prefix}{number}" for number in range(count)}
    while not names <= await asyncio.to_thread(known, folder):
        assert not running.done()
        await asyncio.sleep(0.1)
    cpu, began = site.cpu_s, time.monotonic()
    tabs = [Tab(site, f"{prefix}{number % count}") for number in range(pages)]
    await asyncio.gather(*(tab.stay() for tab in tabs))
    took = await running
    seconds = time.monotonic() - began
    return {
        **took,
        "server": (site.cpu_s - cpu) / seconds,
        "events": sum(tab.events for tab in tabs) / seconds,
    }


def known(folder: Path) -> set[str]:
    with open_checkpointer(folder / ".swarm" / "swarm.db") as saver:
        return {session.session for session in saver.catalogue.sessions()}


async def many_pages(folder: Path, count: int, pages: int, turns: int) -> None:
    with running_server(0.2, PIECES, SPREAD_S) as server, running_site(folder) as site:
        alone, seen = [], []
        for turn in range(turns):
            alone.append(await sessions(folder, server.url, f"alone-{turn}-", count))
            seen.append(await watched(folder, server.url, f"seen-{turn}-", count, pages, site))
        for name in ("wall", "cpu"):
            before, after = (median(one[name] for one in figures) for figures in (alone, seen))
            slower = 100 * (after / before - 1)
            told = f" ({'ok' if slower <= 5 else 'MISSED'})" if name == "wall" else ""
            with_pages = f"{after:.2f} s with {pages} pages: {slower:+.1f} %{told}"
            say(f"{count} sessions, {name}: {before:.2f} s alone, {with_pages}")
        share, events = (median(one[name] for one in seen) for name in ("server", "events"))
        say(f"the page's server: {share:.0%} of a core, {site.memory_mb:.0f} MB; {events:.0f} messages/s")
        fetches = sorted(site.fetched)
        middle, late = (1000 * fetches[int(len(fetches) * part)] for part in (0.5, 0.99))
        say(f"{len(fetches)} fetches: median {middle:.0f} ms, 99 % within {late:.0f} ms")


# --- large sessions ------------------------------------------------------------------------------


def add_events(folder: Path, session: str, count: int) -> None:
    """Run a session, and add the events of many calls to it."""
    coordinator = SwarmCoordinator(SIMULATED, data_dir=folder / ".swarm", output=folder / "out")
    coordinator.run_workflow("Create a CSV parser", session_id=session)
    per_call: list[tuple[Kind, dict[str, Any]]] = [
        ("task_started", {"task_type": "coding"}),
        ("call_started", {"attempt": 1, "repair": False, "model": "m", "server": "s", "queued_s": 0.1}),
        *[TOKENS] * TOKENS_OF_CALL,
        ("call_ended", {"outcome": "answered", "seconds": 1.0, "output_tokens": 60}),
        ("task_ended", {"note": ""}),
    ]
    with open_checkpointer(folder / ".swarm" / "swarm.db") as saver, saver.transaction():
        call = 0
        for number in range(count):
            kind, data = per_call[number % len(per_call)]
            event = Event(
                kind, time.time(), session, f"n{number // len(per_call) % 50}", "coder", "T1", 1, data
            )
            belongs = kind in ("tokens", "call_ended")
            stored = saver.catalogue.transcript.append(event, call if belongs else None)
            call = stored if kind == "call_started" else call


def large_sessions(folder: Path, events: int, tasks: int) -> None:
    add_events(folder, "long", events)
    coordinator = SwarmCoordinator(SIMULATED, data_dir=folder / ".swarm", output=folder / "tasks")
    for number in range(tasks):
        coordinator.add_task(TaskSpec(task_id=f"t{number}", assigned_role="documenter"))
    coordinator.run_workflow("", "custom", session_id="wide")
    paths = {
        "long": ["", "/parts/writing", "/parts/calls"],
        "wide": ["", "/parts/tasks", "/tasks?from=5000"],
    }
    for session, rest in paths.items():
        with running_site(folder) as site:
            for path in rest:
                first, size = site.seconds(f"/sessions/{session}{path}")
                again = min(site.seconds(f"/sessions/{session}{path}")[0] for _ in range(3))
                told = f" ({'ok' if first < 1 else 'MISSED'})" if not path else ""
                cold = f"{first:.2f} s the first time{told}"
                say(f"{session}{path}: {cold}, {again:.2f} s again, {size / 1000:.0f} kB")
            say(f"the page's server: {site.memory_mb:.0f} MB")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--pages", type=int, default=60)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--run", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        folder, url, prefix, count = given.run
        run_sessions(Path(folder), url, prefix, int(count))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if given.turns:
            asyncio.run(many_pages(folder, given.sessions, given.pages, given.turns))
        if given.events:
            large_sessions(folder, given.events, given.tasks)


if __name__ == "__main__":
    main()
