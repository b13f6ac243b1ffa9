"""What a model server says of itself. It is asked without a prompt; no model works for it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx

from swarm_graph.settings import checked_url

Kind = Literal["llama.cpp", "ollama", "lm-studio", "openai-compatible", "unknown"]

THIS_MACHINE = "127.0.0.1"
PROBED = (
    f"http://{THIS_MACHINE}:1234/v1",
    f"http://{THIS_MACHINE}:11434",
    f"http://{THIS_MACHINE}:8080/v1",
    f"http://{THIS_MACHINE}:8000/v1",
)
"""LM Studio, Ollama, llama.cpp and vLLM, where they listen unless told otherwise."""
PROBE_S = 0.5
TOKENIZE_S = 2.0
MOST_BYTES = 2**24
"""What is read of one answer at the most."""
EMBEDDING_WORDS = ("embed", "bge-", "minilm", "rerank")


@dataclass(frozen=True)
class ServerReport:
    """What was found at an address. `context`: tokens of one request; `slots`: requests at once.

    All texts are fit for a terminal. `url` is the one to configure, which may not be the one asked for.
    """

    url: str
    kind: Kind = "unknown"
    reachable: bool = False
    error: str = ""
    version: str = ""
    models: tuple[str, ...] = ()
    context: int | None = None
    slots: int | None = None
    loaded: tuple[str, ...] = ()
    """Ollama: the models in memory, each with the share of it that lies in VRAM."""
    contexts: Mapping[str, int] = field(default_factory=dict)
    """Tokens of one request, of models that say so themselves."""
    lengths: Mapping[str, int] = field(default_factory=dict)
    """Ollama: the longest context that each model was made for."""
    key_refused: bool = False

    @property
    def api_type(self) -> Literal["openai", "ollama"]:
        return "ollama" if self.kind == "ollama" else "openai"

    def context_of(self, model: str) -> int | None:
        """Tokens of one request to a model; None when the server does not say."""
        return self.contexts.get(model) or self.contexts.get(f"{model}:latest") or self.context


async def inspect(
    url: str, *, key: str | None = None, proxy: str | None = None, patience_s: float = 5.0
) -> ServerReport:
    """What listens at a URL. Nothing is raised: a server that is none, or is too slow, is reported."""
    try:
        url = checked_url(url, "http://localhost:1234/v1").rstrip("/")
        async with asyncio.timeout(patience_s), _client(url, key, proxy) as client:
            return await _report(client, url)
    except TimeoutError:
        return ServerReport(url, error=f"no answer within {patience_s:g} s")
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        return ServerReport(url, error=_text(error) or type(error).__name__)


async def count_tokens(url: str, text: str, *, key: str | None, proxy: str | None) -> int | None:
    """How many tokens a llama.cpp server makes of a text; None when it does not say."""
    try:
        async with _client(url, key, proxy) as client, asyncio.timeout(TOKENIZE_S):
            answer = await client.post(url, json={"content": text, "add_special": True})
            tokens = _object(answer.content).get("tokens")
    except (TimeoutError, httpx.HTTPError, OSError):
        return None
    return len(tokens) if isinstance(tokens, list) else None


def _client(url: str, key: str | None, proxy: str | None) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        timeout=None,
        trust_env=False,
        follow_redirects=False,
        headers={"authorization": f"Bearer {key}"} if key else {},
        verify=url.startswith("https:"),
        proxy=proxy,
    )


async def discover() -> list[ServerReport]:
    """The model servers on this machine and those that OPENAI_BASE_URL and OLLAMA_HOST name."""
    urls = dict.fromkeys([*_named(os.environ), *PROBED])
    reports = await asyncio.gather(*(inspect(url, patience_s=PROBE_S) for url in urls))
    found = {report.url: report for report in reports if report.kind != "unknown"}
    return list(found.values())


def _named(environ: Mapping[str, str]) -> Iterator[str]:
    """What the environment names, if it is a URL."""
    if url := environ.get("OPENAI_BASE_URL", "").strip():
        with suppress(ValueError):
            yield _here(url).rstrip("/")
    if host := environ.get("OLLAMA_HOST", "").strip():
        with suppress(ValueError):
            yield _ollama_host(host)


def _ollama_host(value: str) -> str:
    """OLLAMA_HOST as a URL, read as Ollama does: the scheme, the host and the port may be missing."""
    scheme, _, rest = value.rpartition("://")
    port = {"http": 80, "https": 443}.get(scheme, 11434)
    parts = urlsplit(f"{scheme or 'http'}://{rest}")
    host = THIS_MACHINE if parts.hostname in (None, "0.0.0.0", "::") else parts.hostname
    shown = f"[{host}]" if ":" in host else host
    return _here(f"{parts.scheme}://{shown}:{parts.port or port}{parts.path.rstrip('/')}")


def _here(url: str) -> str:
    """`localhost` as its address, so that one server is not found twice."""
    parts = urlsplit(url)
    netloc = THIS_MACHINE if parts.port is None else f"{THIS_MACHINE}:{parts.port}"
    return parts._replace(netloc=netloc).geturl() if parts.hostname == "localhost" else url


async def _report(client: httpx.AsyncClient, url: str) -> ServerReport:
    base = url.removesuffix("/v1")
    _, body = await _get(client, f"{base}/")
    if body.strip() == b"Ollama is running":
        return await _ollama(client, base)
    statuses = []
    for address in dict.fromkeys([url, f"{base}/v1"]):
        status, body = await _get(client, f"{address}/models")
        listed = _object(body)
        if isinstance(listed.get("data"), list):
            return await _openai(client, base, ServerReport(address, reachable=True), listed)
        statuses.append(status)
    if {401, 403} & set(statuses):
        problem = "it refuses the API key" if "authorization" in client.headers else "it wants an API key"
        return ServerReport(url, reachable=True, error=problem, key_refused=True)
    problem = "it does not list models as an OpenAI-compatible server does"
    suffix = "" if statuses[0] == 200 else f" (status {statuses[0]})"
    return ServerReport(url, reachable=True, error=problem + suffix)


async def _ollama(client: httpx.AsyncClient, base: str) -> ServerReport:
    addresses = (f"{base}/api/version", f"{base}/api/tags", f"{base}/api/ps")
    version, tags, running = await asyncio.gather(*(_json(client, address) for address in addresses))
    in_memory = _objects(running, "models")
    return ServerReport(
        base,
        kind="ollama",
        reachable=True,
        version=_text(version.get("version", "")),
        models=_chat_models(_objects(tags, "models"), "name"),
        contexts=_contexts((model.get("name"), model.get("context_length")) for model in in_memory),
        lengths=_contexts(
            (model.get("name"), _group(model, "details").get("context_length"))
            for model in _objects(tags, "models")
        ),
        loaded=tuple(_loaded(model) for model in in_memory),
    )


async def _openai(
    client: httpx.AsyncClient, base: str, found: ServerReport, listed: dict[str, Any]
) -> ServerReport:
    props, studio = await asyncio.gather(
        _json(client, f"{base}/props"), _json(client, f"{base}/api/v0/models")
    )
    slots = _count(props.get("total_slots"))
    if slots is None and _objects(studio, "data"):
        entries = _objects(studio, "data")
        lengths = [(entry.get("id"), entry.get("loaded_context_length")) for entry in entries]
        return replace(
            found, kind="lm-studio", models=_chat_models(entries, "id"), contexts=_contexts(lengths)
        )
    entries = _objects(listed, "data")
    return replace(
        found,
        kind="llama.cpp" if slots else "openai-compatible",
        version=_text(props.get("build_info", "")),
        models=_chat_models(entries, "id"),
        context=_count(_group(props, "default_generation_settings").get("n_ctx")),
        contexts=_contexts(
            (entry.get("id"), _group(entry, "meta").get("n_ctx") or entry.get("max_model_len"))
            for entry in entries
        ),
        slots=slots,
    )


async def _get(client: httpx.AsyncClient, url: str) -> tuple[int, bytes]:
    """The status and the body, of which no more is read than MOST_BYTES."""
    body = bytearray()
    async with client.stream("GET", url) as answer:
        async for part in answer.aiter_bytes():
            body += part
            if len(body) > MOST_BYTES:
                break
    return answer.status_code, bytes(body)


async def _json(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    """A JSON object; empty when there is none to be had."""
    try:
        status, body = await _get(client, url)
    except (httpx.HTTPError, OSError):
        return {}
    return _object(body) if status == 200 else {}


def _object(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _objects(data: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The objects of a list; what else stands in it, or in its place, is passed over."""
    items = data.get(key)
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _group(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = data.get(key)
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int | None:
    return value if type(value) is int and value > 0 else None


def _text(value: Any) -> str:
    """A server's word on one line, without control characters."""
    return "".join(char if char.isprintable() else " " for char in str(value)).strip()[:200]


def _chat_models(entries: list[dict[str, Any]], key: str) -> tuple[str, ...]:
    """The names of models that can chat. A name with control characters is none: it would reach files."""
    found = {name: entry for entry in entries if isinstance(name := entry.get(key), str)}
    return tuple(name for name, entry in found.items() if name.isprintable() and _chats(name, entry))


def _chats(name: str, entry: dict[str, Any]) -> bool:
    """Whether a model is no embedding model, as far as Ollama, LM Studio or its name say so."""
    if entry.get("type") == "embeddings" or entry.get("capabilities") == ["embedding"]:
        return False
    return bool(name) and not any(word in name.lower() for word in EMBEDDING_WORDS)


def _contexts(pairs: Any) -> dict[str, int]:
    return {name: tokens for name, value in pairs if isinstance(name, str) and (tokens := _count(value))}


def _loaded(model: dict[str, Any]) -> str:
    size, in_vram = _count(model.get("size")), _count(model.get("size_vram")) or 0
    share = f" ({100 * in_vram // size} % of {size / 1e9:.1f} GB in VRAM)" if size else ""
    return f"{_text(model.get('name', ''))}{share}"
