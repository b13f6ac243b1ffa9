"""GGUF files on this machine: those that LM Studio, Ollama, llama.cpp or Hugging Face's tools downloaded."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from swarm_graph.models.gguf import PART, Header, NotGGUF, read_header
from swarm_graph.text import printable, without_lone_surrogates

MAX_DEPTH = 6
MAX_ENTRIES = 20_000
"""Files and folders that are looked at in one place; the rest is skipped."""
MAX_MANIFEST_BYTES = 1_000_000
MODEL_LAYER = "application/vnd.ollama.image.model"
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


class FoundFile(NamedTuple):
    """A model that can be served."""

    header: Header
    name: str
    """Its name in reports: that of its file, or Ollama's."""
    place: str
    """Where it was found, for people."""


class FoundFiles(NamedTuple):
    """The models on this machine, and the places that could not be searched, a line each."""

    models: list[FoundFile]
    problems: list[str]


class _Place(NamedTuple):
    name: str
    folder: Path
    files: Callable[[Path, list[str]], Iterator[tuple[Path, str]]]
    """Yields the files of the folder with their names, and adds what it had to skip to a list."""


def find_files() -> FoundFiles:
    """The GGUF files in the usual folders that can chat, each once. Nothing is imported or started."""
    models: dict[Path, FoundFile] = {}
    problems: list[str] = []
    for place in _places():
        for path, name in place.files(place.folder, problems):
            if without_lone_surrogates(str(path)) != str(path):
                problems.append(f"{printable(without_lone_surrogates(str(path)))}: its name is not UTF-8")
                continue
            with suppress(OSError, NotGGUF):
                header = read_header(path)
                if header.has_chat_template and not (header.is_embedding or header.is_projector):
                    models.setdefault(header.path.resolve(), FoundFile(header, name, place.name))
    return FoundFiles(list(models.values()), problems)


def _places() -> Iterator[_Place]:
    """The folders that exist, the current one first."""
    home = _home()
    yield _Place("the current folder", Path(), _in_current)
    for folder in (home / ".lmstudio/models", home / ".cache/lm-studio/models"):
        yield _Place("LM Studio", folder, _below)
    system = (Path("/usr/share/ollama/.ollama/models"), Path("/var/lib/ollama/models"))
    for folder in (_given("OLLAMA_MODELS", home / ".ollama/models"), *system):
        yield _Place("Ollama", folder, _of_ollama)
    for folder in (_given("LLAMA_CACHE", home / ".cache/llama.cpp"), home / "Library/Caches/llama.cpp"):
        yield _Place("llama.cpp", folder, _below)
    hub = _given("HF_HUB_CACHE", _given("HF_HOME", home / ".cache/huggingface") / "hub")
    yield _Place("Hugging Face", hub, _below)


def _home() -> Path:
    with suppress(RuntimeError):
        return Path.home()
    return Path("/nonexistent")


def _given(variable: str, default: Path) -> Path:
    value = os.environ.get(variable, "")
    return Path(value) if value else default


def _in_current(folder: Path, problems: list[str]) -> Iterator[tuple[Path, str]]:
    for path in sorted(_entries(folder, problems)):
        if _is_first(path):
            yield path.absolute(), printable(path.name)


def _below(folder: Path, problems: list[str]) -> Iterator[tuple[Path, str]]:
    """The GGUF files in a folder and below it. Links to folders are not followed, links to files are."""
    waiting, looked_at = [(folder, 0)], 0
    while waiting:
        current, depth = waiting.pop()
        for path in sorted(_entries(current, problems)):
            looked_at += 1
            if looked_at > MAX_ENTRIES:
                problems.append(f"{folder}: only the first {MAX_ENTRIES} files were looked at")
                return
            if depth < MAX_DEPTH and path.is_dir() and not path.is_symlink():
                waiting.append((path, depth + 1))
            elif _is_first(path):
                yield path, printable(path.name)


def _entries(folder: Path, problems: list[str]) -> list[Path]:
    try:
        return [*folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        problems.append(f"{folder}: {error.strerror}")
        return []


def _is_first(path: Path) -> bool:
    """Whether it is a GGUF file, and the first part of its model."""
    part = PART.search(path.name)
    return path.suffix.lower() == ".gguf" and (part is None or int(part[1]) == 1) and path.is_file()


def _of_ollama(folder: Path, problems: list[str]) -> Iterator[tuple[Path, str]]:
    """Ollama's models: a manifest for each, MODEL/TAG, names the file with the weights."""
    waiting = [(path, 1) for path in _entries(folder / "manifests", problems)]
    while waiting[:MAX_ENTRIES]:
        path, depth = waiting.pop()
        if path.is_dir() and not path.is_symlink():
            waiting += [(inner, depth + 1) for inner in _entries(path, problems) if depth < MAX_DEPTH]
        elif digest := _weights_of(path):
            yield folder / "blobs" / f"sha256-{digest}", printable(f"{path.parent.name}:{path.name}")


def _weights_of(manifest: Path) -> str:
    """The digest of the weights that a manifest names; empty if it names none."""
    try:
        if manifest.stat().st_size > MAX_MANIFEST_BYTES:
            return ""
        layers = json.loads(manifest.read_bytes())["layers"]
        digests = [str(layer["digest"]) for layer in layers if layer["mediaType"] == MODEL_LAYER]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    found = _DIGEST.fullmatch(digests[0]) if len(digests) == 1 else None
    return found[1] if found else ""
