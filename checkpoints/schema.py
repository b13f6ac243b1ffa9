"""The tables beside LangGraph's own, as a list of migrations: an older file is upgraded when it is opened.

Append a step for every change; never edit one that was released.
"""

from __future__ import annotations

from sqlite_utils import Migrations
from sqlite_utils.db import Database

from swarm_graph.errors import StorageError


def sessions_and_calls(database: Database) -> None:
    """What the first version made by itself: some files have it without a record of this step."""
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
    """Each version of a channel's value once; the saver of the first version made it by itself too."""
    database.execute(
        """CREATE TABLE IF NOT EXISTS channel_values (
            thread_id TEXT NOT NULL, checkpoint_ns TEXT NOT NULL, channel TEXT NOT NULL,
            version TEXT NOT NULL, type TEXT NOT NULL, value BLOB,
            PRIMARY KEY (thread_id, checkpoint_ns, channel, version))"""
    )


def runs_tasks_artifacts(database: Database) -> None:
    """Who worked on a session with which configuration, its tasks, its files, where it was forked from."""
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
    """An answer beside the record of its call, under the key of its question, until its session has ended."""
    calls = database.table("calls")
    calls.add_column("key", str)
    calls.add_column("answer", str)
    calls.create_index(["session", "task", "iteration"])
    database.execute("DROP INDEX IF EXISTS idx_calls_session")


def test_runs(database: Database) -> None:
    """What each run of the tests showed, in a session's rounds and in `verify`."""
    words = dict.fromkeys(("session", "kind", "outcome", "reason", "sandbox"), str)
    counts = ("iteration", "attempt", "exit_code", "passed", "failed", "errored", "skipped")
    columns = {**words, **dict.fromkeys(counts, int), "time": float, "seconds": float}
    database.table("test_runs").create(columns, pk=("session", "kind", "iteration", "attempt"))


def costs_and_outcomes(database: Database) -> None:
    """What calls cost, tokens of those that were cut, and what sessions came to, for comparisons."""
    calls = database.table("calls")
    for column in ("reasoning_tokens", "cut_tokens"):
        calls.add_column(column, int, not_null_default=0)
    calls.add_column("cost", float, not_null_default=0.0)
    sessions = database.table("sessions")
    sessions.add_column("approved", int)
    sessions.add_column("iteration", int)
    sessions.add_column("findings", str)


def estimates(database: Database) -> None:
    """Whether a call's tokens are ours to guess: its server did not count them."""
    database.table("calls").add_column("estimated", int, not_null_default=0)


STEPS = (
    sessions_and_calls, values_by_version, runs_tasks_artifacts, journal, test_runs, costs_and_outcomes,
    estimates,
)  # fmt: skip

MIGRATIONS = Migrations("swarm_graph")
for step in STEPS:
    MIGRATIONS()(step)


def refuse_newer(database: Database, path: str) -> list[str]:
    """The steps that a file has; it is only read. StorageError when a newer version wrote it."""
    applied = [applied.name for applied in MIGRATIONS.applied(database)]
    if newer := set(applied) - {step.__name__ for step in STEPS}:
        raise StorageError(
            f"cannot use the database {path!r}: a newer swarm_graph wrote it "
            f"(it has {', '.join(sorted(newer))}); update swarm_graph, or name another file"
        )
    return applied


def migrate(database: Database, path: str) -> None:
    """Brings a file up to date, inside the caller's transaction. StorageError when it is too new."""
    if len(refuse_newer(database, path)) < len(STEPS):
        MIGRATIONS.apply(database)
