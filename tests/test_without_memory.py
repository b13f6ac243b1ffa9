"""Without `memory` in the configuration nothing of it is stored, loaded or said."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import warm
from support import Crew, config
from test_start import loaded

from swarm_graph import SwarmCoordinator

WITHOUT_MEMORY = "db2e8024dca2ccbf4ca734af063c8734c8be6c0719701e819b3f414fd90306e0"
"""The hash of `traits` of a session without memory. It changes with the schema, the kinds of events that are
kept and the recorded settings: the last change was the tables of experiments, and `sessions.experiment`."""
OF_LANGGRAPH = ("checkpoints", "writes")
"""Tables whose statements change with LangGraph's version."""


def traits(data_dir: Path, document: dict[str, Any]) -> str:
    """What a session leaves, without times, ids and what LangGraph decides: a hash."""
    with closing(sqlite3.connect(data_dir / "swarm.db")) as connection:
        schema = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema").fetchall()
        channels = connection.execute("SELECT DISTINCT channel FROM channel_values ORDER BY 1").fetchall()
        steps = connection.execute("SELECT name FROM _sqlite_migrations ORDER BY id").fetchall()
        config = connection.execute("SELECT config FROM sessions").fetchall()
        kinds = connection.execute("SELECT kind, count(*) FROM events GROUP BY 1 ORDER BY 1").fetchall()
        sources = connection.execute("SELECT name FROM sources WHERE kind = 'prompt' ORDER BY 1").fetchall()
    own = sorted(row for row in schema if row[2] not in OF_LANGGRAPH)
    seen = [own, channels, steps, config, kinds, sources, sorted(document)]
    return sha256(json.dumps(seen).encode()).hexdigest()


def test_a_session_leaves_what_it_always_left(tmp_path: Path) -> None:
    swarm = SwarmCoordinator(config(), data_dir=tmp_path, output_dir=tmp_path / "out", context=Crew().context)
    swarm.run_workflow("Build it", "full", session_id="s")
    assert traits(tmp_path, swarm.document()) == WITHOUT_MEMORY


COMMANDS = (
    ("resume", "s"), ("run", "And a test.", "--session", "s", "--follow-up", "--simulate"),
    ("sessions", "fork", "s", "--from", "coder", "--session", "fork"), ("sessions", "list"),
    ("sessions", "show", "fork"), ("sessions", "history", "s"), ("log", "s"), ("doctor", "--database"),
    ("doctor", "--database", "--repair"), ("sessions", "report", "--session", "s"), ("sessions", "cleanup"),
)  # fmt: skip


@pytest.mark.slow
def test_no_command_adds_a_table_of_memory_or_speaks_of_it(tmp_path: Path) -> None:
    said = [warm.run("run", "--simulate", "Create a queue", "--session", "s", cwd=tmp_path, text=True)]
    said += [warm.run(*words, cwd=tmp_path, text=True) for words in COMMANDS]
    assert [done.returncode for done in said] == [0] * len(said), [done.stderr for done in said]
    assert "recalled" not in "".join(done.stdout + done.stderr for done in said)
    with closing(sqlite3.connect(tmp_path / ".swarm" / "swarm.db")) as connection:
        (count,) = connection.execute(
            "SELECT count(*) FROM sqlite_schema WHERE name LIKE '%memory%' OR sql LIKE '%fts5%'"
        ).fetchone()
    assert count == 0


LOADING = (
    ("--help",), ("run", "--simulate", "-w", "full", "Create a queue"), ("sessions", "list"),
    ("sessions", "show"), ("log",),
)  # fmt: skip


@pytest.mark.slow
def test_nothing_of_memory_is_loaded(tmp_path: Path) -> None:
    modules = set[str]().union(*(loaded(*words, cwd=tmp_path) for words in LOADING))
    assert {name for name in modules if name.partition(".")[0] == "numpy"} == set()
    assert {name for name in modules if f"{name}.".startswith("swarm_graph.memory.")} == set()
