"""What a model server reports about itself. Probes send no prompt, so no model does any work."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import urlsplit

import aiohttp

from swarm_graph.models.http_clients import Address, requested
from swarm_graph.models.masking import masked
from swarm_graph.prompts.chat_template import KNOWN, ChatTemplate, told_by_server
from swarm_graph.settings import AUTO, ModelEntry, validated_url

ServerKind = Literal["llama.cpp", "ollama", "lm-studio", "openai-compatible", "unknown"]

LOOPBACK = "127.0.0.1"
DEFAULT_URLS = (
    f"http://{LOOPBACK}:1234/v1",
    f"http://{LOOPBACK}:11434",
    f"http://{LOOPBACK}:8080/v1",
    f"http://{LOOPBACK}:8000/v1",
)
"""Where LM Studio, Ollama, llama.cpp and vLLM listen by default."""
DISCOVERY_TIMEOUT_S = 0.5
TOKENIZE_TIMEOUT_S = 2.0
MAX_ANSWER_BYTES = 2**24
"""The rest of a longer answer is not read."""
EMBEDDING_WORDS = ("embed", "bge-", "minilm", "rerank")
"""Parts of the names of models that cannot chat."""


@dataclass(frozen=True)
class ServerInfo:
    """What a model server reports about itself. All texts are safe to print on a terminal.

    Attributes:
        url: The URL to configure, which can differ from the probed one.
        reachable: Whether a server answered; `kind` is "unknown" when it is not a model server.
        error: Why the server is not usable; empty when it is.
        models: Names of the models that can chat.
        embedding_models: Names of the models that only make vectors, as far as it says so.
        context: Tokens of one request, for all models; None when the server does not say.
        slots: Concurrent requests; None when the server does not say.
        loaded: Ollama's models in memory, each with its share in VRAM.
        contexts: Tokens of one request by model, where the server says so per model.
        trained_contexts: Ollama's longest possible context by model.
        key_refused: The server requires an API key, or refuses the one it got.
        chat_template: The tokens of its chat template; with Ollama, of the model that was asked about.
    """

    url: str
    kind: ServerKind = "unknown"
    reachable: bool = False
    error: str = ""
    version: str = ""
    models: tuple[str, ...] = ()
    embedding_models: tuple[str, ...] = ()
    context: int | None = None
    slots: int | None = None
    loaded: tuple[str, ...] = ()
    contexts: Mapping[str, int] = field(default_factory=dict)
    trained_contexts: Mapping[str, int] = field(default_factory=dict)
    key_refused: bool = False
    chat_template: ChatTemplate = KNOWN

    @property
    def api_type(self) -> Literal["openai", "ollama"]:
        """The `api_type` to configure."""
        return "ollama" if self.kind == "ollama" else "openai"

    def context_of(self, model: str) -> int | None:
        """Tokens of one request to a model; None when the server does not say."""
        return self.contexts.get(model) or self.contexts.get(f"{model}:latest") or self.context


def as_answered(entry: ModelEntry, info: ServerInfo) -> ModelEntry:
    """The model with the type and URL of its server, if its `api_type` is auto; OpenAI's API if unknown."""
    if entry.api_type != AUTO:
        return entry
    url = info.url if info.kind != "unknown" else f"{entry.url.removesuffix('/v1')}/v1"
    return entry.model_copy(update={"api_type": info.api_type, "url": url})


async def inspect(
    url: str, *, model: str = "", key: str | None = None, proxy: str | None = None, patience_s: float = 5.0
) -> ServerInfo:
    """What the server at a URL reports. Never raises: `error` says what is wrong.

    Args:
        url: The configured URL, with or without `/v1`.
        model: The model whose chat template is wanted.
        key: API key.
        proxy: URL of the configured proxy; the environment's are ignored.
        patience_s: Seconds for the whole probe.
    """
    try:
        url = validated_url(url, "http://localhost:1234/v1").rstrip("/")
        async with asyncio.timeout(patience_s):
            return _without_key(await _server_info(_Client(key, proxy), url, model), key)
    except TimeoutError:
        return ServerInfo(url, error=f"no answer within {patience_s:g} s")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return _without_key(ServerInfo(url, error=_problem(error)), key)


