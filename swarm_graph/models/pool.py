"""The chat models behind the roles: OpenAI-compatible servers, Ollama and the simulated model.

HTTP clients belong to one event loop each; they ignore the environment's proxies and follow no
redirect, so nothing is asked but the configured servers. Their transport is aiohttp's: it takes a
fraction of the time of httpx's own (benchmarks/README.md).
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncGenerator, Callable
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

from swarm_graph.config import YOUR_MODEL, AgentParameters, ModelEntry, SwarmConfig
from swarm_graph.errors import ConfigError, ModelError
from swarm_graph.models.capacity import Capacity, capacity, slots
from swarm_graph.models.context_window import MESSAGE_TOKENS, Gauge, room_for_answer, size_of
from swarm_graph.models.slots import Slots, server_slots

if TYPE_CHECKING:
    from swarm_graph.models.probe import ServerReport

CONNECT_TIMEOUT = 10.0
PATIENCE_S = 2.0
"""For what a server says of itself; without it, calls begin with what the configuration says."""
FRESH_S = 60.0
DOWN_S = 60.0
"""How long a model that failed is not asked when it has a fallback."""
REFUSAL_STATUS = (400, 422, 500, 501)
OPTIONAL = ("seed", "top_p", "stream_options", "chat_template_kwargs", "reasoning_effort")
"""Fields that an answer can do without; servers differ in which of them they know."""
SCHEMA_WORDS = (
    "response_format",
    "json_schema",
    "json schema",
    "grammar",
    "invalid format",
    "structured output",
)
UNLIMITED = 0
"""Connections in aiohttp's words: how many calls run at once is decided by the slots."""


class ModelPool:
    """The chat models, made when first asked for, one per event loop, and what is known of their servers."""

    def __init__(self, config: SwarmConfig) -> None:
        self.config = config
        self._models: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, BaseChatModel]] = (
            WeakKeyDictionary()
        )
        self._asked: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, asyncio.Task[Capacity]]] = (
            WeakKeyDictionary()
        )
        self._capacities: dict[str, tuple[float, Capacity]] = {}
        self._refused: dict[str, set[str]] = {}
        self._gauges: dict[str, Gauge] = {}
        self._down: dict[str, tuple[float, str]] = {}

    async def chat(self, entry: ModelEntry, parameters: AgentParameters) -> BaseChatModel:
        """A model for the running event loop."""
        models = self._models.setdefault(asyncio.get_running_loop(), {})
        if num_ctx := (await self.capacity(entry)).num_ctx:
            num_ctx = max(num_ctx, parameters.num_ctx or 0)
            parameters = parameters.model_copy(update={"num_ctx": num_ctx})
        refused = self.refused(entry)
        key = entry.model_dump_json() + parameters.model_dump_json() + " ".join(sorted(refused))
        if key not in models:
            models[key] = chat_model(entry, without(parameters, refused), self.config.proxy, refused)
        return models[key]

    async def slots(self, entry: ModelEntry) -> Slots:
        """The limiter of a model's server."""
        return server_slots(entry.server, (await self.capacity(entry)).slots)

    def width(self, entry: ModelEntry) -> int:
        """How many calls a model's server takes at once, as far as is known without asking it."""
        _, known = self._capacities.get(_name(entry), (0.0, None))
        return known.slots if known else slots(self.config, entry, None)

    # --- what the server says of itself ----------------------------------------------------------

    async def capacity(self, entry: ModelEntry) -> Capacity:
        """What a model's server takes; it is asked once a minute at the most, without a prompt."""
        if entry.api_type == "simulated":
            return Capacity(slots(self.config, entry, None))
        name, now = _name(entry), time.monotonic()
        known_at, known = self._capacities.get(name, (0.0, None))
        if known and now - known_at < FRESH_S:
            return known
        asked = self._asked.setdefault(asyncio.get_running_loop(), {})
        if name not in asked or asked[name].done():
            asked[name] = asyncio.create_task(self._inspect(entry))
        return await asyncio.shield(asked[name])

    async def report(self, entry: ModelEntry) -> ServerReport:
        """What a model's server says of itself now."""
        from swarm_graph.models.probe import inspect

        key = api_key(entry)
        return await inspect(entry.url, key=key, proxy=self.config.proxy, patience_s=PATIENCE_S)

    async def _inspect(self, entry: ModelEntry) -> Capacity:
        report = await self.report(entry)
        found = capacity(self.config, entry, report)
        if not report.reachable and (earlier := self._capacities.get(_name(entry))):
            found = earlier[1]
        self._capacities[_name(entry)] = (time.monotonic(), found)
        return found

    # --- the context window ----------------------------------------------------------------------

    async def prompt_tokens(
        self, entry: ModelEntry, messages: list[BaseMessage], parameters: AgentParameters
    ) -> tuple[int, int]:
        """How many tokens a prompt takes, at the most, and how many there is room for.

        The server is asked to count only where its size leaves a doubt.
        """
        known, size = await self.capacity(entry), size_of(messages)
        if known.context is None:
            return 0, 0
        own = parameters.num_ctx or 0 if known.num_ctx else 0
        room = max(known.context, own) - room_for_answer(parameters.max_tokens)
        around = MESSAGE_TOKENS * len(messages)
        if size + around <= room:
            return size + around, room
        if known.tokenizer:
            from swarm_graph.models.probe import count_tokens

            text = "\n".join(message.text for message in messages)
            counted = await count_tokens(known.tokenizer, text, key=api_key(entry), proxy=self.config.proxy)
            if counted is not None:
                return counted + around, room
        return self._gauge(entry).most(size) + around, room

    async def cut_silently(self, entry: ModelEntry, messages: list[BaseMessage], tokens: int) -> int:
        """About how many tokens a prompt has of which the server read only so many; 0 when it read all.

        Ollama is asked again for its context: what it has in force may be less than what it was asked for.
        """
        if entry.api_type == "simulated":
            return 0
        gauge, size = self._gauge(entry), size_of(messages)
        expected = gauge.least(size)
        if tokens >= expected:
            gauge.learn(size, tokens)
            return 0
        context = (await self.capacity(entry)).context
        if entry.api_type == "ollama":
            context = (await self.report(entry)).context_of(entry.model)
        return expected if context is not None and gauge.most(size) > context else 0

    def _gauge(self, entry: ModelEntry) -> Gauge:
        return self._gauges.setdefault(_name(entry), Gauge())

    # --- models that are down --------------------------------------------------------------------

    def down(self, entry: ModelEntry) -> str:
        """Why a model is not worth a try for now; empty when it is."""
        since, why = self._down.get(_name(entry), (0.0, ""))
        return why if why and time.monotonic() - since < DOWN_S else ""

    def set_down(self, entry: ModelEntry, why: str) -> None:
        """A model that has failed although its calls were repeated: those with a fallback go there."""
        self._down[_name(entry)] = (time.monotonic(), why)

    # --- fields that a server refuses ------------------------------------------------------------

    def refused(self, entry: ModelEntry) -> frozenset[str]:
        """The fields that a model's server has refused."""
        return frozenset(self._refused.get(_name(entry), ()))

    def refuse(self, entry: ModelEntry, field: str) -> None:
        """A field that is left out from now on."""
        self._refused.setdefault(_name(entry), set()).add(field)


