"""The store of memory behaves as LangGraph documents a store; its own InMemoryStore is the reference."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, cast

import pytest
from langgraph.store.base import (
    BaseStore,
    GetOp,
    InvalidNamespaceError,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    SearchItem,
    SearchOp,
)
from langgraph.store.memory import InMemoryStore
from storages import POSTGRES, SQLITE, count

from swarm_graph.checkpoints.memory_tables import index_problems
from swarm_graph.errors import InputError
from swarm_graph.memory.store import SwarmStore, open_store

MINUTE = 60.0
ODD = ("a'b", 'say "x"', "100%", "under_score", "back\\slash", "\\ud800", "ümläut", "安全", "a\nb", "*", "😀")
"""Labels and keys that SQL, LIKE, GLOB or an escape could misread."""


@pytest.fixture
def store(memory_place: str | Path) -> Iterator[SwarmStore]:
    with open_store(memory_place) as store:
        yield store


@pytest.fixture(params=[SQLITE, POSTGRES, "reference"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseStore]:
    """Our store in either storage, and LangGraph's own, where all must agree."""
    if request.param == "reference":
        yield InMemoryStore()
    else:
        is_file = request.param == SQLITE
        with open_store(
            tmp_path / "swarm.db" if is_file else request.getfixturevalue("emptied_url")
        ) as store:
            yield store


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the time on by so many minutes."""
    moved = [0.0]
    real = time.time

    def now() -> float:
        return real() + moved[0]

    def move(minutes: float) -> None:
        moved[0] += minutes * MINUTE

    monkeypatch.setattr(time, "time", now)
    return move


def keys(found: list[SearchItem]) -> list[str]:
    return [item.key for item in found]


# --- items -----------------------------------------------------------------------------------------


def test_an_item_is_put_replaced_and_deleted(either: BaseStore) -> None:
    before = datetime.now(UTC)
    assert either.get(("a", "b"), "k") is None
    either.put(("a", "b"), "k", {"n": 1})
    either.put(("a", "b"), "k", {"n": 2})
    item = either.get(("a", "b"), "k")
    assert item is not None
    assert (item.namespace, item.key, item.value) == (("a", "b"), "k", {"n": 2})
    assert before <= item.created_at <= item.updated_at <= datetime.now(UTC)
    assert either.get(("a",), "k") is None
    either.delete(("a", "b"), "k")
    either.delete(("a", "b"), "k")
    assert either.get(("a", "b"), "k") is None


def test_an_item_remembers_when_it_was_created(store: SwarmStore, clock: Callable[[float], None]) -> None:
    store.put(("a",), "k", {"n": 1})
    clock(5)
    store.put(("a",), "k", {"n": 2})
    item = store.get(("a",), "k")
    assert item is not None
    assert (item.updated_at - item.created_at).total_seconds() == pytest.approx(300, abs=30)


@pytest.mark.parametrize("namespace", [(), ("",), ("a.b",), ("langgraph", "a"), (3,), ("a\0",)])
def test_a_bad_namespace_is_refused(either: BaseStore, namespace: tuple[str, ...]) -> None:
    with pytest.raises(InvalidNamespaceError):
        either.put(namespace, "k", {})


def test_operations_are_checked_like_methods(store: SwarmStore) -> None:
    """Else the label `a.b` would be the namespace `a`, `b`."""
    store.put(("a", "b"), "k", {})
    for op in (GetOp(("a.b",), "k"), PutOp(("a.b",), "k", None), SearchOp(("a.b",))):
        with pytest.raises(InvalidNamespaceError):
            store.batch([op])
    with pytest.raises(InvalidNamespaceError):
        store.batch([ListNamespacesOp((MatchCondition("prefix", ("a.b",)),))])
    with pytest.raises(InputError, match="unknown operation 'str'"):
        store.batch(["get"])  # type: ignore[list-item]


def test_odd_names_mean_only_themselves(either: BaseStore) -> None:
    for label in ODD:
        either.put(("odd", label), label, {"label": label})
    for label in ODD:
        item = either.get(("odd", label), label)
        assert item is not None
        assert item.value == {"label": label}
        assert [(item.namespace, item.key) for item in either.search(("odd", label))] == [
            (("odd", label), label)
        ]
    assert {*either.list_namespaces(prefix=("odd",))} == {("odd", label) for label in ODD}


def test_half_a_character_in_a_name_is_kept_apart(store: SwarmStore) -> None:
    """It is no Unicode, so SQLite cannot store it as it is; a file's name may hold one."""
    names = ("\ud800", r"\ud800", "\\" + r"\ud800")
    for name in names:
        store.put(("odd", name), name, {"name": name})
    for name in names:
        (item,) = store.search(("odd", name))
        assert (item.namespace, item.key, item.value) == (("odd", name), name, {"name": name})


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"text": "half \ud800 a NUL \0 and a line\n", "none": None, "flag": True},
        {"int": 10**400, "negative": -(2**70), "float": 1e-300, "infinite": float("inf")},
        {"nested": {"list": [1, [2, {"deep": ["x"]}]], "": "empty key"}},
        {"\ud800": 1, "$": 2, "a.b": 3},
    ],
)
def test_a_value_comes_back_as_it_was(either: BaseStore, value: dict[str, Any]) -> None:
    either.put(("a",), "k", value)
    item = either.get(("a",), "k")
    assert item is not None
    assert item.value == value
    assert keys(either.search(("a",))) == ["k"]


