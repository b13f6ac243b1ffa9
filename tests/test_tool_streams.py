"""Calls of tools in streamed answers: every form that servers send comes to the same calls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from servers.canned import Canned
from servers.llama import Llama
from test_answer import Page, entry_of
from test_streams import CUTS, DONE, event, pieces

from swarm_graph.errors import ModelError
from swarm_graph.models.answer import deltas_of
from swarm_graph.models.ollama import LineReader
from swarm_graph.models.openai_chunks import ChunkReader
from swarm_graph.models.pool import chat_model
from swarm_graph.models.request import TOOLS, FieldTrial, call_arguments, optional_fields
from swarm_graph.models.stream import (
    Delta,
    LengthBound,
    StreamedAnswer,
    as_delta,
    finish_reason,
)
from swarm_graph.models.tool_parts import NO_OBJECT, NOT_JSON
from swarm_graph.settings import AgentParameters, ModelEntry
from swarm_graph.state import ToolCall

READ = ("read", {"path": "a.py"}, "")
FIND = ("find", {"text": "x", "lines": 3}, "")


def call(index: Any = 0, **function: Any) -> dict[str, Any]:
    """A part of a call; `id` and `type` stand beside the function."""
    beside: dict[str, Any] = {key: function.pop(key) for key in ("id", "type") if key in function}
    return {"index": index, **beside, "function": function}


def say(*calls: Any, reason: Any = None, **delta: Any) -> bytes:
    return event({"index": 0, "delta": {**delta, "tool_calls": [*calls]}, "finish_reason": reason})


END = event({"index": 0, "delta": {}, "finish_reason": "tool_calls"}) + DONE
TWO_PIECES = ('{"path": ', '"a.py"}')
STREAMS: dict[str, tuple[bytes, list[Any]]] = {
    "as OpenAI": (
        say(call(id="a", type="function", name="read", arguments=""), content=None)
        + b"".join(say(call(arguments=piece)) for piece in TWO_PIECES)
        + say(call(1, id="b", name="find", arguments='{"text": "x", "lines": 3}'))
        + END,
        [READ, FIND],
    ),
    "interleaved": (
        say(
            call(0, id="a", name="read", arguments=TWO_PIECES[0]),
            call(1, id="b", name="find", arguments='{"te'),
        )
        + say(call(1, arguments='xt": "x", "lines": 3}'), call(0, arguments=TWO_PIECES[1]))
        + END,
        [READ, FIND],
    ),
    "always index 0": (
        say(call(0, id="a", name="read", arguments='{"path": "a.py"}'))
        + say(call(0, id="b", name="find", arguments='{"text": "x", "lines": 3}'))
        + END,
        [READ, FIND],
    ),
    "always index 0, one tool twice, no ids": (
        say(call(0, name="read", arguments='{"path": "a.py"}'))
        + say(call(0, name="read", arguments='{"path": "b.py"}'))
        + END,
        [READ, ("read", {"path": "b.py"}, "")],
    ),
    "no index, no id": (
        b"".join(
            say(call(None, arguments=piece, name=name))
            for piece, name in (*zip(TWO_PIECES, ("read", None), strict=True),)
        )
        + say(call(None, name="find", arguments={"text": "x", "lines": 3}))
        + END,
        [READ, FIND],
    ),
    "the name in every part": (
        b"".join(say(call(0, id="a", name="read", arguments=piece)) for piece in TWO_PIECES) + END,
        [READ],
    ),
    "a new id in every part": (
        b"".join(say(call(0, id=f"id{piece}", name="read", arguments=piece)) for piece in TWO_PIECES) + END,
        [READ],
    ),
    "one id for all": (
        say(
            call(0, id="a", name="read", arguments='{"path": "a.py"}'),
            call(1, id="a", name="find", arguments='{"text": "x", "lines": 3}'),
        )
        + END,
        [READ, FIND],
    ),
    "null names and ids": (
        say(call(0, id=None, name="read", arguments=None))
        + b"".join(say(call(0, id=None, name=None, arguments=piece)) for piece in TWO_PIECES)
        + END,
        [READ],
    ),
    "an object": (say(call(0, id="a", name="read", arguments={"path": "a.py"})) + END, [READ]),
    "one call that is no list": (
        event({"delta": {"tool_calls": call(0, name="read", arguments='{"path": "a.py"}')}}) + END,
        [READ],
    ),
    "no function around it": (say({"name": "read", "arguments": {"path": "a.py"}}) + END, [READ]),
    "text within text": (say(call(0, name="read", arguments=json.dumps('{"path": "a.py"}'))) + END, [READ]),
    "OpenAI's first API": (
        event({"delta": {"function_call": {"name": "read", "arguments": ""}}})
        + b"".join(event({"delta": {"function_call": {"arguments": piece}}}) for piece in TWO_PIECES)
        + event({"delta": {}, "finish_reason": "function_call"})
        + DONE,
        [READ],
    ),
    "a whole message": (
        json.dumps(
            {
                "choices": [
                    {
                        "message": {
                            "content": None,
                            "tool_calls": [call(None, id="a", name="read", arguments={"path": "a.py"})],
                        },
                        "finish_reason": "tool_calls",
                    }
                ]
            }
        ).encode(),
        [READ],
    ),
    "no arguments": (
        say(call(0, name="now", arguments="")) + say(call(1, name="today")) + END,
        [("now", {}, ""), ("today", {}, "")],
    ),
    "null arguments": (say(call(0, name="now", arguments="null")) + END, [("now", {}, "")]),
    "line breaks in a text": (
        say(call(0, name="run", arguments='{"code": "a\nb"}')) + END,
        [("run", {"code": "a\nb"}, "")],
    ),
    "broken JSON": (say(call(0, name="read", arguments='{"path": ')) + END, [("read", {}, NOT_JSON)]),
    "no number": (say(call(0, name="read", arguments='{"lines": NaN}')) + END, [("read", {}, NOT_JSON)]),
    "a list": (say(call(0, name="read", arguments='["a.py"]')) + END, [("read", {}, NO_OBJECT)]),
    "half a surrogate pair": (
        say(call(0, name="read", arguments='{"path": "\\ud83d.py"}')) + END,
        [("read", {"path": "\ufffd.py"}, "")],
    ),
    "the reason before the calls": (
        say(reason="tool_calls") + say(call(0, name="read", arguments='{"path": "a.py"}')) + DONE,
        [READ],
    ),
    "parts without a name": (say(call(0, arguments='{"path": "a.py"}'), {}, None, "x", 7) + END, []),
}


def line(*calls: Any, done: bool = False, **message: Any) -> bytes:
    document = {
        "message": {"role": "assistant", "content": "", **message, "tool_calls": [*calls]},
        "done": done,
    }
    return json.dumps(document | ({"done_reason": "stop"} if done else {})).encode() + b"\n"


OLLAMA_STREAMS: dict[str, tuple[bytes, list[Any]]] = {
    "two lines": (
        line(call(None, name="read", arguments={"path": "a.py"}))
        + line(call(None, name="find", arguments={"text": "x", "lines": 3}))
        + line(done=True),
        [READ, FIND],
    ),
    "one line": (
        line(
            call(None, name="read", arguments={"path": "a.py"}),
            call(None, name="find", arguments={"text": "x", "lines": 3}),
            done=True,
        ),
        [READ, FIND],
    ),
    "the index in the function": (
        line({"function": {"index": 0, "name": "read", "arguments": {"path": "a.py"}}})
        + line({"function": {"index": 1, "name": "find", "arguments": {"text": "x", "lines": 3}}}, done=True),
        [READ, FIND],
    ),
    "text": (line(call(None, name="read", arguments='{"path": "a.py"}'), done=True), [READ]),
    "broken text": (line(call(None, name="read", arguments="{"), done=True), [("read", {}, NOT_JSON)]),
    "no arguments": (line(call(None, name="now"), done=True), [("now", {}, "")]),
}


class Heard(AsyncCallbackHandler):
    """Hears the parts of an answer as LangChain hands them out."""

    def __init__(self) -> None:
        self.chunks: list[AIMessageChunk] = []

    async def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        self.chunks.append(kwargs["chunk"].message)


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with Page() as page:
        yield page


def answered(page: Page, api: str, config: RunnableConfig) -> StreamedAnswer:
    answer = StreamedAnswer(None)

    async def ask() -> None:
        model = chat_model(entry_of(page, api), AgentParameters())
        async for deltas in deltas_of(model, [HumanMessage("hi")], config):
            answer.add(deltas)

    asyncio.run(ask())
    return answer


def plain(calls: Any) -> list[Any]:
    return [(one.name, one.arguments, one.problem) for one in calls]


CASES = [("openai", name) for name in STREAMS] + [("ollama", name) for name in OLLAMA_STREAMS]


@pytest.mark.parametrize(("api", "name"), CASES)
def test_calls_are_read_whatever_their_form(api: str, name: str, page: Page) -> None:
    data, expected = (STREAMS if api == "openai" else OLLAMA_STREAMS)[name]
    page.answer = 200, data
    heard = Heard()
    for config in ({}, {"callbacks": [heard]}):
        answer = answered(page, api, RunnableConfig(**config))  # type: ignore[typeddict-item]
        calls = answer.tool_calls()
        assert plain(calls) == expected
        assert finish_reason(answer.deltas) in ("tool_calls", "function_call", "stop")
        assert all(one.id for one in calls)
        assert bool(answer.pieces) == bool(expected) or name == "parts without a name"
    whole = sum(heard.chunks[1:], heard.chunks[0])
    names = [chunk["name"] for chunk in whole.tool_call_chunks if chunk["name"]]
    assert names == [name for name, *_ in expected], "who listens to LangChain sees them, too"


KEYS = st.sampled_from(["tool_calls", "function", "function_call", "name", "arguments", "id", "index"])
MESSAGES = st.recursive(
    st.none() | st.text() | st.integers() | st.just("read"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner),
)
ALL = b"".join(data.removesuffix(DONE) for name, (data, _) in STREAMS.items() if name != "a whole message")


@settings(derandomize=True, deadline=None)
@given(CUTS)
def test_calls_are_the_same_in_any_pieces(cuts: list[int]) -> None:
    def calls(parts: Iterator[bytes]) -> Any:
        answer, reader = StreamedAnswer(None), ChunkReader(lambda *part: Delta(part[0], tools=part[5]))
        for part in parts:
            answer.add(reader.feed(part))
        answer.add(reader.end())
        return answer.tool_calls()

    assert calls(pieces(ALL, cuts)) == calls(iter([ALL]))


@settings(derandomize=True, deadline=None)
@given(MESSAGES)
def test_no_form_of_calls_breaks_a_reader(message: Any) -> None:
    answer, reader, lines = (
        StreamedAnswer(None),
        ChunkReader(lambda *part: Delta(tools=part[5])),
        LineReader(),
    )
    answer.add(reader.feed(event({"delta": message})))
    answer.add(reader.feed(event({"delta": {"tool_calls": message}})))
    list(lines.feed(json.dumps({"message": {"tool_calls": message}}).encode() + b"\n"))
    for one in answer.tool_calls():
        json.dumps(one, ensure_ascii=False).encode()


def test_calls_count_for_bounds_and_ends() -> None:
    part = Delta(
        tools=as_delta(
            AIMessage("", tool_calls=[{"name": "read", "args": {"path": "a" * 90}, "id": "a"}])
        ).tools
    )
    bound = LengthBound(10)
    for _ in range(200):
        bound.add(part)
    assert bound.exceeded, "calls are output, too"
    answer = StreamedAnswer(None)
    answer.add([Delta(reason="stop"), part])
    assert answer.pieces == 1
    assert not answer.has_ended


def test_a_message_of_a_model_that_cannot_stream_keeps_its_calls() -> None:
    message = AIMessage(
        "",
        tool_calls=[{"name": "read", "args": {"path": "a.py"}, "id": "a"}],
        invalid_tool_calls=[{"name": "find", "args": "{", "id": None, "error": None}],
    )
    answer = StreamedAnswer(None)
    answer.add([as_delta(message)])
    assert answer.tool_calls() == (
        ToolCall("read", {"path": "a.py"}, "a"),
        ToolCall("find", {}, "call00002", NOT_JSON),
    )


# --- requests ------------------------------------------------------------------------------------


ENTRY = ModelEntry(model="m", url="http://127.0.0.1:1/v1", api_type="openai")
FUNCTION = {
    "type": "function",
    "function": {
        "name": "read",
        "description": "Read a file.",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    },
}
ASKED: list[BaseMessage] = [
    HumanMessage("Read a.py"),
    AIMessage("", tool_calls=[{"name": "read", "args": {"path": "a.py"}, "id": "call00001"}]),
    ToolMessage("x = 1", tool_call_id="call00001"),
]


async def answer_with_tools(entry: ModelEntry, asked: list[BaseMessage]) -> StreamedAnswer:
    answer, model = StreamedAnswer(8), chat_model(entry, AgentParameters(max_tokens=8, temperature=0.0))
    async for deltas in deltas_of(model, asked, {}, **call_arguments(model, {}, None, [FUNCTION])):
        answer.add(deltas)
    return answer


@pytest.mark.parametrize("ollama", [False, True])
def test_tools_and_their_results_are_sent(ollama: bool) -> None:
    with Canned(lambda _system, _user: "x is 1", ollama=ollama) as server:
        entry = ModelEntry.model_validate(server.entry)
        assert asyncio.run(answer_with_tools(entry, ASKED)).text() == "x is 1"
    [body] = server.calls.bodies
    assert body["tools"] == [FUNCTION]
    assert not {"response_format", "format", "tool_choice", "parallel_tool_calls"} & set(body)
    [called] = body["messages"][1]["tool_calls"]
    arguments = called["function"]["arguments"]
    assert (arguments if ollama else json.loads(arguments)) == {"path": "a.py"}, "Ollama takes an object"
    assert body["messages"][2]["role"] == "tool"
    assert body["messages"][2]["content"] == "x = 1"
    assert body["messages"][2]["tool_call_id"] == called["id"]


def test_llama_cpp_takes_tools_and_the_results_of_calls(llama: Llama, trained: Llama) -> None:
    """The templates of both models have no place for tools: llama.cpp finds one."""
    for server in (llama, trained):
        entry = ModelEntry(model=server.alias, url=server.url, api_type="openai")
        answer = asyncio.run(answer_with_tools(entry, ASKED * 4))
        assert answer.has_ended
        assert finish_reason(answer.deltas) in ("stop", "length", "tool_calls")


@pytest.mark.parametrize(
    "said",
    [
        "registry.ollama.ai/library/gemma3 does not support tools",
        "tools param requires --jinja flag",
        '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
        "This model does not support function calling: functions",
    ],
)
def test_a_refusal_of_tools_is_noticed_by_its_words(said: str) -> None:
    entry = ENTRY
    parameters = AgentParameters(reasoning=False)
    trial = FieldTrial(retried=True)
    trial.learn(
        ModelError("refused", status=400, detail=said), optional_fields(entry, parameters, None, [FUNCTION])
    )
    assert trial.refused == {TOOLS}


def test_an_answer_that_breaks_off_at_a_call_is_a_refusal_of_tools() -> None:
    trial = FieldTrial(retried=True)
    broken = ModelError("broke off", status=-1, detail="Failed to parse tool call arguments as JSON")
    trial.learn(broken, {TOOLS, "stream_options"})
    assert trial.refused == {TOOLS}
    with pytest.raises(ModelError, match="broke off"):
        FieldTrial(retried=True).learn(broken, {"stream_options"})


def test_tools_are_suspected_last() -> None:
    entry, parameters = ENTRY, AgentParameters(reasoning=False, seed=1)
    trial, error = FieldTrial(retried=True), ModelError("refused", status=400, detail="bad request")
    carried = optional_fields(entry, parameters, None, [FUNCTION])
    rounds = []
    while TOOLS not in trial.left_out:
        trial.learn(error, carried - trial.left_out)
        rounds.append(trial.refused)
    assert rounds[-1] == {TOOLS}
    assert len(rounds) == 3
    with pytest.raises(ModelError, match="refused"):
        trial.learn(error, carried - trial.left_out)
