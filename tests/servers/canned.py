"""A server that streams given answers in both APIs: what models write, without a model that writes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from servers.loopback import Handler, Loopback

Script = Callable[[str, str], str]
"""The answer to a system message and a user message."""
CHUNK = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "canned"}
PIECE = 7
"""Characters of one piece of an answer: tokens and tags are split among pieces."""


class CannedHandler(Handler):
    server: Canned

    def do_GET(self) -> None:  # noqa: N802
        pages: dict[str, bytes | dict[str, Any]] = {
            "/v1/models": {"data": [{"id": "canned"}]},
            "/props": self.server.props,
        }
        if self.server.ollama:
            model = {"name": "canned", "details": {}}
            pages = {"/": b"Ollama is running", "/api/tags": {"models": [model]}, "/api/ps": {"models": []}}
        page = pages.get(self.path)
        self.reply(200 if page is not None else 404, page if page is not None else {})

    def do_POST(self) -> None:  # noqa: N802
        body = json.loads(self.body())
        if self.path == "/api/show":
            self.reply(200, self.server.shown)
            return
        with self.server.calls.counted(body):
            system, user = body["messages"][0]["content"], body["messages"][-1]["content"]
            if len(body["messages"]) > 2:
                user = f"{body['messages'][1]['content']}\n{user}"
            answer = self.server.script(system, user)
        pieces = [answer[at : at + PIECE] for at in range(0, len(answer), PIECE)]
        ollama = self.path == "/api/chat"
        self.begin_stream("application/x-ndjson" if ollama else "text/event-stream")
        for part in _lines(pieces) if ollama else _events(pieces):
            self.part(part)
        self.end_stream()


def _events(pieces: list[str]) -> Iterator[bytes]:
    for piece in pieces:
        choice = {"index": 0, "delta": {"content": piece}, "finish_reason": None}
        yield b"data: %s\n\n" % json.dumps({**CHUNK, "choices": [choice]}).encode()
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 4000, "completion_tokens": len(pieces), "total_tokens": 4000 + len(pieces)}
    yield b"data: %s\n\n" % json.dumps({**CHUNK, "choices": [end], "usage": usage}).encode()
    yield b"data: [DONE]\n\n"


def _lines(pieces: list[str]) -> Iterator[bytes]:
    line: dict[str, Any] = {"model": "canned", "created_at": "2026-01-01T00:00:00Z", "done": False}
    for piece in pieces:
        yield json.dumps({**line, "message": {"role": "assistant", "content": piece}}).encode() + b"\n"
    counts = {"prompt_eval_count": 4000, "eval_count": len(pieces)}
    end = {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop", **counts}
    yield json.dumps({**line, **end}).encode() + b"\n"


class Canned(Loopback):
    """Answers as a script says; `props` and `shown` are what it tells of its chat template."""

    def __init__(self, script: Script, *, ollama: bool = False) -> None:
        super().__init__("http://127.0.0.1:9", CannedHandler)
        self.script, self.ollama = script, ollama
        self.props: dict[str, Any] = {}
        self.shown: dict[str, Any] = {}

    @property
    def entry(self) -> dict[str, Any]:
        """The entry of a configuration for its model."""
        url = self.root if self.ollama else f"{self.root}/v1"
        return {"model": "canned", "api_type": "ollama" if self.ollama else "openai", "url": url}