def _name(entry: ModelEntry) -> str:
    return f"{entry.url} {entry.model}"


def refused_field(error: ModelError, left_out: AbstractSet[str], schema: Any) -> str | None:
    """The optional field of a request that a server complains about, if that is its complaint."""
    if error.status not in REFUSAL_STATUS:
        return None
    told = error.detail.lower()
    words = {**{name: (name,) for name in OPTIONAL}, "response_format": SCHEMA_WORDS if schema else ()}
    for name, said in words.items():
        if name not in left_out and any(re.search(rf"\b{word}\b", told) for word in said):
            return name
    return None


def without(parameters: AgentParameters, refused: AbstractSet[str]) -> AgentParameters:
    """The parameters without those that a server refuses."""
    gone: dict[str, Any] = {name: None for name in ("seed", "top_p") if name in refused}
    if refused & {"chat_template_kwargs", "reasoning_effort"}:
        gone["reasoning"] = None
    return parameters.model_copy(update=gone) if gone else parameters


def chat_model(
    entry: ModelEntry,
    parameters: AgentParameters,
    proxy: str | None = None,
    refused: AbstractSet[str] = frozenset(),
) -> BaseChatModel:
    """A new LangChain chat model, bound to the running event loop. `refused`: fields that it never sends."""
    make = {"openai": _openai, "ollama": _ollama, "simulated": _simulated}[entry.api_type]
    return make(entry, parameters, proxy, refused)


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
    """ConfigError when a model has no name yet, its key is not set, or its script cannot be read.

    Asks no server.
    """
    if entry.model == YOUR_MODEL:
        raise ConfigError(
            f"the config still says {YOUR_MODEL}: write a model's name there, and its server's url; "
            "`swarm-graph init --force` looks for servers again"
        )
    api_key(entry)
    if entry.api_type == "simulated":
        from swarm_graph.models.simulated import load_script

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


def _openai(
    entry: ModelEntry, parameters: AgentParameters, proxy: str | None, refused: AbstractSet[str]
) -> BaseChatModel:
    from swarm_graph.models.openai import OpenAIChat

    body = dict(parameters.extra_body)
    if parameters.max_tokens:
        body.setdefault("max_tokens", parameters.max_tokens)  # the name that every server knows
    if isinstance(parameters.reasoning, str):
        body.setdefault("reasoning_effort", parameters.reasoning)
    elif parameters.reasoning is not None:
        body.setdefault("chat_template_kwargs", {"enable_thinking": parameters.reasoning})
    return OpenAIChat(
        model=entry.model,
        base_url=entry.url,
        api_key=cast("Any", api_key(entry) or "none"),
        temperature=parameters.temperature,
        top_p=parameters.top_p,
        seed=parameters.seed,
        extra_body=body or None,
        stream_usage="stream_options" not in refused,
        stream_chunk_timeout=None,
        timeout=None,
        max_retries=0,
        use_responses_api=False,
        http_client=_unused_sync_client(),
        http_async_client=_openai_client(entry, proxy),
    )


def _ollama(
    entry: ModelEntry, parameters: AgentParameters, proxy: str | None, _refused: AbstractSet[str]
) -> BaseChatModel:
    from swarm_graph.models.ollama import OllamaChat

    key = api_key(entry)
    return OllamaChat(
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


def _simulated(entry: ModelEntry, *_: Any) -> BaseChatModel:
    from swarm_graph.models.simulated import SimulatedChatModel

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
