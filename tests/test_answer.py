"""An answer is the same whether somebody listens to LangChain or not: both ways, both APIs, all streams."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tracers.context import collect_runs
from servers.loopback import Handler, Loopback
from test_stream_corpus import KINDS, Server, streams, tasks
from test_streams import DONE, ERRORS, OLLAMA_STREAMS, STREAMS, UNREADABLE

from swarm_graph.errors import ModelError
from swarm_graph.models.answer import deltas_of
from swarm_graph.models.failures import explain
from swarm_graph.models.pool import chat_model
from swarm_graph.models.stream import StreamedAnswer, finish_reason, server_usage
from swarm_graph.settings import AgentParameters, ModelEntry
from swarm_graph.workflows.build import build_graph

USAGE = (
    b'data: {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13,'
    b' "prompt_tokens_details": {"cached_tokens": 5}, "completion_tokens_details": {"reasoning_tokens": 2}},'
    b' "timings": {"cache_n": 5, "prompt_n": 4}}\n\n'
)
MORE = {
    "openai": {
        **{name: data for name, (data, _) in STREAMS.items()},
        **{name: data for name, (data, *_) in (ERRORS | UNREADABLE).items()},
        "usage": USAGE + STREAMS["plain"][0],
        "usage, repeated": USAGE * 3 + STREAMS["plain"][0],
        "impossible usage": USAGE.replace(b"9", b"1" + b"0" * 30) + STREAMS["plain"][0],
        "no bytes": b"",
        "an error after text": STREAMS["cut"][0] + ERRORS["text"][0],
        "half a surrogate pair": b'data: {"choices": [{"delta": {"content": "\\ud83d"}}]}\n\n' + DONE,
        "a tool": b'data: {"choices": [{"delta": {"tool_calls": [{"index": 0}]},'
        b' "finish_reason": "tool_calls"}]}\n\n' + DONE,
    },
    "ollama": {
        **{name: data for name, (data, _) in OLLAMA_STREAMS.items()},
        "loaded": b'{"message": {"content": ""}, "done": true, "done_reason": "load"}\n',
        "counted": b'{"message": {"content": "a", "thinking": "hm"}, "done": true, "prompt_eval_count": 7,'
        b' "eval_count": 3, "prompt_eval_cached_count": 2}\n',
        "half counted": b'{"message": {"content": "a"}, "done": true, "eval_count": 3}\n',
        "no bytes": b"",
        "no object": b"7\n",
    },
}
"""Streams besides those of the corpus. Those that are refused are in it, too."""
STATUSES = {
    "plain text": (400, "no such thing"),
    "an error": (429, {"error": {"message": "later", "code": 429}}),
    "a redirect": (307, "moved"),
    "created": (201, "nothing that can be read"),
}


class _Page(Handler):
    server: Page

    def do_POST(self) -> None:  # noqa: N802
        self.body()
        status, body = self.server.answer
        if isinstance(body, bytes):
            self.begin_stream(KINDS["openai"])
            self.part(body) if body else None
            self.end_stream()
        else:
            self.reply(status, body)


class Page(Loopback):
    """Answers every call with `answer`."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1", _Page)
        self.answer: tuple[int, Any] = (200, b"")


class Listener(AsyncCallbackHandler):
    """Hears the tokens of an answer."""

    def __init__(self) -> None:
        self.tokens: list[Any] = []

    async def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        self.tokens.append(token)


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with Page() as page:
        yield page


def entry_of(page: Page, api: Any) -> ModelEntry:
    url = f"{page.root}/v1" if api == "openai" else page.root
    return ModelEntry(model="m", url=url, api_type=api)


def outcome(page: Page, api: str, config: RunnableConfig) -> tuple[Any, ...]:
    """What an answer comes to: its texts, reason, counts, pieces and error."""
    entry, answer, problem = entry_of(page, api), StreamedAnswer(None), ""

    async def ask() -> None:
        model = chat_model(entry, AgentParameters())
        async for deltas in deltas_of(model, [HumanMessage("hi")], config):
            answer.add(deltas)

    try:
        asyncio.run(ask())
    except Exception as error:
        told = explain(error, "n", entry)
        problem = f"{told.status} {told.retryable} {told.retry_after} {told}"
    usage = server_usage(answer.deltas)
    return answer.text(), answer.thoughts(), finish_reason(answer.deltas), usage, answer.pieces, problem


def same_both_ways(page: Page, api: str) -> tuple[Any, ...]:
    listener = Listener()
    heard = outcome(page, api, {"callbacks": [listener]})
    unheard = outcome(page, api, {})
    assert unheard == heard
    assert "".join(listener.tokens) == heard[0]
    return unheard


CASES = [(api, name) for api in KINDS for name in (*streams(api), *MORE[api])]


@pytest.mark.parametrize(("api", "name"), CASES)
def test_a_stream_comes_to_the_same(api: str, name: str, page: Page) -> None:
    page.answer = 200, (streams(api) | MORE[api])[name]
    if page.answer[1]:
        same_both_ways(page, api)
        return
    with_listener, without = outcome(page, api, {"callbacks": [Listener()]}), outcome(page, api, {})
    assert with_listener[:-1] == without[:-1]
    assert "ended the stream without an answer" in with_listener[-1], "LangChain raises, roles.call says it"


@pytest.mark.parametrize("api", KINDS)
@pytest.mark.parametrize("name", STATUSES)
def test_a_refusal_comes_to_the_same(api: str, name: str, page: Page) -> None:
    page.answer = STATUSES[name]
    *_, problem = same_both_ways(page, api)
    assert problem or name == "created"


@pytest.mark.parametrize("name", ["usage", "usage, repeated"])
def test_counts_are_read(name: str, page: Page) -> None:
    page.answer = 200, MORE["openai"][name]
    usage = same_both_ways(page, "openai")[3]
    assert (usage["input_tokens"], usage["output_tokens"]) == (9, 4)
    assert usage["input_token_details"]["cache_read"] == 5
    assert usage["output_token_details"]["reasoning"] == 2


@pytest.mark.parametrize("api", KINDS)
def test_somebody_who_collects_runs_is_heard(api: str, page: Page) -> None:
    page.answer = 200, streams(api)["whole"]
    with collect_runs() as collected:
        outcome(page, api, {})
    (run,) = collected.traced_runs
    assert run.outputs is not None


# --- sessions ------------------------------------------------------------------------------------

UNSTEADY = ("time", "seconds", "queued_s", "first_token_s", "server")
"""What differs from run to run."""


def session(server: Server, modes: list[Literal["custom", "messages"]]) -> dict[str, Any]:
    """What every task of a session emits, but for the tokens on the way, which come by the clock."""
    settings = server.config
    settings["model_config"]["single_model"]["retries"] = 0
    graph = build_graph("custom", config=settings)
    given = {"tasks": [task for task in tasks(server.api) if task["task_id"] != "keep_alive"]}
    parts: list[Any] = []
    with pytest.raises(ModelError):
        parts.extend(graph.stream(given, stream_mode=modes))
    seen: dict[str, Any] = {}
    for mode, part in parts:
        if mode == "custom" and part["swarm_event"] != "tokens":
            known = {name: value for name, value in part["data"].items() if name not in UNSTEADY}
            event = part["swarm_event"], _without(known, server)
            seen.setdefault(part["node"], []).append(event)
    return seen


def _without(data: dict[str, Any], server: Server) -> str:
    record = {**data.get("record", {}), "created_at": 0, "completed_at": 0}
    return repr({**data, "record": record}).replace(server.root, "")


def test_a_session_is_the_same_with_a_stream_of_messages() -> None:
    for api in KINDS:
        with Server(api) as server:
            assert session(server, ["custom", "messages"]) == session(server, ["custom"])
