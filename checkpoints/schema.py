"""The tables beside LangGraph's own, as a list of migration steps; opening an older file upgrades it.

The tables of memory come by a step of their own, when memory is first used: a file without memory has none.

Append a step for every change. Never edit or rename a released step: a file records its steps by name.
"""

from __future__ import annotations

from sqlite_utils import Migrations
from sqlite_utils.db import Database

from swarm_graph.errors import StorageError


def sessions_and_calls(database: Database) -> None:
    """The first version's tables; files of that version have them without a record of this step."""
    sessions = dict.fromkeys(("session", "workflow", "request", "config", "output", "phase"), str)
    times = {"simulated": int, "created_at": float, "updated_at": float}
    database.table("sessions").create({**sessions, **times}, pk="session", if_not_exists=True)
    words = dict.fromkeys(("node", "role", "task", "model", "server", "outcome", "finish_reason"), str)
    counts = dict.fromkeys(("iteration", "attempt", "input_tokens", "output_tokens"), int)
    seconds = dict.fromkeys(("time", "queued_s", "first_token_s", "seconds"), float)
    calls = {"session": str, **words, **counts, **seconds, "error": str}
    database.table("calls").create(calls, if_not_exists=True)
    database.table("calls").create_index(["session"], if_not_exists=True)


def values_by_version(database: Database) -> None:
    """The table for values of channels, each version once; files of the first version may have it too."""
    database.execute(
        """CREATE TABLE IF NOT EXISTS channel_values (
            thread_id TEXT NOT NULL, checkpoint_ns TEXT NOT NULL, channel TEXT NOT NULL,
            version TEXT NOT NULL, type TEXT NOT NULL, value BLOB,
            PRIMARY KEY (thread_id, checkpoint_ns, channel, version))"""
    )


def runs_tasks_artifacts(database: Database) -> None:
    """The tables for runs, tasks and files, and where a session was forked from."""
    sessions = database.table("sessions")
    for column in ("config_file", "parent", "parent_checkpoint"):
        sessions.add_column(column, str, not_null_default="")
    words = dict.fromkeys(("session", "kind", "input", "base", "config", "host", "phase", "error"), str)
    database.table("runs").create(
        {"id": int, **words, "pid": int, "started_at": float, "ended_at": float}, pk="id"
    )
    database.table("runs").create_index(["session"])
    words = dict.fromkeys(("session", "task_id", "task_type", "node", "role", "status", "note", "error"), str)
    database.table("tasks").create(
        {**words, "iteration": int, "created_at": float, "completed_at": float}, pk=("session", "task_id")
    )
    database.table("artifacts").create(
        {"session": str, "folder": str, "path": str, "bytes": int, "sha256": str, "written_at": float},
        pk=("session", "folder", "path"),
    )


def journal(database: Database) -> None:
    """The answer of a call and the key of its question; answers are deleted when their session ends."""
    calls = database.table("calls")
    calls.add_column("key", str)
    calls.add_column("answer", str)
    calls.create_index(["session", "task", "iteration"])
    database.execute("DROP INDEX IF EXISTS idx_calls_session")


def test_runs(database: Database) -> None:
    """The table for test runs, in a session's rounds and in `verify`."""
    words = dict.fromkeys(("session", "kind", "outcome", "reason", "sandbox"), str)
    counts = ("iteration", "attempt", "exit_code", "passed", "failed", "errored", "skipped")
    columns = {**words, **dict.fromkeys(counts, int), "time": float, "seconds": float}
    database.table("test_runs").create(columns, pk=("session", "kind", "iteration", "attempt"))


def costs_and_outcomes(database: Database) -> None:
    """The cost of calls, the tokens of cut calls, and the outcome of sessions, for comparisons."""
    calls = database.table("calls")
    for column in ("reasoning_tokens", "cut_tokens"):
        calls.add_column(column, int, not_null_default=0)
    calls.add_column("cost", float, not_null_default=0.0)
    sessions = database.table("sessions")
    sessions.add_column("approved", int)
    sessions.add_column("iteration", int)
    sessions.add_column("findings", str)


