"""The corpus of answers through the graph, the command line and a batch, on both APIs."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from answer_corpus import CASES, Case
from servers.canned import Canned
from support import thread
from warm import run

from swarm_graph import build_graph, load_config
from swarm_graph.checkpoints.saver import open_checkpointer

REQUIREMENTS = '{"requirements": ["It adds."]}'
ROLES = {"coder": "You are the coder", "reviewer": "You are a reviewer"}
CORPUS = re.compile(r"case (\d+)\b")
NAMES = list(CASES)


class Speakers:
    """Answers for the roles of each case: its number stands in the request."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, str]] = Counter()

    def __call__(self, system: str, user: str) -> str:
        found = CORPUS.search(user)
        assert found, user
        name = NAMES[int(found[1])]
        role = next((role for role, words in ROLES.items() if words in system + user), None)
        if role is None:
            return REQUIREMENTS
        answers = CASES[name].coder if role == "coder" else CASES[name].reviewer
        count = self.asked[(name, role)]
        self.asked[(name, role)] += 1
        return answers[min(count, len(answers) - 1)]


@pytest.fixture(params=["openai", "ollama"])
def server(request: pytest.FixtureRequest) -> Iterator[Canned]:
    with Canned(Speakers(), ollama=request.param == "ollama") as canned:
        yield canned


def settings(server: Canned) -> dict[str, Any]:
    return {
        "model_config": {"single_model": server.entry},
        "workflow": {"max_iterations": 2, "reviewers": ["correctness"], "max_parallel_agents": 8},
        "features": {"execute_tests": False},
    }


def check(case: Case, state: dict[str, Any], asked: int) -> None:
    assert state["code"] == case.files
    assert state["approved"] is case.approved
    assert asked == case.asked
    assert case.note in state["tasks"]["T003_code"].get("note", "")


def test_the_corpus_through_a_graph(server: Canned, tmp_path: Path) -> None:
    with open_checkpointer(tmp_path / "swarm.db") as saver:
        graph = build_graph("standard", config=load_config(settings(server)), checkpointer=saver)
        for number, (name, case) in enumerate(CASES.items()):
            state = graph.invoke({"request": f"Add numbers, case {number}."}, thread(f"s{number}"))
            check(case, dict(state), server.script.asked[(name, "coder")])  # type: ignore[attr-defined]


def test_the_corpus_through_the_command_line(server: Canned, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(settings(server)))
    for number, (name, case) in enumerate(CASES.items()):
        done = run("run", f"Add numbers, case {number}.", "--session", f"s{number}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        state = json.loads(
            (tmp_path / "swarm-output" / f"s{number}" / f"swarm_state_s{number}.json").read_text()
        )
        for path, text in case.files.items():
            assert (tmp_path / "swarm-output" / f"s{number}" / "project" / path).read_text() == text
        assert state["approved"] is case.approved, name


def test_the_corpus_through_a_batch(server: Canned, tmp_path: Path) -> None:
    config = settings(server) | {"workflow": {"max_parallel_agents": 8}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    first = {number: case for number, case in enumerate(CASES.values()) if len(case.coder) == 1}
    tasks = [
        {"task_id": f"{role}{number}", "assigned_role": role, "description": f"Add numbers, case {number}."}
        for number in first
        for role in ("coder", "reviewer")
    ]
    (tmp_path / "tasks.json").write_text(json.dumps({"tasks": tasks}))
    done = run("run", "--tasks", "tasks.json", "--session", "s", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = [
        json.loads(line) for line in (tmp_path / "swarm-output/s/results.jsonl").read_text().splitlines()
    ]
    by_id = {result["task_id"]: result for result in results}
    for number, case in first.items():
        (text,) = case.files.values()
        assert text.rstrip("\n") in by_id[f"coder{number}"]["result"]
        approved = (
            case.approved or "parse" in case.note
        )  # there the reviewer approves, and the verdict refuses
        outcome = "approved" if approved else "could not be read"
        assert by_id[f"reviewer{number}"]["result"].startswith(f"reviewer{number}: {outcome}")
