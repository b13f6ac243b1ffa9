"""The readers of both APIs' streams: the same bytes mean the same, however they are cut into pieces."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessageChunk
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from swarm_graph.models.ollama import LineReader
from swarm_graph.models.openai_chunks import ChunkReader, chunk_of
from swarm_graph.models.sse import Event, EventReader
from swarm_graph.models.stream import (
    MAX_ANSWER_TOKENS,
    Delta,
    LengthBound,
    cached_tokens,
    finish_reason,
    normal_reason,
)
from swarm_graph.models.wire import MAX_DOCUMENT_BYTES, ErrorInStream, Lines, UnreadableStream

BOM = b"\xef\xbb\xbf"
CUTS = st.lists(st.integers(0, 2000), max_size=40)


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    places = [0, *sorted(cut for cut in cuts if cut <= len(data)), len(data)]
    return (data[start:end] for start, end in pairwise(places))


def each_byte(data: bytes) -> list[int]:
    return list(range(len(data)))


def events(data: bytes, cuts: list[int]) -> list[Event]:
    reader = EventReader()
    return [event for piece in pieces(data, cuts) for event in reader.feed(piece)] + list(reader.end())


def chunks(data: bytes, cuts: list[int] | None = None) -> list[dict[str, Any]]:
    reader = ChunkReader(chunk_of)
    found: list[dict[str, Any]] = []
    for piece in pieces(data, cuts or []):
        found += reader.feed(piece)
        if reader.done:
            return found
    return found + list(reader.end())


def answer(data: bytes, cuts: list[int] | None = None) -> tuple[str, str, str]:
    """The text, the thoughts and the finish reason that a stream comes to."""
    parts = []
    for chunk in chunks(data, cuts):
        for choice in chunk["choices"]:
            delta, reason = choice["delta"], choice["finish_reason"]
            parts.append(Delta(delta["content"], delta["reasoning_content"], reason or ""))
    texts, thoughts = ("".join(said) for said in ([p.text for p in parts], [p.thoughts for p in parts]))
    return texts, thoughts, finish_reason(parts)


def event(choice: Any = None, **more: Any) -> bytes:
    return (
        b"data: %s\n\n"
        % json.dumps({"choices": [] if choice is None else [choice], **more}, ensure_ascii=False).encode()
    )


def say(content: Any, reason: Any = None, **more: Any) -> bytes:
    return event({"index": 0, "delta": {"content": content, **more}, "finish_reason": reason})


DONE = b"data: [DONE]\n\n"
NULL = event({"index": 0, "delta": None, "finish_reason": None})
STOPPED = say("", "stop")
HELLO = say("Grüße, ") + say("世界 🙂")
WHOLE = ("Grüße, 世界 🙂", "", "stop")


# --- bytes ---------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from([b"a", b"bc", b"", "ü".encode(), b"\n", b"\r", b"\r\n"])), CUTS)
def test_lines_are_the_same_in_any_pieces(parts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(parts)
    lines = Lines()
    found = [line for piece in pieces(data, cuts) for line in lines.feed(piece)]
    expected = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    assert [*found, lines.end()] == expected


STREAM = (
    BOM + b": hi\r\n\r\nevent: error\rdata:1\rdata: 2\r\rid: 7\nretry: 5\ndata\ndata: \xc3\xbc\n\n:\n\ndata:3"
)


@given(CUTS)
def test_events_are_the_same_in_any_pieces(cuts: list[int]) -> None:
    whole = [Event("error", b"1\n2"), Event("", b"\n\xc3\xbc"), Event("", b"3", is_cut=True)]
    assert events(STREAM, cuts) == events(STREAM, each_byte(STREAM)) == whole


def feed_forever(reader: Any, part: bytes) -> None:
    for _ in range(2 * MAX_DOCUMENT_BYTES // len(part)):
        list(reader.feed(part))


@pytest.mark.parametrize("reader", [EventReader, lambda: ChunkReader(chunk_of), LineReader])
def test_a_line_has_an_end(reader: Any) -> None:
    with pytest.raises(UnreadableStream, match="a line of more than 16 MiB"):
        feed_forever(reader(), b"data: " + b"x" * 2**16)


@pytest.mark.parametrize("begin", [b"", b"{"])
def test_an_event_of_many_lines_and_a_json_of_many_lines_have_an_end(begin: bytes) -> None:
    reader = EventReader()
    list(reader.feed(begin))
    with pytest.raises(UnreadableStream, match="an event of more than 16 MiB"):
        feed_forever(reader, b"data: " + b"x" * 2**16 + b"\n")


def seconds(data: bytes) -> float:
    """The processor time for reading a stream in small pieces, at best."""
    taken = []
    for _ in range(3):
        began = time.process_time()
        for reader in (ChunkReader(chunk_of), LineReader()):
            with suppress(UnreadableStream):
                for at in range(0, len(data), 16):
                    list(reader.feed(data[at : at + 16]))
                list(reader.end())
        taken.append(time.process_time() - began)
    return min(taken)


@pytest.mark.parametrize(
    "part",
    [b"x", b"data: 1\n", b"\n", b"\r", b": comment\n\n", b"data: {}\n\n", b"{", b'{"a": ', b"data:[\n"],
)
def test_ten_times_the_bytes_take_about_ten_times_as_long(part: bytes) -> None:
    short, long = (seconds(part * (size // len(part))) for size in (20_000, 200_000))
    assert long < 40 * short


# --- OpenAI's API --------------------------------------------------------------------------------

COMPLETE = {
    "plain": HELLO + STOPPED + DONE,
    "no reason": HELLO + say("") + DONE,
    "no reason, no empty line at the end": HELLO + b"data: [DONE]",
    "quoted end": HELLO + b'data: "[done]"\n\n',
    "null delta": HELLO + NULL,
    "null delta with a reason": HELLO + event({"delta": None, "finish_reason": "stop"}),
    "null delta at the beginning": NULL + HELLO + STOPPED,
    "early stop": say("", "stop") + HELLO + DONE,
    "stop on every chunk": say("Grüße, ", "stop") + say("世界 🙂", "stop") + DONE,
    "no choices": event(usage=None) + HELLO + event() + b'data: {"choices": null}\n\n' + STOPPED,
    "no delta": event({"index": 0}) + HELLO + event({"finish_reason": "stop"}),
    "byte order mark": BOM + HELLO + STOPPED,
    "carriage returns": (HELLO + STOPPED).replace(b"\n", b"\r"),
    "both": (HELLO + STOPPED).replace(b"\n", b"\r\n"),
    "no blank": (HELLO + STOPPED).replace(b"data: ", b"data:"),
    "no empty lines": (HELLO + STOPPED + DONE).replace(b"\n\n", b"\n"),
    "comments": b": OPENROUTER PROCESSING\n\n" + HELLO + b":\n\n: ping\n" + STOPPED,
    "pings": b"event: ping\ndata: pong\n\n" + HELLO + b"data:\n\nevent: ping\ndata: {}\n\n" + STOPPED,
    "two lines of data": b'data: {"choices":\ndata: [{"delta": {"content": "Gr\xc3\xbc\xc3\x9fe, '
    b'\xe4\xb8\x96\xe7\x95\x8c \xf0\x9f\x99\x82"},\ndata: "finish_reason": "stop"}]}\n\n',
    "shouted": HELLO + say("", "STOP"),
    "typed": HELLO + say("", {"type": "stop", "matched": 2}),
    "parts": say([{"type": "text", "text": "Grüße, "}, "世界 "]) + say([{"text": "🙂"}]) + STOPPED,
    "a whole message at the end": HELLO
    + event({"message": {"content": "Grüße, 世界 🙂"}, "finish_reason": "stop"}),
    "odd usage": HELLO + STOPPED + event(usage={"prompt_tokens": "7", "completion_tokens": [1]}) + DONE,
    "odd role": say("Grüße, ", role="user") + say("世界 🙂", role="model", tool_calls=[{}]) + STOPPED,
    "more after the end": HELLO + STOPPED + DONE + say("and more") + DONE,
    "null": HELLO + b"data: null\n\n" + STOPPED,
}
BODY = {
    "choices": [{"message": {"content": "Grüße, 世界 🙂"}, "finish_reason": "stop"}],
    "usage": {"total_tokens": 3},
}
COMPLETE |= {
    "whole JSON": json.dumps(BODY).encode(),
    "whole JSON, indented": BOM + b"\r\n " + json.dumps(BODY, indent=2, ensure_ascii=False).encode(),
    "whole JSON without a reason": json.dumps(
        {"choices": [{"message": {"content": WHOLE[0]}}]}, ensure_ascii=False
    ).encode(),
    "whole JSON of the old API": json.dumps(
        {"choices": [{"text": WHOLE[0], "finish_reason": None}]}
    ).encode(),
}
OTHER = {
    "blank text after the end": (HELLO + STOPPED + say("\n"), ("Grüße, 世界 🙂\n", "", "stop")),
    "cut": (HELLO, ("Grüße, 世界 🙂", "", "")),
    "cut in a line": (HELLO + say("more")[:30], ("Grüße, 世界 🙂", "", "")),
    "early stop, then half": (say("", "stop", reasoning_content="hm") + say("def"), ("def", "hm", "")),
    "early stop, then thoughts": (say("", "stop") + say("", reasoning="hm"), ("", "hm", "")),
    "null delta, then half": (say("a") + NULL + say("b"), ("ab", "", "")),
    "only an end": (DONE, ("", "", "")),
    "empty": (say("") + DONE, ("", "", "stop")),
    "max_tokens": (say("a") + say("", "MAX_TOKENS") + DONE, ("a", "", "length")),
    "two reasons": (say("a", "length") + STOPPED + DONE, ("a", "", "length")),
    "early length": (say("", "length") + say("a") + STOPPED + DONE, ("a", "", "stop")),
    "filtered": (say("a") + say("", "content_filter"), ("a", "", "content_filter")),
    "all in thoughts": (say("", reasoning_content="42") + STOPPED, ("", "42", "stop")),
    "thoughts in parts": (
        say(
            [
                {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                {"type": "text", "text": "a"},
            ]
        )
        + STOPPED,
        ("a", "hm", "stop"),
    ),
    "no stream at all": (b"<html><body>It works!</body></html>", ("", "", "")),
}
STREAMS = {**{name: (data, WHOLE) for name, data in COMPLETE.items()}, **OTHER}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_read(name: str) -> None:
    data, expected = STREAMS[name]
    assert answer(data) == answer(data, each_byte(data)) == expected


@settings(max_examples=20)
@given(CUTS)
def test_a_stream_is_read_the_same_in_any_pieces(cuts: list[int]) -> None:
    for data, expected in STREAMS.values():
        assert answer(data, cuts) == expected


def test_an_end_is_said_once() -> None:
    for stream in (
        HELLO + STOPPED + DONE,
        HELLO + say("") + DONE,
        HELLO + STOPPED + event(usage={"a": 1}) + DONE,
    ):
        choices = [choice for chunk in chunks(stream) for choice in chunk["choices"]]
        assert [choice["finish_reason"] for choice in choices] == [None, None, "stop"]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"usage": {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}}}, 4),
        ({"usage": {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 10**9}}}, 9),
        ({"usage": {"prompt_tokens": 9}, "timings": {"cache_n": 5, "prompt_n": 4}}, 5),
        ({"usage": {"prompt_tokens": 9}, "timings": {"prompt_n": 7}}, 2),
        ({"usage": {"prompt_tokens": 9, "prompt_tokens_details": None}, "timings": {"prompt_ms": 0.5}}, None),
        ({"usage": {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": "4"}}}, None),
        ({"usage": {"prompt_tokens": 9, "prompt_tokens_details": {}}, "timings": [7]}, None),
    ],
)
def test_the_tokens_in_the_cache_are_read_where_the_server_says_so(
    said: dict[str, Any], expected: int | None
) -> None:
    *_, last = chunks(HELLO + STOPPED + event(**said) + DONE)
    model = ChatOpenAI(model="m", api_key=SecretStr("none"))
    converted = model._convert_chunk_to_generation_chunk(last, AIMessageChunk, None)
    assert converted
    assert isinstance(converted.message, AIMessageChunk)
    assert converted.message.usage_metadata
    assert cached_tokens(converted.message.usage_metadata) == expected


ERRORS = {
    "event": (b"event: error\ndata: no memory\n\n", "no memory", -1),
    "event with an object": (b'event: error\ndata: {"error": {"message": "m"}}\n\n', {"message": "m"}, -1),
    "object": (b'data: {"error": {"message": "m", "code": 500}}\n\n', {"message": "m", "code": 500}, 500),
    "text": (b'data: {"error": "no memory"}\n\n', "no memory", -1),
    "kind": (
        b'data: {"object": "error", "message": "m", "code": 400}\n\n',
        {"object": "error", "message": "m", "code": 400},
        400,
    ),
    "after the first text": (HELLO + b'data: {"error": {"code": 500}}\n\n', {"code": 500}, -1),
    "body": (b'{"error": {"message": "m"}}', {"message": "m"}, -1),
    "beside choices": (b'data: {"error": "e", "choices": []}\n\n', "e", -1),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_in_a_stream_is_found(name: str) -> None:
    data, body, status = ERRORS[name]
    for cuts in ([], each_byte(data)):
        with pytest.raises(ErrorInStream) as error:
            chunks(data, cuts)
        assert (error.value.body, error.value.status_code) == (body, status)


UNREADABLE = {
    "broken JSON": (HELLO + b'data: {"choices": [\n\n' + DONE, "broken JSON: '{\"choices\": ['"),
    "invalid UTF-8": (say("x").replace(b"x", b"\xff\xfe"), "invalid UTF-8 in "),
    "half a character": (say("ü").replace("ü".encode(), b"\xc3"), "invalid UTF-8 in "),
    "no object": (b"data: 7\n\n", "no JSON object: '7'"),
    "deep": (b"data: " + b"[" * 10**5 + b"\n\n", "broken JSON"),
    "a number of too many digits": (b"data: " + b"1" * 10**4 + b"\n\n", "broken JSON"),
    "half a body": (json.dumps(BODY).encode()[:-3], "broken JSON"),
    "a body without an answer": (b'{"status": "ok"}', "no answer in "),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_is_no_stream_of_this_api_is_said(name: str) -> None:
    data, message = UNREADABLE[name]
    for cuts in ([], each_byte(data[:2000])):
        with pytest.raises(UnreadableStream) as error:
            chunks(data, cuts)
        assert message in str(error.value)
        assert len(str(error.value)) < 200


@given(st.binary(max_size=300), CUTS)
def test_any_bytes_are_read_or_refused(data: bytes, cuts: list[int]) -> None:
    for prefix in (b"", b"data: ", b"{", HELLO, b"event: error\ndata:"):
        for reader in (chunks, lines_of):
            try:
                reader(prefix + data, cuts)
            except (ErrorInStream, UnreadableStream):
                continue


KEYS = """choices delta content text type finish_reason usage prompt_tokens error message reasoning thinking
    done done_reason eval_count code"""
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS.split()),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["choices", "message", "usage", "done", "error"]), JSONS, min_size=1))
def test_any_json_is_read_or_refused(document: dict[str, Any]) -> None:
    data = json.dumps(document).encode()
    for stream in (b"data: " + data + b"\n\n", data, event({"delta": document}), event(document)):
        try:
            texts = [text for chunk in chunks(stream) for choice in chunk["choices"] for text in said(choice)]
            texts += [text for line in lines_of(stream) for text in line["message"].values()]
        except (ErrorInStream, UnreadableStream):
            continue
        assert all(isinstance(text, str) for text in texts)


def said(choice: dict[str, Any]) -> list[Any]:
    return [*choice["delta"].values(), choice["finish_reason"] or ""]


# --- Ollama's API --------------------------------------------------------------------------------


def lines_of(data: bytes, cuts: list[int] | None = None) -> list[dict[str, Any]]:
    reader = LineReader()
    found = [line for piece in pieces(data, cuts or []) for line in reader.feed(piece)]
    return found + list(reader.end())


def line(message: Any, **more: Any) -> bytes:
    return json.dumps({"model": "m", "message": message, **more}, ensure_ascii=False).encode() + b"\n"


def spoken(text: Any, **more: Any) -> bytes:
    return line({"role": "assistant", "content": text}, **more)


OLLAMA_HELLO = spoken("Grüße, ", done=False) + spoken("世界 🙂", done=False)
OLLAMA_STREAMS = {
    "plain": (OLLAMA_HELLO + spoken("", done=True, done_reason="stop"), "stop"),
    "no newline at the end": (OLLAMA_HELLO + spoken("", done=True, done_reason="stop").rstrip(), "stop"),
    "marks and blank lines": (
        BOM + b"\r\n" + (OLLAMA_HELLO + spoken("", done=True)).replace(b"\n", b"\r\n\r\n"),
        "stop",
    ),
    "no reason": (OLLAMA_HELLO + spoken("", done=True), "stop"),
    "no message": (b"{}\n" + OLLAMA_HELLO + line(None, done=True, done_reason={"type": "STOP"}), "stop"),
    "no text": (OLLAMA_HELLO + spoken(None, done=True, done_reason="MAX_TOKENS"), "length"),
    "cut": (OLLAMA_HELLO + spoken("more")[:20], ""),
    "early end": (spoken("", done=True, done_reason="stop") + OLLAMA_HELLO, ""),
}


@pytest.mark.parametrize("name", OLLAMA_STREAMS)
def test_ollamas_lines_are_read(name: str) -> None:
    data, reason = OLLAMA_STREAMS[name]
    for cuts in ([], each_byte(data)):
        found = lines_of(data, cuts)
        assert "".join(line["message"]["content"] for line in found) == WHOLE[0]
        parts = [Delta(line["message"]["content"], reason=line["done_reason"] or "") for line in found]
        assert finish_reason(parts) == reason


# --- the end of an answer ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"type": "length", "length": 40}, "length"),
        ({"type": "stop", "matched": "</s>"}, "stop"),
        ("eosFound", "eos_found"),
        ("content_filter", "content_filter"),
    ],
)
def test_a_finish_reason_is_known_in_any_form(said: Any, reason: str) -> None:
    assert normal_reason(said) == reason


@pytest.mark.parametrize(
    "said", ["stop", "STOP", "Stop", " stop ", "FINISH_REASON_STOP", "FinishReason.STOP"]
)
def test_stop_is_known_in_any_spelling(said: str) -> None:
    assert normal_reason(said) == "stop"


@pytest.mark.parametrize("said", ["length", "LENGTH", "max_tokens", "MAX_TOKENS", "maxTokens", "Max Tokens"])
def test_length_is_known_in_any_spelling(said: str) -> None:
    assert normal_reason(said) == "length"


@pytest.mark.parametrize("said", [None, "", "null", "None", 7, True, [], {}, {"type": None}])
def test_what_gives_no_reason_is_none(said: Any) -> None:
    assert normal_reason(said) == ""


def exceeds(max_tokens: int | None, parts: list[str]) -> bool:
    bound = LengthBound(max_tokens)
    for part in parts:
        bound.add(Delta(part))
        if bound.exceeded:
            return True
    return False


@pytest.mark.parametrize("limit", [1, 20, 1000])
def test_an_answer_of_exactly_its_limit_is_never_cut(limit: int) -> None:
    assert not exceeds(limit, ["token "] * limit)
    assert not exceeds(limit, list("token " * limit)), "a server that sends every letter"
    assert not exceeds(limit, ["internationalization " * limit]), "a server that sends all at once"
    assert not exceeds(limit, ["    " * 12] * limit), "tokens of many blanks"
    assert not exceeds(limit, ["世"] * limit)


@pytest.mark.parametrize("limit", [1, 20, 1000])
@pytest.mark.parametrize("part", ["a", "token ", "世", "token " * 30])
def test_an_answer_clearly_beyond_its_limit_is_cut(limit: int, part: str) -> None:
    assert exceeds(limit, [part] * (9 * limit + 100))


def test_an_answer_without_a_limit_has_a_ceiling() -> None:
    assert not exceeds(None, ["token "] * 1000)
    assert exceeds(None, ["token " * 1000] * (MAX_ANSWER_TOKENS // 50))


def test_thoughts_count() -> None:
    bound = LengthBound(10)
    for _ in range(200):
        bound.add(Delta(thoughts="hm, "))
    assert bound.exceeded
