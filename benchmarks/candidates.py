"""Several candidates of the coder: how long four take beside one, and how the rules choose.

    python benchmarks/candidates.py [--sessions 5] [--tokens 128] [--slots 4] [--random-weights]

1. The coder's calls of `single` with four candidates beside one, in one run: on a server that sleeps, which
   shows our side, and on llama.cpp (xllamacpp) with as many slots. Every answer has the same length.
2. Rules that choose, on made-up candidates and tests of a known quality: `rules` below. No model is asked.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from server import running_server

from swarm_graph import SwarmContext, SwarmCoordinator, open_checkpointer
from swarm_graph.errors import ModelError
from swarm_graph.testing import ScriptedModels

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from servers.llama import running_llama
from servers.trained_model import weights

NUMBER, CASES, SKILLS = 4, 4000, (0.2, 0.35, 0.6, 0.8)
DELAY_S = 0.5


# --- time ----------------------------------------------------------------------------------------


def coding_seconds(url: str, model: str, candidates: int, tokens: int, sessions: int) -> float:
    """The median time from the first coder's question to the last one's answer."""
    config = {
        "model_config": {"single_model": {"url": url, "model": model}},
        "agent_parameters": {
            # The same number of tokens for each: the text does not matter, so it may be unusable.
            "coder": {"max_tokens": tokens, "temperature": 0.8, "extra_body": {"ignore_eos": True}},
        },
        "workflow": {"candidates": candidates},
        "execution": {"mode": "off"},
    }
    with tempfile.TemporaryDirectory() as folder:
        scripted = SwarmContext(model={"tester": ScriptedModels().context.model})
        places = {"data_dir": Path(folder, "db"), "output_dir": Path(folder, "out")}
        swarm = SwarmCoordinator(config, context=scripted, **places)
        measured = []
        for number in range(sessions + 1):
            with suppress(ModelError):  # the answers are unusable
                swarm.run_workflow(f"Write a queue, number {number}.", "single", session_id=f"s{number}")
            with open_checkpointer(Path(folder, "db", "swarm.db")) as saver:
                calls = [call for call in saver.catalogue.calls(f"s{number}") if call["role"] == "coder"]
            first = [call for call in calls if not call["repair"]]
            began = min(call["time"] - call["seconds"] for call in first)
            measured.append(max(call["time"] for call in first) - began)
    return statistics.median(measured[1:])


@contextmanager
def llama(file: Path | None, slots: int) -> Iterator[tuple[str, str]]:
    with (
        tempfile.TemporaryDirectory() as folder,
        running_llama(Path(folder), model=file, slots=slots, ctx_per_slot=4096, alias="m") as server,
    ):
        yield server.url, "m"


def report_time(name: str, url: str, model: str, tokens: int, sessions: int) -> None:
    one = coding_seconds(url, model, 1, tokens, sessions)
    several = coding_seconds(url, model, NUMBER, tokens, sessions)
    print(f"{name}: one {one:.2f} s, {NUMBER} candidates {several:.2f} s = {several / one:.2f} times one")


# --- rules ---------------------------------------------------------------------------------------


class Quality(NamedTuple):
    """Of made-up tests and wrong programs.

    Attributes:
        tests: How many tests there are.
        wrong_tests: The share of tests that expect something wrong, which the right program fails.
        programs: How many wrong programs there are; the first ones come most often.
        passes: The share of right tests that a wrong program passes.
        lucky: The share of wrong tests that a wrong program passes.
    """

    tests: int
    wrong_tests: float
    programs: int
    passes: float
    lucky: float


QUALITIES = {
    "right tests": Quality(6, 0.0, 4, 0.7, 0.1),
    "1 of 10 tests wrong": Quality(6, 0.1, 4, 0.7, 0.1),
    "1 of 5 tests wrong": Quality(6, 0.2, 4, 0.7, 0.1),
    "weak tests, 1 of 5 wrong": Quality(8, 0.2, 3, 0.85, 0.3),
    "few tests, 1 of 10 wrong": Quality(3, 0.1, 4, 0.6, 0.1),
    "many tests, 3 of 10 wrong": Quality(10, 0.3, 6, 0.5, 0.1),
    "hopeless tests, 2 of 5 wrong": Quality(12, 0.4, 4, 0.7, 0.5),
}
Rule = Callable[[int, int, int], Sequence[float]]
"""Sorts groups by their size, the tests that they pass, and the number of tests; the best first."""
RULES: dict[str, Rule] = {
    "ours": lambda size, passed, tests: (-passed - size / 2 - (passed == tests), -size),
    "product (CodeT)": lambda size, passed, _: (-size * passed, -size),
    "most tests": lambda size, passed, _: (-passed, -size),
    "largest group": lambda size, passed, _: (-size, -passed),
}


def draw(dice: random.Random, quality: Quality, skill: float) -> list[tuple[bool, tuple[bool, ...]]]:
    """For each candidate whether it is right, and which tests it passes."""
    right = tuple(dice.random() >= quality.wrong_tests for _ in range(quality.tests))
    wrong = [
        tuple(dice.random() < (quality.passes if test else quality.lucky) for test in right)
        for _ in range(quality.programs)
    ]
    often = [1 / (place + 1) for place in range(quality.programs)]
    skilled = [dice.random() < skill for _ in range(NUMBER)]
    return [(is_right, right if is_right else dice.choices(wrong, often)[0]) for is_right in skilled]


def solved(quality: Quality, skill: float) -> list[float]:
    """For each rule the share of cases in which the chosen candidate is right."""
    dice, right = random.Random(1), dict.fromkeys(RULES, 0)
    for _ in range(CASES):
        drawn = draw(dice, quality, skill)
        passed = [group for _, group in drawn]
        for name, rule in RULES.items():
            best = min(passed, key=lambda group: rule(passed.count(group), sum(group), quality.tests))
            right[name] += drawn[passed.index(best)][0]
    return [count / CASES for count in right.values()]


def report_rules() -> None:
    print(f"\nsolved by {NUMBER} candidates: a row for each skill of the model and quality of the tests")
    print("".join([f"{'':34}", *(f"{name:>17}" for name in RULES)]))
    rows = []
    for skill in SKILLS:
        for name, quality in QUALITIES.items():
            rows.append(solved(quality, skill))
            print("".join([f"{skill:<6}{name:28}", *(f"{share:17.2f}" for share in rows[-1])]))
    means = [statistics.mean(column) for column in zip(*rows, strict=True)]
    worst = [max(max(row) - row[place] for row in rows) for place in range(len(RULES))]
    print("".join([f"{'mean':34}", *(f"{share:17.3f}" for share in means)]))
    print("".join([f"{'at most below the best rule':34}", *(f"{share:17.2f}" for share in worst)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sessions", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--slots", type=int, default=NUMBER)
    parser.add_argument("--model", type=Path, default=weights(), help="default: SmolLM2-135M of the tests")
    parser.add_argument("--random-weights", action="store_true", help="the tests' tiny model instead")
    given = parser.parse_args()
    file = None if given.random_weights else given.model
    with running_server(DELAY_S, 16) as server:
        report_time("a server that sleeps", server.url, "sleeper", given.tokens, given.sessions)
    name = file.stem if file else "random weights"
    with llama(file, given.slots) as (url, model):
        what = f"llama.cpp, {name}, {given.slots} slots"
        report_time(what, url, model, given.tokens, given.sessions)
    report_rules()


if __name__ == "__main__":
    main()
