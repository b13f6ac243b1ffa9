"""The checkpointer: every step of every run in one database, for sync and async callers."""

import secrets
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, Self

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

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.storage import Cursor, Storage
from swarm_graph.errors import StorageError

TASK_SEPARATOR = "\x1f"
"""Joins a session's id with the rest of the id of a task's thread; no session id may contain it."""
MAX_INLINE_CHARACTERS = 64
_DURABILITY = "__pregel_durability"
"""LangGraph's key for the durability of a run; it is absent if the caller has not set it."""
_TRIGGERS = ("branch:to:", "join:", "__")
"""How the channels begin by which LangGraph starts the next nodes."""


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


class SwarmSaver(BaseCheckpointSaver[str]):
    """A LangGraph checkpointer for sync and async callers in any thread and event loop, with a catalogue.

    Each version of a channel's value is stored once. The storage's own thread serves async callers, so a
    finished node's result never waits behind sync nodes that fill asyncio's pool; what LangGraph writes in
    the background may wait `LINGER_S` to be committed with other writes, and is committed when the method
    returns. Use it as a value, or in `with` or `async with`; it closes itself at exit. Every method raises
    StorageError for an error of the database.

    Attributes:
        database: The file, or the server.
        path: The file as the caller gave it, or the URL of the server.
        catalogue: The sessions of the database, with their runs, tasks, calls, files and test runs.
    """

    database: Storage
    path: str | Path
    catalogue: Catalogue
    _waiting_puts: set[tuple[str, str]]
    """The threads with a checkpoint that waits to be saved with other writes."""

    def _use(self, database: Storage) -> None:
        self.database, self.path = database, database.path
        self.catalogue = Catalogue(database)
        self._waiting_puts = set()

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

    def transaction(self) -> AbstractContextManager[Cursor]:
        """Lend a cursor inside a write transaction; commit at the end, roll everything back on any error.

        The methods of the saver and of its catalogue may be called inside and are part of it. Never await
        inside.

        Raises:
            StorageError: An error of the database.
        """
        return self.database.transaction()

    def get_next_version(self, current: str | None, channel: None) -> str:
        """A version above `current`.

        Values are stored by version, so two branches must never get the same one. LangGraph's savers draw the
        fraction from `random`, which repeats under a seed; `secrets` does not.
        """
        number = int(str(current).split(".")[0]) + 1 if current else 1
        return f"{number:010}.{secrets.token_hex(6)}"

    def with_allowlist(self, extra_allowlist: object) -> Self:
        """This saver: it reads plain data only, whatever types a graph's state names."""
        return self

    def latest_id(self, thread_id: str) -> str:
        """The id of the latest checkpoint of a thread; empty if it has none."""
        with self.database.view() as cursor:
            query = "SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = ? AND checkpoint_ns = ''"
            (latest,) = cursor.execute(query, (thread_id,)).fetchone()
        return latest or ""

    @abstractmethod
    def latest_checkpoints(self, thread_id: str, limit: int) -> Sequence[Checkpoint]:
        """The latest checkpoints of a thread, newest first, each only with its small values.

        Args:
            thread_id: The thread.
            limit: The greatest number of checkpoints.
        """

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

    @abstractmethod
    def _search(
        self,
        config: RunnableConfig | None,
        metadata: dict[str, Any] | None,
        before: RunnableConfig | None,
        limit: int | None,
    ) -> Sequence[RunnableConfig]:
        """The configs of the matching checkpoints, newest first."""

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Walk the ancestors with `get_tuple`, which reads values wherever this saver keeps them."""
        return BaseCheckpointSaver.get_delta_channel_history(self, config=config, channels=channels)

    def delete_task_threads(self, thread_id: str) -> None:
        """Delete the threads of a thread's tasks."""
        first, end = _task_threads(thread_id)
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
        for match in await self.database.run(self._search, config, filter, before, limit):
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
        key, work = thread_key(config), partial(self.put, config, checkpoint, metadata, new_versions)
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
        may_wait = may_wait and thread_key(config) not in self._waiting_puts
        run = self.database.run_soon if may_wait else self.database.run
        await run(self.put_writes, config, writes, task_id, task_path)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """`get_tuple` for async callers."""
        return await self.database.run(self.get_tuple, config)

    async def adelete_thread(self, thread_id: str) -> None:
        """`delete_thread` for async callers."""
        await self.database.run(self.delete_thread, thread_id)

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """`get_delta_channel_history` for async callers."""
        return await self.database.run(self.get_delta_channel_history, config=config, channels=channels)


def _is_in_background(config: RunnableConfig) -> bool:
    """Whether LangGraph goes on while this is written, as `durability="async"` says, which is its default."""
    return bool(config["configurable"].get(_DURABILITY, "async") == "async")


def _has_successor(checkpoint: Checkpoint) -> bool:
    """Whether a node follows: after its last checkpoint, a run waits until everything is written."""
    return any(name.startswith(_TRIGGERS) for name in checkpoint.get("updated_channels") or ())


def thread_key(config: RunnableConfig) -> tuple[str, str]:
    """The thread's id and the checkpoint namespace."""
    return str(config["configurable"]["thread_id"]), str(config["configurable"].get("checkpoint_ns", ""))


def session_of(thread_id: str) -> str:
    """The session whose thread, or whose task's thread, it is."""
    return thread_id.partition(TASK_SEPARATOR)[0]


def threads_of(session_id: str) -> tuple[str, tuple[str, ...]]:
    """The condition in SQL for the threads of a session and of its tasks, and its values."""
    return "thread_id = ? OR thread_id >= ? AND thread_id < ?", (session_id, *_task_threads(session_id))


def _task_threads(thread_id: str) -> tuple[str, str]:
    """The range of the ids of a thread's tasks. LIKE would not use the key, and an id may hold % and _."""
    return f"{thread_id}{TASK_SEPARATOR}", f"{thread_id}{chr(ord(TASK_SEPARATOR) + 1)}"


def is_small(value: object) -> bool:
    """Whether a value stays in the checkpoint."""
    if isinstance(value, str):
        return len(value) <= MAX_INLINE_CHARACTERS
    return value is None or isinstance(value, (int, float))
