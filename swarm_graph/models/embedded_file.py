"""Checks a GGUF file before it is served, and completes its settings. Nothing is started."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import psutil

from swarm_graph.config import SwarmConfig
from swarm_graph.errors import ConfigError
from swarm_graph.models.gguf import Header, NotGGUF, read_header
from swarm_graph.models.shared_server import ServerSettings, SharedServer, shared_server
from swarm_graph.settings import EMBEDDED, ModelEntry
from swarm_graph.text import printable, without_lone_surrogates

MISSING = "to serve a GGUF file, install llama.cpp: `pip install xllamacpp`"
NUM_CTX = 16384
"""Tokens of one call unless configured, if the model was trained for as many."""
EMBEDDING_CTX = 2048
"""Tokens of one text for an embedding model, if it was trained for as many; memory grows with the square."""
SLOTS = 1
"""Calls share the beginning of their prompts: of 1,782 tokens four reviews in turn evaluate 476.

On four slots they evaluate 1,772, and without a GPU they are no faster together (measured).
"""
MAX_CACHE_MIB, CACHE_SHARE = 8192, 16
"""llama.cpp's own limit of the memory for evaluated prompts, and the share of a smaller machine."""


def file_entry(path: str) -> ModelEntry:
    """An entry for a file, with the default settings.

    Raises:
        ConfigError: Its name is not UTF-8, which neither JSON nor llama.cpp can hold.
    """
    if without_lone_surrogates(path) != path:
        name = printable(without_lone_surrogates(path))
        raise ConfigError(f"the model '{name}' has a name that is not UTF-8; rename it, or name a link to it")
    return ModelEntry(model=path, api_type=EMBEDDED)


def with_defaults(config: SwarmConfig, entry: ModelEntry) -> ModelEntry:
    """An embedded model with all settings of its server.

    Defaults depend only on the file and the machine, so all programs share one server.

    Raises:
        ConfigError: The file cannot be served.
    """
    header = usable_file(entry)
    longest = header.context or NUM_CTX
    num_ctx = min(entry.num_ctx or max(_num_ctx_of_roles(config, entry), min(longest, NUM_CTX)), longest)
    return entry.model_copy(
        update={
            "num_ctx": num_ctx,
            "slots": entry.slots or SLOTS,
            "threads": entry.threads or _default_threads(),
        }
    )


def with_embedding_defaults(entry: ModelEntry) -> ModelEntry:
    """An embedding model with all settings of its server, as `with_defaults` for a model that chats.

    Raises:
        ConfigError: The file cannot be served.
    """
    header = usable_file(entry)
    return entry.model_copy(
        update={
            "num_ctx": min(header.context or EMBEDDING_CTX, EMBEDDING_CTX),
            "slots": SLOTS,
            "threads": _default_threads(),
        }
    )


def _num_ctx_of_roles(config: SwarmConfig, entry: ModelEntry) -> int:
    """The largest `num_ctx` that a role that uses this model asks for."""
    configured = [0]
    for role in config.role_names:
        try:
            is_used = entry.model in [model.model for model in config.models_for(role)]
        except ConfigError:
            continue
        configured += [config.parameters_for(role).num_ctx or 0] if is_used else []
    return max(configured)


