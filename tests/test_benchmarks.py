"""Every benchmark still fits the code that it measures: it can be imported, and each way ends a session."""

from __future__ import annotations

import asyncio
import importlib
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
    seconds = asyncio.run(overhead.latency(1, 2))
    assert len(seconds) >= 3
