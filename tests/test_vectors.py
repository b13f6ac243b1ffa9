"""Search by meaning with vectors of our own: made once, kept at once, gone with their texts."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from langgraph.store.base import PutOp
from servers.canned_embeddings import CannedEmbeddings, answer, embedded, vector_of
from servers.embedding_server import Embeddings
from test_embeddings import PASSAGES, QUESTIONS

from swarm_graph.errors import ConfigError, EmbeddingError
from swarm_graph.memory.store import SwarmStore, open_store

NOTES = ("notes",)


@pytest.fixture
def canned() -> Iterator[CannedEmbeddings]:
    with CannedEmbeddings() as server:
        yield server


def opened(path: Path, server: CannedEmbeddings, **settings: Any) -> SwarmStore:
    return open_store(path / "swarm.db", memory={"embeddings": server.settings(**settings)})


def put(store: SwarmStore, **texts: str) -> None:
    store.batch([PutOp(NOTES, key, {"text": text}, index=["text"]) for key, text in texts.items()])


def keys(store: SwarmStore, question: str) -> list[str]:
    return [item.key for item in store.search(NOTES, query=question)]


def near(store: SwarmStore, question: str) -> list[str]:
    """The keys that the search by meaning alone finds."""
    assert store.meaning
    rows = asyncio.run(store.meaning.rank(question, None, 10))
    if not rows:
        return []
    with store.database.view() as cursor:
        of_text = dict(
            cursor.execute(
                "SELECT t.id, i.key FROM memory_texts t JOIN memory_items i ON i.id = t.item"
            ).fetchall()
        )
    return [of_text[row] for row, _ in rows]


def count(path: Path, what: str = "memory_vectors") -> int:
    with closing(sqlite3.connect(path / "swarm.db")) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {what}").fetchone()[0])


def test_texts_are_found_by_meaning_and_embedded_once(tmp_path: Path, canned: CannedEmbeddings) -> None:
    with opened(tmp_path, canned, batch=2) as store:
        put(store, a="close the valve", b="start the pump", c="wear gloves", d="close the valve")
        assert near(store, "valve close now")[:2] == ["a", "d"]
        put(store, e="start the pump")  # known already
        assert near(store, "pump")[:2] == ["b", "e"]
    assert canned.asked == [
        ["close the valve", "start the pump"],
        ["wear gloves"],
        ["valve close now"],
        ["pump"],
    ]
    assert count(tmp_path) == 3


def test_vectors_go_with_the_last_item_that_has_their_text(tmp_path: Path, canned: CannedEmbeddings) -> None:
    with opened(tmp_path, canned) as store:
        put(store, a="close the valve", b="close the valve", c="wear gloves")
        store.delete(NOTES, "a")
        assert count(tmp_path) == 2
        assert near(store, "valve") == ["b", "c"]
        store.delete(NOTES, "b")
        assert count(tmp_path) == 1
        store.batch([PutOp(NOTES, "c", None), PutOp(NOTES, "d", {"text": "wear gloves"}, index=["text"])])
        assert near(store, "valve") == ["d"]
        put(store, d="start the pump")
        assert near(store, "valve") == ["d"]
        assert count(tmp_path) == 1


def test_another_process_sees_what_is_new_and_what_is_gone(tmp_path: Path, canned: CannedEmbeddings) -> None:
    with opened(tmp_path, canned) as one, opened(tmp_path, canned) as other:
        assert near(other, "valve") == []
        put(one, a="close the valve")
        assert near(other, "valve") == ["a"]
        put(one, b="open the valve")
        one.delete(NOTES, "a")
        assert near(other, "valve") == ["b"]
        canned.script = lambda _: (503, {"error": "busy"})
        put(one, c="grease the valve")
        canned.script = embedded
        assert near(other, "valve") == ["b"]
        assert other.reindex() == 1
        assert {*near(one, "valve")} == {*near(other, "valve")} == {"b", "c"}


def test_vectors_of_different_models_never_mix(tmp_path: Path, canned: CannedEmbeddings) -> None:
    with opened(tmp_path, canned, model="one") as one, opened(tmp_path, canned, model="two") as two:
        put(one, a="close the valve")
        canned.script = lambda texts: answer([[*vector_of(text), 1.0] for text in texts])
        put(two, b="open the valve")
        assert near(two, "valve") == ["b"]
        assert two.reindex() == 1
        assert {*near(two, "valve")} == {"a", "b"}
        canned.script = embedded
        assert near(one, "valve") == ["a"]
        one.delete(NOTES, "a")
        assert near(one, "valve") == []
    assert count(tmp_path) == 1


def test_a_model_that_was_replaced_is_noticed_and_reindex_starts_anew(
    tmp_path: Path, canned: CannedEmbeddings
) -> None:
    with opened(tmp_path, canned) as store:
        put(store, a="close the valve", b="wear gloves")
        canned.script = lambda texts: answer([vector_of(text)[:63] for text in texts])
        put(store, c="open the valve")
        assert "vectors of 63 numbers, not 64 as before" in store.problem
        assert {*keys(store, "valve")} == {"a", "c"}  # by words
        assert "vectors of 63 numbers, not 64 as before" in store.problem
        assert "swarm-graph memory reindex" in store.problem
        assert store.reindex() == 3
        assert near(store, "close")[0] == "a"


def test_search_goes_on_by_text_without_the_embedding_model(tmp_path: Path, canned: CannedEmbeddings) -> None:
    with opened(tmp_path, canned) as store:
        put(store, a="close the valve")
        canned.script = lambda _: (404, {"error": "model not found"})
        put(store, b="open the valve")
        assert store.problem.startswith(
            "kept, and found by words alone until `swarm-graph memory reindex`: memory: canned at"
        )
        assert {*keys(store, "valve")} == {"a", "b"}
        assert store.problem.startswith("searched by words alone: memory: canned at")
        canned.script = embedded
        assert {*keys(store, "valve")} == {"a", "b"}
        assert store.problem == "1 of 2 texts found by words alone until `swarm-graph memory reindex`"
        told: list[tuple[int, int]] = []
        assert store.reindex(lambda done, total: told.append((done, total))) == 1
        assert told == [(1, 1)]
        assert store.reindex() == 0
        assert {*keys(store, "valve")} == {"a", "b"}
        assert store.problem == ""


def test_reindex_names_the_texts_that_the_model_refuses_and_makes_the_others(
    tmp_path: Path, canned: CannedEmbeddings
) -> None:
    canned.script = lambda _: (404, {})
    with opened(tmp_path, canned) as store:
        put(store, a="close the valve", b="poison", c="wear gloves")
        canned.script = lambda texts: (400, {"error": "no"}) if "poison" in texts else embedded(texts)
        with pytest.raises(EmbeddingError, match=r"1 of 3 texts have no vector: .* answered 400: no; "):
            store.reindex()
        assert near(store, "valve") == ["a", "c"]


def test_what_was_cut_is_said(tmp_path: Path, canned: CannedEmbeddings) -> None:
    canned.script = lambda texts: (
        (400, {"error": "input is too large to process"})
        if len(max(texts, key=len)) > 99
        else embedded(texts)
    )
    with opened(tmp_path, canned) as store:
        put(store, a="close the valve", b="gloves " * 40)
        assert store.problem.startswith("1 text cut for the embedding model: search by meaning reads only")
        put(store, c="open the valve")
        assert store.problem == ""


def test_what_was_made_before_a_kill_is_kept(tmp_path: Path, canned: CannedEmbeddings) -> None:
    texts = [f"note {number}" for number in range(40)]
    program = f"""
