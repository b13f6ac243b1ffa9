"""A database of any earlier version is upgraded in place; one of a later version is not changed."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import sqlite_utils
from langgraph.checkpoint.sqlite import SqliteSaver
from support import SIMULATED, Crew, config, thread

from swarm_graph import SwarmCoordinator
from swarm_graph.checkpoints import inspection, schema
from swarm_graph.checkpoints.database import Database
from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.checkpoints.schema import MIGRATIONS, STEPS, migrate
from swarm_graph.errors import ModelError, StorageError
from swarm_graph.workflows.build import build_graph

FIRST_TABLES = """
CREATE TABLE sessions (
    session TEXT PRIMARY KEY, workflow TEXT, request TEXT, config TEXT, output TEXT, phase TEXT,
    simulated INTEGER, created_at FLOAT, updated_at FLOAT);
CREATE TABLE calls (
    session TEXT, node TEXT, role TEXT, task TEXT, model TEXT, server TEXT, outcome TEXT, finish_reason TEXT,
    iteration INTEGER, attempt INTEGER, input_tokens INTEGER, output_tokens INTEGER,
    time FLOAT, queued_s FLOAT, first_token_s FLOAT, seconds FLOAT, error TEXT);
CREATE INDEX idx_calls_session ON calls (session);
CREATE TABLE channel_values (
    thread_id TEXT NOT NULL, checkpoint_ns TEXT NOT NULL, channel TEXT NOT NULL,
    version TEXT NOT NULL, type TEXT NOT NULL, value BLOB,
    PRIMARY KEY (thread_id, checkpoint_ns, channel, version));
CREATE TABLE checkpoints (
    thread_id TEXT NOT NULL, checkpoint_ns TEXT NOT NULL DEFAULT '', checkpoint_id TEXT NOT NULL,
    parent_checkpoint_id TEXT, type TEXT, checkpoint BLOB, metadata BLOB,
    PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id));
CREATE TABLE writes (
    thread_id TEXT NOT NULL, checkpoint_ns TEXT NOT NULL DEFAULT '', checkpoint_id TEXT NOT NULL,
    task_id TEXT NOT NULL, idx INTEGER NOT NULL, channel TEXT NOT NULL, type TEXT, value BLOB,
    PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id, task_id, idx));
"""
SESSION = {
    "session": "s", "workflow": "standard", "request": "Build it", "config": json.dumps(SIMULATED),
    "output": "", "phase": "failed", "simulated": 1, "created_at": 100.5, "updated_at": 200.5,
}  # fmt: skip
CALL = {
    "session": "s", "node": "coder", "role": "coder", "task": "T003_code", "model": "m", "server": "x",
    "outcome": "failed", "finish_reason": "", "iteration": 1, "attempt": 1, "input_tokens": 7,
    "output_tokens": 0, "time": 150.5, "queued_s": 0.5, "first_token_s": None, "seconds": 1.5,
    "error": "out of memory",
}  # fmt: skip
LATER = {
    "reasoning_tokens": 0,
    "cut_tokens": 0,
    "estimated": 0,
    "cost": 0.0,
    "repair": 0,
    "prompt_tokens_evaluated": None,
}
"""The columns that later versions added to a call."""
OPEN_TOGETHER = """
import sys
from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.database import Database
print("ready", flush=True)
sys.stdin.readline()
for path in sys.argv[1:]:
    with Database(path) as database:
        print(len(Catalogue(database).sessions()))
"""


def insert(connection: sqlite3.Connection, table: str, row: dict[str, Any]) -> None:
    holes = ", ".join(f":{name}" for name in row)
    connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({holes})", row)
    connection.commit()


def first_version(path: Path) -> Path:
    """A file of the first version: no record of migrations, one failed session, one call."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(FIRST_TABLES)
        insert(connection, "sessions", SESSION)
        insert(connection, "calls", CALL)
    return path


