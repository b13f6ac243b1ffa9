"""Every benchmark still fits the code that it measures: it can be imported, and each way ends a session."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    for path in FOLDER.glob("*.py"):
        monkeypatch.delitem(sys.modules, path.stem, raising=False)


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_it_can_be_imported(name: str) -> None:
    importlib.import_module(name)


def test_one_session_of_each_way_ends() -> None:
    overhead = importlib.import_module("overhead")
    measured = overhead.latency(overhead.CONTENDERS, 1, 2, warm_up=0)
    assert {name: len(figures.wall) for name, figures in measured.items()} == dict.fromkeys(
        overhead.CONTENDERS, 1
    )


@pytest.mark.parametrize("saver", ["ours", "langgraphs"])
def test_a_call_of_a_tool_costs_a_few_commits(saver: str, tmp_path: Path) -> None:
    """Its begin, its end, and the answer that makes it; our saver may commit some of them together."""
    overhead = importlib.import_module("tool_overhead")
    [without], [with_calls] = asyncio.run(overhead.measured(getattr(overhead, saver), tmp_path, 4, 1))
    assert 2 * 4 <= with_calls.commits - without.commits <= 4 * 4 + 2


def test_the_server_finds_the_role_of_every_prompt() -> None:
    server, prompts = importlib.import_module("server"), importlib.import_module("role_prompts")
    ours = prompts.our_prompts()
    for name in ours.texts:
        system, user = ours.messages(name, {"request": prompts.REQUEST, "code": "x = 1"})
        role = server.ROLE.search(json.dumps({"messages": [system, user]}).encode())
        assert role[1].decode() == (name if name in prompts.WRITERS else "reviewer")
