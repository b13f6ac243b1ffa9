"""Finds the one model for all roles that a command line names: its server, its name there, its API."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from swarm_graph.config import SwarmConfig
from swarm_graph.config_source import closest_match
from swarm_graph.errors import ConfigError, InputError
from swarm_graph.models.embedded_file import file_entry, gigabytes, usable_file
from swarm_graph.models.gguf import is_gguf
from swarm_graph.models.keys import api_key
from swarm_graph.models.probe import DEFAULT_URLS, ServerInfo, discover, inspect
from swarm_graph.settings import AUTO, EMBEDDED, SERVER_TYPES, ModelEntry, absolute_file
from swarm_graph.shorthand import names_file, same_server, typed_url

CHOICES = tuple(name for name in SERVER_TYPES if name not in ("simulated", EMBEDDED))
"""The server types that a command line may name."""
PORTS = ", ".join(url.removesuffix("/v1").rpartition(":")[2] for url in DEFAULT_URLS)
NO_SERVER = (
    f"found no model server on this machine (ports {PORTS}, OPENAI_BASE_URL, OLLAMA_HOST); "
    "name yours: --url URL --model NAME, or `swarm-graph init URL`, or a file to serve: --model FILE.gguf"
)
MAX_NAMED = 12
"""How many of a server's models a message lists."""


@dataclass(frozen=True)
class GivenModel:
    """What a command line says of the one model for all roles; empty: nothing."""

    url: str = ""
    model: str = ""
    api_type: str = ""
    api_key_env: str = ""

    def __bool__(self) -> bool:
        return any(vars(self).values())


class FoundModel(NamedTuple):
    """A model for all roles."""

    settings: dict[str, str]
    """The shorthand for it (see `shorthand.SHORTHAND`)."""
    text: str
    """What it is, where, and what was assumed, for people."""


async def find_model(config: SwarmConfig, given: GivenModel) -> FoundModel:
    """The model that a command line names. Its server is asked what it offers; no prompt is sent.

    Args:
        config: The configuration that the model is to replace; its servers and keys count.
        given: What the command line says; at least one value.

    Raises:
        InputError: The options do not go together.
        ConfigError: The server does not answer, or has no such model, or there is a choice. One line.
    """
    if given.api_type and given.api_type not in (*CHOICES, AUTO, EMBEDDED):
        raise InputError(f"--api-type {given.api_type!r}: expected {' or '.join(CHOICES)}")
    if given.api_type == EMBEDDED and (given.url or not given.model):
        raise InputError("--api-type llamacpp serves a file: --model FILE.gguf names it, without --url")
    if given.url:
        return await _at_url(config, given)
    if given.api_type == EMBEDDED or is_file(config, given.model):
        return _of_file(given)
    if given.api_type:
        raise InputError("--api-type needs --url: the server that has this API")
    if not given.model:
        raise InputError("--api-key-env needs --url URL or --model NAME: the server that wants the key")
    return await _by_name(config, given)


def is_file(config: SwarmConfig, name: str) -> bool:
    """Whether a name on the command line is that of a GGUF file to serve.

    It is if there is such a file. One that is missing may be meant if no server is configured to have it.
    """
    if not name or name in config.models.multi_model:
        return False
    file = Path(absolute_file(name))
    return is_gguf(file) or (names_file(name) and (file.exists() or not any(_with_server(config))))


def _of_file(given: GivenModel) -> FoundModel:
    if given.api_key_env:
        raise InputError(
            "--api-key-env goes with a server; a GGUF file is served on this machine without one"
        )
    entry = file_entry(given.model)
    header = usable_file(entry)
    text = f"{entry.name} ({gigabytes(header.size)}), served on this machine"
    return FoundModel({"model": entry.model, "api_type": EMBEDDED}, text)


# --- with --url ----------------------------------------------------------------------------------


async def _at_url(config: SwarmConfig, given: GivenModel) -> FoundModel:
    info = await ask_server(config, given)
    api_type = given.api_type if given.api_type not in ("", AUTO) else ""
    if info.kind == "unknown":
        if not (api_type and given.model):
            cure = "is this the model server's port? --api-type TYPE --model NAME use it unchecked"
            raise ConfigError(f"{info.url}: {info.error}; {cure}")
        settings = _settings(given, info.url, given.model, api_type)
        return FoundModel(settings, f"{given.model} at {info.url} (unchecked: {info.error})")
    if api_type == "ollama" != info.api_type:
        raise ConfigError(f"--api-type ollama: the server at {info.url} is {info.kind}; leave --api-type out")
    model, why = (offered([info], given.model), "") if given.model else _only_model(config, info)
    url = f"{info.url}/v1" if api_type == "openai" != info.api_type else info.url
    return FoundModel(
        _settings(given, url, model, api_type or info.api_type), f"{model} at {url} ({info.kind}){why}"
    )


async def ask_server(config: SwarmConfig, given: GivenModel) -> ServerInfo:
    """What the server at a given URL reports; of kind unknown if it lists no models.

    Raises:
        ConfigError: The URL is none, the server does not answer, or it refuses the key.
    """
    try:
        url = typed_url(given.url)
    except ValueError as error:
        raise ConfigError(f"--url {str(error).replace('api_key_env', '--api-key-env')}") from error
    key = _key(config, given, url)
    info = await inspect(url if urlsplit(url).path else f"{url}/v1", key=key, proxy=config.proxy)
    if info.kind == "unknown" and info.reachable:
        info = await inspect(url, key=key, proxy=config.proxy)
    if not info.reachable:
        cure = "is it running there, and is the port right?"
        raise ConfigError(f"no model server answers at {url}: {info.error}; {cure}")
    if info.key_refused:
        cure = "--api-key-env NAME names the environment variable that holds its key"
        raise ConfigError(f"the server at {url}: {info.error}; {cure}")
    return info


