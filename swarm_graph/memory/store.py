"""A LangGraph store in our database: items by namespace and key, found by words and by meaning."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

from langgraph.store.base import (
    BaseStore,
    GetOp,
    IndexConfig,
    Item,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    TTLConfig,
    validate_op_namespace,
)

from swarm_graph import aio
from swarm_graph.checkpoints.memory_tables import WHOLE, bump_version, delete_unused_vectors, take_turn
from swarm_graph.checkpoints.open_database import open_database
from swarm_graph.checkpoints.storage import Cursor, Storage
from swarm_graph.checkpoints.word_index import WordIndex
from swarm_graph.config import load_config
from swarm_graph.database_place import place_of
from swarm_graph.errors import ConfigError, InputError, ModelError, StorageError
from swarm_graph.memory import items
from swarm_graph.memory.fusion import fused
from swarm_graph.memory.meaning import Meaning, Progress, collected_notes, tell
from swarm_graph.memory.text_search import ranked_by_words, texts_below
from swarm_graph.memory_settings import MemorySettings
from swarm_graph.state import DATA_DIR

_KEPT = "kept, and found by words alone until `swarm-graph memory reindex`"
_SEARCHED = "searched by words alone"
_MIN_RANKED = 200
"""How many items each ranking has at least before they are fused. Up to here pages never overlap: all are cut
from the same rankings."""
_MOST = 2**31
"""The highest limit of a search that the database is asked for."""


class SwarmStore(BaseStore):
    """A LangGraph store in our database, for sync and async callers in any thread, event loop and process.

    Its items are found by their words, and by their meaning where there is an embedding model; both rankings
    are fused. A batch is one transaction, and its reads see what was there before it. Expired items are never
    returned, and are deleted with the next write. Every method raises StorageError for an error of the
    database.

    Attributes:
        database: The database. In a file, its tables for items are made with the first one.
        meaning: The search by meaning; None for words alone.
        problem: What the last search or put of anybody did without, and why, as a note for people: vectors
            of all texts or of some; empty if nothing. `collected_notes` tells the searches of several tasks
            and threads apart.
    """

    supports_ttl = True

    def __init__(
        self,
        database: Storage,
        meaning: Meaning | None = None,
        *,
        fields: Sequence[str] | None = None,
        ttl: TTLConfig | None = None,
    ) -> None:
        """Use an open database, which stays its owner's to close.

        Args:
            database: The database.
            meaning: The search by meaning; None for words alone.
            fields: The paths of the texts of items that are put without `index`; default: the whole value.
            ttl: LangGraph's settings for the time that items live.

        Raises:
            InputError: The paths are no list.
        """
        self.database, self.meaning, self.problem = database, meaning, ""
        self.ttl_config = ttl
        self._fields = [WHOLE] if fields is None else [*_paths("fields", fields)]
        self._owns_database = False

    @classmethod
    def on(
        cls, database: Storage, memory: MemorySettings | None = None, proxy: str | None = None
    ) -> SwarmStore:
        """The store in an open database, such as that of the checkpointer.

        Args:
            database: The database; it stays its owner's to close.
            memory: The embedding model and the vector store; None for words alone.
            proxy: The proxy for requests to the embedding model.
        """
        return cls(database, _configured_meaning(database, memory, proxy))

    def close(self) -> None:
        """Close the database if `open_store` opened it; a second call does nothing."""
        if self._owns_database:
            self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """The results of operations, in their order; see the class.

        Raises:
            InvalidNamespaceError: A label of a namespace is empty, no string, or has a dot.
            InputError: A value is no JSON, an operator of a filter is unknown, or `index` is no list.
        """
        plan = self._plan(ops)
        if self.meaning and plan.needs_meaning:
            return aio.run(self._with_meaning(self.meaning, plan))
        return self._work(plan, {})

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """`batch` for async callers."""
        plan = self._plan(ops)
        if self.meaning and plan.needs_meaning:
            return await self._with_meaning(self.meaning, plan)
        return await self.database.run(self._work, plan, {})

    def sweep_ttl(self) -> int:
        """Delete the expired items, as each write does; return how many."""
        with self._transaction() as cursor:
            if not self.database.has_memory or not (count := items.count_expired(cursor)):
                return 0
            bump_version(cursor)
            _write(cursor, self.database.words, [])
            return count

    def reindex(self, progress: Progress | None = None) -> int:
        """Make the vectors that are missing; return how many were made.

        Args:
            progress: Called with how many texts are done, and of how many.

        Raises:
            EmbeddingError: The embedding model cannot be used; vectors made so far are kept.
        """
        return aio.run(self.areindex(progress))

    async def areindex(self, progress: Progress | None = None) -> int:
        """`reindex` for async callers."""
        with self._noting():
            return await self.meaning.reindex(progress) if self.meaning else 0

    def _plan(self, ops: Iterable[Op]) -> _Plan:
        ops = [_checked(op) for op in ops]
        puts = [items.new_item(op, self._fields_of(op)) for op in ops if isinstance(op, PutOp)]
        return _Plan(ops, {(new.namespace, new.key): new for new in puts})

    def _fields_of(self, op: PutOp) -> Sequence[str]:
        """The paths of the texts by which an item is found."""
        if op.index is False:
            return []
        return self._fields if op.index is None else _paths("index", op.index)

    # --- meaning ---------------------------------------------------------------------------------

    async def _with_meaning(self, meaning: Meaning, plan: _Plan) -> list[Result]:
        """Do operations; what asks the embedding model is done before the transaction."""
        with self._noting():
            try:
                near = {number: await self._near(meaning, op) for number, op in enumerate(plan.ops)}
            except ModelError as error:
                near = {}
                tell(f"{_SEARCHED}: {error}")
            if texts := [text.text for new in plan.puts.values() for text in new.texts]:
                try:
                    await meaning.prepare(texts)
                except ModelError as error:
                    tell(f"{_KEPT}: {error}")
            results = await self.database.run(self._work, plan, near)
            if plan.puts:
                await self._tell_changed(meaning)
        return results

    @contextmanager
    def _noting(self) -> Iterator[None]:
        with collected_notes() as notes:
            yield
        self.problem = "; ".join(notes)

    async def _near(self, meaning: Meaning, op: Op) -> list[int]:
        """The texts near to the question of an operation, the nearest first."""
        if not isinstance(op, SearchOp) or not op.query:
            return []
        allowed = await self.database.run(self._allowed, op)
        if allowed is not None and not allowed:
            return []
        return [text for text, _ in await meaning.rank(op.query, allowed, _most(op))]

    def _allowed(self, op: SearchOp) -> list[int] | None:
        """The texts among which a search looks; None for all."""
        with self.database.view() as cursor:
            if not self.database.has_memory:
                return []
            if op.filter:
                return items.texts_within(cursor, op)
            return texts_below(cursor, self.database.words, items.stored_namespace(op.namespace_prefix))

    async def _tell_changed(self, meaning: Meaning) -> None:
        try:
            await meaning.changed()
        except ModelError as error:
            tell(str(error))

    # --- in the database -------------------------------------------------------------------------

    def _work(self, plan: _Plan, near: Mapping[int, list[int]]) -> list[Result]:
        """Do operations: first what reads, then what writes, in one transaction.

        Args:
            plan: The operations.
            near: By the number of a search the texts near to its question, the nearest first.
        """
        used: set[int] = set()
        with self._transaction() if plan.puts else self.database.view() as cursor:
            if any(new.value is not None for new in plan.puts.values()):
                self.database.add_memory()
            elif not self.database.has_memory:
                return [None if isinstance(op, (GetOp, PutOp)) else [] for op in plan.ops]
            if plan.puts:
                bump_version(cursor)
            words = self.database.words
            results = [
                _read(cursor, words, op, near.get(number, ()), used) for number, op in enumerate(plan.ops)
            ]
            has_used = items.have_ttl(cursor, used)
            if plan.puts:
                _write(cursor, words, plan.puts.values())
        if has_used:
            with self.database.transaction() as cursor:
                take_turn(cursor)
                items.renew_ttl(cursor, used)
        return results

    @contextmanager
    def _transaction(self) -> Iterator[Cursor]:
        """A transaction of the database; FTS5 writes, and notices some damage, only when it is committed."""
        try:
            with self.database.transaction() as cursor:
                yield cursor
        except sqlite3.IntegrityError as error:
            raise StorageError(
                f"cannot use the database {str(self.database.path)!r}: the index of memory is damaged; "
                "`swarm-graph doctor --database --repair` makes it anew"
            ) from error


class _Plan(NamedTuple):
    """The operations of a batch, ready to be done."""

    ops: list[Op]
    puts: dict[tuple[str, str], items.NewItem]
    """What is written: by namespace and key the last that is put there."""

    @property
    def needs_meaning(self) -> bool:
        return bool(self.puts) or any(isinstance(op, SearchOp) and op.query for op in self.ops)


def _write(cursor: Cursor, words: WordIndex, puts: Iterable[items.NewItem]) -> None:
    digests = items.delete_expired(cursor, words)
    for new in puts:
        digests |= items.put(cursor, words, new)
    delete_unused_vectors(cursor, digests)


def _read(cursor: Cursor, words: WordIndex, op: Op, near: Sequence[int], used: set[int]) -> Result:
    """The result of an operation; None for one that writes.

    Args:
        cursor: Sees the tables of memory.
        words: The index of words.
        op: The operation.
        near: The texts near to its question, the nearest first.
        used: Takes the ids of the items whose time starts again.
    """
    if isinstance(op, PutOp):
        return None
    if isinstance(op, ListNamespacesOp):
        return items.namespaces(cursor, op)
    if isinstance(op, GetOp):
        named = items.item_named(cursor, op.namespace, op.key)
        found: Sequence[tuple[int, Item]] = [named] if named else []
    else:
        found = _searched(cursor, words, op, near) if op.query else items.newest_items(cursor, op)
    if op.refresh_ttl:
        used.update(item for item, _ in found)
    if isinstance(op, GetOp):
        return found[0][1] if found else None
    return [match for _, match in found]


def _searched(
    cursor: Cursor, words: WordIndex, op: SearchOp, near: Sequence[int]
) -> list[tuple[int, SearchItem]]:
    """The items that a question finds, with their ids, the best first."""
    namespace = items.stored_namespace(op.namespace_prefix)
    with closing(ranked_by_words(cursor, words, op.query or "", namespace)) as ranked:
        rankings = [items.items_of_texts(cursor, texts, op, _most(op)) for texts in (ranked, near)]
    return items.items_by_id(cursor, fused(*rankings)[op.offset : op.offset + op.limit])


def _most(op: SearchOp) -> int:
    """How many items each ranking of a search has before both are fused."""
    return max(_MIN_RANKED, op.offset + op.limit)


def _checked(op: Op) -> Op:
    """An operation whose names and numbers are sound."""
    if not isinstance(op, (GetOp, SearchOp, PutOp, ListNamespacesOp)):
        raise InputError(f"unknown operation {type(op).__name__!r}; expected one of langgraph.store.base")
    validate_op_namespace(op)
    if isinstance(op, (SearchOp, ListNamespacesOp)):
        limit, offset = (min(max(number, 0), _MOST) for number in (op.limit, op.offset))
        return op._replace(limit=limit, offset=offset)
    return op


def _paths(name: str, paths: object) -> Sequence[str]:
    """The paths of texts. Raises InputError for anything else, such as one path that is no list."""
    if isinstance(paths, (list, tuple)) and all(isinstance(path, str) for path in paths):
        return paths
    raise InputError(f'{name}: expected a list of paths, such as ["text"], not {paths!r}')


def open_store(
    path: str | Path | None = None,
    *,
    data_dir: str | Path = DATA_DIR,
    memory: MemorySettings | Mapping[str, Any] | None = None,
    index: IndexConfig | None = None,
    ttl: TTLConfig | None = None,
) -> SwarmStore:
    """Open a database as LangGraph store; use it as a value, or in `with` or `async with`.

    A missing file is created, as `open_checkpointer` does, which may use the same database.

    Args:
        path: A SQLite file; `:memory:` for none; or a URL, `postgresql://…`. Default: the database of the
            sessions, as the setting `database` says, or `.swarm/swarm.db`.
        data_dir: With a URL, the folder of this machine where a vector store may keep its copy.
        memory: The group `memory` of a configuration: its embedding model and vector store are used.
        index: LangGraph's own way to name an embedding model, and the fields of items to search; in place of
            `memory`.
        ttl: LangGraph's settings for the time that items live.

    Raises:
        ConfigError: `memory` is not as the configuration has it, or there is `index`, too; `index` or `ttl`
            is not as LangGraph has it.
        StorageError: The file is a folder, no SQLite database, of a newer version, or cannot be written; or
            the server cannot be used.
    """
    settings = _settings(memory)
    if memory is not None and index:
        raise ConfigError("expected either memory or index: both name an embedding model")
    _check_keys("index", index, IndexConfig)
    _check_keys("ttl", ttl, TTLConfig)
    database = open_database(place_of(data_dir) if path is None else path, data_dir)
    try:
        meaning = _configured_meaning(database, settings, None)
        if index and index.get("embed"):
            meaning = _given_meaning(database, index)
        store = SwarmStore(database, meaning, fields=index.get("fields") if index else None, ttl=ttl)
    except BaseException:
        database.close()
        raise
    store._owns_database = True
    return store


def _check_keys(name: str, given: object, expected: type) -> None:
    known = [*expected.__annotations__]
    wrong = [repr(key) for key in given if key not in known] if isinstance(given, dict) else [repr(given)]
    if given is not None and wrong:
        raise ConfigError(f"{name}: expected a dict with {', '.join(known)}, not {', '.join(wrong)}")


def _settings(memory: MemorySettings | Mapping[str, Any] | None) -> MemorySettings | None:
    if memory is None or isinstance(memory, MemorySettings):
        return memory
    return load_config({"memory": memory}, environ={}).memory


def _configured_meaning(
    database: Storage, memory: MemorySettings | None, proxy: str | None
) -> Meaning | None:
    """The search by meaning that the configuration wants; its modules are imported only then."""
    if not memory or not memory.embeddings:
        return None
    from swarm_graph.memory.vectors import OwnVectors
    from swarm_graph.models.embeddings import embedder

    model = embedder(memory.embeddings, proxy)
    if memory.vector_store is None:
        return OwnVectors(database, model)
    from swarm_graph.memory.vector_stores import LangChainVectors

    return LangChainVectors(database, model, memory.vector_store)


def _given_meaning(database: Storage, index: IndexConfig) -> Meaning:
    from swarm_graph.memory.given_embeddings import GivenEmbeddings
    from swarm_graph.memory.vectors import OwnVectors

    return OwnVectors(database, GivenEmbeddings(index))
