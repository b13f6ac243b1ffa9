"""What watching costs: a session of 200 fast simulated calls with the live view and events, and without.

Both are the same coordinator with its database; one has a live view on a (pretended) terminal of 100 columns
and every event written as a line of JSON. Interleaved, medians. At most 1.1 is wanted.

    python benchmarks/watching.py [--runs 25]
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from rich.console import Console

from swarm_graph import SwarmCoordinator
from swarm_graph.events import Event, event_line
from swarm_graph.reports.live import Progress
from swarm_graph.state import AgentRole
from swarm_graph.tasks.spec import TaskSpec

CALLS = 200
TARGET = 1.1
CONFIG = {
    "model_config": {"single_model": {"model": "s", "api_type": "simulated", "slots": 8}},
    "workflow": {"max_parallel_agents": 8},
}


def session(on_event: Callable[[Event], None] | None) -> float:
    """Seconds of one session."""
    with tempfile.TemporaryDirectory() as folder:
        coordinator = SwarmCoordinator(
            CONFIG, data_dir=Path(folder) / ".swarm", output=Path(folder) / "out", on_event=on_event
        )
        for number in range(CALLS):
            coordinator.add_task(TaskSpec(task_id=f"t{number}", assigned_role=AgentRole.DOCUMENTER))
        began = time.monotonic()
        coordinator.run_workflow("", "custom")
        return time.monotonic() - began


def watched() -> float:
    screen = Console(file=io.StringIO(), force_terminal=True, width=100)
    lines = io.StringIO()
    with Progress(screen) as progress:

        def on_event(happened: Event) -> None:
            progress.on_event(happened)
            lines.write(event_line(happened))

        return session(on_event)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=25)
    given = parser.parse_args()
    session(None)
    pairs = [(session(None), watched()) for _ in range(given.runs)]
    alone, seen = median(one for one, _ in pairs), median(two for _, two in pairs)
    ratio = median(two / one for one, two in pairs)
    told = "ok" if ratio <= TARGET else "MISSED"
    sys.stdout.write(f"alone {alone:.3f} s, watched {seen:.3f} s: {ratio:.2f} times ({told})\n")


if __name__ == "__main__":
    main()
