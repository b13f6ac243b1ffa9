"""Streams of servers that are almost OpenAI's or Ollama's: what each sends in the place of a plain answer.

`ODD_STREAMS` has them by the name of the fault. A number between the bytes is a pause in seconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from typing import Any, Protocol

Parts = Iterator[bytes | float]
NOTHING = object()


class Answered(Protocol):
    """What llama.cpp said."""

    text: str
    usage: dict[str, Any]

    @property
    def pieces(self) -> list[str]: ...


class Dialect(Protocol):
    """How an API says it. `reason`: why the answer ends; None: it does not; NOTHING: it ends without one."""

    kind: str
    comment: bytes

    def say(self, text: Any, reason: Any = None, *, thoughts: Any = "") -> bytes: ...
    def end(self) -> bytes: ...
    def nothing(self) -> list[bytes]: ...
    def null(self) -> bytes: ...
    def error(self, text: str) -> bytes: ...
    def whole(self, answer: Answered) -> bytes: ...


class OpenAI:
    kind = "text/event-stream"
    comment = b": keep-alive\n\n"

    def say(self, text: Any, reason: Any = None, *, thoughts: Any = "") -> bytes:
        delta = {"content": text} | ({"reasoning_content": thoughts} if thoughts else {})
        return self._choices(
            [{"index": 0, "delta": delta, "finish_reason": None if reason is NOTHING else reason}]
        )

    def end(self) -> bytes:
        return b"data: [DONE]\n\n"

    def nothing(self) -> list[bytes]:
        nothing: tuple[Any, ...] = ([], None, [{}], [{"index": 0, "finish_reason": None}])
        return [self._choices(choices) for choices in nothing]

    def null(self) -> bytes:
        return self._choices([{"index": 0, "delta": None, "finish_reason": None}])

    def error(self, text: str) -> bytes:
        return b"event: error\ndata: %s\n\n" % json.dumps({"error": {"message": text}}).encode()

    def whole(self, answer: Answered) -> bytes:
        message = {"role": "assistant", "content": answer.text}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        return json.dumps({"choices": choices, "usage": answer.usage}, indent=1).encode()

    def _choices(self, choices: Any) -> bytes:
        return b"data: %s\n\n" % json.dumps({"id": "x", "model": "tiny", "choices": choices}).encode()


class Ollama:
    kind = "application/x-ndjson"
    comment = b"\n"

    def say(self, text: Any, reason: Any = None, *, thoughts: Any = "") -> bytes:
        message = {"role": "assistant", "content": text} | ({"thinking": thoughts} if thoughts else {})
        ended = {} if reason is None else {"done": True}
        ended |= {} if reason in (None, NOTHING) else {"done_reason": reason}
        return self._line({"model": "tiny", "message": message, "done": False, **ended})

    def end(self) -> bytes:
        return b""

    def nothing(self) -> list[bytes]:
        nothing: tuple[dict[str, Any], ...] = ({}, {"done": False}, {"message": None}, {"message": {}})
        return [self._line(line) for line in nothing]

    def null(self) -> bytes:
        return self._line({"model": "tiny", "message": None, "done": True})

    def error(self, text: str) -> bytes:
        return self._line({"error": text})

    def whole(self, answer: Answered) -> bytes:
        return self.say(answer.text, "stop").rstrip()

    def _line(self, line: dict[str, Any]) -> bytes:
        return json.dumps(line).encode() + b"\n"


def _said(api: Dialect, answer: Answered) -> Parts:
    return (api.say(piece) for piece in answer.pieces)


def _ended(api: Dialect, answer: Answered, reason: Any) -> Parts:
    yield from _said(api, answer)
    yield api.say("", reason)
    yield api.end()


def _keep_alive(api: Dialect, answer: Answered) -> Parts:
    for _ in range(6):
        yield api.comment
        yield 0.5
    yield from _ended(api, answer, "stop")


def _only_comments(api: Dialect, _answer: Answered) -> Parts:
    for _ in range(300):
        yield api.comment
        yield 0.2


def _left_open_alive(api: Dialect, answer: Answered) -> Parts:
    """The end of the answer is said, but neither the stream nor its comments end."""
    yield from (api.say(piece) for piece in answer.pieces)
    yield api.say("", "stop")
    yield from _only_comments(api, answer)


def _framing(api: Dialect, answer: Answered) -> Parts:
    """A byte order mark, comments, CRLF, and no blank after `data:`, in pieces of seven bytes."""
    parts = [part for part in _ended(api, answer, "stop") if isinstance(part, bytes)]
    stream = (
        b"\xef\xbb\xbf" + api.comment + b"".join(parts).replace(b"data: ", b"data:").replace(b"\n", b"\r\n")
    )
    yield from (stream[at : at + 7] for at in range(0, len(stream), 7))


def _early_stop(api: Dialect, answer: Answered) -> Parts:
    yield api.say("", "stop", thoughts="hm")
    yield from (api.say(piece) for piece in answer.pieces[:2])


def _endless(api: Dialect, answer: Answered) -> Parts:
    return chain(_said(api, answer), repeat(api.say("and so on, ")))


def _all_thoughts(api: Dialect, answer: Answered) -> Parts:
    yield api.say("", thoughts=answer.text)
    yield api.say("", "stop")
    yield api.end()


def _broken_json(api: Dialect, answer: Answered) -> Parts:
    yield from _said(api, answer)
    yield api.say("x")[:-9] + b"\n\n"
    yield api.end()


def _error_first(api: Dialect, _answer: Answered) -> Parts:
    yield api.error("no memory is left")


def _endless_line(api: Dialect, _answer: Answered) -> Parts:
    yield api.say("x")[:20]
    yield from repeat(b"x" * 2**16)


ODD_STREAMS: dict[str, Callable[[Dialect, Answered], Parts]] = {
    "keep_alive": _keep_alive,
    "only_comments": _only_comments,
    "left_open_alive": _left_open_alive,
    "framing": _framing,
    "no_choices": lambda api, answer: chain(api.nothing(), _ended(api, answer, "stop"), api.nothing()),
    "done_without_reason": lambda api, answer: _ended(api, answer, NOTHING),
    "null_end": lambda api, answer: chain(_said(api, answer), [api.null()]),
    "shouted_end": lambda api, answer: _ended(api, answer, "STOP"),
    "typed_end": lambda api, answer: _ended(api, answer, {"type": "stop"}),
    "max_tokens_end": lambda api, answer: _ended(api, answer, "MAX_TOKENS"),
    "whole_json": lambda api, answer: iter([api.whole(answer)]),
    "early_stop": _early_stop,
    "early_stop_stall": lambda api, answer: chain(_early_stop(api, answer), [60.0]),
    "all_thoughts": _all_thoughts,
    "error_first": _error_first,
    "broken_json": _broken_json,
    "endless": _endless,
    "endless_line": _endless_line,
}
