"""Damage to memory: items are the truth, the rest is found to be wrong and made anew."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support import Crew
from test_repair import coordinator, execute, files, leaves, overwrite, said

from swarm_graph.checkpoints.health import REPAIR, check_database
from swarm_graph.checkpoints.repair import repair_database
from swarm_graph.checkpoints.retention import clean_up
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.errors import StorageError
from swarm_graph.memory.namespaces import DOCUMENTS, KNOWLEDGE
from swarm_graph.memory.store import open_store

PLANT = (*KNOWLEDGE, "plant")
COUNT = 240
WORDS = ("pump", "valve", "column", "reboiler", "flare", "泵")
QUESTIONS = ("the valve of unit 17", "reboiler 99", "泵 of unit 5", "flare of unit 10")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a session, passages of a document, the document, and made-up vectors."""
    folder = tmp_path_factory.mktemp("sound")
    coordinator(folder, Crew()).run_workflow("Build s", session_id="s")
    with open_store(folder / "swarm.db") as store:
        for number in range(COUNT):
            text = f"The {WORDS[number % len(WORDS)]} of unit {number} is checked. " * 8
            value = {"text": text, "source": "P-101.pdf", "place": f"p. {number}"}
            store.put(PLANT, f"0a1b2c3d4e/{number:04}", value, index=["text"])
        store.put(DOCUMENTS, "0a1b2c3d4e", {"source": "P-101.pdf"}, index=False)
    execute(
        folder / "swarm.db",
        "INSERT INTO memory_vectors SELECT 'e5 8', digest, randomblob(16) FROM memory_texts",
        "VACUUM",
    )
    return folder


@pytest.fixture
def path(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(sound / "swarm.db", tmp_path))


def found(path: Path) -> dict[str, tuple[str, list[str]]]:
    """What the questions find: the best, and all; many of the others fit equally well."""
    with open_store(path) as store:
        keys = {
            question: [item.key for item in store.search(PLANT, query=question, limit=COUNT)]
            for question in QUESTIONS
        }
    return {question: (found[0], sorted(found)) for question, found in keys.items()}


