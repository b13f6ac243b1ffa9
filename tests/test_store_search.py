"""What a question finds in memory by words, and what a failing embedding model leaves."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from langgraph.store.base import PutOp
from servers.postgres import PostgresServer
from storages import POSTGRES, SQLITE, count

from swarm_graph.checkpoints.memory_tables import index_problems
from swarm_graph.errors import ConfigError, InputError, SwarmError
from swarm_graph.memory import text_search
from swarm_graph.memory.fusion import fused
from swarm_graph.memory.given_embeddings import GivenEmbeddings
from swarm_graph.memory.store import SwarmStore, open_store

PASSAGES = {
    "pump": "The feed pump P-101 delivers 40 m³/h at 5.5 bar; it stops at 80 °C.",
    "valve": "PSV-2003A is the safety valve of the column. It opens at 12bar, not at 13.5bar.",
    "code": "src/calc.py has a function mean_of_values(); see also Übersicht/Pläne.md",
    "german": "Die Ventilprüfung findet jährlich statt, und die Pumpe wird gewartet.",
    "ascii": "Die groesste Drehzahl ist 2950/min.",
    "sharp": "Der Maßstab ist 1:50.",
    "chinese": "安全阀的检查周期为十二个月。",
    "japanese": "ポンプの点検は毎月行います。",
    "thai": "ปั๊มน้ำต้องตรวจสอบทุกเดือน",
    "pdf": "The of\ufb01ce keeps the ﬁlter certi\u00adficate.",
    "pipe": "The line is DN80. Its trip is SIL 2.",
    "query": 'SELECT "a" AND (b OR c) NEAR d* -- ^text',
}


@pytest.fixture(scope="module", params=[SQLITE, POSTGRES])
def plant(request: pytest.FixtureRequest) -> Iterator[SwarmStore]:
    place = ":memory:"
    if request.param == POSTGRES:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        place = server.url(server.new_database())
    with open_store(place) as store:
        store.batch(PutOp(("plant",), key, {"text": text}, ["text"]) for key, text in PASSAGES.items())
        yield store


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("What does P-101 deliver?", "pump"),
        ("P101", "pump"),
        ("p 101", "pump"),
        ("How much is 5.5 bar?", "pump"),
        ("40 m³/h", "pump"),
        ("PSV-2003A", "valve"),
        ("psv2003a", "valve"),
        ("the 2003A", "valve"),
        ("PSV-2003", "valve"),
        ("DN 80", "pipe"),
        ("SIL2", "pipe"),
        ("valves", "valve"),
        ("opens at 12 bar", "valve"),
        ("13.5 bar?", "valve"),
        ("src/calc.py", "code"),
        ("calc.py", "code"),
        ("mean_of_values", "code"),
        ("Uebersicht Plane", "code"),
        ("Wann ist die Ventilprufung?", "german"),
        ("Ventilpru\u0308fung", "german"),
        ("ventilpruefung_jaehrlich", "german"),
        ("GROESSTE", "ascii"),
        ("größte", "ascii"),
        ("Massstab", "sharp"),
        ("检查周期是多久", "chinese"),
        ("十二", "chinese"),
        ("点検", "japanese"),
        ("ตรวจสอบ", "thai"),
        ("office", "pdf"),
        ("filter certificate", "pdf"),
        ("SELECT NEAR", "query"),
    ],
)
def test_a_question_finds_its_passage_first(plant: SwarmStore, question: str, found: str) -> None:
    assert [item.key for item in plant.search(("plant",), query=question)][:1] == [found]


@pytest.mark.parametrize(
    "question",
    [
        "", " ", "What is the?", "is/was what's",
        "Was ist das?", "zebra", "\0", "\ud800", "'", '"', '" OR "', "*", "^",
        "NOT (", "scope:", "{scope x}:", "- + ( )", "scope : \"", "rank:", "检", "阀安", "😀",
    ],
)  # fmt: skip
def test_nothing_in_a_question_is_an_operator(plant: SwarmStore, question: str) -> None:
    """Without a word that a passage has, nothing is found; a search without a question finds all."""
    found = [item.key for item in plant.search(("plant",), query=question, limit=100)]
    if question == "":
        assert len(found) == len(PASSAGES)
    elif question == "检":
        assert found == ["chinese"]
    else:
        assert found == []


def test_a_question_of_any_length_is_answered(plant: SwarmStore) -> None:
    question = " ".join(f"word{number}" for number in range(50_000))
    assert plant.search(("plant",), query=question) == []
    assert [item.key for item in plant.search(("plant",), query=f"P-101 {question}")] == ["pump"]


def test_the_part_of_the_tree_bounds_what_words_are_common(
    memory_place: str | Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A word that a large part of memory has on every page still finds the one passage of a small part."""
    monkeypatch.setattr(text_search, "MAX_EFFORT", 50)
    with open_store(memory_place) as store:
        store.batch(PutOp(("large",), f"{number}", {"text": "pump valve"}) for number in range(300))
        store.batch([PutOp(("large",), "rare", {"text": "pump valve zebra"})])
        store.batch([PutOp(("small",), "one", {"text": "the pump"}), PutOp(("small",), "two", {"text": "x"})])
        assert [item.key for item in store.search(("small",), query="pump zebra")] == ["one"]
        assert [item.key for item in store.search((), query="pump valve zebra")] == ["rare"]
        assert [item.key for item in store.search((), query="pump valve", limit=2)] == ["rare", "299"]


