"""The faults of real model servers, played by plan before a real llama.cpp server, in both APIs.

Every answer comes from llama.cpp; a fault changes what happens to it on its way. `FAULTS` names them all.
"""

from __future__ import annotations

import json
import random
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from servers.counting_proxy import CountingProxy, ProxyHandler
from servers.loopback import Call, Handler
from servers.odd_streams import ODD_STREAMS, Dialect, Ollama, OpenAI
from servers.ollama_front import OllamaError, OllamaFront, OllamaHandler, _line, _statistics

PIECES = 4
REASONING = '{"approved": true, "findings": []}'
STATUSES: dict[str, tuple[int, str, dict[str, str]]] = {
    "redirect": (307, "moved", {"Location": "http://127.0.0.1:1/v1/chat/completions"}),
    "bad_request": (400, "something about this request is wrong", {}),
    "unauthorized": (401, "invalid API key", {}),
    "not_found": (404, "model 'tiny' not found", {}),
    "rate_limited": (429, "too many requests", {"Retry-After": "1.5"}),
    "broken": (500, "the model runner has unexpectedly stopped", {}),
    "busy": (503, "server busy, please try again", {}),
    "loading": (503, "Loading model", {}),
}
SCHEMA_KEYS, REASONING_KEYS = (
    ("response_format", "format"),
    ("chat_template_kwargs", "reasoning_effort", "think"),
)
REFUSALS: dict[str, tuple[int, Any, tuple[str, ...]]] = {
    "samplers": (400, {"error": "Failed to initialize samplers"}, SCHEMA_KEYS),
    "vocabulary": (500, {"error": "failed to load model vocabulary required for format"}, SCHEMA_KEYS),
    "validation": (422, {"detail": [{"loc": ["body"], "msg": "extra input", "type": "extra"}]}, SCHEMA_KEYS),
    "unsupported": (501, "not implemented", SCHEMA_KEYS),
    "no_reasoning": (500, {"error": {"message": "internal error", "code": 500}}, REASONING_KEYS),
    "no_extras": (400, {"error": {"message": "bad request"}}, ("stream_options", "options")),
}
"""How servers refuse the fields of a request, without a word that names one."""
REFUSABLE = ("response_format", "seed", "top_p", "stream_options", "chat_template_kwargs", "reasoning_effort")


@dataclass
class Answer:
    """What llama.cpp said, and how it goes out. `keep`: the share of it that does before `then` happens."""

    text: str
    usage: dict[str, Any]
    finish: str = "stop"
    reasoning: str = ""
    raw: bytes = b""
    """Bytes in the place of the first piece's text."""
    keep: float = 1.0
    then: str = "end"
    error: str = ""
    counted: bool = True
    ends: int = 1
    """How often the end is said, with what the answer took."""

    @property
    def pieces(self) -> list[str]:
        size = max(1, -(-len(self.text) // PIECES))
        pieces = [self.text[at : at + size] for at in range(0, len(self.text), size)]
        return pieces[: max(1, round(len(pieces) * self.keep))] if self.keep < 1 else pieces


CHANGED: Mapping[str, Callable[[Answer], Answer]] = {
    "length": lambda answer: replace(answer, text=answer.text[: len(answer.text) // 2], finish="length"),
    "empty": lambda answer: replace(answer, text=""),
    "prose": lambda answer: replace(
        answer, text=f"Sure! Here is what you asked for:\n{answer.text}\nI hope this helps!"
    ),
    "fenced": lambda answer: replace(answer, text=f"```json\n{answer.text}\n```"),
    "think": lambda answer: replace(answer, text=f'<think>It says {{"approved": true}}</think>{answer.text}'),
    "open_think": lambda answer: replace(answer, text=f"It is fine, I think.\n</think>\n\n{answer.text}"),
    "reasoning": lambda answer: replace(answer, reasoning=REASONING),
    "only_thoughts": lambda answer: replace(answer, text="", reasoning="Hm. " * 9, finish="length"),
    "truncated_json": lambda answer: replace(answer, text=answer.text[: max(1, len(answer.text) - 8)]),
    "invalid_utf8": lambda answer: replace(answer, raw=b"\xff\xfe\xc3("),
    "odd_usage": lambda answer: replace(
        answer, usage={"prompt_tokens": -5, "completion_tokens": 10**30, "total_tokens": 0}
    ),
    "odd_thoughts": lambda answer: replace(
        answer,
        usage={**answer.usage, "completion_tokens_details": {"reasoning_tokens": 10**30}},
    ),
    "null_usage": lambda answer: replace(
        answer, usage={"prompt_tokens": None, "completion_tokens": None, "total_tokens": None}
    ),
    "odd_end": lambda answer: replace(answer, finish="eos_token"),
    "two_ends": lambda answer: replace(answer, ends=2),
    "left_open": lambda answer: replace(answer, then="wait"),
    "no_usage": lambda answer: replace(answer, counted=False),
    "cut": lambda answer: replace(answer, keep=0.5, then="cut"),
    "no_end": lambda answer: replace(answer, keep=0.5, then="stop"),
    "stall": lambda answer: replace(answer, keep=0.5, then="stall"),
    "error_inside": lambda answer: replace(answer, keep=0.5, then="error"),
}
"""Faults that change a real answer on its way out."""
FAULTS = (
    "reset", "hang_up", "slow_first_token", "silent", "wrong_type", "refuse_fields", "ignore_format",
    "overflow", "endless_error", *STATUSES, *REFUSALS, *CHANGED, *ODD_STREAMS,
)  # fmt: skip


@dataclass
class Plan:
    """Which chat call meets which fault: every one, the first `times` only, or by chance (`rate`)."""

    fault: str = ""
    times: int | None = None
    rate: float = 1.0
    seed: int = 0
    among: tuple[str, ...] = ()
    words: Literal["object", "string", "text"] = "object"
    """What OpenAI's API says of an error: {"error": {"message": …}}, {"error": …}, or plain text."""
    played: list[str] = field(default_factory=list)
    times_asked: Counter[str] = field(default_factory=Counter)

    def next(self, body: Mapping[str, Any]) -> str:
        """The fault of a call; by chance it depends on the question, not on the order of arrival."""
        if self.times is not None and len([name for name in self.played if name]) >= self.times:
            found = ""
        elif self.rate < 1:
            asked = json.dumps(body, sort_keys=True)
            self.times_asked[asked] += 1
            draw = random.Random(f"{self.seed} {self.times_asked[asked]} {asked}")
            found = draw.choice(self.among or (self.fault,)) if draw.random() < self.rate else ""
        else:
            found = self.fault
        self.played.append(found)
        return found


class Faulty:
    """What the faulty handlers of both APIs share; each says how it answers and how it complains."""

    def play(self: Any, name: str, body: dict[str, Any], call: Call) -> Any:
        """A chat call that meets a fault, or none."""
        call.fault = name
        if name in ("reset", "hang_up", "silent"):
            return self._go_away(name)
        if name in STATUSES:
            status, text, headers = STATUSES[name]
            return self.complain(status, text, headers)
        if name == "wrong_type":
            return self.reply(200, "<html><body>It works!</body></html>", "text/html")
        if name == "overflow":
            return self.overflow()
        if name == "refuse_fields" and (refused := [key for key in REFUSABLE if key in body]):
            return self.complain(400, f"unrecognized field: '{refused[0]}'", {})
        if name in REFUSALS:
            status, said, keys = REFUSALS[name]
            if any(key in body for key in keys):
                return self.send_with(status, said, {})
        if name == "endless_error":
            return self._fail_forever()
        if name == "ignore_format":
            body = {key: value for key, value in body.items() if key not in ("response_format", "format")}
        if name == "slow_first_token":
            self.server.closing.wait(0.4)
        answer = self.ask(body, call)
        if change := CHANGED.get(name):
            answer = change(answer)
        self.server.calls.over(call)
        if name in ODD_STREAMS:
            kind = "application/json" if name == "whole_json" else self.dialect.kind
            return self._send_parts(kind, ODD_STREAMS[name](self.dialect, answer))
        return self.answer(body, answer)

    def _send_parts(self: Any, kind: str, parts: Iterator[bytes | float]) -> None:
        self.begin_stream(kind)
        for part in parts:
            if isinstance(part, float):
                self.server.closing.wait(part)
            elif part:
                self.part(part)
                self.wfile.flush()
        self.end_stream()

    def _fail_forever(self: Any) -> None:
        self._head(400, "text/plain", ("Transfer-Encoding", "chunked"))
        while not self.server.closing.is_set():
            self.part(b"something is wrong " * 4096)

    def _go_away(self: Any, name: str) -> None:
        if name == "silent":
            self.server.closing.wait(60)
        if name == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def send_with(self: Any, status: int, body: dict[str, Any] | str, headers: Mapping[str, str]) -> None:
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        kind = "text/plain" if isinstance(body, str) else "application/json"
        self.send_response(status)
        for key, value in {"Content-Type": kind, **headers, "Connection": "close"}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self: Any, kind: str, answer: Answer, parts: Iterator[bytes], error: bytes) -> None:
        """The parts of an answer, and what happens then instead of its end."""
        self.begin_stream(kind)
        for part in parts:
            self.part(part)
            self.wfile.flush()
        if answer.then in ("stall", "wait"):
            self.server.closing.wait(60)
        if answer.then in ("stall", "wait", "cut"):
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        if answer.then == "error":
            self.part(error)
        self.end_stream()


class FaultyProxyHandler(Faulty, ProxyHandler):
    server: FaultyProxy
    dialect: Dialect = OpenAI()

    def do_POST(self) -> Any:  # noqa: N802
        raw = self.body()
        if not self.path.endswith("/chat/completions"):
            return self._pass_on(raw)
        body = json.loads(raw)
        with self.server.calls.counted(body) as call:
            self.server.pause()
            return self.play(self.server.plan.next(body), body, call)

    def complain(self, status: int, text: str, headers: Mapping[str, str]) -> None:
        error = {"message": text, "type": "model_not_found" if status == 404 else "error", "code": status}
        self._say(status, error, headers)

    def _say(self, status: int, error: dict[str, Any], headers: Mapping[str, str]) -> None:
        text = error["message"]
        said = {"object": {"error": error}, "string": {"error": text}, "text": text}
        self.send_with(status, said[self.server.plan.words], headers)

    def overflow(self) -> None:
        error = {
            "code": 400, "type": "exceed_context_size_error", "n_prompt_tokens": 20000, "n_ctx": 2048,
            "message": "the request exceeds the available context size, try increasing it",
        }  # fmt: skip
        self._say(400, error, {})

    def ask(self, body: dict[str, Any], call: Call) -> Answer:
        asked = {key: value for key, value in body.items() if key != "stream_options"} | {"stream": False}
        said = self.server.upstream.post("/v1/chat/completions", json=asked).raise_for_status().json()
        (choice,) = said["choices"]
        call.usage = said["usage"]
        return Answer(choice["message"]["content"], said["usage"], choice["finish_reason"])

    def answer(self, body: dict[str, Any], answer: Answer) -> None:
        text = "the model runner has stopped"
        said = {"error": text if self.server.plan.words == "string" else {"message": text, "code": 500}}
        error = b"data: %s\n\n" % json.dumps(said).encode()
        self.stream("text/event-stream", answer, self._parts(answer), error)

    def _parts(self, answer: Answer) -> Iterator[bytes]:
        if answer.reasoning:
            yield _event({"reasoning_content": answer.reasoning})
        for number, piece in enumerate(answer.pieces):
            event = _event({"content": "BYTES" if answer.raw and not number else piece})
            yield event.replace(b"BYTES", answer.raw)
        if answer.then not in ("end", "wait"):
            return
        for _ in range(answer.ends):
            yield _event({}, answer.finish)
            if answer.counted:
                yield b"data: %s\n\n" % json.dumps({**CHUNK, "choices": [], "usage": answer.usage}).encode()
        if answer.then == "end":
            yield b"data: [DONE]\n\n"


CHUNK = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "tiny"}


def _event(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: %s\n\n" % json.dumps({**CHUNK, "choices": [choice]}).encode()


class FaultyOllamaHandler(Faulty, OllamaHandler):
    server: FaultyOllama
    dialect: Dialect = Ollama()

    def _chat(self, body: dict[str, Any]) -> Any:
        self.server.model(body)
        if not body.get("messages"):
            return super()._chat(body)
        with self.server.calls.counted(body) as call:
            self.server.pause()
            return self.play(self.server.plan.next(body), body, call)

    def complain(self, status: int, text: str, headers: Mapping[str, str]) -> None:
        self.send_with(status, {"error": text}, headers)

    def overflow(self) -> None:
        inner = {"error": {"code": 400, "type": "exceed_context_size_error", "n_ctx": 2048}}
        raise OllamaError(400, json.dumps(inner))

    def ask(self, body: dict[str, Any], call: Call) -> Answer:
        num_ctx = self._keep_loaded(self.server.model(body), body)
        asked = {**self.server.request(body, num_ctx), "stream": False}
        asked.pop("stream_options")
        said = self.server.upstream.post("/v1/chat/completions", json=asked).raise_for_status().json()
        (choice,) = said["choices"]
        call.usage = said["usage"]
        return Answer(choice["message"]["content"], said["usage"], choice["finish_reason"])

    def answer(self, body: dict[str, Any], answer: Answer) -> None:
        error = json.dumps({"error": "an error was encountered while running the model: unexpected EOF"})
        self.stream(
            "application/x-ndjson", answer, self._parts(body["model"], answer), error.encode() + b"\n"
        )

    def _parts(self, model: str, answer: Answer) -> Iterator[bytes]:
        if answer.reasoning:
            message = {"role": "assistant", "content": "", "thinking": answer.reasoning}
            yield json.dumps(_line(model) | {"message": message}).encode() + b"\n"
        for number, piece in enumerate(answer.pieces):
            line = json.dumps(_line(model, "BYTES" if answer.raw and not number else piece)).encode()
            yield line.replace(b"BYTES", answer.raw) + b"\n"
        if answer.then not in ("end", "wait"):
            return
        counts = _statistics(answer.usage, {}) if answer.counted else {}
        end = _line(model) | {"done": True, "done_reason": answer.finish} | counts
        yield (json.dumps(end).encode() + b"\n") * answer.ends


class FaultyProxy(CountingProxy):
    """OpenAI's API with faults; `plan` says which."""

    def __init__(self, upstream: str, plan: Plan | None = None) -> None:
        super().__init__(upstream)
        self.RequestHandlerClass = FaultyProxyHandler
        self.plan = plan or Plan()


class FaultyOllama(OllamaFront):
    """Ollama's API with faults; `plan` says which."""

    def __init__(self, upstream: str, plan: Plan | None = None) -> None:
        super().__init__(upstream)
        self.RequestHandlerClass = FaultyOllamaHandler
        self.plan = plan or Plan()


__all__ = ["FAULTS", "FaultyOllama", "FaultyProxy", "Handler", "Plan"]