@pytest.mark.parametrize("value", [{"set": {1}}, {"bytes": b"x"}, {"huge": 10**5000}])
def test_a_value_that_is_no_json_is_refused_and_the_batch_with_it(
    store: SwarmStore, value: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match="cannot store the item 'k': its value is no JSON"):
        store.batch([PutOp(("a",), "first", {}), PutOp(("a",), "k", value)])
    assert store.search(()) == []


# --- batches ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True])
def test_a_batch_reads_first_and_the_last_put_counts(either: BaseStore, is_async: bool) -> None:
    either.put(("a",), "k", {"n": 0})
    ops: list[Op] = [
        PutOp(("a",), "k", {"n": 1}),
        GetOp(("a",), "k"),
        PutOp(("a",), "new", {"n": 9}),
        SearchOp(("a",)),
        PutOp(("a",), "k", {"n": 2}),
        ListNamespacesOp(),
        PutOp(("a",), "new", None),
        GetOp(("a",), "missing"),
    ]
    results = asyncio.run(either.abatch(ops)) if is_async else either.batch(ops)
    assert [results[number] for number in (0, 2, 4, 6, 7)] == [None] * 5
    assert cast(Any, results[1]).value == {"n": 0}
    assert [item.value for item in cast(Any, results[3])] == [{"n": 0}]
    assert results[5] == [("a",)]
    assert cast(Any, either.get(("a",), "k")).value == {"n": 2}
    assert either.get(("a",), "new") is None


def test_async_methods_do_the_same(either: BaseStore) -> None:
    async def work() -> None:
        await either.aput(("a", "b"), "k", {"n": 1})
        item = await either.aget(("a", "b"), "k")
        assert item is not None
        assert item.value == {"n": 1}
        assert keys(await either.asearch(("a",))) == ["k"]
        assert await either.alist_namespaces() == [("a", "b")]
        await either.adelete(("a", "b"), "k")
        assert await either.asearch(()) == []

    asyncio.run(work())


# --- search without a question ---------------------------------------------------------------------


@pytest.fixture
def filled(either: BaseStore) -> BaseStore:
    either.put(("docs", "x"), "1", {"n": 1, "kind": "a", "at": {"city": "Bonn", "zip": "53111"}})
    either.put(("docs", "x"), "2", {"n": 2.5, "kind": "b", "tags": ["p", "q"]})
    either.put(("docs", "y"), "3", {"n": 10, "kind": "a", "flag": True, "none": None})
    either.put(("docsy",), "4", {"n": -1, "kind": "c"})
    return either


