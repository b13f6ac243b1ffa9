"""Chroma, FAISS and pgvector find what our own vectors find, whatever happens to them meanwhile.

`make test-vector-stores` runs these tests in an environment of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from langgraph.store.base import PutOp
from servers.embedding_server import Embeddings
from servers.postgres import running_postgres
from word_vectors import WordVectors

from swarm_graph.checkpoints.database import Database
from swarm_graph.checkpoints.storage import Storage
from swarm_graph.memory import langchain_stores, vector_stores
from swarm_graph.memory.store import SwarmStore
from swarm_graph.memory.vector_stores import LangChainVectors
from swarm_graph.memory.vectors import OwnVectors
from swarm_graph.memory_settings import VECTOR_STORES, EmbeddingModel, VectorStoreSettings
from swarm_graph.models.embeddings import Embedder, embedder

HERE = Path(__file__).parent
CHROMA, FAISS, PGVECTOR = VECTOR_STORES
URL = "VECTOR_STORE_URL"
NAMESPACE = ("plant",)
IS_OURS = Path(sys.prefix).name == "vector-stores"
"""In the environment of `make test-vector-stores` a missing package is a failure."""

pytestmark = [
    pytest.mark.vector_stores,
    pytest.mark.skipif(
        not IS_OURS and not find_spec("chromadb"), reason="no vector stores: `make test-vector-stores`"
    ),
]


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with running_postgres() as url:
        yield url


@pytest.fixture(params=VECTOR_STORES)
def settings(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> VectorStoreSettings:
    """Each vector store in turn."""
    if request.param == PGVECTOR:
        monkeypatch.setenv(URL, request.getfixturevalue("postgres"))
        return VectorStoreSettings.model_validate({"class": PGVECTOR, "url_env": URL})
    return VectorStoreSettings.model_validate({"class": request.param})


@pytest.fixture
def chroma() -> VectorStoreSettings:
    return VectorStoreSettings.model_validate({"class": CHROMA})


class Plant:
    """A store with a vector store, and our own vectors of the same file to compare with."""

    def __init__(self, database: Storage, model: Embedder, settings: VectorStoreSettings) -> None:
        self.meaning = LangChainVectors(database, model, settings)
        self.own = OwnVectors(database, model)
        self.store = SwarmStore(database, self.meaning)

    async def put(self, texts: dict[str, str | None]) -> None:
        """Add, change or delete items by key."""
        values = {key: {"text": text} if text else None for key, text in texts.items()}
        puts = [PutOp(NAMESPACE, key, value, ["text"]) for key, value in values.items()]
        await self.store.abatch(puts)
        assert self.store.problem == ""

    async def check(self, *questions: str) -> None:
        """The vector store finds what our own vectors find."""
        for question in questions:
            assert len(await self.ranked(question, None)) == 10

    async def ranked(self, question: str, allowed: Collection[int] | None) -> list[int]:
        """What the vector store finds, after a look at whether our own vectors find the same."""
        expected = await self.own.rank(question, allowed, 10)
        found = await self.meaning.rank(question, allowed, 10)
        assert [text for text, _ in found] == [text for text, _ in expected]
        assert [near for _, near in found] == pytest.approx([near for _, near in expected], abs=1e-5)
        return [text for text, _ in found]

    async def found(self, question: str) -> str:
        """The text of the best passage by meaning."""
        (best, _), *_ = await self.meaning.rank(question, None, 3)
        with self.store.database.view() as cursor:
            (text,) = cursor.execute("SELECT text FROM memory_texts WHERE id = ?", (best,)).fetchone()
        return str(text)


@contextmanager
def plant(folder: Path, settings: VectorStoreSettings, model: Embedder | None = None) -> Iterator[Plant]:
    """A plant on the file in a folder, as a new process would open it."""
    with Database(folder / "swarm.db") as database:
        try:
            yield Plant(database, model or WordVectors(), settings)
        finally:
            for collection in vector_stores._COLLECTIONS.values():
                collection.close()
            vector_stores._COLLECTIONS.clear()


def passages(count: int, first: int = 0) -> dict[str, str | None]:
    """Passages of their own words, by key."""
    topics = ("valve", "pump", "reactor", "sieve", "dryer", "mixer", "filter")
    numbers = range(first, first + count)
    return {f"k{i}": f"procedure {i} step{i % 13} cleans the {topics[i % 7]} tag{i}" for i in numbers}


QUESTIONS = ("tag17", "pump step3", "what cleans the reactor", "nothing of this kind")


def test_it_finds_what_our_own_vectors_find(settings: VectorStoreSettings, tmp_path: Path) -> None:
    model = WordVectors()

    async def use(plant: Plant) -> None:
        await plant.put(passages(200))
        await plant.check(*QUESTIONS)
        await plant.put({"k17": None, "k18": "tag17 has a new procedure", "new": "the reactor is new"})
        await plant.check(*QUESTIONS)
        assert await plant.found("tag17") == "tag17 has a new procedure"

    async def use_again(plant: Plant) -> None:
        await plant.check(*QUESTIONS)
        await plant.put({f"k{i}": None for i in range(150)})
        await plant.check(*QUESTIONS)

    with plant(tmp_path, settings, model) as first:
        asyncio.run(use(first))
    with plant(tmp_path, settings, model) as again:
        asyncio.run(use_again(again))
    assert len(model.asked) == len(set(model.asked)) == 202


def test_only_texts_that_may_be_found_are_found(
    settings: VectorStoreSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the vector store has to be asked for more and more."""
    monkeypatch.setattr(vector_stores, "FEW", 10)

    async def use(plant: Plant) -> None:
        await plant.put(passages(300))
        for allowed in (range(5, 9), range(250, 290)):
            for question in QUESTIONS:
                found = await plant.ranked(question, allowed)
                assert len(found) == min(len(allowed), 10)
                assert {*found} <= {*allowed}

    with plant(tmp_path, settings) as it:
        asyncio.run(use(it))


