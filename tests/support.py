"""What several tests share: a simulated crew that is scripted per role and remembers who was asked."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig

from swarm_graph.config import SwarmConfig, load_config
from swarm_graph.models.invented import Ask
from swarm_graph.models.simulated import SimulatedChatModel
from swarm_graph.sandbox.choice import choose
from swarm_graph.settings import Execution
from swarm_graph.state import SwarmContext

SIMULATED: dict[str, Any] = {
    "model_config": {"single_model": {"model": "simulated", "api_type": "simulated"}},
    "execution": {"mode": "off"},
}

APPROVED = json.dumps({"findings": [], "approved": True})
REFUSED = json.dumps(
    {
        "findings": [
            {
                "severity": "major",
                "location": "src/a.py:{round}",
                "problem": "It fails.",
                "suggestion": "Mend it.",
            }
        ],
        "approved": False,
    }
)
CODE = "```python path=src/a.py\nx = {round}\n```"
TESTS = "```python path=tests/test_a.py\ndef test_a():\n    pass\n```"
ANSWERS = {
    "clarifier": json.dumps({"requirements": ["It works."], "assumptions": [], "open_questions": []}),
    "architect": "One file.",
    "coder": CODE,
    "reviewer": APPROVED,
    "security": APPROVED,
    "tester": TESTS,
    "debugger": "The cause.",
    "optimizer": "Nothing to gain.",
    "documenter": "# A",
}

Script = dict[str, str | Exception | Callable[[Ask], str | Exception]]


class Crew:
    """A scripted simulated model. `script` is keyed by node or role; the rest answers by ANSWERS."""

    def __init__(self, script: Script | None = None) -> None:
        self.script: Script = {**ANSWERS, **(script or {})}
        self.asks: list[Ask] = []
        self._lock = threading.Lock()

    def play(self, ask: Ask) -> str | Exception:
        with self._lock:
            self.asks.append(ask)
        answer = self.script[ask.node if ask.node in self.script else ask.role]
        answer = answer(ask) if callable(answer) else answer
        return answer.replace("{round}", str(ask.iteration)) if isinstance(answer, str) else answer

    @property
    def context(self) -> SwarmContext:
        return SwarmContext(model=SimulatedChatModel(play=self.play), clock=lambda: 1000.0)

    @property
    def asked(self) -> list[str]:
        """The nodes in the order in which they were asked."""
        return [ask.node for ask in self.asks]

    def prompts(self, node: str) -> list[str]:
        by_node: dict[str, list[str]] = defaultdict(list)
        for ask in self.asks:
            by_node[ask.node].append(ask.prompt)
        return by_node[node]


def config(**sections: Any) -> SwarmConfig:
    """A configuration with a simulated model and some sections of a file."""
    return load_config({**SIMULATED, **sections}, environ={})


def thread(name: str = "t") -> RunnableConfig:
    return {"configurable": {"thread_id": name}}


def write_config(folder: Path, **sections: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({**SIMULATED, **sections}))
    return path


def stored_rows(database: Path, session: str, columns: str = "*") -> dict[str, list[Any]]:
    """Every row that a database has of a session, byte for byte, by table."""
    found: dict[str, list[Any]] = {}
    with closing(sqlite3.connect(database)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        for (table,) in tables:
            names = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
            for key in {"session", "thread_id"} & names:
                query = f"SELECT {columns} FROM {table} WHERE {key} = ?"
                found[table] = connection.execute(query, (session,)).fetchall()
    return found


def sandbox() -> str:
    """The sandbox that runs of generated tests use on this machine; bubblewrap, and nothing else, in CI."""
    name = choose(Execution()).name
    assert name == "bubblewrap" or not os.environ.get("CI"), "install bubblewrap"
    return name


def dead_port() -> int:
    """A port of this machine on which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
