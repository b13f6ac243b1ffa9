"""Random graphs of tasks, and in which order an ideal scheduler begins them."""

from __future__ import annotations

import random
from typing import Any

from swarm_graph.state import TaskStatus
from swarm_graph.tasks.conditions import Condition

ROLES = ("architect", "clarifier", "coder", "documenter", "optimizer", "reviewer", "reviewer")


def random_tasks(dice: random.Random, size: int = 14, prefix: str = "") -> list[dict[str, Any]]:
    """Tasks with dependencies, priorities and conditions; two of them expand. `prefix`: of their ids."""
    tasks: list[dict[str, Any]] = []
    expanding = dice.sample(range(size // 2), 2)
    for number in range(size):
        tasks.append(_task(dice, f"{prefix}T{number}", tasks, expands=number in expanding))
    return tasks


def _task(dice: random.Random, name: str, before: list[dict[str, Any]], *, expands: bool) -> dict[str, Any]:
    names = [task["task_id"] for task in before]
    task = {
        "task_id": name,
        "assigned_role": "architect" if expands else dice.choice(ROLES),
        "description": f"Task {name}: do it.",
        "dependencies": dice.sample(names, min(len(names), dice.choice([0, 1, 1, 2]))),
        "priority": dice.randrange(3),
        "expands": expands,
    }
    judges = [one["task_id"] for one in before if one["assigned_role"] == "reviewer"]
    if judges and dice.random() < 0.25:
        judge = dice.choice(judges)
        task["when"] = f"{judge}.verdict == '{dice.choice(['approve', 'revise'])}'"
    elif names and dice.random() < 0.1:
        task["when"] = f"'7' in {dice.choice(names)}.result"
    return task


class Ideal:
    """What is in flight at each moment of a session, if tasks cost nothing but their questions.

    `records`: the tasks as they end, which says what is skipped, and what is added by whom. `done`: what has
    been answered. `asked`: all that is ever to be asked.
    """

    def __init__(self, records: dict[str, Any], cap: int) -> None:
        self.records, self.cap = records, cap
        self.asked = [name for name, record in records.items() if record["status"] == TaskStatus.COMPLETED]
        self.done: list[str] = []
        self.in_flight: list[str] = []
        self.widest = 0
        self._needs = {name: self._all_needs(record) for name, record in records.items()}

    def begin(self) -> list[str]:
        """Fills what is in flight up to the cap; what is in flight then."""
        free = self.cap - len(self.in_flight)
        self.in_flight += [name for name in self._ready() if name not in self.in_flight][:free]
        self.widest = max(self.widest, len(self.in_flight))
        return self.in_flight

    def end(self, name: str) -> None:
        self.in_flight.remove(name)
        self.done.append(name)

    def _ready(self) -> list[str]:
        """By priority, then by the order added."""
        ended = self._ended()
        ready = [name for name in self.asked if name not in ended and self._needs[name] <= ended]
        return sorted(ready, key=self._place)

    def _place(self, name: str) -> tuple[int, list[int]]:
        record = self.records[name]
        return -record["spec"].get("priority", 5), record["rank"]

    def _ended(self) -> set[str]:
        """What has been answered, and what is skipped as soon as all that it waits for has ended."""
        ended, skipped = set(self.done), set(self.records) - set(self.asked)
        while found := {name for name in skipped - ended if self._needs[name] <= ended}:
            ended |= found
        return ended

    def _all_needs(self, record: dict[str, Any]) -> set[str]:
        """What a task waits for: what it names, and what those add, unless it is one of that itself."""
        when = record["spec"].get("when")
        unseen = [*record["spec"].get("dependencies", []), *(Condition(when).names if when else [])]
        needs: set[str] = set()
        while unseen:
            need = unseen.pop()
            needs.add(need)
            above = self.records[need]["rank"]
            if record["rank"][: len(above)] != above:
                unseen += [task["task_id"] for task in self.records[need].get("added", [])]
        return needs