def _default_threads() -> int:
    """One for each core but one, which is left to everything else.

    llama.cpp's threads wait for each other after every step. When one of them loses its core to another
    program, all of them wait: with a thread for each of two busy cores it was 30 times slower than with one.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed) - 1)


def server_of(entry: ModelEntry) -> SharedServer:
    """The server of a model that `with_defaults` returned; nothing is started."""
    path = _served_path(read_header(Path(entry.model)))
    status = path.stat()
    assert entry.slots
    assert entry.num_ctx
    assert entry.threads
    return shared_server(
        ServerSettings(
            model=str(path),
            modified_ns=status.st_mtime_ns,
            size=status.st_size,
            alias=entry.name,
            slots=entry.slots,
            num_ctx=entry.num_ctx,
            threads=entry.threads,
            gpu_layers=entry.gpu_layers,
            embedding=entry.embedding,
            cache_mib=min(MAX_CACHE_MIB, machine_memory().total // CACHE_SHARE // 2**20),
            version=version("xllamacpp"),
        )
    )


def _served_path(header: Header) -> Path:
    """The file that llama.cpp opens.

    It finds the parts of a split model by the name of the first, which the target of a link does not have
    where Hugging Face's tools keep their files.
    """
    return header.path.parent.resolve() / header.path.name if header.parts > 1 else header.path.resolve()


# --- checks --------------------------------------------------------------------------------------


def usable_file(entry: ModelEntry) -> Header:
    """The header of a model's file. Starts nothing and imports nothing heavy.

    Raises:
        ConfigError: It cannot be served: xllamacpp is not installed, or the file is broken, too large,
            or of a kind that does not chat. One line.
    """
    path = Path(entry.model)
    try:
        header = read_header(path)
    except OSError as error:
        raise ConfigError(f"cannot read the model '{path}': {error.strerror}; name a GGUF file") from error
    except NotGGUF as error:
        raise ConfigError(f"the model '{path}' {error}; name another file, or get it again") from error
    if problem := extra_problem() or _kind_problem(header, entry) or _memory_problem(header, entry):
        raise ConfigError(problem)
    return header


def extra_problem() -> str:
    """Why no model can be embedded in this installation; empty if one can."""
    if sys.platform == "win32":
        return "a GGUF file cannot be embedded on Windows; serve it with LM Studio, Ollama or llama.cpp"
    try:
        version("xllamacpp")
    except PackageNotFoundError:
        return MISSING
    return "" if find_spec("xllamacpp") else f"{MISSING} (it is there, but incomplete)"


def _kind_problem(header: Header, entry: ModelEntry) -> str:
    name = f"the model '{header.path}'"
    if header.is_projector:
        return f"{name} is only a part of a model ({header.architecture}); name the model itself"
    if entry.embedding:
        return ""  # `check_chats` refuses it to roles
    if header.is_embedding:
        return f"{name} makes embeddings and cannot chat ({header.architecture}); name a chat model"
    if not header.has_chat_template:
        return f"{name} has no chat template: it is a base model; name an instruct or chat model"
    return ""


def _memory_problem(header: Header, entry: ModelEntry) -> str:
    """Why its memory cannot suffice; empty if it may, or if a part of the model goes to a GPU."""
    needed, memory = needed_memory(header, entry), machine_memory()
    if needed <= memory.total or entry.gpu_layers:
        return ""
    return (
        f"the model '{header.path}' needs about {gigabytes(needed)} of memory, and this machine has "
        f"{gigabytes(memory.total)}; name a smaller file, or lower num_ctx or slots"
    )


def needed_memory(header: Header, entry: ModelEntry) -> int:
    """Bytes of memory to serve a model, about, with the context and the slots that it is configured with."""
    context = entry.num_ctx or min(header.context or NUM_CTX, NUM_CTX)
    return header.memory(context * (entry.slots or SLOTS)).total


class Memory(NamedTuple):
    """The memory of a machine, in bytes."""

    total: int
    available: int


def machine_memory() -> Memory:
    """The memory of this machine, or as much of it as this process may use in its container."""
    memory = psutil.virtual_memory()
    limit = min([memory.total, *_control_group_limits()])
    return Memory(limit, min(memory.available, limit))


def _control_group_limits() -> Iterator[int]:
    """The limits of this process's control group, version 2, and of the groups above it."""
    with suppress(OSError, ValueError):
        own = Path("/proc/self/cgroup").read_text().strip().rpartition("::")[2]
        group = Path("/sys/fs/cgroup") / own.lstrip("/")
        for folder in (group, *group.parents):
            with suppress(OSError, ValueError):
                yield int((folder / "memory.max").read_text())


def gigabytes(size: int) -> str:
    """A size for people, as in `4.7 GB`."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def fit_text(header: Header, entry: ModelEntry) -> str:
    """Whether a model fits the memory, for people, as in `needs about 6.9 of 15.5 GB`."""
    needed, memory = needed_memory(header, entry), machine_memory()
    about = f"needs about {gigabytes(needed)} of memory"
    if needed > memory.total:
        return f"{about}, too much for the {gigabytes(memory.total)} of this machine"
    return f"{about}, {gigabytes(memory.available)} of {gigabytes(memory.total)} are free"
