"""Our SQLite checkpointer: LangGraph's, with each version of a channel's value stored once."""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.utils import search_where

from swarm_graph.checkpoints.database import Database, retry_while_busy, storage_errors
from swarm_graph.checkpoints.storage import Cursor
from swarm_graph.checkpoints.swarm_saver import PlainSerializer, SwarmSaver, is_small, thread_key

# CROSS JOIN fixes the order of the join: SQLite looks up each wanted version by the primary key.
_STORED_VERSIONS = """
FROM json_each(?) AS wanted CROSS JOIN channel_values AS stored
ON stored.thread_id = ? AND stored.checkpoint_ns = ?
AND stored.channel = wanted.key AND stored.version = wanted.value"""


class SqliteSwarmSaver(SwarmSaver, SqliteSaver):
    """LangGraph's SqliteSaver, which keeps each version of a channel's value once, in `channel_values`.

    Small values stay in the checkpoint.
    """

    database: Database

    def __init__(self, database: Database) -> None:
        self._use(database)
        super().__init__(database.connection, serde=PlainSerializer())

    @property
    def conn(self) -> sqlite3.Connection:
        """The database's connection, which is another one in a forked child."""
        return self.database.connection

    @conn.setter
    def conn(self, _: sqlite3.Connection) -> None:
        """SqliteSaver sets it once, to the database's own."""

    def setup(self) -> None:
        """Create LangGraph's tables if they are missing; called on first use."""
        if not self.is_setup:
            with storage_errors(self.path):
                retry_while_busy(super().setup)

    def transaction(self) -> AbstractContextManager[Cursor]:
        self.setup()
        return super().transaction()

    def cursor(  # type: ignore[override]  # SqliteSaver names the class that its decorator makes
        self, transaction: bool = True
    ) -> AbstractContextManager[sqlite3.Cursor]:
        """Lend a cursor in a write transaction, or in a `Storage.view` if `transaction` is False."""
        self.setup()
        lent = self.database.transaction() if transaction else self.database.view()
        return cast("AbstractContextManager[sqlite3.Cursor]", lent)

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint and its channel versions that are not stored yet; return its config."""
        values, versions = checkpoint["channel_values"], checkpoint["channel_versions"]
        inline = {name: value for name, value in values.items() if name not in versions or is_small(value)}
        separate = {name: str(versions[name]) for name in values if name not in inline}
        key = thread_key(config)
        with self.transaction() as cursor:
            parameters = (json.dumps(separate), *key)
            stored = {name for (name,) in cursor.execute("SELECT channel" + _STORED_VERSIONS, parameters)}
            for name in separate.keys() - stored:
                row = (*key, name, separate[name], *self.serde.dumps_typed(values[name]))
                cursor.execute("INSERT INTO channel_values VALUES (?, ?, ?, ?, ?, ?)", row)
            return super().put(config, {**checkpoint, "channel_values": inline}, metadata, new_versions)

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The checkpoint that `config` names, or the thread's latest; None if there is none."""
        with self.cursor(transaction=False) as cursor:
            saved = super().get_tuple(config)
            if saved is None:
                return None
            values, versions = saved.checkpoint["channel_values"], saved.checkpoint["channel_versions"]
            wanted = json.dumps({name: str(version) for name, version in versions.items()})
            parameters = (wanted, *thread_key(saved.config))
            cursor.execute("SELECT channel, stored.type, stored.value" + _STORED_VERSIONS, parameters)
            for name, type_, value in cursor:
                values[name] = self.serde.loads_typed((type_, value))
            return saved

    def _search(
        self,
        config: RunnableConfig | None,
        metadata: dict[str, Any] | None,
        before: RunnableConfig | None,
        limit: int | None,
    ) -> Sequence[RunnableConfig]:
        """The configs of the matching checkpoints, newest first."""
        where, parameters = search_where(config, metadata, before)
        names = ("thread_id", "checkpoint_ns", "checkpoint_id")
        query = f"SELECT {', '.join(names)} FROM checkpoints {where} ORDER BY checkpoint_id DESC LIMIT ?"
        with self.cursor(transaction=False) as cursor:
            rows = cursor.execute(query, (*parameters, -1 if limit is None else limit)).fetchall()
        return [{"configurable": dict(zip(names, row, strict=True))} for row in rows]

    def latest_checkpoints(self, thread_id: str, limit: int) -> Sequence[Checkpoint]:
        query = """SELECT type, checkpoint FROM checkpoints WHERE thread_id = ? AND checkpoint_ns = ''
            ORDER BY checkpoint_id DESC LIMIT ?"""
        with self.cursor(transaction=False) as cursor:
            rows = cursor.execute(query, (thread_id, limit)).fetchall()
        return [self.serde.loads_typed(row) for row in rows]

    def delete_thread(self, thread_id: str) -> None:
        """Delete a thread and the threads of its tasks; the catalogue keeps its rows."""
        with self.transaction() as cursor:
            super().delete_thread(thread_id)
            cursor.execute("DELETE FROM channel_values WHERE thread_id = ?", (str(thread_id),))
            self.delete_task_threads(thread_id)