@pytest.mark.parametrize(
    ("prefix", "found"),
    [((), "1234"), (("docs",), "123"), (("docs", "x"), "12"), (("doc",), ""), (("DOCS",), "")],
)
def test_a_prefix_is_of_whole_labels(filled: BaseStore, prefix: tuple[str, ...], found: str) -> None:
    assert sorted(keys(filled.search(prefix))) == [*found]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"kind": "a"}, "13"),
        ({"kind": "a", "n": 10}, "3"),
        ({"n": {"$eq": 2.5}}, "2"),
        ({"kind": {"$ne": "a"}}, "24"),
        ({"n": {"$gt": 1}}, "23"),
        ({"n": {"$gte": 1, "$lt": 10}}, "12"),
        ({"n": {"$lte": 1}}, "14"),
        ({"at": {"city": "Bonn"}}, "1"),
        ({"at": {"city": {"$ne": "Bonn"}}}, ""),
        ({"tags": ["p", "q"]}, "2"),
        ({"tags": ["p"]}, ""),
        ({"flag": True}, "3"),
        ({"none": None, "n": {"$gt": 2}}, "23"),
        ({"missing": {"$ne": 1}}, "1234"),
        ({}, "1234"),
    ],
)
def test_a_filter_selects_values(filled: BaseStore, wanted: dict[str, Any], found: str) -> None:
    assert sorted(keys(filled.search((), filter=wanted))) == [*found]


def test_a_filter_never_fails_on_a_value_of_another_kind(store: SwarmStore) -> None:
    """The reference raises an error: what one item holds would break every search."""
    store.put(("a",), "text", {"n": "many"})
    store.put(("a",), "number", {"n": 3})
    assert keys(store.search(("a",), filter={"n": {"$gt": 1}})) == ["number"]
    with pytest.raises(InputError, match=r"unknown operator '\$in' in a filter; expected \$eq, "):
        store.search(("a",), filter={"n": {"$in": [3]}})


def test_the_newest_come_first_and_pages_do_not_overlap(store: SwarmStore) -> None:
    for number in range(7):
        store.put(("a",), str(number), {"even": number % 2 == 0})
    store.put(("a",), "2", {"even": True})
    assert keys(store.search(("a",))) == [*"2654310"]
    assert [keys(store.search(("a",), limit=3, offset=start)) for start in (0, 3, 6, 9)] == [
        [*"265"], [*"431"], ["0"], [],
    ]  # fmt: skip
    assert keys(store.search(("a",), filter={"even": True}, limit=2, offset=1)) == [*"64"]
    assert store.search(("a",), limit=0) == store.search(("a",), limit=-1) == []
    assert keys(store.search(("a",), limit=10**30)) == [*"2654310"]


# --- namespaces ------------------------------------------------------------------------------------

TREE = [("a", "b", "c"), ("a", "b", "d", "e"), ("a", "b", "d", "i"), ("a", "b", "f"), ("a", "c", "f"), ("x",)]


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ({}, TREE),
        ({"prefix": ("a", "b"), "max_depth": 3}, [("a", "b", "c"), ("a", "b", "d"), ("a", "b", "f")]),
        ({"prefix": ("a", "*", "f")}, [("a", "b", "f"), ("a", "c", "f")]),
        ({"suffix": ("f",)}, [("a", "b", "f"), ("a", "c", "f")]),
        ({"suffix": ("d", "*")}, [("a", "b", "d", "e"), ("a", "b", "d", "i")]),
        ({"prefix": ("a",), "suffix": ("c",)}, [("a", "b", "c")]),
        ({"prefix": ("x", "*")}, []),
        ({"prefix": ("b",)}, []),
        ({"max_depth": 1}, [("a",), ("x",)]),
        ({"limit": 2, "offset": 1}, TREE[1:3]),
        ({"limit": 2, "offset": 5}, TREE[5:]),
    ],
)
def test_namespaces_are_listed(either: BaseStore, question: dict[str, Any], found: list[Any]) -> None:
    for namespace in reversed(TREE):
        either.put(namespace, "k", {})
    assert either.list_namespaces(**question) == found


