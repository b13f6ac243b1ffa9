"""What several tests share: scripted models (`swarm_graph.testing`), configurations, database rows, ports."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig

from swarm_graph.sandbox.choice import choose
from swarm_graph.settings import Execution
from swarm_graph.testing import ANSWERS, APPROVED, CODE, REFUSED, TESTS, Answer
from swarm_graph.testing import ScriptedModels as Crew
from swarm_graph.testing import simulated_config as config

__all__ = ["ANSWERS", "APPROVED", "CODE", "REFUSED", "TESTS", "Crew", "config"]

Script = dict[str, Answer]

SIMULATED: dict[str, Any] = {
    "model_config": {"single_model": {"model": "simulated", "api_type": "simulated"}},
    "execution": {"mode": "off"},
}


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
