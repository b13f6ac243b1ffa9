"""What the configuration may say of a vector store, and what happens without its packages."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pages import Page
from pydantic import ValidationError
from support import SIMULATED
from word_vectors import WordVectors

from swarm_graph.checkpoints.database import Database
from swarm_graph.config import load_config
from swarm_graph.errors import ConfigError
from swarm_graph.memory.langchain_stores import COLLECTIONS
from swarm_graph.memory.store import SwarmStore
from swarm_graph.memory.vector_stores import LangChainVectors
from swarm_graph.memory_settings import VECTOR_STORES, VectorStoreSettings

CHROMA, FAISS, PGVECTOR = VECTOR_STORES
UNSET = "NO_SUCH_VARIABLE"


def settings(name: str, **given: Any) -> VectorStoreSettings:
    return VectorStoreSettings.model_validate({"class": name, **given})


@pytest.mark.parametrize(
    ("name", "given", "problem"),
    [
        ("os.system", {}, "unknown vector store 'os.system'; known: langchain_chroma.Chroma, "),
        ("langchain_chroma.Chroma.delete", {}, "unknown vector store"),
        (CHROMA, {"url_env": "URL"}, "expected no url_env: langchain_chroma.Chroma does not use it"),
        (FAISS, {"path": "index"}, "expected no path: "),
        (PGVECTOR, {"path": "index", "url_env": "URL"}, "expected no path: "),
        (PGVECTOR, {}, "expected url_env: langchain_postgres.PGVectorStore is on a server"),
    ],
)
def test_only_known_stores_with_what_they_use(name: str, given: dict[str, str], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        settings(name, **given)


def test_every_name_has_its_collection_and_its_extra() -> None:
    assert [*COLLECTIONS] == [*VECTOR_STORES]
    with (Path(__file__).parent.parent / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    for name, extra in VECTOR_STORES.items():
        needed = [requirement.partition(">=")[0] for requirement in extras[extra]]
        assert COLLECTIONS[name].packages.split() == needed


def test_the_page_names_all_stores_and_its_configuration_can_be_used() -> None:
    page = Page("vector-stores.md")
    assert re.findall(r"^\| `(\w+\.[\w.]+)` \|", page.text, re.MULTILINE) == [CHROMA, PGVECTOR, FAISS]
    ((_, text),) = page.blocks("json")
    config = load_config({**json.loads(text), **SIMULATED})
    assert config.memory
    assert config.memory.vector_store
    assert config.memory.vector_store.class_ == CHROMA


def test_what_cannot_work_is_said_at_once(tmp_path: Path) -> None:
    with Database(":memory:") as database, pytest.raises(ConfigError, match="needs a database in a file"):
        LangChainVectors(database, WordVectors(), settings(CHROMA))
    with Database(tmp_path / "swarm.db") as database, pytest.raises(ConfigError, match=UNSET):
        LangChainVectors(database, WordVectors(), settings(PGVECTOR, url_env=UNSET))


def test_without_its_packages_text_is_searched_and_the_cure_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "chromadb", None)

    async def use(store: SwarmStore) -> list[str]:
        await store.aput(("a",), "k", {"text": "the pump leaks"}, index=["text"])
        return [item.key for item in await store.asearch(("a",), query="pump")]

    with Database(tmp_path / "swarm.db") as database:
        store = SwarmStore(database, LangChainVectors(database, WordVectors(), settings(CHROMA)))
        assert asyncio.run(use(store)) == ["k"]
    cure = f"{CHROMA} is not installed (chromadb is missing): `pip install langchain-chroma`"
    assert f"searched by words alone: {cure}" in store.problem