def _key(config: SwarmConfig, given: GivenModel, url: str) -> str | None:
    """The key in the given variable, else that of a model configured on the same server."""
    if given.api_key_env:
        if key := os.environ.get(given.api_key_env):
            return key
        raise ConfigError(f"--api-key-env: the environment variable '{given.api_key_env}' is not set")
    there = (entry for entry in _with_server(config) if same_server(entry.url, url))
    entry = next(there, None)
    return api_key(entry) if entry else None


def _only_model(config: SwarmConfig, info: ServerInfo) -> tuple[str, str]:
    """The only model of a server, or the only configured one if it is there, and why it is taken."""
    if len(info.models) == 1:
        return info.models[0], ", the only model there"
    configured = {entry.model for entry in _with_server(config)}
    if len(configured) == 1 and configured & set(info.models):
        return configured.pop(), ", the configured model"
    if not info.models:
        pull = " (`ollama pull NAME`)" if info.kind == "ollama" else ""
        raise ConfigError(f"the server at {info.url} ({info.kind}) has no model; load one{pull}")
    raise ConfigError(
        f"the server at {info.url} ({info.kind}) has {len(info.models)} models; "
        f"choose with --model: {_listed(info.models)}"
    )


def _settings(given: GivenModel, url: str, model: str, api_type: str) -> dict[str, str]:
    settings = {"url": url, "model": model, "api_type": api_type}
    return settings | ({"api_key_env": given.api_key_env} if given.api_key_env else {})


# --- with --model alone --------------------------------------------------------------------------


async def _by_name(config: SwarmConfig, given: GivenModel) -> FoundModel:
    key = {"api_key_env": given.api_key_env} if given.api_key_env else {}
    if entry := config.models.entry_of(given.model):
        text = f"{entry.label} at {entry.server} (multi_model.{given.model})"
        return FoundModel({"model": given.model, **key}, text)
    entries = {entry.url: entry for entry in reversed(list(_with_server(config)))}
    if not entries:
        return await _discovered(given)
    asked = (
        inspect(entry.url, key=_key(config, given, entry.url), proxy=config.proxy)
        for entry in entries.values()
    )
    infos = dict(zip(entries, await asyncio.gather(*asked), strict=True))
    if len(infos) == 1:
        ((url, info),) = infos.items()
        if info.kind == "unknown" and info.reachable and not info.key_refused:
            return FoundModel(
                {"model": given.model, **key}, f"{given.model} at {url} (unchecked: {info.error})"
            )
    usable = {url: info for url, info in infos.items() if info.kind != "unknown"}
    if not usable:
        problems = "; ".join(f"{url}: {info.error}" for url, info in infos.items())
        raise ConfigError(f"no configured model server answers ({problems}); --url URL names another one")
    model = offered(usable.values(), given.model)
    url, info = next((url, info) for url, info in usable.items() if model in info.models)
    settings = {"model": model, **key}
    if len(entries) > 1:
        settings |= {"url": info.url, "api_type": info.api_type}
    return FoundModel(settings, f"{model} at {url} ({info.kind})")


async def _discovered(given: GivenModel) -> FoundModel:
    """The model on the only server of this machine that has it."""
    servers = await discover()
    if not servers:
        raise ConfigError(NO_SERVER)
    model = offered(servers, given.model)
    having = [server for server in servers if model in server.models]
    if len(having) > 1:
        urls = " and ".join(server.url for server in having)
        raise ConfigError(f"{len(having)} servers have the model {model!r}: {urls}; choose with --url")
    (server,) = having
    why = "the only server found" if len(servers) == 1 else "the only server found that has it"
    settings = _settings(given, server.url, model, server.api_type)
    return FoundModel(settings, f"{model} at {server.url} ({server.kind}), {why}")


# --- names ---------------------------------------------------------------------------------------


def offered(servers: Iterable[ServerInfo], name: str) -> str:
    """The name under which one of the servers has a model. Raises ConfigError when none has it."""
    servers = list(servers)
    models = list(dict.fromkeys(model for server in servers for model in server.models))
    for spelling in (name, f"{name}:latest"):
        if spelling in models:
            return spelling
    where = " and ".join(f"{server.url} ({server.kind})" for server in servers)
    there = f"the servers at {where} have" if len(servers) > 1 else f"the server at {where} has"
    if not models:
        raise ConfigError(f"no model {name!r}: {there} none; load it first")
    meant = closest_match(name, models) or _containing(name, models)
    hint = f"did you mean {meant!r}? " if meant else ""
    raise ConfigError(f"no model {name!r}; {hint}{there} {_listed(models)}")


def _containing(name: str, models: Sequence[str]) -> str | None:
    return next((model for model in models if name.lower() in model.lower()), None)


def _listed(models: Sequence[str]) -> str:
    more = len(models) - MAX_NAMED
    return ", ".join(models[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _with_server(config: SwarmConfig) -> list[ModelEntry]:
    return [entry for entry in config.entries if entry.url and entry.api_type != "simulated"]