def test_models_do_not_mix_and_a_stranger_is_removed(settings: VectorStoreSettings, tmp_path: Path) -> None:
    stranger = "ab" * 32

    async def use(plant: Plant, *others: Plant) -> None:
        for it in (plant, *others):
            await it.put(passages(20))
            await it.meaning.reindex()
        for it in (plant, *others):
            await it.check("tag17")
        collections = [*vector_stores._COLLECTIONS.values()]
        assert [collection.count() for collection in collections] == [20, 20]
        collections[0].add({stranger: collections[0]._ours.vectors["question"]})
        await plant.check("tag17")
        await plant.check("tag17")
        assert langchain_stores.id_of(stranger) not in collections[0].ids()

    with plant(tmp_path, settings) as it:
        other = Plant(it.store.database, WordVectors("others"), settings)
        asyncio.run(use(it, other))


def test_a_model_of_another_size_takes_the_place_of_one_with_its_name(
    settings: VectorStoreSettings, tmp_path: Path
) -> None:
    async def use(plant: Plant, is_larger: bool) -> None:
        if is_larger:
            await plant.meaning.reindex()
        else:
            await plant.put(passages(20))
        await plant.check("tag17")
        (collection,) = vector_stores._COLLECTIONS.values()
        assert settings.class_ == FAISS or len(collection._names()) == 1

    for dimensions in (16, 32):
        with plant(tmp_path, settings, WordVectors(dimensions=dimensions)) as it:
            asyncio.run(use(it, dimensions == 32))


def test_forgetting_everything_leaves_nothing_in_the_vector_store(
    settings: VectorStoreSettings, tmp_path: Path
) -> None:
    with plant(tmp_path, settings) as it:
        asyncio.run(it.put(passages(20)))
    with plant(tmp_path, settings) as it:
        asyncio.run(it.put(dict.fromkeys(passages(20))))
        (collection,) = vector_stores._COLLECTIONS.values()
        assert collection.count() == 0 if collection.size else not collection._names()
    assert b"tag17" not in b"".join(file.read_bytes() for file in _files(tmp_path / "swarm.db.vectors"))