from swarm_graph.memory.store import open_store
from langgraph.store.base import PutOp
store = open_store({str(tmp_path / "swarm.db")!r}, memory={{"embeddings": {canned.settings(batch=4)!r}}})
store.batch([PutOp(("notes",), text, {{"text": text}}, index=["text"]) for text in {texts!r}])
"""

    def kill_at_the_fifth(asked: list[str]) -> Any:
        if len(canned.asked) == 5:
            os.kill(child.pid, signal.SIGKILL)
        return embedded(asked)

    canned.script = kill_at_the_fifth
    with subprocess.Popen([sys.executable, "-c", program]) as child:
        child.wait()
    assert count(tmp_path) == 16
    assert count(tmp_path, "memory_items") == 0
    canned.script = embedded
    with opened(tmp_path, canned) as store:
        put(store, **{text: text for text in texts})
    assert sum(map(len, canned.asked[5:])) == 24
    assert count(tmp_path) == 40


def test_vectors_that_no_item_has_go_with_reindex(tmp_path: Path, canned: CannedEmbeddings) -> None:
    with opened(tmp_path, canned) as store:
        put(store, a="close the valve")
        assert store.meaning
        asyncio.run(store.meaning.prepare(["left over"]))
        assert count(tmp_path) == 2
        assert store.reindex() == 0
        assert count(tmp_path) == 1


@pytest.mark.parametrize("vector", [b"", b"odd", b"\0" * 64, b"\xff" * 128, b"\x00\x7b" * 64, "text"])
def test_a_damaged_vector_is_not_found(tmp_path: Path, canned: CannedEmbeddings, vector: Any) -> None:
    """The bytes are empty, of an odd or of another size, not a number, and 57,344 in every place."""
    with opened(tmp_path, canned) as store:
        put(store, a="wear gloves", b="close the valve", c="start the pump")
    with closing(sqlite3.connect(tmp_path / "swarm.db")) as connection, connection:
        connection.execute(
            "UPDATE memory_vectors SET vector = ? WHERE digest IN "
            "(SELECT digest FROM memory_texts WHERE text = 'wear gloves')",
            (vector,),
        )
    with opened(tmp_path, canned) as store:
        assert {*near(store, "gloves")} == {"b", "c"}


def test_without_numpy_the_cure_is_named(
    tmp_path: Path, canned: CannedEmbeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "swarm_graph.memory.vectors.find_spec", lambda name: name != "numpy" and find_spec(name)
    )
    with pytest.raises(ConfigError, match="the package numpy: `pip install numpy`"):
        opened(tmp_path, canned)


def test_both_rankings_find_more_than_words_alone(tmp_path: Path, embeddings: Embeddings) -> None:
    texts = {f"p{number}": text for number, text in enumerate(PASSAGES)}
    with open_store(tmp_path / "swarm.db", memory={"embeddings": embeddings.settings}) as store:
        put(store, **texts)
        with_both = [QUESTIONS[question] in _first(store, question) for question in QUESTIONS]
        assert store.problem == ""
    with open_store(tmp_path / "swarm.db") as store:
        by_words = [QUESTIONS[question] in _first(store, question) for question in QUESTIONS]
    assert sum(with_both) >= 9
    assert sum(with_both) > sum(by_words)


def _first(store: SwarmStore, question: str) -> list[str]:
    return [item.value["text"] for item in store.search(NOTES, query=question, limit=3)]
