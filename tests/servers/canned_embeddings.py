"""An embedding server that answers in both APIs as a test says: what servers do when something is wrong."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from typing import Any

from servers.loopback import Handler, Loopback

Answer = tuple[int, bytes | str | dict[str, Any]]
DIMENSIONS = 64


class EmbeddingHandler(Handler):
    server: CannedEmbeddings

    def do_GET(self) -> None:  # noqa: N802
        page = self.server.pages.get(self.path)
        self.reply(404 if page is None else 200, page or {})

    def do_POST(self) -> None:  # noqa: N802
        body = json.loads(self.body())
        with self.server.lock:
            self.server.asked.append(body["input"])
            self.server.bodies.append(body)
            self.server.keys.append(self.headers.get("Authorization") or "")
        self.server.pause()
        status, answer = self.server.script(body["input"])
        if status == 200 and self.path == "/api/embed" and isinstance(answer, dict):
            answer = {"embeddings": [item["embedding"] for item in answer["data"]]}
        self.reply(status, answer)


class CannedEmbeddings(Loopback):
    """Answers as a script says, and has `pages`; `asked` are the texts of each request."""

    def __init__(self, script: Callable[[list[str]], Answer] | None = None, *, delay: float = 0.0) -> None:
        super().__init__("http://127.0.0.1:9", EmbeddingHandler, delay=delay)
        self.script = script or embedded
        self.pages: dict[str, dict[str, Any]] = {}
        self.lock = threading.Lock()
        self.asked: list[list[str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str] = []

    def settings(self, **more: Any) -> dict[str, Any]:
        """The group `memory.embeddings` of a configuration."""
        url = self.root if more.get("api_type") == "ollama" else f"{self.root}/v1"
        return {"url": url, "model": "canned", "timeout": 20, **more}


def embedded(texts: list[str]) -> Answer:
    """Vectors that are similar where texts have words in common."""
    return answer([vector_of(text) for text in texts])


def answer(vectors: list[Any]) -> Answer:
    """An answer with vectors, in their order."""
    return 200, {"data": [{"index": number, "embedding": vector} for number, vector in enumerate(vectors)]}


def vector_of(text: str) -> list[float]:
    """The vector of a text: one of its numbers grows with each word."""
    vector = [0.0] * DIMENSIONS
    for word in text.lower().split() or [""]:
        vector[hashlib.sha256(word.encode()).digest()[0] % DIMENSIONS] += 1.0
    return vector