# --- a real model --------------------------------------------------------------------------------

NOTES = (
    ("The mechanical seal of the pump is replaced every six months.", "how often is the gasket changed"),
    ("Rinse the vessel with deionised water until conductivity is below 5 µS.", "when is washing finished"),
    (
        "Operators wear goggles and gloves when they handle caustic soda.",
        "which protective clothing is needed for sodium hydroxide",
    ),
    ("Stop the agitator before the manhole is opened.", "what must be off before someone opens the hatch"),
    ("The night shift reads the flow meter of the cooling tower.", "who checks the coolant after dark"),
)


def test_200_passages_with_a_trained_model(
    embeddings: Embeddings, chroma: VectorStoreSettings, tmp_path: Path
) -> None:
    """Chroma finds by meaning what shares no word, before and after a restart, a change and a deletion."""
    model = embedder(EmbeddingModel.model_validate(embeddings.settings))

    async def use(plant: Plant) -> None:
        await plant.put({f"note{i}": text for i, (text, _) in enumerate(NOTES)})
        await plant.put({f"k{i}": f"Invoice {i} of {2000 + i} was paid." for i in range(195)})
        assert [await plant.found(question) for _, question in NOTES] == [text for text, _ in NOTES]

    async def use_again(plant: Plant) -> None:
        assert [await plant.found(question) for _, question in NOTES] == [text for text, _ in NOTES]
        await plant.put({"note0": "Seals of pumps last for a year.", "note4": None})
        assert await plant.found(NOTES[0][1]) == "Seals of pumps last for a year."
        assert await plant.found(NOTES[4][1]) != NOTES[4][0]

    with plant(tmp_path, chroma, model) as it:
        asyncio.run(use(it))
    with plant(tmp_path, chroma, model) as it:
        asyncio.run(use_again(it))


# --- what happens to a folder --------------------------------------------------------------------


def test_a_deleted_folder_is_made_again(chroma: VectorStoreSettings, tmp_path: Path) -> None:
    model = WordVectors()

    async def use(plant: Plant) -> None:
        await plant.put(passages(50))
        shutil.rmtree(tmp_path / "swarm.db.vectors")
        await plant.check("tag17")
        await plant.put(passages(50, 50))
        await plant.check("tag17", "tag77")

    with plant(tmp_path, chroma, model) as it:
        asyncio.run(use(it))
    assert len(model.asked) == 100


def test_a_damaged_folder_leaves_search_by_text(chroma: VectorStoreSettings, tmp_path: Path) -> None:
    folder = tmp_path / "swarm.db.vectors"
    with plant(tmp_path, chroma) as it:
        asyncio.run(it.put(passages(50)))
    (file,) = folder.rglob("chroma.sqlite3")
    file.write_bytes(b"no database" * 1000)

    async def use(plant: Plant) -> None:
        found = await plant.store.asearch(NAMESPACE, query="tag17", limit=3)
        assert [item.key for item in found] == ["k17"]
        problem = plant.store.problem
        assert "\n" not in problem
        assert f"the vector store {CHROMA} in '{folder}' cannot be used: " in problem
        assert problem.endswith("or delete it: it is made again from the database")
        await plant.store.aput(NAMESPACE, "later", {"text": "tag17 later"}, index=["text"])
        assert plant.store.problem.endswith(problem.partition(": ")[2])
        shutil.rmtree(folder)
        await plant.check("tag17")

    with plant(tmp_path, chroma) as it:
        asyncio.run(use(it))


