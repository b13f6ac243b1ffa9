"""What a model server says of itself. It is asked without a prompt; no model works for it."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx

Kind = Literal["llama.cpp", "ollama", "lm-studio", "openai-compatible", "unknown"]

PROBED = (
    "http://127.0.0.1:1234/v1",
    "http://127.0.0.1:11434",
    "http://127.0.0.1:8080/v1",
    "http://127.0.0.1:8000/v1",
)
"""LM Studio, Ollama, llama.cpp and vLLM, where they listen unless told otherwise."""
PROBE_S = 0.5
EMBEDDING_WORDS = ("embed", "bge-", "minilm", "rerank")


@dataclass(frozen=True)
class ServerReport:
    """What was found at an address. `context`: tokens of one request; `slots`: requests at once."""

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

    @property
    def api_type(self) -> Literal["openai", "ollama"]:
        return "ollama" if self.kind == "ollama" else "openai"


async def inspect(url: str, *, key: str | None = None, patience_s: float = 5.0) -> ServerReport:
    """What listens at a configured URL. A server that does not answer is reported, nothing is raised."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    client = httpx.AsyncClient(
        timeout=patience_s,
        trust_env=False,
        follow_redirects=False,
        headers=headers,
        verify=url.startswith("https:"),
    )
    parts = urlsplit(url)
    root = f"{parts.scheme}://{parts.netloc}"
    async with client:
        try:
            answer = await client.get(root)
        except (httpx.HTTPError, OSError) as error:
            return ServerReport(url, error=str(error) or type(error).__name__)
        found = ServerReport(url, reachable=True)
        if answer.text.strip() == "Ollama is running":
            return await _ollama(client, root, found)
        return await _openai(client, url, root, found)


async def discover() -> list[ServerReport]:
    """The model servers on this machine and those that OPENAI_BASE_URL and OLLAMA_HOST name."""
    named = [os.environ.get("OPENAI_BASE_URL", ""), _ollama_host(os.environ.get("OLLAMA_HOST", ""))]
    urls = dict.fromkeys([*(url.rstrip("/") for url in named if url), *PROBED])
    reports = await asyncio.gather(*(inspect(url, patience_s=PROBE_S) for url in urls))
    return [report for report in reports if report.kind != "unknown"]


async def _ollama(client: httpx.AsyncClient, root: str, found: ServerReport) -> ServerReport:
    version = await _json(client, f"{root}/api/version")
    tags = await _json(client, f"{root}/api/tags")
    running = (await _json(client, f"{root}/api/ps")).get("models", [])
    contexts = [model["context_length"] for model in running if model.get("context_length")]
    return replace(
        found,
        kind="ollama",
        version=str(version.get("version", "")),
        models=_chat_models(model.get("name", "") for model in tags.get("models", [])),
        context=min(contexts, default=None),
        loaded=tuple(_loaded(model) for model in running),
    )


async def _openai(client: httpx.AsyncClient, url: str, root: str, found: ServerReport) -> ServerReport:
    listed = await _json(client, f"{url}/models")
    entries = listed.get("data")
    if not isinstance(entries, list):
        return replace(found, error="it does not list models as an OpenAI-compatible server does")
    props = await _json(client, f"{root}/props")
    slots = props.get("total_slots")
    studio = slots is None and "data" in await _json(client, f"{root}/api/v0/models")
    settings = props.get("default_generation_settings", {})
    meta = (entries[0].get("meta") or {}) if entries else {}
    return replace(
        found,
        kind="llama.cpp" if slots else "lm-studio" if studio else "openai-compatible",
        version=str(props.get("build_info", "")),
        models=_chat_models(entry.get("id", "") for entry in entries),
        context=settings.get("n_ctx")
        or meta.get("n_ctx")
        or (entries and entries[0].get("max_model_len"))
        or None,
        slots=slots,
    )


async def _json(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    """A JSON object; empty when there is none to be had."""
    try:
        answer = await client.get(url)
        data = answer.json() if answer.status_code == 200 else {}
    except (httpx.HTTPError, OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _chat_models(names: Any) -> tuple[str, ...]:
    return tuple(n for n in names if n and not any(word in n.lower() for word in EMBEDDING_WORDS))


def _loaded(model: dict[str, Any]) -> str:
    size, in_vram = model.get("size") or 0, model.get("size_vram") or 0
    share = f" ({100 * in_vram // size} % of {size / 1e9:.1f} GB in VRAM)" if size else ""
    return f"{model.get('name', '')}{share}"


def _ollama_host(value: str) -> str:
    """OLLAMA_HOST as a URL: it may be a bare host or host:port, and 0.0.0.0 means this machine."""
    if not value:
        return ""
    url = value if "://" in value else f"http://{value}"
    parts = urlsplit(url)
    host = "127.0.0.1" if parts.hostname in (None, "0.0.0.0") else parts.hostname
    return f"{parts.scheme}://{host}:{parts.port or 11434}"