def estimates(database: Database) -> None:
    """Whether the tokens of a call are estimated because its server did not count them."""
    database.table("calls").add_column("estimated", int, not_null_default=0)


def signatures(database: Database) -> None:
    """The signatures of a session with the keys of users, as JSON; see `signatures.py`."""
    database.table("sessions").add_column("signatures", str)


def sources(database: Database) -> None:
    """What a session was made from (prompts, input files, task files), with hashes, and where it lay."""
    words = dict.fromkeys(("session", "kind", "name", "sha256", "text"), str)
    database.table("sources").create(words, pk=("session", "kind", "name"))


def transcript(database: Database) -> None:
    """What was asked and answered, as events with texts; which calls were repair questions."""
    calls = database.table("calls")
    calls.add_column("repair", int, not_null_default=0)
    calls.add_column("call", int)
    database.execute(
        """CREATE TABLE events (
            id INTEGER PRIMARY KEY AUTOINCREMENT, session TEXT NOT NULL, time REAL NOT NULL,
            kind TEXT NOT NULL, node TEXT NOT NULL, role TEXT NOT NULL, task TEXT NOT NULL,
            iteration INTEGER NOT NULL, call INTEGER, data BLOB NOT NULL)"""
    )
    database.execute("CREATE INDEX idx_events_session ON events (session)")
    database.execute(
        """CREATE TABLE texts (
            id INTEGER PRIMARY KEY, session TEXT NOT NULL, digest BLOB NOT NULL, data BLOB NOT NULL,
            UNIQUE (session, digest))"""
    )


def evaluated_tokens(database: Database) -> None:
    """The tokens of a prompt that the server's cache did not hold; null where the server does not say."""
    database.table("calls").add_column("prompt_tokens_evaluated", int)


def tool_calls(database: Database) -> None:
    """The tools that an answer calls, the calls of tools with their results, and what else a turn keeps."""
    database.table("calls").add_column("tools", str)
    words = dict.fromkeys(("session", "node", "role", "task"), str)
    call = dict.fromkeys(("key", "tool", "server", "arguments", "decision", "remark", "outcome", "text"), str)
    counts = dict.fromkeys(("iteration", "number", "characters"), int)
    database.table("tool_calls").create(
        {**words, **call, **counts, "started_at": float, "seconds": float},
        pk=("session", "task", "iteration", "key"),
    )
    database.table("steps").create(
        {"session": str, "task": str, "iteration": int, "name": str, "value": str},
        pk=("session", "task", "iteration", "name"),
    )


def stop_requests(database: Database) -> None:
    """Whether a process has asked the one that works on a session to stop."""
    database.table("runs").add_column("stop_requested", int, not_null_default=0)


def experiments(database: Database) -> None:
    """Experiments and their trials, the experiment of a session, and speeds that doctor has measured."""
    database.execute(
        """CREATE TABLE experiments (
            experiment TEXT PRIMARY KEY, kind TEXT NOT NULL, plan TEXT NOT NULL, created_at REAL NOT NULL,
            ended_at REAL, ending TEXT NOT NULL DEFAULT '')"""
    )
    database.execute(
        """CREATE TABLE trials (
            experiment TEXT NOT NULL, number INTEGER NOT NULL, arm TEXT NOT NULL, suite TEXT NOT NULL,
            "case" TEXT NOT NULL, session TEXT NOT NULL, solved INTEGER, score TEXT, calls INTEGER NOT NULL,
            input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, cost REAL NOT NULL,
            seconds REAL NOT NULL, phase TEXT NOT NULL, error TEXT NOT NULL, judged_at REAL,
            PRIMARY KEY (experiment, number))"""
    )
    database.execute(
        """CREATE TABLE speeds (
            server TEXT NOT NULL, model TEXT NOT NULL, first_token_s REAL NOT NULL, token_s REAL NOT NULL,
            load_s REAL, measured_at REAL NOT NULL, signature TEXT NOT NULL DEFAULT '',
            PRIMARY KEY (server, model))"""
    )
    database.table("sessions").add_column("experiment", str, not_null_default="")