def test_a_namespace_without_items_is_gone(store: SwarmStore) -> None:
    store.put(("a", "b"), "k", {})
    store.delete(("a", "b"), "k")
    assert store.list_namespaces() == []


# --- what is found by a question -------------------------------------------------------------------

TOPICS = ("pump", "valve", "tank", "motor")


def topics(texts: Any) -> list[list[float]]:
    """An embedding that knows four words, so that an item is near to what names the same ones."""
    return [[1.0 + 9 * text.lower().count(topic) for topic in TOPICS] for text in texts]


async def atopics(texts: Any) -> list[list[float]]:
    return topics(texts)


@pytest.fixture(params=["ours", "ours, async", "reference", "words", "postgres", "postgres, words"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., BaseStore]]:
    """Opens a store with fields to search in: by meaning, and ours by words alone."""
    opened: list[SwarmStore] = []

    def open_with(fields: list[str] | None = None) -> BaseStore:
        config: Any = {"dims": 4, "embed": atopics if "async" in request.param else topics}
        config |= {"fields": fields} if fields else {}
        if request.param == "reference":
            return InMemoryStore(index=config)
        if "words" in request.param:
            config = {"fields": fields} if fields else None
        on_server = "postgres" in request.param
        place = request.getfixturevalue("emptied_url") if on_server else tmp_path / "swarm.db"
        opened.append(open_store(place, index=config))
        return opened[0]

    yield open_with
    for store in opened:
        store.close()


def best(store: BaseStore, query: str, **more: Any) -> str | None:
    """The key of the best item, if it has a score."""
    found = store.search((), query=query, **more)
    return found[0].key if found and found[0].score is not None else None


def test_the_whole_item_is_found_by_default(index: Callable[..., BaseStore]) -> None:
    store = index()
    store.put(("a",), "1", {"title": "Pump", "more": ["all about", {"it": "sealing"}]})
    store.put(("a",), "2", {"title": "Valve"})
    assert best(store, "pump") == "1"
    assert best(store, "valve") == "2"
    assert best(store, "pump", filter={"title": "Valve"}) in (None, "2")


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(
    ("fields", "found"),
    [
        (["title"], "pump"),
        (["title", "meta.kind"], "pump motor"),
        (["parts[*].name"], "valve tank"),
        (["parts[0].name"], "valve"),
        (["parts[-1].name"], "tank"),
        (["tags[*]", "missing.path"], "motor"),
    ],
)
def test_only_the_named_fields_are_searched(
    index: Callable[..., BaseStore], fields: list[str], found: str, own: bool
) -> None:
    """The fields of the store, or those of one put."""
    store = index(None if own else fields)
    value = {"title": "pump", "meta": {"kind": "motor"}, "parts": [{"name": "valve"}, {"name": "tank"}]}
    value |= {"tags": ["motor"]}
    store.put(("a",), "it", value, index=fields if own else None)
    for topic in TOPICS:
        store.put(("b",), topic, {"title": "none", "x": topic}, index=["x"])
    for topic in TOPICS:
        others = {topic} | ({"it"} if topic in found.split() else set())
        assert {item.key for item in store.search((), query=topic, limit=len(others))} == others


def test_an_item_without_index_is_not_searched(index: Callable[..., BaseStore]) -> None:
    store = index()
    store.put(("a",), "1", {"text": "pump"}, index=False)
    assert best(store, "pump") is None
    assert store.get(("a",), "1") is not None
    store.put(("a",), "1", {"text": "pump"})
    assert best(store, "pump") == "1"


