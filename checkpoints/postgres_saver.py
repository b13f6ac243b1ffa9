"""LangGraph's PostgreSQL checkpointer over our connection: its writes are part of our transactions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_id,
    get_serializable_checkpoint_metadata,
)
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.base import SELECT_SQL
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from psycopg import Cursor
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb

from swarm_graph.checkpoints.postgres import PostgresDatabase
from swarm_graph.checkpoints.storage import session_lock
from swarm_graph.checkpoints.swarm_saver import PlainSerializer, SwarmSaver, is_small, session_of, thread_key

_NAMES = ("thread_id", "checkpoint_ns", "checkpoint_id")
_BLOBS = "checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)"
_WRITE_COLUMNS = "thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob"
_WRITES = f"checkpoint_writes ({_WRITE_COLUMNS})"
_MISSING = """
(SELECT array_agg(wanted.key) FROM jsonb_each_text(?) AS wanted WHERE NOT EXISTS (
    SELECT 1 FROM checkpoint_blobs AS stored WHERE stored.thread_id = checkpoints.thread_id
    AND stored.checkpoint_ns = checkpoints.checkpoint_ns AND stored.channel = wanted.key
    AND stored.version = wanted.value))"""
"""The channels whose wanted versions are not stored."""
_PUT = f"""
INSERT INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id)
DO UPDATE SET checkpoint = excluded.checkpoint, metadata = excluded.metadata RETURNING {_MISSING}"""
_REPLACE = (
    "ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx) "
    "DO UPDATE SET channel = excluded.channel, type = excluded.type, blob = excluded.blob"
)
_KEEP = "ON CONFLICT DO NOTHING"
_REFUSED = re.compile("[\0\ud800-\udfff]")


class PostgresSwarmSaver(SwarmSaver, PostgresSaver):
    """LangGraph's PostgresSaver, whose tables the database's `upgrade` makes.

    What JSONB keeps as it is stays in the checkpoint if it is small; every other value is stored once.
    """

    # LangGraph casts names to bytes, which fails for a name with a backslash.
    SELECT_SQL = SELECT_SQL.replace("bl.channel::bytea", "convert_to(bl.channel, 'UTF8')").replace(
        "cw.channel::bytea", "convert_to(cw.channel, 'UTF8')"
    )

    database: PostgresDatabase

    def __init__(self, database: PostgresDatabase) -> None:
        self._use(database)
        super().__init__(database.connection, serde=PlainSerializer())
        del self.conn  # it is another one after a lost connection

    @contextmanager
    def _cursor(self, *, pipeline: bool = False) -> Iterator[Cursor[DictRow]]:
        """A cursor for LangGraph's own statements, which write where they ask for a pipeline."""
        lent = self.database.transaction() if pipeline else self.database.view()
        with lent, self.database.connection.cursor(binary=True, row_factory=dict_row) as cursor:
            yield cursor

    def setup(self) -> None:
        """Nothing: `PostgresDatabase.upgrade` makes the tables."""

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint and its channel versions that are not stored yet; return its config."""
        return self.database.do(self._put, config, checkpoint, metadata, new_versions)

    def _put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        key, values = thread_key(config), checkpoint["channel_values"]
        inline = {name: value for name, value in values.items() if _is_plain(value)}
        versions = {**checkpoint["channel_versions"]}
        for name in values.keys() - inline.keys() - versions.keys():
            versions[name] = self.get_next_version(None, None)
        separate = {name: str(versions[name]) for name in values.keys() - inline.keys()}
        marks = {name: True for name in separate if isinstance(values[name], _DeltaSnapshot)}
        stored = {**checkpoint, "channel_versions": versions, "channel_values": {**inline, **marks}}
        parent = config["configurable"].get("checkpoint_id")
        new = {name: version for name, version in separate.items() if name in new_versions}
        row = (
            *key,
            checkpoint["id"],
            parent,
            Jsonb(stored),
            Jsonb(get_serializable_checkpoint_metadata(config, metadata)),
            Jsonb({name: version for name, version in separate.items() if name not in new}),
        )
        put, parameters = _PUT, row
        if rows := self._rows(key, values, new):  # in the same round trip
            put, parameters = f"WITH new AS ({_insert(_BLOBS, rows, _KEEP)}) {_PUT}", (*_flat(rows), *row)
        with self.database.transaction() as cursor:
            self.database.check_lock(session_lock(session_of(key[0])))
            (missing,) = cursor.execute(put, parameters).fetchone()
            if rows := self._rows(key, values, {name: separate[name] for name in missing or ()}):
                cursor.execute(_insert(_BLOBS, rows, _KEEP), _flat(rows))
        return {"configurable": dict(zip(_NAMES, (*key, checkpoint["id"]), strict=True))}

    def _rows(
        self, key: tuple[str, str], values: Mapping[str, Any], versions: Mapping[str, str]
    ) -> list[tuple[Any, ...]]:
        """The rows of the values of channels, whose versions are given."""
        return [
            (*key, name, version, *self.serde.dumps_typed(values[name])) for name, version in versions.items()
        ]

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what a node has written, linked to a checkpoint."""
        self.database.do(self._put_writes, config, writes, task_id, task_path)

    def _put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str
    ) -> None:
        key = (*thread_key(config), str(config["configurable"]["checkpoint_id"]))
        replaces = all(channel in WRITES_IDX_MAP for channel, _ in writes)
        rows: dict[int, tuple[Any, ...]] = {}
        for number, (channel, value) in enumerate(writes):
            index = WRITES_IDX_MAP.get(channel, number)
            if replaces or index not in rows:
                rows[index] = (*key, task_id, task_path, index, channel, *self.serde.dumps_typed(value))
        conflict = _REPLACE if replaces else _KEEP
        with self.database.transaction() as cursor:
            self.database.check_lock(session_lock(session_of(key[0])))
            if rows:
                cursor.execute(_insert(_WRITES, [*rows.values()], conflict), _flat(rows.values()))

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The checkpoint that `config` names, or the thread's latest; None if there is none."""
        thread_id, namespace = thread_key(config)
        names = {"thread_id": thread_id, "checkpoint_ns": namespace}
        if checkpoint := get_checkpoint_id(config):
            names["checkpoint_id"] = checkpoint
        return self.database.do(PostgresSaver.get_tuple, self, {"configurable": names})

    def _search(
        self,
        config: RunnableConfig | None,
        metadata: dict[str, Any] | None,
        before: RunnableConfig | None,
        limit: int | None,
    ) -> Sequence[RunnableConfig]:
        if config:
            config = {"configurable": {**config["configurable"], "thread_id": thread_key(config)[0]}}
        where, parameters = self._search_where(config, metadata, before)
        query = f"SELECT {', '.join(_NAMES)} FROM checkpoints {where} ORDER BY checkpoint_id DESC LIMIT %s"

        def search() -> list[DictRow]:
            with self._cursor() as cursor:
                return cursor.execute(query, [*parameters, limit]).fetchall()

        return [{"configurable": dict(row)} for row in self.database.do(search)]

    def latest_checkpoints(self, thread_id: str, limit: int) -> Sequence[Checkpoint]:
        query = """SELECT checkpoint FROM checkpoints WHERE thread_id = ? AND checkpoint_ns = ''
            ORDER BY checkpoint_id DESC LIMIT ?"""
        with self.database.view() as cursor:
            return [checkpoint for (checkpoint,) in cursor.execute(query, (thread_id, limit))]

    def delete_thread(self, thread_id: str) -> None:
        """Delete a thread and the threads of its tasks; the catalogue keeps its rows."""
        self.database.do(self._delete_thread, str(thread_id))

    def _delete_thread(self, thread_id: str) -> None:
        with self.transaction():
            super().delete_thread(thread_id)
            self.delete_task_threads(thread_id)

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        BaseCheckpointSaver.prune(self, thread_ids, strategy=strategy)


def _insert(table: str, rows: Sequence[tuple[Any, ...]], conflict: str) -> str:
    """A statement that inserts rows; `_flat` are its values."""
    places = ", ".join(f"({', '.join('?' * len(row))})" for row in rows)
    return f"INSERT INTO {table} VALUES {places} {conflict}"


def _flat(rows: Iterable[tuple[Any, ...]]) -> tuple[Any, ...]:
    return tuple(value for row in rows for value in row)


def _is_plain(value: object) -> bool:
    """Whether a value stays in the checkpoint: a small one that JSONB gives back as it was."""
    if isinstance(value, str):  # JSONB refuses NUL, and half a character
        return is_small(value) and not _REFUSED.search(value)
    return value is None or isinstance(value, int)