def of_step(path: Path, number: int) -> Path:
    """A file after the first steps, with the rows that its tables can hold."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        database = sqlite_utils.Database(connection, execute_plugins=False)
        stop = STEPS[number].__name__ if number < len(STEPS) else None
        MIGRATIONS.apply(database, stop_before=stop)
        if number:
            insert(connection, "sessions", SESSION)
            insert(connection, "calls", CALL)
    return path


def tables(path: Path) -> dict[str, set[str]]:
    """The columns of every table and index."""
    with closing(sqlite3.connect(path)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema")]
        return {name: {row[1] for row in connection.execute(f"PRAGMA table_xinfo({name})")} for name in names}


def indexed(path: Path) -> set[tuple[str, str]]:
    """The indexes that are not primary keys, each with its table."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT name, tbl_name FROM sqlite_schema WHERE type = 'index'")
        return {(name, table) for name, table in rows if not name.startswith("sqlite_")}


def digests(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def check_rows(path: Path) -> None:
    """Check that the session and the call of `first_version` are kept and readable."""
    with open_checkpointer(path) as saver:
        kept = saver.catalogue.get("s")
        assert kept == Session(
            session="s",
            workflow="standard",
            request="Build it",
            config=SIMULATED,
            phase="failed",
            created_at=100.5,
            updated_at=200.5,
            simulated=True,
        )
        assert saver.catalogue.calls("s") == [{**CALL, **LATER}]
        assert [known.session for known in saver.catalogue.unfinished()] == ["s"]
        assert not saver.catalogue.runs("s")
        assert not saver.catalogue.tasks("s")


def test_a_file_of_the_first_version_is_upgraded_and_its_rows_are_kept(tmp_path: Path) -> None:
    check_rows(first_version(tmp_path / "swarm.db"))


def test_an_upgraded_file_has_the_tables_of_a_new_one(tmp_path: Path) -> None:
    paths = [first_version(tmp_path / "old.db"), tmp_path / "new.db"]
    for path in paths:
        open_checkpointer(path).close()
    old, new = map(tables, paths)
    assert old == new
    assert {"runs", "tasks", "artifacts"} <= new.keys()
    assert {"key", "answer"} <= new["calls"]
    assert indexed(paths[0]) == indexed(paths[1])


def test_an_upgrade_is_recorded_and_made_once(tmp_path: Path) -> None:
    path = first_version(tmp_path / "swarm.db")
    Database(path).close()
    query = "SELECT name, applied_at FROM _sqlite_migrations ORDER BY id"
    with closing(sqlite3.connect(path)) as connection:
        recorded = connection.execute(query).fetchall()
    assert [name for name, _ in recorded] == [step.__name__ for step in STEPS]
    Database(path).close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute(query).fetchall() == recorded


def test_a_session_of_the_first_version_is_resumed_where_it_failed(tmp_path: Path) -> None:
    crew = Crew({"coder": ValueError("out of memory")})
    path = first_version(tmp_path / "swarm.db")
    with closing(sqlite3.connect(path, check_same_thread=False)) as connection:
        graph = build_graph("standard", config=config(), checkpointer=SqliteSaver(connection))
        with pytest.raises(ModelError):
            graph.invoke({"request": "Build it"}, thread("s"), context=crew.context)
    crew.script["coder"], crew.asks = Crew().script["coder"], []
    swarm = SwarmCoordinator(config(), data_dir=tmp_path, output_dir=tmp_path / "out", context=crew.context)
    assert swarm.resume("s")["phase"] == "complete"
    assert crew.asked[0] == "coder"
    assert sorted(crew.asked[1:]) == ["review_correctness", "review_performance", "review_style"]
    metrics = swarm.get_metrics_summary()["agents"]
    assert (metrics["coder"]["total_calls"], metrics["coder"]["successful_calls"]) == (2, 1)


@pytest.mark.parametrize("number", range(len(STEPS) + 1))
def test_a_file_of_every_version_is_upgraded(number: int, tmp_path: Path) -> None:
    path = of_step(tmp_path / "swarm.db", number)
    if number:
        check_rows(path)
    open_checkpointer(path).close()
    open_checkpointer(tmp_path / "new.db").close()
    assert tables(path) == tables(tmp_path / "new.db")
    assert indexed(path) == indexed(tmp_path / "new.db")


def test_an_upgrade_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """A table has the name of one that a later step creates; the earlier steps are rolled back."""
    path, new = of_step(tmp_path / "swarm.db", 2), of_step(tmp_path / "new.db", len(STEPS))
    with closing(sqlite3.connect(new)) as connection:
        (made,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'artifacts'").fetchone()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(made)
    before = tables(path)
    with pytest.raises(StorageError, match=r"swarm\.db'.*artifacts.* already exists"):
        Database(path)
    assert tables(path) == before


def test_a_file_of_a_later_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = of_step(tmp_path / "swarm.db", len(STEPS))
    with closing(sqlite3.connect(path)) as connection:
        row = {"migration_set": "swarm_graph", "name": "colours", "applied_at": "2030-01-01"}
        insert(connection, "_sqlite_migrations", row)
    before = digests(tmp_path)
    with pytest.raises(StorageError, match=r"swarm\.db'.*\(it has colours\); update swarm_graph") as refused:
        open_checkpointer(path)
    assert "\n" not in str(refused.value)
    assert digests(tmp_path) == before


@pytest.mark.parametrize("number", [0, 1, len(STEPS)])
def test_a_file_of_every_version_gets_memory_when_it_is_first_used(number: int, tmp_path: Path) -> None:
    path, new = of_step(tmp_path / "swarm.db", number), tmp_path / "new.db"
    for file in (path, new):
        with Database(file) as database:
            assert not database.has_memory
            database.add_memory()
            database.add_memory()
            assert database.has_memory
    assert tables(path) == tables(new)
    assert indexed(path) == indexed(new)
    if number:
        check_rows(path)


def test_an_older_version_refuses_a_file_with_memory_and_leaves_it_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows the steps in STEPS, and what they make."""
    path = tmp_path / "swarm.db"
    with Database(path) as database:
        database.add_memory()
    before = digests(tmp_path)
    monkeypatch.setattr(schema, "MEMORY_STEPS", ())
    monkeypatch.setattr(inspection, "_memory_objects", frozenset)
    with pytest.raises(StorageError, match=r"a newer swarm_graph wrote it \(it has memory\)"):
        Database(path)
    assert digests(tmp_path) == before


def test_a_copy_of_a_file_of_a_later_version_is_left_as_it_is(tmp_path: Path) -> None:
    path = of_step(tmp_path / "swarm.db", len(STEPS))
    with closing(sqlite3.connect(path)) as connection:
        row = {"migration_set": "swarm_graph", "name": "colours", "applied_at": "2030-01-01"}
        insert(connection, "_sqlite_migrations", row)
        connection.execute("VACUUM INTO ?", (str(tmp_path / "copy.db"),))
    before = digests(tmp_path)
    with pytest.raises(StorageError, match="update swarm_graph"):
        open_checkpointer(tmp_path / "copy.db")
    assert digests(tmp_path) == before


def test_migrations_of_another_program_in_the_same_file_do_not_matter(tmp_path: Path) -> None:
    path = of_step(tmp_path / "swarm.db", len(STEPS))
    with closing(sqlite3.connect(path)) as connection:
        row = {"migration_set": "their_program", "name": "colours", "applied_at": "2030-01-01"}
        insert(connection, "_sqlite_migrations", row)
    check_rows(path)


def test_migrating_a_file_that_is_up_to_date_writes_nothing(tmp_path: Path) -> None:
    path = of_step(tmp_path / "swarm.db", len(STEPS))
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        migrate(sqlite_utils.Database(connection, execute_plugins=False), str(path))
        assert connection.total_changes == 0


def test_processes_that_open_a_new_and_an_old_file_at_once_all_succeed(tmp_path: Path) -> None:
    new, old = tmp_path / "new.db", first_version(tmp_path / "old.db")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN_TOGETHER, str(new), str(old)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    ended = [(*process.communicate(timeout=60), process.returncode) for process in processes]
    assert ended == [("0\n1\n", "", 0)] * 6
    check_rows(old)
    with Database(new) as database:
        recorded = [row["name"] for row in database.tables["_sqlite_migrations"].rows]
    assert recorded == [step.__name__ for step in STEPS]
