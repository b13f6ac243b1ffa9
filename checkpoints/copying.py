"""Copy the sessions and experiments of a database into another one, of either kind."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig

from swarm_graph.checkpoints.database_transcript import with_other_texts
from swarm_graph.checkpoints.experiments import SIGNATURES
from swarm_graph.checkpoints.locks import running_among
from swarm_graph.checkpoints.memory_tables import bump_version, every_row, texts_of, value_of, write_texts
from swarm_graph.checkpoints.records import json_object
from swarm_graph.checkpoints.signatures import is_own_plan, own_sessions, sign, sign_plan
from swarm_graph.checkpoints.signed_decisions import forget_unsigned
from swarm_graph.checkpoints.storage import Cursor, Storage
from swarm_graph.checkpoints.swarm_saver import SwarmSaver, session_of, threads_of
from swarm_graph.checkpoints.word_index import WordIndex
from swarm_graph.errors import InputError, SessionInUse, StorageError
from swarm_graph.text import first_names, format_count

_OF_SESSION = ("sessions", "runs", "tasks", "artifacts", "test_runs", "sources", "tool_calls", "steps")
"""The tables whose rows are copied as they are, by session."""
_NUMBERED = ("runs", "events", "texts")
"""The tables whose rows have an id of the database's own."""
_KEY = ("thread_id", "checkpoint_ns", "checkpoint_id")
_ITEM = ("namespace", "key", "value", "fields", "created_at", "updated_at", "ttl", "expires_at")
_ORDERS = {"writes": ", ".join((*_KEY, "task_id", "idx")), **dict.fromkeys(_NUMBERED, "id")}
"""The columns by which rows are copied; the others go by `rowid`, as they were written."""


@dataclass(frozen=True)
class Copied:
    """What was copied.

    Attributes:
        sessions: The sessions, and the threads of other graphs.
        experiments: The experiments.
        memories: What was remembered: passages of documents, experiences, items of other programs.
        kept: Memories that the target had already; its own stay.
        unsigned: Decisions about calls of tools that the user did not sign; they are left out.
    """

    sessions: int
    experiments: int
    memories: int
    kept: int
    unsigned: int

    @property
    def text(self) -> str:
        """What was copied, in words."""
        memories = f"{self.memories} {'memory' if self.memories == 1 else 'memories'}"
        kept = f" (and left out {self.kept}, which are there already)" if self.kept else ""
        words = (format_count(self.sessions, "session"), format_count(self.experiments, "experiment"))
        decisions = format_count(self.unsigned, "decision")
        unsigned = (
            f" (and left out {decisions} about calls, not signed with your key)" if self.unsigned else ""
        )
        return f"{', '.join(words)} and {memories}{kept}{unsigned}"


def copy_database(source: SwarmSaver, target: SwarmSaver) -> Copied:
    """Copy all sessions, experiments and memories: all of them or, after an error, none.

    The source stays as it is. In the target the sessions can be resumed, and those that are the user's own
    are signed anew.

    Raises:
        InputError: Both are the same database, or a session or an experiment is in both.
        SessionInUse: A session, or an experiment, is running.
        StorageError: A row cannot be read or written; the message names the session.
    """
    if source.database.identities == target.database.identities:
        raise InputError("both places are the same database; name another one to copy to")
    has_memory = source.database.has_memory
    if has_memory:
        target.database.add_memory()
    with source.database.view() as read, target.transaction() as write:
        threads, experiments = _threads(read), _names(read, "experiments", "experiment")
        names = [*dict.fromkeys([*_names(read, "sessions", "session"), *map(session_of, threads)])]
        _refuse_running(source, [*names, *experiments])
        _refuse_existing("sessions", names, [*_names(write, "sessions", "session"), *_threads(write)])
        _refuse_existing("experiments", experiments, _names(write, "experiments", "experiment"))
        own = own_sessions(source.catalogue, names)
        copy = _Copy(source, target, read)
        unsigned = sum(_copy_session(copy, name, is_own=name in own) for name in names)
        for name in experiments:
            _copy_experiment(copy, name)
        _copy_rows(read, write, "speeds", "", (), "ON CONFLICT (server, model) DO NOTHING")
        memories, kept = _copy_memory(read, write, target.database.words) if has_memory else (0, 0)
    return Copied(len(names), len(experiments), memories, kept, unsigned)