def test_an_item_counts_by_its_best_text(memory_place: str | Path) -> None:
    with open_store(memory_place) as store:
        store.put(("a",), "many", {"parts": ["pump pump"] * 3 + ["valve"]}, index=["parts[*]"])
        store.put(("a",), "one", {"parts": ["a pump and much else that is longer"]}, index=["parts[*]"])
        found = store.search((), query="pump")
        assert [item.key for item in found] == ["many", "one"]
        assert found[0].score == pytest.approx(1 / 21)


def test_ranks_are_fused() -> None:
    assert fused([1, 2, 3], [3, 4]) == [
        (3, 1 / 23 + 1 / 21), (1, 1 / 21), (2, 1 / 22), (4, 1 / 22),
    ]  # fmt: skip


def test_both_storages_rank_alike(emptied_url: str) -> None:
    """By BM25 with the same numbers: of words and phrases, in all of memory and in a part of it."""
    chosen = random.Random(7)
    names = (
        "pump",
        "valves",
        "P-101",
        "P-101A",
        "Ventil",
        "größer",
        "running",
        "runs",
        "泵的检查",
        "5.5 bar",
    )
    texts = [" ".join(chosen.choices(names, range(10, 0, -1), k=chosen.randint(3, 40))) for _ in range(300)]
    long = " ".join(f"w{number}" for number in range(5000))  # has several rows in PostgreSQL
    puts = [PutOp(("p", "ab"[n % 2]), str(n), {"text": text}, ["text"]) for n, text in enumerate(texts)]
    puts += [PutOp(("p", "a"), "long", {"text": f"{long} zebra crossing"}, ["text"])]
    with open_store(":memory:") as one, open_store(emptied_url) as other:
        one.batch(puts)
        other.batch(puts)
        for question in (*names, "pump 5.5 bar", "P-101 runs", "检查", "w1999 w2000", "zebra crossing"):
            for place in ((), ("p", "a")):
                ranked = [item.key for item in one.search(place, query=question, limit=400)]
                assert ranked
                assert [item.key for item in other.search(place, query=question, limit=400)] == ranked
        assert index_problems(other.database) == []


# --- meaning ---------------------------------------------------------------------------------------


class Thesaurus:
    """Embeddings that know that some words mean the same. They fail while `is_down`."""

    def __init__(self) -> None:
        self.is_down, self.asked = False, list[str]()

    def __call__(self, texts: Sequence[str]) -> list[list[float]]:
        if self.is_down:
            raise OSError("connection refused")
        self.asked.extend(texts)
        groups = (("pump", "mover"), ("valve", "tap"), ("tank", "vessel"))
        return [[0.1, *(float(any(w in text for w in group)) for group in groups)] for text in texts]


@pytest.fixture
def thesaurus() -> Thesaurus:
    return Thesaurus()


@pytest.fixture
def meaning(memory_place: str | Path, thesaurus: Thesaurus) -> Iterator[SwarmStore]:
    with open_store(memory_place, index={"dims": 4, "embed": thesaurus, "fields": ["text"]}) as store:
        store.put(("a",), "pump", {"text": "the pump runs"})
        store.put(("a",), "valve", {"text": "the valve opens"})
        yield store


def found(store: SwarmStore, query: str, **more: Any) -> list[str]:
    return [item.key for item in store.search((), query=query, **more)]


def test_other_words_of_the_same_meaning_find_an_item(meaning: SwarmStore) -> None:
    assert found(meaning, "mover", limit=1) == ["pump"]
    assert found(meaning, "tap", limit=1) == ["valve"]
    assert meaning.problem == ""


def test_a_failing_model_leaves_the_words_and_says_so(meaning: SwarmStore, thesaurus: Thesaurus) -> None:
    thesaurus.is_down = True
    assert found(meaning, "mover") == []
    assert "connection refused" in meaning.problem
    assert found(meaning, "pump") == ["pump"]
    meaning.put(("a",), "tank", {"text": "the tank is full"})
    assert "connection refused" in meaning.problem
    assert found(meaning, "full") == ["tank"]
    thesaurus.is_down = False
    assert "tank" not in found(meaning, "vessel", limit=2)
    assert meaning.problem.startswith("1 of 3 texts found by words alone")
    assert meaning.reindex() == 1
    assert found(meaning, "vessel", limit=1) == ["tank"]
    assert meaning.problem == ""


