"""What one more task costs, from 10 tasks to 10,000: time, memory and bytes of the database.

Chains, fan-outs and layered graphs of tasks that take no time (a simulated model that answers 1 KB at once),
eight at a time, with checkpoints; each measurement in a process of its own. The cost of one more task from
1,000 to 10,000 may be at most 1.3 times that from 100 to 1,000. Also a chain of 10,001 tasks.

    python benchmarks/task_scale.py [--plot benchmarks/task_scale.svg]

`--before` compares the CPU time of a task with that of another checkout, which has a .venv of its own:

    python benchmarks/task_scale.py --before ../other
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from langchain_core.messages import BaseMessage

from swarm_graph import SwarmContext, build_graph, open_checkpointer
from swarm_graph.models.simulated import SimulatedChatModel

SIZES = (10, 100, 1000, 10_000)
REPEATS = {10: 5, 100: 5, 1000: 3, 10_000: 1}
TARGET = 1.3
UNITS = ("milliseconds", "KiB of memory", "KiB of database")
CPU = "milliseconds of CPU"
COMPARED_TASKS, ROUNDS = 300, 7
ANSWER = "The unit runs at 80 °C and 12 bar; hold it there for 20 minutes. " * 16
SHAPES: dict[str, Callable[[int], list[int]]] = {
    "chain": lambda number: [number - 1] if number else [],
    "fan-out": lambda _number: [],
    "layered": lambda number: [number - 50, 50 * (number // 50) - 1] if number >= 50 else [],
}


class Prompt(SimulatedChatModel):
    """Answers at once."""

    def _answer(self, messages: list[BaseMessage], arguments: dict[str, Any]) -> str:
        return f"I am {arguments['about']['task']}. {ANSWER}"


def measured(shape: str, size: int) -> dict[str, float]:
    """One run in this process: seconds, peak memory above what was there before, bytes of the closed file."""
    tasks: Any = [
        {
            "task_id": f"t{number}",
            "assigned_role": "documenter",
            "description": "Describe it.",
            "dependencies": [f"t{one}" for one in dict.fromkeys(SHAPES[shape](number))],
        }
        for number in range(size)
    ]
    config = {
        "model_config": {"single_model": {"model": "s", "api_type": "simulated"}},
        "workflow": {"max_parallel_agents": 8},
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "swarm.db"
        with open_checkpointer(path) as saver:
            graph = build_graph("custom", config=config, checkpointer=saver)
            thread: Any = {"configurable": {"thread_id": "t"}}
            context = SwarmContext(model=Prompt())
            graph.invoke({"tasks": tasks[:1]}, {"configurable": {"thread_id": "warm"}}, context=context)  # type: ignore[typeddict-item]
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            began, cpu_began = time.monotonic(), time.process_time()
            state = graph.invoke({"tasks": tasks}, thread, context=context)
            seconds, cpu = time.monotonic() - began, time.process_time() - cpu_began
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert all(record["result"].startswith(f"I am {name}.") for name, record in state["tasks"].items())
        assert len(state["tasks"]) == size
        size_kib = path.stat().st_size / 1024
    return {UNITS[0]: seconds * 1000, UNITS[1]: peak - before, UNITS[2]: size_kib, CPU: cpu * 1000}


def run(shape: str, size: int) -> dict[str, float]:
    """The medians of some runs, each in a process of its own."""
    command = [sys.executable, __file__, "--one", json.dumps([shape, size])]
    found = [
        json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        for _ in range(REPEATS.get(size, 1))
    ]
    return {unit: median(one[unit] for one in found) for unit in UNITS}


def compared(shape: str, before: Path) -> str:
    """The CPU time of a task in another checkout and in this one, in alternate processes."""
    about = json.dumps([shape, COMPARED_TASKS])
    pythons = {"before": str(before / ".venv" / "bin" / "python"), "now": sys.executable}
    costs: dict[str, list[float]] = {name: [] for name in pythons}
    for number in range(ROUNDS):
        for name in pythons if number % 2 else reversed(pythons):
            command = [pythons[name], __file__, "--one", about]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            costs[name].append(json.loads(done.stdout)[CPU] / COMPARED_TASKS)
    medians = {name: median(values) for name, values in costs.items()}
    ratio = medians["now"] / medians["before"]
    return f"{shape:10} {medians['before']:6.2f} {medians['now']:6.2f} {ratio:6.2f}\n"


def marginal(found: dict[int, dict[str, float]], unit: str, low: int, high: int) -> float:
    """What one more task costs between two sizes."""
    return (found[high][unit] - found[low][unit]) / (high - low)


def table(shape: str, found: dict[int, dict[str, float]]) -> str:
    lines = [
        f"\n{shape:22}"
        + "".join(f"{size:>12,}" for size in SIZES)
        + "   100-1,000  -10,000  ratio     fixed\n"
    ]
    for unit in UNITS:
        first, second = marginal(found, unit, 100, 1000), marginal(found, unit, 1000, 10_000)
        fixed = found[100][unit] - 100 * first
        told = "ok" if second <= TARGET * first else "MISSED"
        cells = "".join(f"{found[size][unit]:12,.0f}" for size in SIZES)
        lines.append(f"{unit:22}{cells}{first:12.2f}{second:9.2f}{second / first:7.2f}{fixed:10.0f} {told}\n")
    return "".join(lines)


COLORS = {"chain": "#1f77b4", "fan-out": "#d62728", "layered": "#2ca02c"}
WIDTH, HEIGHT, LEFT, TOP = 300, 220, 60, 40


def plot(found: dict[str, dict[int, dict[str, float]]]) -> str:
    """Cost per task by size, as SVG, one picture a unit."""
    parts = [_panel(number, unit, found) for number, unit in enumerate(UNITS)]
    width = len(UNITS) * (WIDTH + LEFT) + 20
    size = f'width="{width}" height="{HEIGHT + 100}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>"]) + "\n"


def _panel(place: int, unit: str, found: dict[str, dict[int, dict[str, float]]]) -> str:
    left = LEFT + place * (WIDTH + LEFT)
    per_task = {shape: [rows[size][unit] / size for size in SIZES] for shape, rows in found.items()}
    top = max(value for values in per_task.values() for value in values[1:]) * 1.15
    parts = [
        f'<text x="{left}" y="{TOP - 14}" font-size="13">{unit} per task</text>',
        f'<rect x="{left}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#999"/>',
    ]
    steps = [left + WIDTH * number / (len(SIZES) - 2) for number in range(len(SIZES) - 1)]
    for x, size in zip(steps, SIZES[1:], strict=True):
        parts.append(
            f'<text x="{x:.0f}" y="{TOP + HEIGHT + 16}" font-size="11" text-anchor="middle">{size:,}</text>'
        )
    for share in (0, 0.5, 1):
        y = TOP + HEIGHT * (1 - share)
        parts.append(
            f'<text x="{left - 6}" y="{y + 4:.0f}" font-size="11" text-anchor="end">{top * share:.1f}</text>'
        )
    for number, (shape, values) in enumerate(per_task.items()):
        points = " ".join(
            f"{x:.1f},{TOP + HEIGHT * (1 - value / top):.1f}"
            for x, value in zip(steps, values[1:], strict=True)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{COLORS[shape]}" stroke-width="2"/>')
        y = TOP + HEIGHT + 40 + 14 * number
        parts.append(f'<text x="{left}" y="{y}" font-size="12" fill="{COLORS[shape]}">{shape}</text>')
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--plot", type=Path, help="write an SVG")
    parser.add_argument("--before", type=Path, help="compare the CPU time with this checkout, and do no more")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        sys.stdout.write(json.dumps(measured(*json.loads(given.one))))
        return
    if given.before:
        sys.stdout.write(f"{CPU} a task\n            before    now  ratio\n")
        for shape in SHAPES:
            sys.stdout.write(compared(shape, given.before.resolve()))
            sys.stdout.flush()
        return
    found: dict[str, dict[int, dict[str, float]]] = {}
    for shape in SHAPES:
        found[shape] = {size: run(shape, size) for size in SIZES}
        sys.stdout.write(table(shape, found[shape]))
        sys.stdout.flush()
    deep = run("chain", 10_001)
    sys.stdout.write(f"\na chain of 10,001 tasks: {deep[UNITS[0]] / 1000:.0f} s\n")
    if given.plot:
        given.plot.write_text(plot(found))


if __name__ == "__main__":
    main()