def _problem(error: Exception) -> str:
    """Why a server cannot be asked, without its address, which the caller names."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, ConnectionError) and cause.errno:
        return os.strerror(cause.errno)
    return _text(getattr(cause, "strerror", None) or cause) or type(error).__name__


def _without_key(info: ServerInfo, key: str | None) -> ServerInfo:
    """The info without parts of the API key, in case the server repeats it."""
    secrets = [key] if key else []
    return replace(
        info,
        error=masked(info.error, secrets),
        version=masked(info.version, secrets),
        models=tuple(masked(model, secrets) for model in info.models),
        embedding_models=tuple(masked(model, secrets) for model in info.embedding_models),
        loaded=tuple(masked(model, secrets) for model in info.loaded),
    )


async def count_tokens(url: str, text: str, *, key: str | None, proxy: str | None) -> int | None:
    """The tokens of a text by a llama.cpp server's own count; None when it does not answer.

    Args:
        url: The server's `/tokenize` page.
        text: The text to count.
        key: API key.
        proxy: URL of the configured proxy.
    """
    try:
        async with asyncio.timeout(TOKENIZE_TIMEOUT_S):
            _, answer = await _Client(key, proxy).get(url, {"content": text, "add_special": True})
    except (TimeoutError, aiohttp.ClientError, OSError):
        return None
    tokens = _object(answer).get("tokens")
    return len(tokens) if isinstance(tokens, list) else None


class _Client:
    """Asks the pages of servers."""

    def __init__(self, key: str | None, proxy: str | None) -> None:
        self.headers = {"authorization": f"Bearer {key}"} if key else {}
        self._proxy = proxy

    async def get(self, url: str, body: dict[str, Any] | None = None) -> tuple[int, bytes]:
        """The status and the body, cut off after MAX_ANSWER_BYTES. With a body to send, it is posted."""
        received = bytearray()
        method, content = ("POST", json.dumps(body).encode()) if body else ("GET", None)
        async with requested(method, Address(url, self.headers, self._proxy), content) as answer:
            async for part in answer.content.iter_any():
                received += part
                if len(received) > MAX_ANSWER_BYTES:
                    break
        return answer.status, bytes(received)

    async def json(self, url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The JSON object at a URL; empty when there is none."""
        try:
            status, received = await self.get(url, body)
        except (aiohttp.ClientError, OSError):
            return {}
        return _object(received) if status == 200 else {}


# --- discovery -----------------------------------------------------------------------------------


async def discover() -> list[ServerInfo]:
    """The model servers on this machine, and those that OPENAI_BASE_URL and OLLAMA_HOST name."""
    urls = dict.fromkeys([*_urls_from_environment(os.environ), *DEFAULT_URLS])
    infos = await asyncio.gather(*(inspect(url, patience_s=DISCOVERY_TIMEOUT_S) for url in urls))
    # Two URLs can lead to one server: Ollama answers with and without /v1.
    servers = {info.url: info for info in infos if info.kind != "unknown"}
    return list(servers.values())


def _urls_from_environment(environ: Mapping[str, str]) -> Iterator[str]:
    """The URLs that the environment names; invalid ones are skipped."""
    if url := environ.get("OPENAI_BASE_URL", "").strip():
        with suppress(ValueError):
            yield _with_loopback(url).rstrip("/")
    if host := environ.get("OLLAMA_HOST", "").strip():
        with suppress(ValueError):
            yield _ollama_url(host)


def _ollama_url(value: str) -> str:
    """OLLAMA_HOST as a URL, read as Ollama reads it: scheme, host and port are optional."""
    scheme, _, rest = value.rpartition("://")
    port = {"http": 80, "https": 443}.get(scheme, 11434)
    parts = urlsplit(f"{scheme or 'http'}://{rest}")
    host = LOOPBACK if parts.hostname in (None, "0.0.0.0", "::") else parts.hostname
    bracketed = f"[{host}]" if ":" in host else host
    return _with_loopback(f"{parts.scheme}://{bracketed}:{parts.port or port}{parts.path.rstrip('/')}")


def _with_loopback(url: str) -> str:
    """The URL with 127.0.0.1 for `localhost`, so that one server is not found twice."""
    parts = urlsplit(url)
    netloc = LOOPBACK if parts.port is None else f"{LOOPBACK}:{parts.port}"
    return parts._replace(netloc=netloc).geturl() if parts.hostname == "localhost" else url


# --- the servers' own pages ----------------------------------------------------------------------


async def _server_info(client: _Client, url: str, model: str) -> ServerInfo:
    base = url.removesuffix("/v1")
    _, body = await client.get(f"{base}/")
    if body.strip() == b"Ollama is running":
        return await _ollama(client, base, model)
    statuses = []
    for address in dict.fromkeys([url, f"{base}/v1"]):
        status, body = await client.get(f"{address}/models")
        listing = _object(body)
        if isinstance(listing.get("data"), list):
            return await _openai(client, base, ServerInfo(address, reachable=True), listing)
        statuses.append(status)
    if {401, 403} & set(statuses):
        problem = "it refuses the API key" if "authorization" in client.headers else "it requires an API key"
        return ServerInfo(url, reachable=True, error=problem, key_refused=True)
    problem = "it does not list models as an OpenAI-compatible server does"
    suffix = "" if statuses[0] == 200 else f" (status {statuses[0]})"
    return ServerInfo(url, reachable=True, error=problem + suffix)


