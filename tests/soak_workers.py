"""Workers under attack: `make soak`, or `python tests/soak_workers.py --sessions 1000 --graphs 300 --seed 1`.

Three workers, each in a process and a folder of its own, on one PostgreSQL server and one model server with
a few slots. Every five seconds one of them is killed (SIGKILL); some are stopped (SIGSTOP) for 15 seconds;
PostgreSQL is restarted twice, once as in a crash; a proxy cuts the third worker's connections. Ends with 1
when a session is lost, a result stands on the wrong task or differs from an uninterrupted run's, a committed
answer was asked for again, the model server's own log has more calls at once than it has slots, or a job
began while one of a larger priority waited.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from chaos.machines import Audit, Machine, config_of, machines, states_alone, states_of
from chaos.model_server import ModelServer
from chaos.tasks import random_tasks
from servers.postgres import PostgresServer, running_server
from servers.relay import Relay
from support import dead_port

SLOTS = 16
LATENCY_S = 0.2
KILL_EVERY_S = 5.0
STOPPED_S = 15.0
RESTARTS = {5: "fast", 13: "immediate"}
"""At which of these steps PostgreSQL is restarted, and how."""
TASKS = 8
PRIORITIES = (0, 5, 9)
WORKFLOW = {"reviewers": ["style"], "max_iterations": 1}
SMALL: Literal["review_only"] = "review_only"
EVERY = 27
"""Of so many sessions and graphs one is run again by itself, and its state compared."""
TOLERANCE_S = 1.0
"""A job that another worker is about to take is skipped; so is one whose submission is not committed yet."""


@dataclass
class Attack:
    """What is done to the workers, by a clock of its own."""

    team: list[Machine]
    server: PostgresServer
    relay: Relay
    audit: Audit
    seed: int
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._dice, self._number = random.Random(self.seed), 0
        self._stopped: dict[int, float] = {}
        """When to wake which machine."""

    def step(self) -> None:
        """What happens every five seconds."""
        self._number += 1
        self.kill_one()
        if self._number % 6 == 2:
            self.stop_one()
        if self._number % 4 == 0:
            self.cut()
        if mode := RESTARTS.get(self._number):
            self.restart(mode)

    def kill_one(self) -> None:
        """Kill a worker that is not stopped, and start it again."""
        able = [number for number in range(len(self.team)) if number not in self._stopped]
        machine = self.team[self._dice.choice(able)]
        machine.kill()
        machine.start()
        self.counts["kills"] += 1

    def stop_one(self) -> None:
        """Stop a worker; `wake` lets it go on."""
        number = self._dice.randrange(len(self.team))
        if number not in self._stopped:
            self.team[number].send(signal.SIGSTOP)
            self._stopped[number] = time.monotonic() + STOPPED_S
            self.counts["stops"] += 1

    def wake(self) -> None:
        """Let those go on that were stopped long enough."""
        for number, until in [*self._stopped.items()]:
            if time.monotonic() > until:
                self.team[number].send(signal.SIGCONT)
                del self._stopped[number]

    def cut(self) -> None:
        """End the connections of the last worker to PostgreSQL."""
        self.relay.cut()
        self.relay.mend(f"127.0.0.1:{self.server.port}")
        self.counts["cuts"] += 1

    def restart(self, mode: str) -> None:
        self.server.restart(mode)
        self.counts[f"restarts of PostgreSQL ({mode})"] += 1


def request_of(session: str) -> str:
    return f"Request {session}: a queue."


def graph_of(number: int) -> list[dict[str, Any]]:
    """The tasks of a graph, whose ids no other session has."""
    return random_tasks(random.Random(number), TASKS, prefix=f"g{number}")


def submit(machine: Machine, sessions: int, graphs: int) -> dict[str, int]:
    """Submit them all; the priority of each session."""
    priorities = {}
    for number in range(max(sessions, graphs)):
        priority = PRIORITIES[number % len(PRIORITIES)]
        options = ("--priority", str(priority))
        if number < sessions:
            machine.submit(f"s{number}", request_of(f"s{number}"), "--workflow", SMALL, *options)
            priorities[f"s{number}"] = priority
        if number < graphs:
            (machine.folder / "graph.json").write_text(json.dumps({"tasks": graph_of(number)}))
            graph = ("--workflow", "custom", "--tasks", "graph.json", "--session", f"g{number}")
            machine.run("submit", "run", *graph, *options)
            priorities[f"g{number}"] = priority
    return priorities


def work(attack: Attack, wanted: int, minutes: float) -> None:
    """Let the workers work and suffer until all sessions have ended."""
    began = time.monotonic()
    following = began + KILL_EVERY_S
    while attack.audit.phases()["complete"] < wanted and time.monotonic() - began < 60 * minutes:
        time.sleep(0.5)
        attack.wake()
        for machine in attack.team:
            if not machine.is_running:
                attack.counts[f"workers that ended by themselves with {machine.wait()}"] += 1
                machine.start()
        if time.monotonic() > following:
            following += KILL_EVERY_S
            attack.step()
            attack.audit.look()
            done = attack.audit.phases()["complete"]
            print(
                f"{time.monotonic() - began:6.0f} s {done:6d} of {wanted} {dict(attack.counts)}", flush=True
            )


def wrong_in(audit: Audit, folder: Path, priorities: dict[str, int]) -> Iterator[str]:
    """What is wrong at the end, one line each."""
    phases = dict(audit.query("SELECT session, phase FROM sessions"))
    if lost := [session for session in priorities if phases.get(session) != "complete"]:
        yield f"{len(lost)} sessions lost: {[(session, phases.get(session)) for session in lost[:5]]}"
    if again := audit.asked_though_committed():
        yield f"{len(again)} answers were asked for again though committed: {again[:5]}"
        yield from audit.history(again[0])
    if audit.most_in_flight() > SLOTS:
        yield f"{audit.most_in_flight()} calls at once, of {SLOTS}"
    yield from audit.taken_before_larger(TOLERANCE_S)[:5]
    states = states_of(audit.url, folder, priorities)
    for session, state in states.items():
        yield from audit.misplaced(session, state)
    chosen = [*states][::EVERY]
    requests = {session: request_of(session) for session in chosen if session[0] == "s"}
    graphs = {session: graph_of(int(session[1:])) for session in chosen if session[0] == "g"}
    for session, state in states_alone(folder / "alone", SMALL, requests, graphs, WORKFLOW).items():
        if states[session] != state:
            yield f"{session}: its state differs from that of an uninterrupted run"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--graphs", type=int, default=300)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=60, help="give up after so long")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # no worker and no server is left behind
    root = Path(tempfile.mkdtemp())
    with running_server(dead_port()) as postgres, ModelServer(latency=LATENCY_S) as server, Relay() as relay:
        relay.mend(f"127.0.0.1:{postgres.port}")
        name = postgres.new_database()
        url = postgres.url(name)
        urls = [url] * (given.workers - 1) + [postgres.tcp_url(name, relay.port)]
        audit = Audit(server, url)
        with machines(root, urls, config_of(server, SLOTS, workflow=WORKFLOW), concurrency=8) as team:
            began = time.monotonic()
            priorities = submit(team[0], given.sessions, given.graphs)
            print(f"{time.monotonic() - began:.0f} s to submit {len(priorities)} sessions", flush=True)
            for machine in team:
                machine.start()
            attack, began = Attack(team, postgres, relay, audit, given.seed), time.monotonic()
            work(attack, len(priorities), given.minutes)
        seconds = time.monotonic() - began
        wrong = [*wrong_in(audit, root, priorities)]
    print(f"{seconds:.0f} s, seed {given.seed}, logs in {root}")
    for what, count in sorted(attack.counts.items()):
        print(f"{count:6d} {what}")
    print(
        f"{len(server.asked):6d} questions, {audit.asked_again()} of them asked again (in flight at a loss)"
    )
    print(f"{audit.most_in_flight():6d} calls at once at most, of {SLOTS}")
    print(
        "\n".join(wrong) or "none lost, none misplaced, no committed answer asked again, cap and order held"
    )
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
