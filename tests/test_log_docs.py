"""docs/log.md: its commands print what it shows, on a model whose coder answers with prose first."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from pages import DOCS, Page, run
from servers.canned import Canned
from support import APPROVED
from warm import run as swarm

REQUIREMENTS = json.dumps({"requirements": ["put, get"], "assumptions": [], "open_questions": []})
PROSE = "Sure! A queue needs two methods: put and get.\nShall I write them for you?"
CODE = """```python path=src/fifo_queue.py
class FifoQueue:
    def __init__(self):
        self._items = []

    def put(self, item):
        self._items.append(item)

    def get(self):
        return self._items.pop(0)
```"""
COMMAND = re.compile(
    r"^```console\n\$ swarm-graph ([^\n]*)\n```\n\n(````?)text\n(.*?)^\2\n", re.DOTALL | re.MULTILINE
)


def answer(_system: str, user: str) -> str:
    if "You are the coder" in user:
        return CODE if "Your last answer could not be used" in user else PROSE
    if "You are the clarifier" in user:
        return REQUIREMENTS
    return "One class in src/fifo_queue.py." if "You are the architect" in user else APPROVED


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    with Canned(answer) as server:
        (folder / "config.json").write_text(json.dumps({"model_config": {"single_model": server.entry}}))
        for session in ("queue-1", "queue-2"):
            done = swarm("run", "Create a queue", "--session", session, cwd=folder, text=True)
            assert done.returncode == 0, done.stderr
    return folder


def same(text: str) -> str:
    """A text without what differs from run to run."""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE", text)
    return re.sub(r"127\.0\.0\.1:\d+", "SERVER", re.sub(r"\d+\.\d s", "SECONDS", text)).rstrip()


def test_its_commands_print_what_it_shows(folder: Path) -> None:
    shown = COMMAND.findall(Page("log.md").text)
    assert len(shown) >= 4
    for line, _, output in shown:
        done = swarm(*shlex.split(line), cwd=folder, text=True)
        assert done.returncode == 0, done.stderr
        assert same(done.stdout) == same(output), line


def test_its_other_commands_and_its_python_run(folder: Path) -> None:
    shown = {line for line, _, _ in COMMAND.findall(Page("log.md").text)}
    for language, code in Page("log.md").blocks("console", "python"):
        if language == "python":
            run(["python", "-W", "error", "-c", code], folder)
            continue
        for command in code.replace("$ ", "").splitlines():
            if command.removeprefix("swarm-graph ") not in shown:
                run(["bash", "-o", "pipefail", "-c", command], folder)


def test_it_is_in_the_menu() -> None:
    assert "log.md" in (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
