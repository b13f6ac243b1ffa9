"""What our layer costs: sessions of the `standard` workflow beside other programs that ask the same.

    python benchmarks/overhead.py [--sessions 200] [--pieces 16] [--in-a-row 4] [--before DIR] [--peers all]

Every contender is a process of its own (worker.py), asks the same sleeping server (server.py) for the same
six answers in one round, and takes turns with the others after a warm-up. CPU time is that of the contender's
process. `--before`: another checkout of swarm_graph with its own .venv. The programs of `peers/` run where
`python benchmarks/peers/install.py` has installed them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peers.install import NAMES, interpreter
from role_prompts import CALLS, our_prompts
from server import Server, running_server

HERE = Path(__file__).parent
WARM_UP = 20
OURS, CALLBACK, NO_EVENTS, BEFORE, ON_AIOHTTP, SEED = (
    "swarm_graph", "with a callback", "no events", "before", "peer, aiohttp", "seed's way",
)  # fmt: skip
DELAY_S = 0.2


@dataclass(frozen=True)
class Contender:
    """How to run one: `function` of the file opens it, in an interpreter that has its libraries."""

    file: str
    function: str = "contender"
    python: Path = Path(sys.executable)


CONTENDERS = {
    OURS: Contender("ours.py"),
    CALLBACK: Contender("ours.py", "with_callback"),
    NO_EVENTS: Contender("ours.py", "without_events"),
    "peer": Contender("peer.py", "on_httpx"),
    ON_AIOHTTP: Contender("peer.py", "on_aiohttp"),
    SEED: Contender("seed_way.py"),
}


class Failed(Exception):
    """A contender does not run; the message is the last line of its stderr."""


class Worker:
    """A contender's process."""

    def __init__(self, contender: Contender, server: Server, folder: Path) -> None:
        folder.mkdir()
        self.log = folder / "stderr"
        prompts = our_prompts().write(folder / "prompts.json")
        command = [contender.python, HERE / "worker.py", HERE / contender.file, contender.function]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, server.url, folder, prompts],
                cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        self.answer()

    def run(self, at_once: int = 1, in_a_row: int = 1) -> dict[str, float]:
        """`wall` and `cpu` seconds of sessions; see worker.py."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"at_once": at_once, "in_a_row": in_a_row}) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": self.last_words()}
        if "error" in answer:
            raise Failed(answer["error"])
        return answer

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "it ended without a word")

    def close(self) -> None:
        """End the process: its stdin is closed."""
        self.process.communicate()


@dataclass
class Figures:
    """What was measured of one contender, a value for each turn."""

    wall: list[float] = field(default_factory=list)
    """Seconds."""
    cpu: list[float] = field(default_factory=list)
    """Seconds a session."""


Measured = dict[str, Figures]


@contextmanager
def workers(contenders: dict[str, Contender], server: Server) -> Iterator[dict[str, Worker]]:
    """The processes of those that start; says which do not."""
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        running = {}
        for number, (name, contender) in enumerate(contenders.items()):
            try:
                running[name] = Worker(contender, server, Path(temporary, str(number)))
            except Failed as failed:
                print(f"{name} does not run: {failed}")
            else:
                stack.callback(running[name].close)
        yield running


def take_turns(running: dict[str, Worker], turns: int, at_once: int, in_a_row: int, warm_up: int) -> Measured:
    """Each in turn, forwards and backwards; one that fails is left out from then on."""
    measured: Measured = {name: Figures() for name in running}
    for number in range(turns + warm_up):
        for name in [*measured][:: 1 if number % 2 else -1]:
            try:
                outcome = running[name].run(at_once, in_a_row)
            except Failed as failed:
                print(f"{name} fails: {failed}")
                del measured[name]
                continue
            if number >= warm_up:
                measured[name].wall.append(outcome["wall"])
                measured[name].cpu.append(outcome["cpu"] / (at_once * in_a_row))
    return measured


def latency(contenders: dict[str, Contender], sessions: int, pieces: int, warm_up: int = WARM_UP) -> Measured:
    """One session at a time, against a server that answers at once."""
    with running_server(0.0, pieces) as server, workers(contenders, server) as running:
        measured = take_turns(running, sessions, 1, 1, warm_up)
        if len(measured) == len(running):
            assert server.stats()["calls"] == (sessions + warm_up) * CALLS * len(running)
    return measured


def throughput(
    contenders: dict[str, Contender], at_once: int, in_a_row: int, rounds: int, pieces: int
) -> Measured:
    """Many sessions at once against a server that takes 200 ms for an answer.

    `at_once` users begin together and run `in_a_row` sessions each. With one session each the figure
    is that of a burst: everybody waits for the server at the same time, and chance decides how long.
    """
    with running_server(DELAY_S, pieces) as server, workers(contenders, server) as running:
        measured = take_turns(running, rounds, at_once, in_a_row, 1)
        print(f"most calls in flight: {server.stats()['most_in_flight']}")
    return measured


def show(title: str, measured: Measured, figure: Callable[[float], float], unit: str) -> None:
    """Medians and quartiles of each, and how ours compares with the others."""
    print(f"\n{title}")
    ours = measured[OURS]
    for name, figures in measured.items():
        values = [*map(figure, figures.wall)]
        low, median, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
        cpu = statistics.median(figures.cpu)
        ratio = statistics.median(map(figure, ours.wall)) / median
        line = (
            f"{name:<15} {median:8.2f} {unit}  (quartiles {low:.2f} to {high:.2f}), CPU {1000 * cpu:6.2f} ms"
        )
        ratios = f"  swarm_graph / {name} = {ratio:.2f}, CPU {cpu_ratio(measured, name):.2f}"
        print(f"  {line}{ratios if name != OURS else ''}")


def cpu_ratio(measured: Measured, name: str) -> float:
    """CPU time a session: ours / another's."""
    return statistics.median(measured[OURS].cpu) / statistics.median(measured[name].cpu)


