"""The checkpointer: one SQLite file that keeps every step of every run, for sync and async callers alike."""

import json
import secrets
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.utils import search_where

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.database import Database, patiently, storage_errors
from swarm_graph.errors import StorageError

P = ParamSpec("P")
T = TypeVar("T")

CHILD = "\x1f"
"""Stands between a thread's id and the rest in the names of its tasks' threads; no session id holds it."""

# CROSS JOIN makes SQLite look each wanted version up by the primary key.
WANTED = """
FROM json_each(?) AS wanted CROSS JOIN channel_values AS kept
ON kept.thread_id = ? AND kept.checkpoint_ns = ?
AND kept.channel = wanted.key AND kept.version = wanted.value"""


class PlainSerializer(JsonPlusSerializer):
    """Reads and writes plain data and LangGraph's own types; a received file can build nothing else."""

    def __init__(self) -> None:
        super().__init__(pickle_fallback=False, allowed_json_modules=None, allowed_msgpack_modules=None)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """Return the stored value; raises StorageError for pickle and LangChain's JSON, which run code."""
        if data[0] not in ("null", "bytes", "bytearray", "msgpack"):
            raise StorageError(
                f"a stored value is of type {data[0]!r}, which may run code; expected 'msgpack': "
                "the file was written by another program, use one of swarm_graph's own"
            )
        return super().loads_typed(data)