def _names(cursor: Cursor, table: str, column: str) -> list[str]:
    return [name for (name,) in cursor.execute(f"SELECT {column} FROM {table} ORDER BY rowid").fetchall()]


def _threads(cursor: Cursor) -> list[str]:
    return [name for (name,) in cursor.execute("SELECT DISTINCT thread_id FROM checkpoints").fetchall()]


def _refuse_running(source: SwarmSaver, names: Sequence[str]) -> None:
    if running := sorted(running_among(source.catalogue, names)):
        raise SessionInUse(f"still running: {first_names(running)}; wait for the end, or stop it, then copy")


def _refuse_existing(what: str, names: Sequence[str], there: Sequence[str]) -> None:
    if both := sorted({*names} & {*there}):
        raise InputError(
            f"{what} that are in both databases: {first_names(both)}; nothing was copied; copy to an empty "
            "database, or delete them in one of the two"
        )


@dataclass(frozen=True)
class _Copy:
    source: SwarmSaver
    target: SwarmSaver
    read: Cursor


def _copy_session(copy: _Copy, name: str, *, is_own: bool) -> int:
    """Copy a session; returns how many decisions about calls are left out, which the user did not sign."""
    try:
        with copy.target.transaction() as write:
            for table in _OF_SESSION:
                _copy_rows(copy.read, write, table, "WHERE session = ?", (name,))
            if not copy.target.database.is_file:  # a server lies in no folder of the project
                write.execute("DELETE FROM sources WHERE session = ? AND kind = 'place'", (name,))
            write.execute("UPDATE sessions SET signatures = NULL WHERE session = ?", (name,))
            _copy_transcript(copy, write, name)
            _copy_threads(copy, write, name)
            if is_own:
                sign(copy.target.catalogue, name)
            return forget_unsigned(copy.source.catalogue, write, name)
    except StorageError as error:
        raise StorageError(f"session '{name}' cannot be copied, so nothing was copied: {error}") from error


def _copy_experiment(copy: _Copy, name: str) -> None:
    with copy.target.transaction() as write:
        for table in ("experiments", "trials"):
            _copy_rows(copy.read, write, table, "WHERE experiment = ?", (name,))
        (text,) = copy.read.execute("SELECT plan FROM experiments WHERE experiment = ?", (name,)).fetchone()
        plan = json_object(text)
        signatures = plan.pop(SIGNATURES, None)
        is_own = isinstance(signatures, dict) and is_own_plan(copy.source.catalogue, name, plan, signatures)
        signed = sign_plan(copy.target.catalogue, name, plan) if is_own else {}
        values = (json.dumps({**plan, SIGNATURES: signed}), name)
        write.execute("UPDATE experiments SET plan = ? WHERE experiment = ?", values)


# --- rows ----------------------------------------------------------------------------------------


def _copy_rows(
    read: Cursor, write: Cursor, table: str, where: str, values: Sequence[Any], conflict: str = ""
) -> None:
    """Copy the rows that match, in their order, without the numbers that the database gives them."""
    columns = _columns(read, write, table, without=("id",) if table in _NUMBERED else ())
    order = _ORDERS.get(table, "rowid")
    rows = read.execute(f"SELECT {_listed(columns)} FROM {table} {where} ORDER BY {order}", values).fetchall()
    _insert(write, table, columns, rows, conflict)


def _columns(read: Cursor, write: Cursor, table: str, *, without: Sequence[str] = ()) -> list[str]:
    """The columns that a table has in both databases."""
    both = []
    for cursor in (read, write):
        cursor.execute(f"SELECT * FROM {table} LIMIT 0")
        both.append([str(column[0]) for column in cursor.description])
    return [name for name in both[0] if name in both[1] and name not in ("rowid", *without)]


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in columns)