def wall_ratio(measured: Measured, name: str) -> float:
    """Wall time: ours / another's."""
    return statistics.median(measured[OURS].wall) / statistics.median(measured[name].wall)


def bars(one: Measured, many: Measured, pieces: int) -> Iterator[tuple[str, float, float, bool]]:
    """What is wanted: its name, the ratio, the bar, and whether it holds."""
    cpu = [(BEFORE, 0.30 if pieces >= 400 else 0.50), (ON_AIOHTTP, 0.65), *((name, 1.0) for name in NAMES)]
    for name, bar in cpu:
        if name in one:
            yield f"CPU a session / {name}", (ratio := cpu_ratio(one, name)), bar, ratio <= bar
    yield f"CPU a session / {NO_EVENTS}", (ratio := cpu_ratio(one, NO_EVENTS)), 1.03, ratio <= 1.03
    if SEED in one:
        yield f"wall time / {SEED}", (ratio := wall_ratio(one, SEED)), 2.7, ratio <= 2.7
    for name, bar in [(BEFORE, 1.7), (ON_AIOHTTP, 1.4), *((name, 1.0) for name in NAMES)]:
        if name in many:
            yield f"sessions a second / {name}", (ratio := 1 / wall_ratio(many, name)), bar, ratio >= bar


def chosen(before: Path | None, peers: str) -> dict[str, Contender]:
    """The contenders of a run; says which peers are not installed."""
    contenders = {**CONTENDERS}
    if before:
        contenders[BEFORE] = Contender("ours.py", python=before / ".venv/bin/python")
    for name in NAMES if peers == "all" else peers.split(",") if peers else ():
        if (python := interpreter(name)).exists():
            contenders[name] = Contender(f"peers/{name}_way.py", python=python)
        else:
            print(f"{name} is not installed: python benchmarks/peers/install.py {name}")
    return contenders


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, default=200, help="measured sessions of each, one at a time")
    parser.add_argument("--at-once", type=int, default=50, help="sessions at once in the second part")
    parser.add_argument("--in-a-row", type=int, default=4, help="sessions of each of them in a row")
    parser.add_argument("--rounds", type=int, default=4, help="measured rounds of the second part; 0: none")
    parser.add_argument("--pieces", type=int, default=16, help="chunks that an answer comes in")
    parser.add_argument("--before", type=Path, help="another checkout with its own .venv")
    parser.add_argument("--peers", default="all", help=f"of {', '.join(NAMES)}; empty: none")
    arguments = parser.parse_args()
    contenders = chosen(arguments.before and arguments.before.resolve(), arguments.peers)
    pieces, at_once, in_a_row = arguments.pieces, arguments.at_once, arguments.in_a_row
    one = latency(contenders, arguments.sessions, pieces)
    show(f"One session at a time, answers in {pieces} chunks, no delay", one, lambda wall: 1000 * wall, "ms")
    many: Measured = {}
    if arguments.rounds:
        del contenders[SEED]
        many = throughput(contenders, at_once, in_a_row, arguments.rounds, pieces)
        title = f"{at_once} sessions at once, {in_a_row} in a row, 200 ms an answer"
        show(title, many, lambda wall: at_once * in_a_row / wall, "sessions/s")
    print("\nWanted")
    for name, ratio, bar, holds in bars(one, many, pieces):
        sign = "≤" if "second" not in name else "≥"
        print(f"  {name:<36} {ratio:5.2f}  wanted {sign} {bar:.2f}: {'holds' if holds else 'MISSED'}")


if __name__ == "__main__":
    main()