def test_a_store_that_keeps_nothing_is_given_up(
    chroma: VectorStoreSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(langchain_stores.Chroma, "add", lambda *_: None)
    with plant(tmp_path, chroma) as it:
        asyncio.run(it.store.aput(NAMESPACE, "k", {"text": "one"}, index=["text"]))
        assert "cannot be used: it does not keep what it is given; " in it.store.problem


def test_a_folder_that_another_process_uses_leaves_search_by_text(
    chroma: VectorStoreSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(langchain_stores, "LOCK_TIMEOUT_S", 0.1)

    async def use(plant: Plant) -> None:
        await plant.put(passages(50))
        (lock,) = (tmp_path / "swarm.db.vectors").glob("*.lock")
        with FileLock(lock):
            found = await plant.store.asearch(NAMESPACE, query="tag17", limit=3)
            assert [item.key for item in found] == ["k17"]
            assert "another process has used the vector store" in plant.store.problem
            await plant.store.aput(NAMESPACE, "later", {"text": "tag99 later"}, index=["text"])
        await plant.check("tag17", "tag99")

    with plant(tmp_path, chroma) as it:
        asyncio.run(use(it))


def test_a_server_that_is_gone_is_named_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL, "postgresql://swarm:Geheim-0815@127.0.0.1:9/none")
    settings = VectorStoreSettings.model_validate({"class": PGVECTOR, "url_env": URL})
    with plant(tmp_path, settings) as it:
        asyncio.run(it.store.aput(NAMESPACE, "k", {"text": "one"}, index=["text"]))
        problem = it.store.problem
    assert f"the vector store {PGVECTOR} cannot be used: " in problem
    assert problem.endswith(f"does the server run at the address that the variable {URL} holds?")
    assert "Geheim" not in problem


# --- processes -----------------------------------------------------------------------------------

CHILD = """
import asyncio, json, os, signal, sys
from pathlib import Path
from swarm_graph.memory import langchain_stores, vector_stores
from swarm_graph.memory_settings import VectorStoreSettings
from test_vector_stores import passages, plant

settings = VectorStoreSettings.model_validate(json.loads(sys.argv[2]))
moment, after = sys.argv[3:5] if len(sys.argv) > 3 else ("", "0")
if moment:
    owner, name = moment.split(".")
    vector_stores.AT_ONCE = 20
    kind = langchain_stores.Chroma if owner == "collection" else vector_stores.LangChainVectors
    method, calls = getattr(kind, name), []

    def killed(self, *arguments):
        calls.append(1)
        if name != "add" and len(calls) > int(after):
            os.kill(os.getpid(), signal.SIGKILL)
        result = method(self, *arguments)
        if name == "add" and len(calls) > int(after):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(kind, name, killed)

with plant(Path(sys.argv[1]), settings) as it:
    for line in sys.stdin:
        what, value = json.loads(line)
        if what == "put":
            asyncio.run(it.put(value))
            print(json.dumps("done"), flush=True)
        else:
            print(json.dumps([asyncio.run(it.found(question)) for question in value]), flush=True)
"""


@contextmanager
def child(folder: Path, settings: VectorStoreSettings, *moment: str) -> Iterator[subprocess.Popen[str]]:
    """Another process with the same file; it puts and finds as the lines that it reads tell it."""
    given = settings.model_dump_json(by_alias=True)
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), given, *moment],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE)},
    ) as process:
        yield process
        assert process.stdin
        process.stdin.close()


def tell(process: subprocess.Popen[str], what: str, value: Any) -> Any:
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps([what, value]) + "\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline() or "null")


def test_two_processes_find_what_the_other_adds(settings: VectorStoreSettings, tmp_path: Path) -> None:
    with plant(tmp_path, settings) as it, child(tmp_path, settings) as other:
        for first in range(0, 200, 50):
            asyncio.run(it.put(passages(25, first)))
            assert tell(other, "put", passages(25, first + 25)) == "done"
            tags = [f"tag{i}" for i in range(0, first + 50, 7)]
            assert [text.split()[-1] for text in tell(other, "find", tags)] == tags
            assert [asyncio.run(it.found(tag)).split()[-1] for tag in tags] == tags
        tell(other, "put", {"k17": None, "k18": "tag17 has moved"})
        assert asyncio.run(it.found("tag17")) == "tag17 has moved"
        asyncio.run(it.check("tag17", "tag30"))
        asyncio.run(it.put(passages(1, 17)))
        assert tell(other, "find", ["procedure 17 step4 cleans the sieve tag17"])[0].endswith(" tag17")