async def _ollama(client: _Client, base: str, model: str) -> ServerInfo:
    addresses = (f"{base}/api/version", f"{base}/api/tags", f"{base}/api/ps")
    version, tags, running = await asyncio.gather(*(client.json(address) for address in addresses))
    in_memory, installed = _objects(running, "models"), _objects(tags, "models")
    return ServerInfo(
        base,
        kind="ollama",
        reachable=True,
        version=_text(version.get("version", "")),
        models=_models(installed, "name", chat=True),
        embedding_models=_models(installed, "name", chat=False),
        contexts=_contexts((model.get("name"), model.get("context_length")) for model in in_memory),
        trained_contexts=_contexts(
            (model.get("name"), _group(model, "details").get("context_length")) for model in installed
        ),
        loaded=tuple(_loaded(model) for model in in_memory),
        chat_template=await _ollama_template(client, base, model),
    )


async def _ollama_template(client: _Client, base: str, model: str) -> ChatTemplate:
    """The tokens of an Ollama model's template, and its stop words, one `stop "…"` a line."""
    if not model:
        return KNOWN
    shown = await client.json(f"{base}/api/show", {"model": model})
    stops = re.findall(r'^stop\s+"?(.+?)"?$', str(shown.get("parameters", "")), re.MULTILINE)
    return told_by_server(str(shown.get("template", "")), stops)


async def _openai(client: _Client, base: str, info: ServerInfo, listing: dict[str, Any]) -> ServerInfo:
    """The info of a server with OpenAI's API; llama.cpp has /props, LM Studio has /api/v0."""
    props, studio = await asyncio.gather(client.json(f"{base}/props"), client.json(f"{base}/api/v0/models"))
    slots = _count(props.get("total_slots"))
    if slots is None and _objects(studio, "data"):
        entries = _objects(studio, "data")
        contexts = _contexts((entry.get("id"), entry.get("loaded_context_length")) for entry in entries)
        return replace(
            info,
            kind="lm-studio",
            models=_models(entries, "id", chat=True),
            embedding_models=_models(entries, "id", chat=False),
            contexts=contexts,
        )
    entries = _objects(listing, "data")
    return replace(
        info,
        kind="llama.cpp" if slots else "openai-compatible",
        version=_text(props.get("build_info", "")),
        models=_models(entries, "id", chat=True),
        embedding_models=_models(entries, "id", chat=False),
        context=_count(_group(props, "default_generation_settings").get("n_ctx")),
        contexts=_contexts(
            (entry.get("id"), _group(entry, "meta").get("n_ctx") or entry.get("max_model_len"))
            for entry in entries
        ),
        slots=slots,
        chat_template=told_by_server(str(props.get("chat_template", "")), [str(props.get("eos_token", ""))]),
    )


# --- reading answers of any shape ----------------------------------------------------------------


def _object(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _objects(data: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The objects in a list; anything else is skipped."""
    items = data.get(key)
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _group(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = data.get(key)
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int | None:
    return value if type(value) is int and value > 0 else None


def _text(value: Any) -> str:
    """A server's text on one short line, without control characters."""
    return "".join(char if char.isprintable() else " " for char in str(value)).strip()[:200]


def _models(entries: list[dict[str, Any]], key: str, *, chat: bool) -> tuple[str, ...]:
    """The names of models that can chat, or of those that cannot.

    Names with control characters are skipped, because names end up in files and on the terminal.
    """
    by_name = {name: entry for entry in entries if isinstance(name := entry.get(key), str) and name}
    return tuple(
        name for name, entry in by_name.items() if name.isprintable() and _can_chat(name, entry) == chat
    )


def _can_chat(name: str, entry: dict[str, Any]) -> bool:
    """False for an embedding model, as far as Ollama, LM Studio or its name say so."""
    if entry.get("type") == "embeddings" or entry.get("capabilities") == ["embedding"]:
        return False
    return not any(word in name.lower() for word in EMBEDDING_WORDS)


def _contexts(pairs: Iterable[tuple[Any, Any]]) -> dict[str, int]:
    """Tokens by model, from the pairs that are a name and a count."""
    return {name: tokens for name, value in pairs if isinstance(name, str) and (tokens := _count(value))}


def _loaded(model: dict[str, Any]) -> str:
    size, in_vram = _count(model.get("size")), _count(model.get("size_vram")) or 0
    share = f" ({100 * in_vram // size} % of {size / 1e9:.1f} GB in VRAM)" if size else ""
    return f"{_text(model.get('name', ''))}{share}"
