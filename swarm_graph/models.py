"""The chat models behind the roles: OpenAI-compatible servers, Ollama and the simulated model.

HTTP clients belong to one event loop each; they ignore the environment's proxies and follow no
redirect, so nothing is asked but the configured servers. Their transport is aiohttp's: it takes a
fraction of the time of httpx's own (benchmarks/README.md).
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any, cast
from weakref import WeakKeyDictionary

from langchain_core.language_models import BaseChatModel

from swarm_graph.config import AgentParameters, ModelEntry, SwarmConfig
from swarm_graph.errors import ConfigError
from swarm_graph.limits import Slots, server_slots

CONNECT_TIMEOUT = 10.0
UNLIMITED = 0
"""Connections in aiohttp's words: how many calls run at once is decided by the slots."""


class ModelPool:
    """The chat models, made when first asked for, one per event loop."""

    def __init__(self, config: SwarmConfig) -> None:
        self.config = config
        self._models: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, BaseChatModel]] = (
            WeakKeyDictionary()
        )

    def chat(self, entry: ModelEntry, parameters: AgentParameters) -> BaseChatModel:
        """A model for the running event loop."""
        models = self._models.setdefault(asyncio.get_running_loop(), {})
        key = entry.model_dump_json() + parameters.model_dump_json()
        if key not in models:
            models[key] = chat_model(entry, parameters, self.config.proxy)
        return models[key]

    def slots(self, entry: ModelEntry) -> Slots:
        """The limiter of a model's server."""
        return server_slots(entry.server, self.config.width(entry))


def chat_model(entry: ModelEntry, parameters: AgentParameters, proxy: str | None = None) -> BaseChatModel:
    """A new LangChain chat model, bound to the running event loop."""
    make = {"openai": _openai, "ollama": _ollama, "simulated": _simulated}[entry.api_type]
    return make(entry, parameters, proxy)


def api_key(entry: ModelEntry) -> str | None:
    """The key from the variable that `api_key_env` names. ConfigError when it is not set."""
    if entry.api_key_env is None:
        return None
    key = os.environ.get(entry.api_key_env)
    if not key:
        raise ConfigError(
            f"the environment variable '{entry.api_key_env}' (api_key_env of {entry.label}) is not set"
        )
    return key


def check_model(entry: ModelEntry) -> None:
    """ConfigError when a model's key is not set or its simulation script cannot be read. Asks no server."""
    api_key(entry)
    if entry.api_type == "simulated":
        from swarm_graph.simulated import load_script

        load_script(entry.simulation.script)


def call_arguments(
    model: BaseChatModel, extra_body: dict[str, Any], schema: dict[str, Any] | None
) -> dict[str, Any]:
    """What a call sends besides messages: a JSON schema for the answer, and the user's own fields.

    OpenAI's schema goes through `extra_body`, past the openai client's own parser, which raises and
    throws the answer away when it is cut off. Ollama takes the user's fields as `options`.
    """
    if model._llm_type == "chat-ollama":
        options = {"options": {**_ollama_options(model), **extra_body}} if extra_body else {}
        return {**options, **({"format": schema} if schema else {})}
    if schema is None:
        return {}
    response_format = {
        "type": "json_schema",
        "json_schema": {"name": re.sub(r"\W", "_", schema.get("title", "answer")).lower(), "schema": schema},
    }
    if model._llm_type == "openai-chat":
        return {
            "extra_body": {**(getattr(model, "extra_body", None) or {}), "response_format": response_format}
        }
    return {"response_format": response_format}


def _ollama_options(model: BaseChatModel) -> dict[str, Any]:
    names = ("temperature", "top_p", "seed", "num_predict", "num_ctx")
    return {name: value for name in names if (value := getattr(model, name)) is not None}


