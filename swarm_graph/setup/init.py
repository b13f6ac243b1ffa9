"""`swarm-graph init`: a commented config for the servers that were found."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from swarm_graph.config import SwarmConfig, default_parameters
from swarm_graph.errors import ConfigError, InputError, StorageError
from swarm_graph.models.capacity import OLLAMA_NUM_CTX
from swarm_graph.models.embedded_file import (
    file_entry,
    fit_text,
    gigabytes,
    machine_memory,
    needed_memory,
    usable_file,
)
from swarm_graph.models.find_model import GivenModel, ask_server, is_file, offered
from swarm_graph.models.gguf_folders import FoundFile, FoundFiles, find_files
from swarm_graph.models.probe import ServerInfo, discover
from swarm_graph.sessions.output import write_file
from swarm_graph.settings import EMBEDDED, MODEL_PLACEHOLDER, ModelEntry, absolute_file
from swarm_graph.state import REVIEW_ROLES, AgentRole

PRESETS: dict[str, dict[str, Any]] = {
    "minimal": {"enable_parallel": False, "max_parallel_agents": 1},
    "optimal": {"enable_parallel": True, "max_parallel_agents": 4},
    "high-performance": {"enable_parallel": True, "max_parallel_agents": 8},
}
"""Workflow settings by hardware: a laptop (6-8 GB of VRAM), a server (16-24 GB), a large one (32-48 GB)."""

TRY_REQUEST = "Create a thread-safe FIFO queue"
MODEL_TIMEOUT_S = 7200
MAX_FILES = 8
"""How many GGUF files a config lists."""
PLACEHOLDER_COMMENT = (
    "// No server was found: put your server's address and model name here. `swarm-graph doctor` checks them."
)
OPENAI_PLACEHOLDER = {"url": "http://localhost:1234/v1", "model": MODEL_PLACEHOLDER, "api_type": "openai"}
OLLAMA_PLACEHOLDER = {"url": "http://localhost:11434", "model": MODEL_PLACEHOLDER, "api_type": "ollama"}


class _Offer(NamedTuple):
    """A model on a server."""

    server: ServerInfo
    model: str


async def find_servers(urls: Sequence[str], given: GivenModel) -> list[ServerInfo]:
    """The servers at these URLs, or those on this machine if there is no URL.

    Args:
        urls: As a person types them.
        given: What the command line names; with a model, the servers are listed with no other one.

    Raises:
        ConfigError: A server does not answer, or no server has the given model.
    """
    asked = (ask_model_server(replace(given, url=url)) for url in urls)
    servers = list(await asyncio.gather(*asked)) if urls else await discover()
    if not given.model or not servers:
        return servers
    model = offered(servers, given.model)
    return [replace(server, models=(model,)) for server in servers if model in server.models]


async def ask_model_server(given: GivenModel) -> ServerInfo:
    """What the server at a given URL reports. ConfigError when it lists no models."""
    info = await ask_server(SwarmConfig(), given)
    if info.kind == "unknown":
        raise ConfigError(f"{info.url}: {info.error}; is this the model server's port?")
    return info


def servable_files(given: GivenModel) -> FoundFiles:
    """The GGUF files on this machine that can be served, the largest that fits the memory first.

    Args:
        given: What the command line names; a file there is the only one.

    Raises:
        ConfigError: The given file cannot be served.
    """
    if given.model:
        if given.url or not is_file(SwarmConfig(), given.model):
            return FoundFiles([], [])
        header = usable_file(file_entry(absolute_file(given.model)))
        return FoundFiles([FoundFile(header, header.path.name, "as named")], [])
    found = find_files()
    free = machine_memory().available
    fitting = {file: needed_memory(file.header, _entry_of(file)) <= free for file in found.models}
    ordered = sorted(
        found.models, key=lambda file: file.header.size if fitting[file] else -file.header.size, reverse=True
    )
    return FoundFiles(ordered, found.problems)


def file_text(file: FoundFile) -> str:
    """A GGUF file for people: what it is, where it was found, and whether it fits the memory."""
    header = file.header
    kind = " ".join(filter(None, [header.architecture, header.size_label]))
    fit = fit_text(header, _entry_of(file))
    return f"{file.name} ({kind}, {gigabytes(header.size)}; {file.place}): {fit}"


def _entry_of(file: FoundFile) -> ModelEntry:
    return file_entry(str(file.header.path))


def next_command(
    servers: Sequence[ServerInfo], path: Path, program: str, files: Sequence[FoundFile] = ()
) -> str:
    """What to do with a new config: a run, if it names a model.

    Args:
        servers: The servers that it is for.
        path: The file.
        program: The name of the program.
        files: The files that it is for.
    """
    is_default = str(path) == "config.json" and "SWARM_CONFIG" not in os.environ
    config = "" if is_default else f" --config {shlex.quote(str(path))}"
    if files or any(server.models for server in servers):
        return f"try it:\n  {program} run {shlex.quote(TRY_REQUEST)}{config}"
    return f"put your model there, then `{program} doctor{config}` checks it"


def config_text(
    servers: Sequence[ServerInfo], preset: str, api_key_env: str = "", files: Sequence[FoundFile] = ()
) -> str:
    """A commented config file for these servers, or else for the first of these files, and this hardware.

    Args:
        servers: The servers that were found; none: the config has a placeholder.
        preset: A key of `PRESETS`.
        api_key_env: The environment variable with the key of the servers; empty: they need none.
        files: GGUF files that can be served, the best one first.
    """
    offers = [_Offer(server, model) for server in servers for model in server.models]
    entries = _entries(offers or [_Offer(server, MODEL_PLACEHOLDER) for server in servers[:1]])
    if api_key_env:
        entries = {role: {**entry, "api_key_env": api_key_env} for role, entry in entries.items()}
    if files and not offers:
        entries = dict.fromkeys(AgentRole, _served(files[0]))
    single = next(iter(entries.values()), OPENAI_PLACEHOLDER)
    multi = {role: entry for role, entry in entries.items() if entry != single}
    found = [f"// Found: {s.kind} at {s.url} with {', '.join(s.models) or 'no model'}" for s in servers]
    found += [f"// Found: {file_text(file)}" for file in files[:MAX_FILES]]
    others = [file for file in files[:MAX_FILES] if _served(file) != single]
    lines = [
        "// Written by `swarm-graph init`. Comments and trailing commas are fine here.",
        *(found or [PLACEHOLDER_COMMENT]),
        "{",
        '  "model_config": {',
        *_mode_lines(multi),
        f'    "single_model": {_inline(single)},',
        *([] if found else [f'    // or, with Ollama: "single_model": {_inline(OLLAMA_PLACEHOLDER)},']),
        *(f'    // or, without a server: "single_model": {_inline(_served(file))},' for file in others),
        '    "multi_model": {',
        *(f'      "{role}": {_inline(entry)},' for role, entry in multi.items()),
        "    },",
        "  },",
        '  "agent_parameters": {  // lower temperature: more deterministic; max_tokens: the longest answer',
        *(f'    "{role}": {_inline(_parameters(role, entries or {role: single}))},' for role in AgentRole),
        "  },",
        f'  "workflow": {{  // preset {preset}',
        '    "max_iterations": 3,  // rounds of coding and reviewing',
        *(f'    "{key}": {json.dumps(value)},' for key, value in PRESETS[preset].items()),
        '    "verbose_logging": false,',
        "  },",
        '  "features": {"enable_checkpointing": true},',
        "}",
    ]
    return "\n".join(lines) + "\n"


def keep_existing(path: Path, *, force: bool) -> None:
    """Refuse to replace a file unless `force` is set.

    Raises:
        InputError: The path exists, be it as a file, a folder or a dangling link.
    """
    if os.path.lexists(path) and not force:
        raise InputError(f"'{path}' exists; --force replaces it, or name another file")


def write_config(path: Path, text: str, *, force: bool) -> None:
    """Write the config, completely or not at all.

    Args:
        path: The file.
        text: Its content.
        force: Replace an existing file.

    Raises:
        InputError: The file exists and `force` is not set, or it cannot be written.
    """
    keep_existing(path, force=force)
    try:
        write_file(path.parent, path.name, text)
    except StorageError as error:
        reason = getattr(error.__cause__, "strerror", None) or "not a valid file name"
        raise InputError(f"cannot write '{path}': {reason}; name another file") from error


def _mode_lines(multi: dict[AgentRole, Any]) -> list[str]:
    if multi:
        comment = 'one model per role; the single model is for the rest ("single": one for all)'
        return [f'    "mode": "multi",  // {comment}']
    return ['    "mode": "single",  // one model for all roles ("multi": per role, entries in multi_model)']


def _entries(offers: list[_Offer]) -> dict[AgentRole, dict[str, Any]]:
    """A model per role: a code model if a name says so, and a different one for reviews if there is one."""
    if not offers:
        return {}
    coder = next((offer for offer in offers if "code" in offer.model.lower()), offers[0])
    reviewer = next((offer for offer in offers if offer.model != coder.model), coder)
    return {role: _entry(reviewer if role in REVIEW_ROLES else coder) for role in AgentRole}


def _served(file: FoundFile) -> dict[str, Any]:
    """The entry of a model that is served from a file."""
    path = str(file.header.path)
    name = {} if file.name == file.header.path.name else {"model_name": file.name}
    return {"model": path, **name, "api_type": EMBEDDED, "timeout": MODEL_TIMEOUT_S}


def _entry(offer: _Offer) -> dict[str, Any]:
    server = offer.server
    entry = {"url": server.url, "model": offer.model, "api_type": server.api_type, "timeout": MODEL_TIMEOUT_S}
    return {**entry, "slots": server.slots} if server.slots else entry


def _parameters(role: AgentRole, entries: dict[AgentRole, dict[str, Any]]) -> dict[str, Any]:
    defaults = default_parameters(role)
    context = {"num_ctx": OLLAMA_NUM_CTX} if entries[role]["api_type"] == "ollama" else {}
    return {"temperature": defaults.temperature, "max_tokens": defaults.max_tokens, **context}


def _inline(value: dict[str, Any]) -> str:
    return json.dumps(value)