def test_a_text_is_embedded_once(meaning: SwarmStore, thesaurus: Thesaurus) -> None:
    """Also if several items have it, or it moves to another item in the batch that deletes the first one."""
    thesaurus.asked.clear()
    meaning.put(("b",), "again", {"text": "the pump runs"})
    moved = PutOp(("a",), "moved", {"text": "the valve opens"})
    meaning.batch([PutOp(("a",), "valve", None), moved])
    assert thesaurus.asked == []
    assert found(meaning, "tap", limit=1) == ["moved"]


def test_the_vector_of_a_deleted_text_is_deleted(meaning: SwarmStore) -> None:
    meaning.put(("b",), "again", {"text": "the pump runs"})
    meaning.delete(("a",), "pump")
    assert count(meaning, "memory_vectors") == 2
    meaning.delete(("b",), "again")
    assert count(meaning, "memory_vectors") == 1


@pytest.mark.parametrize("bad", [[0.0] * 4, [float("nan")] * 4, [1.0] * 3])
def test_an_unusable_vector_leaves_the_words(tmp_path: Path, bad: list[float]) -> None:
    with open_store(
        tmp_path / "s.db", index={"dims": 4, "embed": lambda texts: [bad for _ in texts]}
    ) as store:
        store.put(("a",), "k", {"text": "pump"})
        assert "the embeddings of the store's index made" in store.problem
        assert found(store, "pump") == ["k"]


def test_a_model_is_asked_outside_of_transactions(tmp_path: Path) -> None:
    """Another program may write while the model thinks."""
    path = tmp_path / "swarm.db"
    written = threading.Event()

    def embed(texts: Sequence[str]) -> list[list[float]]:
        with sqlite3.connect(path, timeout=0) as other:
            other.execute("UPDATE sessions SET phase = phase")
        other.close()
        written.set()
        return [[1.0] for _ in texts]

    with open_store(path, index={"dims": 1, "embed": embed}) as store:
        store.put(("a",), "k", {"text": "pump"})
        assert written.is_set()
        assert found(store, "anything") == ["k"]
        assert store.problem == ""


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"index": ["text"]}, "index: expected a dict with dims, embed, fields, not "),
        ({"index": {"dims": 1, "embed": len, "field": []}}, "index: .*, not 'field'"),
        ({"index": {"dims": 1, "embed": 3}}, "index: embed: expected a function, "),
        ({"index": {"dims": "1", "embed": len}}, "index: dims: expected the numbers of a vector"),
        (
            {"index": {"dims": 1, "embed": len, "fields": "text"}},
            "fields: expected a list of paths, such as ",
        ),
        ({"ttl": 3}, "ttl: expected a dict with refresh_on_read, "),
    ],
)
def test_what_is_no_setting_of_langgraph_is_refused(wrong: Any, told: str) -> None:
    with pytest.raises(SwarmError, match=told):
        open_store(":memory:", **wrong)


def test_one_path_in_place_of_a_list_is_refused() -> None:
    with open_store(":memory:") as store, pytest.raises(InputError, match="index: expected a list of paths"):
        store.put(("a",), "k", {"text": "pump"}, index="text")  # type: ignore[arg-type]


def embed_by(model: str, texts: Sequence[str]) -> list[list[float]]:
    return [[float(len(model))] for _ in texts]


def test_functions_with_other_settings_are_other_models(monkeypatch: pytest.MonkeyPatch) -> None:
    def name(embed: Any) -> str:
        return GivenEmbeddings({"dims": 1, "embed": embed}).name

    one, other = (name(partial(embed_by, model)) for model in ("e5", "bge"))
    assert one == name(partial(embed_by, "e5"))
    assert one != other
    mine = name(embed_by)
    monkeypatch.setattr(embed_by, "__module__", "__main__")
    main = name(embed_by)
    monkeypatch.setattr(embed_by, "__module__", "__mp_main__")  # as a spawned process calls it
    assert name(embed_by) == main != mine


def test_memory_and_index_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected either memory or index"):
        open_store(tmp_path / "s.db", memory={}, index={"dims": 1, "embed": Thesaurus()})
    with pytest.raises(ConfigError, match="recal: unknown key"):
        open_store(tmp_path / "s.db", memory={"recal": {}})
    assert not (tmp_path / "s.db").exists()


def test_one_loop_after_another(tmp_path: Path, thesaurus: Thesaurus) -> None:
    """Async callers may come from other loops, and sync ones from inside a running loop."""
    with open_store(tmp_path / "s.db", index={"dims": 4, "embed": thesaurus, "fields": ["text"]}) as store:

        async def work(key: str) -> list[str]:
            await store.aput(("a",), key, {"text": f"pump {key}"})
            store.put(("a",), f"{key}-sync", {"text": f"pump {key}"})
            return [item.key for item in await store.asearch((), query="mover")]

        assert len(asyncio.run(work("x"))) == 2
        assert len(asyncio.run(work("y"))) == 4