@pytest.mark.parametrize(
    ("moment", "after"),
    [("meaning.changed", 1), ("collection.will_change", 3), ("collection.add", 2), ("collection.remove", 0)],
)
def test_a_killed_process_leaves_what_the_next_use_repairs(
    chroma: VectorStoreSettings, tmp_path: Path, moment: str, after: int
) -> None:
    """Between our commit and the vector store's, and between two of its batches."""
    changes = {**dict.fromkeys(passages(10)), **passages(90, 30)}
    with child(tmp_path, chroma, moment, str(after)) as process:
        assert tell(process, "put", passages(30)) == "done"
        assert tell(process, "put", changes) is None
        assert process.wait() == -signal.SIGKILL

    async def check(plant: Plant) -> None:
        assert plant.store.get(NAMESPACE, "k119")
        await plant.check(*QUESTIONS, "tag119")
        (collection,) = vector_stores._COLLECTIONS.values()
        assert collection.count() == 110

    with plant(tmp_path, chroma) as it:
        asyncio.run(check(it))


# --- alone ---------------------------------------------------------------------------------------

ALONE = """
import asyncio, sys, threading
from pathlib import Path
import no_sockets
import urllib3  # of LangGraph's: it tries when it is imported, without a connection, whether there is IPv6
no_sockets.forbid_sockets()
from swarm_graph.memory_settings import VectorStoreSettings
from test_vector_stores import QUESTIONS, passages, plant

settings = VectorStoreSettings.model_validate({"class": sys.argv[1]})
for _ in range(2):
    with plant(Path(sys.argv[2]), settings) as it:
        asyncio.run(it.put(passages(200)))
        asyncio.run(it.check(*QUESTIONS))
        asyncio.run(it.put({"k17": None, "k18": "tag17 has moved"}))
        assert asyncio.run(it.found("tag17")) == "tag17 has moved"
print([name for name in ("posthog", "onnxruntime", "tokenizers", "kubernetes") if name in sys.modules])
"""
TEMPTATIONS = {
    "ANONYMIZED_TELEMETRY": "true",
    "CHROMA_OTEL_COLLECTION_ENDPOINT": "http://127.0.0.1:9",
    "CHROMA_OTEL_GRANULARITY": "all",
    "CHROMA_SERVER_HOST": "127.0.0.1",
    "CHROMA_API_IMPL": "chromadb.api.fastapi.FastAPI",
}


@pytest.mark.parametrize("name", [CHROMA, FAISS])
def test_no_socket_is_opened_and_nothing_is_written_elsewhere(name: str, tmp_path: Path) -> None:
    """The kernel kills a process that opens a socket, and its only folder that can be written is its own."""
    folder, working = tmp_path / "data", tmp_path / "working"
    (folder / "temporary").mkdir(parents=True)
    working.mkdir()
    temptations = {**os.environ, **TEMPTATIONS, "HOME": str(working), "PYTHONPATH": str(HERE)}
    temptations["TMPDIR"] = str(folder / "temporary")  # Chroma's SQLite does not do without
    (working / ".env").write_text("".join(f"{key}={value}\n" for key, value in TEMPTATIONS.items()))
    confined = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--bind", str(folder)]
    confined += [str(folder), "--chdir", str(working), "--die-with-parent"]

    def run(code: str) -> subprocess.CompletedProcess[str]:
        command = [*confined, sys.executable, "-c", code, name, str(folder)]
        return subprocess.run(command, env=temptations, capture_output=True, text=True, check=False)

    done = run(ALONE)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"
    assert done.stderr == ""
    assert not _files(folder / "temporary")
    # The same process would have been killed:
    opened = run(f"{ALONE.partition('settings =')[0]}\nimport socket; socket.socket()")
    assert opened.returncode == 128 + signal.SIGSYS


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []
