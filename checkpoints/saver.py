"""The checkpointer: every step of every run in one SQLite file, for sync and async callers."""

import json
import secrets
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial, wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
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
from swarm_graph.checkpoints.database import Database, retry_while_busy, storage_errors
from swarm_graph.errors import StorageError

P = ParamSpec("P")
T = TypeVar("T")

TASK_SEPARATOR = "\x1f"
"""Joins a session's id with the rest of the id of a task's thread; no session id may contain it."""
MAX_INLINE_CHARACTERS = 64
_DURABILITY = "__pregel_durability"
"""LangGraph's key for the durability of a run; it is absent if the caller has not set it."""
_TRIGGERS = ("branch:to:", "join:", "__")
"""How the channels begin by which LangGraph starts the next nodes."""

# CROSS JOIN fixes the order of the join: SQLite looks up each wanted version by the primary key.
_STORED_VERSIONS = """
FROM json_each(?) AS wanted CROSS JOIN channel_values AS stored
ON stored.thread_id = ? AND stored.checkpoint_ns = ?
AND stored.channel = wanted.key AND stored.version = wanted.value"""


class PlainSerializer(JsonPlusSerializer):
    """Serializes plain data and LangGraph's own types; a received file cannot create any other object."""

    def __init__(self) -> None:
        super().__init__(pickle_fallback=False, allowed_json_modules=None, allowed_msgpack_modules=None)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """The stored value.

        Args:
            data: The type and the bytes, as `dumps_typed` returns them.

        Raises:
            StorageError: The type is pickle or LangChain's JSON, which may run code.
        """
        if data[0] not in ("null", "bytes", "bytearray", "msgpack"):
            raise StorageError(
                f"a stored value is of type {data[0]!r}, which may run code; expected 'msgpack': "
                "another program wrote the file; use a file of swarm_graph's own"
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

    Each version of a channel's value is stored once, in `channel_values`, as in LangGraph's PostgreSQL saver;
    small values stay in the checkpoint. The database's own thread serves async callers, so a finished node's
    result never waits behind sync nodes that fill asyncio's pool; what LangGraph writes in the background may
    wait `LINGER_S` to be committed with other writes, and is committed when the method returns. Use it as a
    value, or in `with` or `async with`; it closes itself at exit. Every method raises StorageError for an
    error of the database.

    Attributes:
        database: The file.
        path: As the caller gave it.
        catalogue: The sessions of the file, with their runs, tasks, calls, files and test runs.
    """

    def __init__(self, database: Database) -> None:
        self.database, self.path = database, database.path
        super().__init__(database.connection, serde=PlainSerializer())
        self.catalogue = Catalogue(database)
        self._waiting_puts: set[tuple[str, str]] = set()
        """The threads with a checkpoint that waits to be saved with other writes."""

    @property
    def conn(self) -> sqlite3.Connection:
        """The database's connection, which is another one in a forked child."""
        return self.database.connection

    @conn.setter
    def conn(self, _: sqlite3.Connection) -> None:
        """SqliteSaver sets it once, to the database's own."""

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
        """Create LangGraph's tables if they are missing; called on first use."""
        if not self.is_setup:
            with storage_errors(self.path):
                retry_while_busy(super().setup)

    def transaction(self) -> AbstractContextManager[sqlite3.Cursor]:
        """Lend a cursor inside BEGIN IMMEDIATE; commit at the end, roll everything back on any error.

        The methods of the saver and of its catalogue may be called inside and are part of it. Never await
        inside.

        Raises:
            StorageError: An error of the database.
            sqlite3.IntegrityError: A constraint is violated.
        """
        return self.cursor()

    def cursor(  # type: ignore[override]  # SqliteSaver names the class that its decorator makes
        self, transaction: bool = True
    ) -> AbstractContextManager[sqlite3.Cursor]:
        """Lend a cursor in a write transaction, or in a `Database.view` if `transaction` is False."""
        self.setup()
        return self.database.transaction() if transaction else self.database.view()

    def get_next_version(self, current: str | None, channel: None) -> str:
        """A version above `current`.

        Values are stored by version, so two branches must never get the same one. SqliteSaver draws the
        fraction from `random`, which repeats under a seed; `secrets` does not.
        """
        number = int(str(current).split(".")[0]) + 1 if current else 1
        return f"{number:010}.{secrets.token_hex(6)}"

    def with_allowlist(self, extra_allowlist: object) -> Self:
        """This saver: it reads plain data only, whatever types a graph's state names."""
        return self

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint and its channel versions that are not stored yet; return its config."""
        values, versions = checkpoint["channel_values"], checkpoint["channel_versions"]
        inline = {name: value for name, value in values.items() if name not in versions or _is_small(value)}
        separate = {name: str(versions[name]) for name in values if name not in inline}
        key = _thread_key(config)
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
            parameters = (wanted, *_thread_key(saved.config))
            cursor.execute("SELECT channel, stored.type, stored.value" + _STORED_VERSIONS, parameters)
            for name, type_, value in cursor:
                values[name] = self.serde.loads_typed((type_, value))
            return saved

    def latest_id(self, thread_id: str) -> str:
        """The id of the latest checkpoint of a thread; empty if it has none."""
        with self.cursor(transaction=False) as cursor:
            query = "SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = ? AND checkpoint_ns = ''"
            (latest,) = cursor.execute(query, (thread_id,)).fetchone()
        return latest or ""

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Yield the matching checkpoints, newest first; nothing is locked while the caller uses one."""
        for match in self._search(config, filter, before, limit):
            if (saved := self.get_tuple(match)) is not None:
                yield saved

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

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Walk the ancestors with `get_tuple`: SqliteSaver's own walk sees only values inside checkpoints."""
        return BaseCheckpointSaver.get_delta_channel_history(self, config=config, channels=channels)

    def delete_thread(self, thread_id: str) -> None:
        """Delete a thread and the threads of its tasks; the catalogue keeps its rows."""
        with self.transaction() as cursor:
            super().delete_thread(thread_id)
            cursor.execute("DELETE FROM channel_values WHERE thread_id = ?", (str(thread_id),))
            self.delete_task_threads(thread_id)

    def delete_task_threads(self, thread_id: str) -> None:
        """Delete the threads of a thread's tasks."""
        # A range instead of LIKE: it uses the primary key, and an id may contain % and _.
        first, end = f"{thread_id}{TASK_SEPARATOR}", f"{thread_id}{chr(ord(TASK_SEPARATOR) + 1)}"
        with self.transaction() as cursor:
            for table in ("checkpoints", "writes", "channel_values"):
                cursor.execute(f"DELETE FROM {table} WHERE thread_id >= ? AND thread_id < ?", (first, end))

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """`list` for async callers."""
        for match in await self._asearch(config, filter, before, limit):
            if (saved := await self.aget_tuple(match)) is not None:
                yield saved

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """`put` for async callers: with the next writes, unless LangGraph waits for it."""
        key, work = _thread_key(config), partial(self.put, config, checkpoint, metadata, new_versions)
        if not (_is_in_background(config) and _has_successor(checkpoint)):
            return await self.database.run(work)
        self._waiting_puts.add(key)
        try:
            return await self.database.run_soon(work)
        finally:
            self._waiting_puts.discard(key)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """`put_writes` for async callers: with the next writes, unless they are an interrupt or an error."""
        may_wait = _is_in_background(config) and not any(name in WRITES_IDX_MAP for name, _ in writes)
        # LangGraph holds the next checkpoint back until the one that waits is saved; this node was quick.
        may_wait = may_wait and _thread_key(config) not in self._waiting_puts
        run = self.database.run_soon if may_wait else self.database.run
        await run(self.put_writes, config, writes, task_id, task_path)

    aget_tuple = _threaded(get_tuple)
    adelete_thread = _threaded(delete_thread)
    aget_delta_channel_history = _threaded(get_delta_channel_history)
    _asearch = _threaded(_search)


def open_checkpointer(path: str | Path) -> SwarmSaver:
    """Open a SQLite file as LangGraph checkpointer.

    A missing file is created with mode 0600, its missing folders with 0700; an older file is upgraded.

    Args:
        path: The file; `:memory:` for none.

    Raises:
        StorageError: It is a folder, no SQLite database, of a newer version, or cannot be written.
    """
    saver = SwarmSaver(Database(path))
    saver.setup()
    return saver


def _is_small(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_INLINE_CHARACTERS
    return value is None or isinstance(value, (int, float))


def _is_in_background(config: RunnableConfig) -> bool:
    """Whether LangGraph goes on while this is written, as `durability="async"` says, which is its default."""
    return bool(config["configurable"].get(_DURABILITY, "async") == "async")


def _has_successor(checkpoint: Checkpoint) -> bool:
    """Whether a node follows: after its last checkpoint, a run waits until everything is written."""
    return any(name.startswith(_TRIGGERS) for name in checkpoint.get("updated_channels") or ())


def _thread_key(config: RunnableConfig) -> tuple[str, str]:
    """The thread's id and the checkpoint namespace."""
    return str(config["configurable"]["thread_id"]), str(config["configurable"].get("checkpoint_ns", ""))