def count(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def problems(path: Path) -> list[str]:
    return [problem.text for problem in check_database(path).problems]


def test_sound_memory_is_left_as_it_is(path: Path) -> None:
    before = files(path.parent)
    assert problems(path) == []
    assert not repair_database(path).memory_mended
    assert files(path.parent) == before
    assert all(found(path).values())


OUT_OF_STEP = {
    "no words": "DELETE FROM memory_index_data",
    "a part of the words": "DELETE FROM memory_index_data WHERE id = (SELECT max(id) FROM memory_index_data)",
    "other words": "UPDATE memory_index_data SET block = randomblob(length(block)) WHERE id > 1000",
    "no settings": "DELETE FROM memory_index_config",
    "settings of another format": "UPDATE memory_index_config SET v = 99",
    "numbers of words that are none": "UPDATE memory_index_docsize SET sz = NULL WHERE id % 3 = 0",
    "texts not in the index": "DELETE FROM memory_index_docsize WHERE id % 3 = 0",
    "items without texts": "DELETE FROM memory_texts WHERE id % 2 = 0",
    "no texts": "DELETE FROM memory_texts",
    "other texts": "UPDATE memory_texts SET text = 'nothing' WHERE id = 7",
    "texts of no namespace": "UPDATE memory_texts SET scope = '' WHERE id = 7",
    "texts of other items": "UPDATE memory_texts SET item = item + 1",
    "texts with no such item": "INSERT INTO memory_texts VALUES (9999, 9999, 'text', x'00', '', 'a ghost')",
}


@pytest.mark.parametrize("damage", OUT_OF_STEP)
def test_an_index_out_of_step_is_made_anew(damage: str, path: Path) -> None:
    before, vectors = found(path), count(path, "memory_vectors")
    execute(path, OUT_OF_STEP[damage])
    health = check_database(path)
    assert health.sessions == 1
    assert health.problems
    assert all("memory" in problem.text and problem.cure == REPAIR for problem in health.problems)
    if damage == "no settings":
        with open_store(path) as store, pytest.raises(StorageError, match="doctor --database --repair` "):
            store.search(PLANT, query="valve")
    done = repair_database(path)
    assert done.memory_mended
    assert done.lost_rows == {}
    assert problems(path) == []
    assert found(path) == before
    assert (count(path, "memory_items"), count(path, "memory_vectors")) == (COUNT + 1, vectors)
    assert coordinator(path.parent, Crew()).resume("s")["phase"] == "complete"


@pytest.mark.parametrize(
    "table",
    ["memory_index_data", "memory_index_docsize", "memory_texts", "idx_memory_texts_item", "memory_vectors"],
)
def test_damaged_pages_cost_no_item(table: str, path: Path) -> None:
    before = found(path)
    pages = leaves(path, table)
    overwrite(path, pages[len(pages) // 2])
    assert problems(path)[0].startswith(f"'{path}' is damaged: ")
    done = repair_database(path)
    assert done.rebuilt
    assert {*done.lost_rows} == ({"memory_vectors"} if table == "memory_vectors" else set())
    assert problems(path) == []
    assert found(path) == before
    assert count(path, "memory_items") == COUNT + 1


@pytest.mark.parametrize("table", ["memory_texts", "memory_vectors", "memory_index"])
def test_a_table_that_is_gone_costs_no_item(table: str, path: Path) -> None:
    before = found(path)
    execute(path, f"DROP TABLE {table}")
    with open_store(path) as store, pytest.raises(StorageError, match="doctor --database --repair` "):
        store.delete(PLANT, "0a1b2c3d4e/0003")
    assert repair_database(path).lost_rows == {}
    assert problems(path) == []
    assert found(path) == before


def test_tables_that_were_never_made_are_not_lost(path: Path) -> None:
    """A file that holds memory only has none for checkpoints."""
    execute(path, "DROP TABLE checkpoints", "DROP TABLE writes")
    overwrite(path, leaves(path, "memory_texts")[0])
    assert repair_database(path).lost_rows == {}


def test_items_around_damaged_pages_are_kept_and_found(path: Path) -> None:
    before = found(path)
    pages = leaves(path, "memory_items")
    overwrite(path, pages[len(pages) // 2])
    done = repair_database(path)
    lost = done.lost_rows.pop("memory_items")
    assert lost
    assert done.lost_rows == {}
    assert count(path, "memory_items") == COUNT + 1 - lost == count(path, "memory_texts") + 1
    assert problems(path) == []
    with open_store(path) as store:
        kept = {item.key for item in store.search(PLANT, limit=COUNT)}
    assert {question: keys for question, (_, keys) in found(path).items()} == {
        question: [key for key in keys if key in kept] for question, (_, keys) in before.items()
    }


UNREADABLE = ("'{'", "'[1]'", "'NaN'", "x'ff00'", "CAST(x'ff' AS TEXT)")
UNREADABLE_COLUMNS = ("key = x'00ff'", "created_at = 'x'", "updated_at = x'00'")


@pytest.mark.parametrize("change", [*(f"value = {value}" for value in UNREADABLE), *UNREADABLE_COLUMNS])
def test_an_item_that_cannot_be_read_is_removed_alone(change: str, path: Path) -> None:
    execute(path, f"UPDATE memory_items SET {change} WHERE key = '0a1b2c3d4e/0003'")
    assert problems(path)
    with (
        open_store(path) as store,
        pytest.raises(StorageError, match=r"^[^\n]+ --database --repair` [^\n]+$"),
    ):
        store.search(PLANT, limit=COUNT)
    assert repair_database(path).lost_rows == {"memory_items": 1}
    assert problems(path) == []
    with open_store(path) as store:
        assert len(store.search(PLANT, limit=COUNT)) == COUNT - 1
        assert store.get(PLANT, "0a1b2c3d4e/0003") is None


def test_vectors_of_a_wrong_length_are_removed(path: Path) -> None:
    before = found(path)
    changed = (
        "UPDATE memory_vectors SET vector = {} WHERE rowid IN (SELECT rowid FROM memory_vectors LIMIT {})"
    )
    execute(
        path,
        changed.format("randomblob(18)", 9),
        changed.format("randomblob(15)", 4),
        changed.format("''", 1),
    )
    execute(path, "INSERT INTO memory_vectors VALUES ('other 4', x'00', x'01020304')")
    assert problems(path) == ["memory holds 9 vectors of a wrong length"]
    assert repair_database(path).lost_rows == {"memory_vectors": 9}
    assert problems(path) == []
    assert count(path, "memory_vectors") == COUNT - 9 + 1
    assert found(path) == before


def test_the_command_says_what_was_mended_and_what_brings_the_rest_back(path: Path) -> None:
    execute(
        path,
        "DELETE FROM memory_index_docsize WHERE id < 4",
        "UPDATE memory_items SET value = '' WHERE key = '0a1b2c3d4e/0009'",
        "UPDATE memory_vectors SET vector = x'00' WHERE rowid = 1",
    )
    assert said(path) == (
        1,
        [
            f"FAIL  database: the index of memory is damaged → {REPAIR}",
            f"FAIL  database: memory holds 1 item that cannot be read → {REPAIR}",
            f"FAIL  database: memory holds 1 vector of a wrong length → {REPAIR}",
            "3 of 3 checks failed",
        ],
    )
    code, lines = said(path, "--repair")
    assert code == 0
    assert lines[1:4] == [
        "ok    repair: the index of memory was made anew from its items",
        "warn  repair: memory_items: lost 1 → `swarm-graph memory add` reads documents again, "
        "`swarm-graph memory import` an export",
        "warn  repair: memory_vectors: lost 1 → `swarm-graph memory reindex` makes them again",
    ]


def test_a_cleanup_leaves_memory_alone(path: Path) -> None:
    before = found(path)
    with open_checkpointer(path) as saver:
        done = clean_up(saver, older_than_s=-60, keep=0, unfinished=True, history="last")
    assert done.removed == ["s"]
    assert found(path) == before
    assert (count(path, "memory_items"), count(path, "memory_vectors")) == (COUNT + 1, COUNT)
    assert problems(path) == []
