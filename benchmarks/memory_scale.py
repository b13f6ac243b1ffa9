"""Search in 100,000 passages of memory: time, memory and bytes on disk.

The passages are of 150 made-up words each, as frequent as words are (Zipf), and so are the vectors: the time
of an embedding model is left out. Searches run in a new process; its first one reads the vectors.

    python benchmarks/memory_scale.py [--passages 100000]
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from statistics import median

import numpy as np

from swarm_graph.checkpoints.database import Database
from swarm_graph.memory.namespaces import KNOWLEDGE, MEMORY
from swarm_graph.memory.store import SwarmStore
from swarm_graph.memory.vectors import OwnVectors

WORDS, LENGTH, DIMENSIONS, TOGETHER, REPEATS = 30_000, 150, 384, 1000, 7
LIMITS = {"text": 100.0, "both": 300.0}
"""The most milliseconds for a search of each way."""
VOWELS, CONSONANTS = "aeiou", "bcdfghjklmnprstvw"


class MadeUpVectors:
    """An embedding model that answers at once, always the same for a text."""

    name, batch, shortened = "made-up", 1000, 0

    async def passages(self, texts: Sequence[str]) -> list[list[float]]:
        return [await self.query(text) for text in texts]

    async def query(self, text: str) -> list[float]:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
        vector: list[float] = np.random.default_rng(seed).standard_normal(DIMENSIONS).tolist()
        return vector


def word(number: int) -> str:
    """The word with a rank; frequent ones are short."""
    syllables: list[str] = []
    while number or not syllables:
        number, syllable = divmod(number, len(VOWELS) * len(CONSONANTS))
        syllables.append(CONSONANTS[syllable // len(VOWELS)] + VOWELS[syllable % len(VOWELS)])
    return "".join(syllables) + "n"


def texts(count: int) -> list[str]:
    """Passages; each names a part of the plant."""
    chosen = random.Random(24)
    vocabulary = [word(number) for number in range(WORDS)]
    weights = [*accumulate(1 / rank for rank in range(1, WORDS + 1))]
    return [
        f"P-{number % 900}: {' '.join(chosen.choices(vocabulary, cum_weights=weights, k=LENGTH))}"
        for number in range(count)
    ]


QUESTIONS = {
    "a rare word": word(20_000),
    "an identifier": "What is wrong with P-101?",
    "six words": " ".join(word(number) for number in (1, 40, 300, 900, 4000, 12_000)),
    "frequent words only": " ".join(word(number) for number in (0, 1, 2, 3)),
    "a long request": " ".join(word((number * number) % WORDS) for number in range(600)),
}


def store(path: str, way: str) -> SwarmStore:
    database = Database(path)
    return SwarmStore(database, OwnVectors(database, MadeUpVectors()) if way == "both" else None)


def add(path: str, count: int) -> float:
    """Add passages in batches; return the seconds."""
    from langgraph.store.base import PutOp

    started = time.perf_counter()
    opened, passages = store(path, "both"), texts(count)
    for start in range(0, count, TOGETHER):
        opened.batch(
            PutOp((*KNOWLEDGE, f"plant{number % 4}"), f"{number}", {"text": passages[number]}, index=["text"])
            for number in range(start, min(start + TOGETHER, count))
        )
    opened.database.close()
    return time.perf_counter() - started


async def searches(path: str, way: str) -> dict[str, list[float]]:
    """Milliseconds of the first search and of each question: by the clock, and of the processor."""
    opened = store(path, way)

    async def measured(place: tuple[str, ...], question: str) -> tuple[float, float]:
        clock, processor = time.perf_counter(), time.process_time()
        assert await opened.asearch(place, query=question, limit=5)
        return (time.perf_counter() - clock) * 1000, (time.process_time() - processor) * 1000

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {"the first search": [*await measured(MEMORY, QUESTIONS["six words"])]}
    for name, question in QUESTIONS.items():
        for place, part in ((MEMORY, "all"), ((*KNOWLEDGE, "plant1"), "a quarter")):
            times = [await measured(place, question) for _ in range(REPEATS)]
            found[f"{name}, in {part}"] = [median(column) for column in zip(*times, strict=True)]
    found["MB more memory at most"] = [(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--database", help="a file that an earlier run has filled, or is to fill")
    parser.add_argument("--way", choices=[*LIMITS], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        print(json.dumps(asyncio.run(searches(arguments.database, arguments.way))))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(arguments.database or f"{folder}/swarm.db")
        if not path.exists():
            seconds = add(str(path), arguments.passages)
            print(f"{arguments.passages} passages added in {seconds:.0f} s")
        print(f"{path.stat().st_size / 1e6:.0f} MB on disk")
        for way, limit in LIMITS.items():
            command = [sys.executable, __file__, "--way", way, "--database", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            figures: dict[str, list[float]] = json.loads(done.stdout)
            print(f"\n{way} (wanted: at most {limit:.0f} ms): by the clock, of the processor")
            for name, values in figures.items():
                print(f"  {''.join(f'{value:9.1f}' for value in values):18}  {name}")


if __name__ == "__main__":
    main()