def _insert(
    write: Cursor, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], conflict: str = ""
) -> None:
    marks = ", ".join("?" * len(columns))
    write.executemany(f"INSERT INTO {table} ({_listed(columns)}) VALUES ({marks}) {conflict}", rows)


# --- the transcript ------------------------------------------------------------------------------


def _copy_transcript(copy: _Copy, write: Cursor, session: str) -> None:
    """Copy the calls, events and texts of a session. Their ids are other ones in the target, in order."""
    target, read = copy.target.database, copy.read
    texts = _rows(read, write, "texts", session)
    events, calls = _rows(read, write, "events", session), _rows(read, write, "calls", session)
    of_texts = _new_ids(target, write, "texts", [row["id"] for row in texts])
    used = [row["id"] for row in events] + [row["call"] for row in (*calls, *events) if row["call"]]
    of_events = _new_ids(target, write, "events", used)
    _insert_dicts(write, "texts", [{**row, "id": of_texts[row["id"]]} for row in texts])
    for row in events:
        row["id"], row["call"] = of_events[row["id"]], of_events.get(row["call"], row["call"])
        row["data"] = (
            with_other_texts(row["data"], of_texts) if row["kind"] == "call_started" else row["data"]
        )
    _insert_dicts(write, "events", events)
    _insert_dicts(write, "calls", [{**row, "call": of_events.get(row["call"], row["call"])} for row in calls])


def _rows(read: Cursor, write: Cursor, table: str, session: str) -> list[dict[str, Any]]:
    columns = _columns(read, write, table)
    order = _ORDERS.get(table, "rowid")
    query = f"SELECT {_listed(columns)} FROM {table} WHERE session = ? ORDER BY {order}"
    return [dict(zip(columns, row, strict=True)) for row in read.execute(query, (session,)).fetchall()]


def _insert_dicts(write: Cursor, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        _insert(write, table, [*rows[0]], [[*row.values()] for row in rows])


def _new_ids(target: Storage, write: Cursor, table: str, ids: Sequence[int]) -> dict[int, int]:
    """An id of the target for each of some ids, in the same order."""
    old = sorted({*ids})
    return dict(zip(old, target.new_ids(write, table, len(old)), strict=True))


# --- checkpoints ---------------------------------------------------------------------------------


def _copy_threads(copy: _Copy, write: Cursor, session: str) -> None:
    """Copy the checkpoints of a session and of its tasks, each as the target's saver keeps them."""
    threads, values = threads_of(session)
    where = f"WHERE {threads}"
    key = ", ".join(_KEY)
    query = f"SELECT {key}, parent_checkpoint_id FROM checkpoints {where} ORDER BY {key}"
    for *names, parent in copy.read.execute(query, values).fetchall():
        saved = copy.source.get_tuple(_config(*names))
        if saved is None:
            raise StorageError(f"checkpoint {names[-1]!r} cannot be read")
        copy.target.put(_config(*names[:2], parent), saved.checkpoint, saved.metadata, {})
    _copy_rows(copy.read, write, "writes", where, values)


def _config(*names: str | None) -> RunnableConfig:
    named = zip(_KEY, names, strict=False)
    return {"configurable": {name: value for name, value in named if value is not None}}


# --- memory --------------------------------------------------------------------------------------


def _copy_memory(read: Cursor, write: Cursor, words: WordIndex) -> tuple[int, int]:
    """Copy the items of memory with their vectors; returns how many, and how many were there already."""
    bump_version(write)
    copied, kept = 0, 0
    marks = ", ".join("?" * len(_ITEM))
    insert = (
        f"INSERT INTO memory_items ({', '.join(_ITEM)}) VALUES ({marks}) "
        "ON CONFLICT (namespace, key) DO NOTHING RETURNING id"
    )
    for _, *row in every_row(read, "memory_items", ", ".join(_ITEM)):
        namespace, _, value, fields, *_ = row
        if (new := write.execute(insert, row).fetchone()) is None:
            kept += 1
            continue
        write_texts(write, words, new[0], namespace, texts_of(value_of(value), json.loads(fields)))
        copied += 1
    _copy_rows(read, write, "memory_vectors", "", (), "ON CONFLICT (digest, model) DO NOTHING")
    return copied, kept
