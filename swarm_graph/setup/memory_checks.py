"""Checks of memory: it holds something, and the embedding model makes the vectors of two short texts."""

from __future__ import annotations

import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from swarm_graph.checkpoints.open_database import open_database
from swarm_graph.config import SwarmConfig
from swarm_graph.database_place import is_there, place_name, place_of
from swarm_graph.errors import EmbeddingError, StorageError
from swarm_graph.memory.store import SwarmStore
from swarm_graph.memory.swarm_memory import SwarmMemory
from swarm_graph.memory.vectors import MISSING
from swarm_graph.memory_settings import EmbeddingModel, MemorySettings
from swarm_graph.models.embedding_prefixes import Prefixes
from swarm_graph.models.embeddings import embedder, used_prefixes
from swarm_graph.models.keys import api_key
from swarm_graph.models.probe import inspect
from swarm_graph.setup.checks import Check, failed_check
from swarm_graph.text import format_count

PASSAGE = "The pump may be started when the suction valve is open. " * 18
"""A thousand characters."""
CURE = "start the server, with an embedding model, or correct memory.embeddings"
"""In place of errors' own advice to run the doctor."""


async def check_content(settings: MemorySettings, data_dir: Path) -> list[Check]:
    """What there is for the roles that recall; no check if none does. No file is made.

    Args:
        settings: The settings of memory.
        data_dir: The folder of the session database.
    """
    if not settings.recall:
        return []
    place = place_of(data_dir)
    documents, experiences = 0, 0
    try:
        if is_there(place):
            with open_database(place, data_dir) as database:
                memory = SwarmMemory(SwarmStore.on(database))
                documents, experiences = len(await memory.adocuments()), len(await memory.aexperiences())
    except StorageError as error:
        return [failed_check("memory", str(error))]
    name = place_name(data_dir, place)
    roles = ", ".join(f"{role} ({count})" for role, count in settings.recall.items())
    if not documents + experiences:
        text = f"nothing is remembered in '{name}', so there is nothing to recall for {roles}"
        return [Check("memory", None, text, "`swarm-graph memory add FILES` adds documents")]
    held = f"{format_count(documents, 'document')} and {format_count(experiences, 'experience')}"
    return [Check("memory", True, f"{held} in '{name}'; recalled by {roles}")]


async def check_memory(config: SwarmConfig) -> list[Check]:
    """Checks of what `memory.embeddings` needs; none without it."""
    settings = config.memory.embeddings if config.memory else None
    if settings is None:
        return []
    name = f"embedding model {settings.entry.label}"
    if not find_spec("numpy"):
        return [failed_check(name, MISSING)]
    try:
        return [await _check_model(name, settings, config.proxy)]
    except EmbeddingError as error:
        return [await _failed(name, error, settings, config.proxy)]


async def _check_model(name: str, settings: EmbeddingModel, proxy: str | None) -> Check:
    """What the model makes of a question and a passage. Raises EmbeddingError."""
    model = embedder(settings, proxy)
    size = len(await model.query("When may the pump be started?"))
    began = time.monotonic()
    await model.passages([PASSAGE])
    took = time.monotonic() - began
    text = (
        f"at {settings.entry.server}, vectors of {size} numbers, {took:.2g} s for {len(PASSAGE)} characters"
    )
    if model.shortened:
        cure = "name a model with a longer context, or start its server with one"
        return Check(name, None, f"{text}, of which it reads only the beginning", cure)
    return Check(name, True, f"{text}; {_prefixes_text(used_prefixes(settings))}")


def _prefixes_text(prefixes: Prefixes) -> str:
    if not any(prefixes):
        return "no text stands before questions and passages"
    named = [
        f"{prefix!r} before {what}"
        for what, prefix in (("questions", prefixes.query), ("passages", prefixes.passage))
        if prefix
    ]
    return ", ".join(named)


async def _failed(name: str, error: EmbeddingError, settings: EmbeddingModel, proxy: str | None) -> Check:
    """A failed check; if the server does not know the model, with those that it has."""
    said = str(error).removeprefix("memory: ").removeprefix(f"{settings.entry.label} ")
    check = failed_check(name, said)
    if error.status == 404:
        info = await inspect(settings.url, key=api_key(settings.entry), proxy=proxy)
        if models := ", ".join(info.embedding_models or info.models):
            cure = f"name one that it has: {models}; or correct url and api_type of memory.embeddings"
            return replace(check, cure=cure)
    return replace(check, cure=CURE) if "doctor" in check.cure else check