def _threaded(
    method: Callable[Concatenate["SwarmSaver", P], T],
) -> Callable[Concatenate["SwarmSaver", P], Coroutine[Any, Any, T]]:
    @wraps(method)
    async def call(self: "SwarmSaver", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.database.run(method, self, *args, **kwargs)

    return call


class SwarmSaver(SqliteSaver):
    """LangGraph's SqliteSaver for sync and async callers in any thread and event loop.

    Each version of a channel's value is stored once, in `channel_values`, as LangGraph's PostgreSQL saver
    does; small values stay in the checkpoint. The database's own thread serves async callers, so a finished
    node's result never waits behind sync nodes that fill asyncio's pool. Use it as a value or in `with` or
    `async with`; it closes itself at exit. Errors of the database are raised as StorageError.
    `catalogue`: the sessions of the file, their runs, tasks, calls and files.
    """

    def __init__(self, database: Database) -> None:
        super().__init__(database.connection, serde=PlainSerializer())
        self.database, self.path = database, database.path
        self.catalogue = Catalogue(database)

    def close(self) -> None:
        """Close the database; a second call does nothing."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def setup(self) -> None:
        """Make LangGraph's tables where they are missing; called by itself on first use."""
        if not self.is_setup:
            with storage_errors(self.path):
                patiently(super().setup)

    def transaction(self) -> AbstractContextManager[sqlite3.Cursor]:
        """Lend a cursor inside BEGIN IMMEDIATE; commit at the end, roll everything back on any error.

        The methods of the saver and of its catalogue may be called inside and are part of it; never await
        inside. Raises StorageError, and sqlite3.IntegrityError as it is.
        """
        return self.cursor()

    @contextmanager
    def cursor(self, transaction: bool = True) -> Iterator[sqlite3.Cursor]:
        """Lend a cursor in a write transaction, or in one view of the file if `transaction` is False."""
        self.setup()
        with self.database.transaction() if transaction else self.database.view() as cursor:
            yield cursor

    def get_next_version(self, current: str | None, channel: None) -> str:
        """Return a version above `current`; values are keyed by it, so it is unique even under a seed."""
        number = int(str(current).split(".")[0]) + 1 if current else 1
        return f"{number:010}.{secrets.token_hex(6)}"

    def with_allowlist(self, extra_allowlist: object) -> Self:
        """Return this saver: it reads plain data only, whatever types a graph's state names."""
        return self

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint and those of its channel versions that are not stored yet; return its config."""
        values, versions = checkpoint["channel_values"], checkpoint["channel_versions"]
        inline = {name: value for name, value in values.items() if name not in versions or _is_small(value)}
        apart = {name: str(versions[name]) for name in values if name not in inline}
        key = _key(config)
        with self.transaction() as cursor:
            kept = {name for (name,) in cursor.execute("SELECT channel" + WANTED, (json.dumps(apart), *key))}
            for name in apart.keys() - kept:
                row = (*key, name, apart[name], *self.serde.dumps_typed(values[name]))
                cursor.execute("INSERT INTO channel_values VALUES (?, ?, ?, ?, ?, ?)", row)
            return super().put(config, {**checkpoint, "channel_values": inline}, metadata, new_versions)

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint that `config` names, or the thread's latest; None if there is none."""
        with self.cursor(transaction=False) as cursor:
            found = super().get_tuple(config)
            if found is None:
                return None
            values, versions = found.checkpoint["channel_values"], found.checkpoint["channel_versions"]
            wanted = json.dumps({name: str(version) for name, version in versions.items()})
            cursor.execute("SELECT channel, kept.type, kept.value" + WANTED, (wanted, *_key(found.config)))
            for name, type_, value in cursor:
                values[name] = self.serde.loads_typed((type_, value))
            return found

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Yield the matching checkpoints, newest first; nothing is locked while the caller works on one."""
        for found in self._search(config, filter, before, limit):
            if (item := self.get_tuple(found)) is not None:
                yield item

    def _search(
        self,
        config: RunnableConfig | None,
        metadata: dict[str, Any] | None,
        before: RunnableConfig | None,
        limit: int | None,
    ) -> Sequence[RunnableConfig]:
        where, parameters = search_where(config, metadata, before)
        names = ("thread_id", "checkpoint_ns", "checkpoint_id")
        query = f"SELECT {', '.join(names)} FROM checkpoints {where} ORDER BY checkpoint_id DESC LIMIT ?"
        with self.cursor(transaction=False) as cursor:
            rows = cursor.execute(query, (*parameters, -1 if limit is None else limit)).fetchall()
        return [{"configurable": dict(zip(names, row, strict=True))} for row in rows]

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Walk the ancestors by `get_tuple`: SqliteSaver's own walk sees values inside checkpoints only."""
        return BaseCheckpointSaver.get_delta_channel_history(self, config=config, channels=channels)

    def delete_thread(self, thread_id: str) -> None:
        """Delete everything that is stored of a thread, and of its tasks' own threads."""
        with self.transaction() as cursor:
            super().delete_thread(thread_id)
            cursor.execute("DELETE FROM channel_values WHERE thread_id = ?", (str(thread_id),))
            self.delete_children(thread_id)

    def delete_children(self, thread_id: str) -> None:
        """Delete the threads of a thread's tasks."""
        first, last = f"{thread_id}{CHILD}", f"{thread_id}{chr(ord(CHILD) + 1)}"
        with self.transaction() as cursor:
            for table in ("checkpoints", "writes", "channel_values"):
                cursor.execute(f"DELETE FROM {table} WHERE thread_id >= ? AND thread_id < ?", (first, last))

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """`list` for async callers."""
        for found in await self._asearch(config, filter, before, limit):
            if (item := await self.aget_tuple(found)) is not None:
                yield item

    aget_tuple = _threaded(get_tuple)
    aput = _threaded(put)
    aput_writes = _threaded(SqliteSaver.put_writes)
    adelete_thread = _threaded(delete_thread)
    aget_delta_channel_history = _threaded(get_delta_channel_history)
    _asearch = _threaded(_search)


def open_checkpointer(path: str | Path) -> SwarmSaver:
    """Open the SQLite file at `path`; `:memory:` keeps no file.

    A missing file is made with mode 0600, its missing folders with 0700; an older file is upgraded.
    Raises StorageError if it is a folder, no SQLite database, newer than this version, or cannot be written.
    """
    saver = SwarmSaver(Database(path))
    saver.setup()
    return saver


def _is_small(value: object) -> bool:
    return value is None or isinstance(value, (int, float)) or (isinstance(value, str) and len(value) <= 64)


def _key(config: RunnableConfig) -> tuple[str, str]:
    return str(config["configurable"]["thread_id"]), str(config["configurable"].get("checkpoint_ns", ""))