def test_a_replaced_item_is_found_by_its_new_text_only(index: Callable[..., BaseStore]) -> None:
    store = index(["text"])
    store.put(("a",), "1", {"text": "pump"})
    store.put(("a",), "2", {"text": "valve"})
    store.put(("a",), "1", {"text": "tank"})
    assert best(store, "tank") == "1"
    store.delete(("a",), "1")
    assert "1" not in keys(store.search((), query="tank"))


def test_filter_prefix_and_page_apply_to_what_a_question_finds(index: Callable[..., BaseStore]) -> None:
    store = index(["text"])
    for number in range(120):
        text = "pump " * (1 + number % 3)
        store.put(("a", str(number % 2)), str(number), {"text": text, "n": number}, index=["text"])
    found = store.search(("a", "1"), query="pump", filter={"n": {"$gte": 100}}, limit=100)
    assert sorted(keys(found)) == sorted(str(number) for number in range(101, 120, 2))
    pages = [keys(store.search(("a",), query="pump", limit=50, offset=start)) for start in (0, 50, 100)]
    assert sorted(chain.from_iterable(pages)) == sorted(map(str, range(120)))


# --- time to live ----------------------------------------------------------------------------------


def test_an_expired_item_is_gone_at_once_and_its_rows_with_the_next_write(
    store: SwarmStore, clock: Callable[[float], None]
) -> None:
    store.put(("a",), "short", {"text": "pump"}, ttl=1)
    store.put(("a",), "long", {"text": "pump"}, ttl=10)
    store.put(("b",), "ever", {"text": "pump"})
    clock(2)
    assert store.get(("a",), "short") is None
    assert keys(store.search((), query="pump")) == ["long", "ever"]
    assert keys(store.search(())) == ["ever", "long"]
    clock(20)
    assert store.list_namespaces() == [("b",)]
    assert count(store, "memory_items") == 3
    store.put(("b",), "new", {})
    assert keys(store.search(())) == ["new", "ever"]
    assert [count(store, table) for table in ("memory_items", "memory_texts")] == [2, 1]
    assert index_problems(store.database) == []


@pytest.mark.parametrize("read", ["get", "search", "question"])
def test_a_read_starts_the_time_again(store: SwarmStore, clock: Callable[[float], None], read: str) -> None:
    def read_it(**more: Any) -> bool:
        if read == "get":
            return store.get(("a",), "k", **more) is not None
        return bool(store.search((), query="pump" if read == "question" else None, **more))

    store.put(("a",), "k", {"text": "pump"}, ttl=10)
    clock(8)
    assert read_it()
    clock(8)
    assert read_it(refresh_ttl=False)
    clock(3)
    assert not read_it()


def test_the_settings_of_the_store_decide_about_time(tmp_path: Path, clock: Callable[[float], None]) -> None:
    with open_store(tmp_path / "s.db", ttl={"default_ttl": 10, "refresh_on_read": False}) as store:
        store.put(("a",), "default", {})
        store.put(("a",), "none", {}, ttl=None)
        clock(8)
        assert store.get(("a",), "default") is not None
        clock(3)
        assert keys(store.search(())) == ["none"]
        assert (store.sweep_ttl(), store.sweep_ttl()) == (1, 0)


def test_a_put_ends_or_renews_the_time(store: SwarmStore, clock: Callable[[float], None]) -> None:
    store.put(("a",), "k", {"n": 1}, ttl=1)
    store.put(("a",), "k", {"n": 2})
    clock(5)
    created = cast(Any, store.get(("a",), "k")).created_at
    store.put(("a",), "k", {"n": 3}, ttl=1)
    clock(5)
    store.put(("a",), "k", {"n": 4})  # the old one has expired: this is another item
    assert cast(Any, store.get(("a",), "k")).created_at > created
