"""How long a database with 10,000 sessions takes to be listed, compared and reported on, as commands.

The sessions are rows like those of a `standard` session in one round (six calls, six tasks), written straight
into the catalogue; two of them are real ones. Wanted: list and compare under a second, report under five,
the start of Python included.

    python benchmarks/many_sessions.py [--sessions 10000]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from swarm_graph import SwarmCoordinator, open_checkpointer
from swarm_graph.checkpoints.swarm_saver import SwarmSaver

PROGRAM = Path(sys.executable).parent / "swarm-graph"
CONFIG = {"model_config": {"single_model": {"model": "s", "api_type": "simulated"}}}
TABLES = ("sessions", "runs", "tasks", "calls")
REPEATS = 3


def multiply(saver: SwarmSaver, session: str, count: int) -> None:
    """Writes the rows of a session again under other names."""
    with saver.transaction() as cursor:
        for table in TABLES:
            names = [
                row[1]
                for row in cursor.execute(f"PRAGMA table_info({table})")
                if row[1] not in ("id", "session")
            ]
            columns = ", ".join(names)
            for number in range(count):
                cursor.execute(
                    f"INSERT INTO {table} (session, {columns}) "
                    f"SELECT ?, {columns} FROM {table} WHERE session = ?",
                    (f"{session}-{number:05d}", session),
                )


def seconds(folder: Path, *arguments: str) -> float:
    """The shortest of some runs of a command."""
    took = []
    for _ in range(REPEATS):
        began = time.monotonic()
        subprocess.run([PROGRAM, *arguments], cwd=folder, check=True, capture_output=True)
        took.append(time.monotonic() - began)
    return min(took)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=10_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for session in ("a", "b"):
            coordinator = SwarmCoordinator(CONFIG, data_dir=folder / ".swarm", output=folder / session)
            coordinator.run_workflow("Create a CSV parser", session_id=session)
        with open_checkpointer(folder / ".swarm" / "swarm.db") as saver:
            multiply(saver, "a", given.sessions - 2)
            count = len(saver.catalogue.sessions())
        sys.stdout.write(f"{count} sessions\n")
        wanted = {
            "list": 1.0,
            "show a": 1.0,
            "compare a b": 1.0,
            "report": 5.0,
            "report --html": 5.0,
            "export": 0.0,
        }
        for command, limit in wanted.items():
            took = seconds(folder, "sessions", *command.split())
            told = "" if not limit else f" ({'ok' if took < limit else 'MISSED'})"
            sys.stdout.write(f"sessions {command:14} {took:6.2f} s{told}\n")


if __name__ == "__main__":
    main()
