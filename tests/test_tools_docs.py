"""docs/tools.md and docs/mcp.md are true: what they say runs, and prints what they show."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from pages import Page
from servers.canned import Canned
from support import dead_port

from swarm_graph.config import load_config
from swarm_graph.testing import ANSWERS, APPROVED

MODEL = "qwen2.5-coder-7b"
PAUSED, FAILED = 3, 1


def call(name: str, arguments: str) -> str:
    return f'<tool_call>{{"name": "{name}", "arguments": {arguments}}}</tool_call>'


FIXED = '''\
```python path=trips.py
"""The trips of the plant's pumps."""


def is_tripped(flow: float) -> bool:
    """Whether P-101A trips on low flow."""
    return flow < 12.5
```
'''


def answer(system: str, user: str) -> str:
    """A coder that searches the tag list, reads it, and corrects the trip; a clock for the architect."""
    asked = f"{system}\n{user}"
    if "You are the coder" in asked:
        if "12.5" in user.partition("Result of project__read")[2]:
            return FIXED
        if "Result of project__search" in user:
            return call("project__read", '{"path": "tags.csv"}')
        return call("project__search", '{"text": "P-101A"}')
    role = next((role for role in ANSWERS if f"You are the {role}" in asked), "reviewer")
    answers = {"architect": "## Changes\n- `trips.py`: the trip of P-101A", "documenter": "NO CHANGE: none."}
    return str(answers.get(role) or (APPROVED if "review" in role else ANSWERS[role]))


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers of the pages are installed beside Python."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def real(server: Canned) -> dict[str, str]:
    """What stands for the addresses and the model of the pages."""
    return {
        "127.0.0.1:1234": f"127.0.0.1:{server.root.rpartition(':')[2]}",
        "127.0.0.1:8081": f"127.0.0.1:{dead_port()}",
        MODEL: "canned",
    }


@pytest.mark.slow
@pytest.mark.usefixtures("programs")
def test_the_page_about_tools_can_be_followed(tmp_path: Path) -> None:
    with Canned(answer) as server:
        Page("tools.md").follow(tmp_path, real=real(server), codes=(0, PAUSED))


@pytest.mark.slow
@pytest.mark.usefixtures("programs")
def test_the_page_about_mcp_servers_can_be_followed(tmp_path: Path) -> None:
    with Canned(answer) as server:
        Page("mcp.md").follow(tmp_path, real=real(server), codes=(0, FAILED))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("page", ["tools.md", "mcp.md", "../README.md"])
def test_its_configurations_are_read_without_a_warning(page: str) -> None:
    configs = [load_config(json.loads(text), environ={}) for _, text in Page(page).blocks("json")]
    assert any(config.tools or config.mcp_servers for config in configs)