def _openai(entry: ModelEntry, parameters: AgentParameters, proxy: str | None) -> BaseChatModel:
    from langchain_openai import ChatOpenAI

    body = dict(parameters.extra_body)
    if parameters.max_tokens:
        body.setdefault("max_tokens", parameters.max_tokens)  # the name that every server knows
    if isinstance(parameters.reasoning, str):
        body.setdefault("reasoning_effort", parameters.reasoning)
    elif parameters.reasoning is not None:
        body.setdefault("chat_template_kwargs", {"enable_thinking": parameters.reasoning})
    return ChatOpenAI(
        model=entry.model,
        base_url=entry.url,
        api_key=cast("Any", api_key(entry) or "none"),
        temperature=parameters.temperature,
        top_p=parameters.top_p,
        seed=parameters.seed,
        extra_body=body or None,
        stream_usage=True,
        stream_chunk_timeout=None,
        timeout=None,
        max_retries=0,
        use_responses_api=False,
        http_client=_unused_sync_client(),
        http_async_client=_openai_client(entry, proxy),
    )


def _ollama(entry: ModelEntry, parameters: AgentParameters, proxy: str | None) -> BaseChatModel:
    from langchain_ollama import ChatOllama

    key = api_key(entry)
    return ChatOllama(
        model=entry.model,
        base_url=entry.url,
        temperature=parameters.temperature,
        top_p=parameters.top_p,
        seed=parameters.seed,
        num_predict=parameters.max_tokens,
        num_ctx=parameters.num_ctx,
        keep_alive=parameters.keep_alive,
        reasoning=parameters.reasoning,
        client_kwargs={
            "trust_env": False,
            "follow_redirects": False,
            "timeout": None,
            "verify": entry.url.startswith("https:"),
            "headers": {"authorization": f"Bearer {key}"} if key else {},
        },
        async_client_kwargs={"transport": _ollama_transport(entry, proxy)},
    )


def _simulated(entry: ModelEntry, _parameters: AgentParameters, _proxy: str | None) -> BaseChatModel:
    from swarm_graph.simulated import SimulatedChatModel

    return SimulatedChatModel.of(entry)


# --- HTTP clients, one per event loop and server -------------------------------------------------

_CLIENTS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, ...], Any]] = WeakKeyDictionary()
_SYNC_CLIENT: list[Any] = []


def _openai_client(entry: ModelEntry, proxy: str | None) -> Any:
    import httpx2
    from httpx_aiohttp.httpx2 import AiohttpTransport

    def make() -> Any:
        return httpx2.AsyncClient(
            transport=AiohttpTransport(
                verify=entry.url.startswith("https:"),
                proxy=httpx2.Proxy(proxy) if proxy else None,
                limits=httpx2.Limits(max_connections=UNLIMITED),
            ),
            timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT),
            trust_env=False,
            follow_redirects=False,
        )

    return _of_this_loop(("openai", entry.server, proxy or ""), make)


def _ollama_transport(entry: ModelEntry, proxy: str | None) -> Any:
    import httpx
    from httpx_aiohttp import AiohttpTransport

    def make() -> Any:
        return AiohttpTransport(
            verify=entry.url.startswith("https:"),
            proxy=httpx.Proxy(proxy) if proxy else None,
            limits=httpx.Limits(max_connections=UNLIMITED),
        )

    return _of_this_loop(("ollama", entry.server, proxy or ""), make)


def _unused_sync_client() -> Any:
    """ChatOpenAI insists on a synchronous client too; ours never asks with it."""
    import httpx2

    if not _SYNC_CLIENT:
        _SYNC_CLIENT.append(httpx2.Client(trust_env=False, follow_redirects=False, verify=False))
    return _SYNC_CLIENT[0]


def _of_this_loop(key: tuple[str, ...], make: Callable[[], Any]) -> Any:
    clients = _CLIENTS.setdefault(asyncio.get_running_loop(), {})
    if key not in clients:
        clients[key] = make()
        clients[(*key, "closer")] = closer = _close_at_the_end(clients[key])
        with suppress(StopIteration):
            closer.__anext__().send(None)
    return clients[key]


async def _close_at_the_end(client: Any) -> AsyncGenerator[None]:
    """Closes a client when its event loop ends: `asyncio.run` closes every open async generator."""
    try:
        yield
    finally:
        await client.aclose()