STEPS = (
    sessions_and_calls, values_by_version, runs_tasks_artifacts, journal, test_runs, costs_and_outcomes,
    estimates, signatures, sources, transcript, evaluated_tokens, tool_calls,
    stop_requests, experiments,
)  # fmt: skip


MEMORY_INDEX = """CREATE VIRTUAL TABLE memory_index USING fts5(scope, text,
    content='memory_texts', content_rowid='id', tokenize='porter unicode61 remove_diacritics 2')"""
"""The words of the texts of memory; `memory_tables.py` fills it."""


def memory(database: Database) -> None:
    """The tables of memory: items of the store, the texts by which they are found, vectors of texts.

    `memory_index` holds the words of each row of `memory_texts`, under its id. A vector belongs to a text's
    digest and an embedding model, so a text that several items have is embedded once.
    """
    database.execute(
        """CREATE TABLE memory_items (
            id INTEGER PRIMARY KEY AUTOINCREMENT, namespace TEXT NOT NULL, key TEXT NOT NULL,
            value TEXT NOT NULL, fields TEXT NOT NULL, created_at REAL NOT NULL, updated_at REAL NOT NULL,
            ttl REAL, expires_at REAL, UNIQUE (namespace, key))"""
    )
    database.execute(
        "CREATE INDEX idx_memory_items_expires ON memory_items (expires_at) WHERE expires_at IS NOT NULL"
    )
    database.execute(
        """CREATE TABLE memory_texts (
            id INTEGER PRIMARY KEY AUTOINCREMENT, item INTEGER NOT NULL, path TEXT NOT NULL,
            digest BLOB NOT NULL, scope TEXT NOT NULL, text TEXT NOT NULL)"""
    )
    database.execute("CREATE INDEX idx_memory_texts_item ON memory_texts (item)")
    database.execute("CREATE INDEX idx_memory_texts_digest ON memory_texts (digest)")
    database.execute(
        """CREATE TABLE memory_vectors (
            model TEXT NOT NULL, digest BLOB NOT NULL, vector BLOB NOT NULL, PRIMARY KEY (digest, model))"""
    )
    database.execute("CREATE TABLE memory_version (id INTEGER PRIMARY KEY, version INTEGER NOT NULL)")
    database.execute(MEMORY_INDEX)


MEMORY_STEPS = (memory,)
"""The steps of files that hold memory; see `add_memory`."""

MIGRATIONS, MEMORY_MIGRATIONS = Migrations("swarm_graph"), Migrations("swarm_graph")
"""Both record their steps under one name, so that an older version refuses a file with memory as newer."""
for step in STEPS:
    MIGRATIONS()(step)
for step in MEMORY_STEPS:
    MEMORY_MIGRATIONS()(step)


def applied_steps(database: Database, path: str) -> list[str]:
    """The names of the steps that a file has; the file is only read.

    Args:
        database: The open file.
        path: Its name for messages.

    Raises:
        StorageError: A newer version wrote the file.
    """
    applied = [migration.name for migration in MIGRATIONS.applied(database)]
    if newer := set(applied) - {step.__name__ for step in (*STEPS, *MEMORY_STEPS)}:
        raise StorageError(
            f"cannot use the database {path!r}: a newer swarm_graph wrote it "
            f"(it has {', '.join(sorted(newer))}); update swarm_graph, or name another file"
        )
    return applied


def migrate(database: Database, path: str) -> None:
    """Upgrade a file, inside the caller's transaction.

    Args:
        database: The open file.
        path: Its name for messages.

    Raises:
        StorageError: A newer version wrote the file.
    """
    applied = {*applied_steps(database, path)}
    if any(step.__name__ not in applied for step in STEPS):
        MIGRATIONS.apply(database)
    if MEMORY_STEPS[0].__name__ in applied and any(step.__name__ not in applied for step in MEMORY_STEPS):
        MEMORY_MIGRATIONS.apply(database)


def add_memory(database: Database) -> None:
    """Add the tables of memory to a file that has none, inside the caller's transaction."""
    MEMORY_MIGRATIONS.apply(database)
