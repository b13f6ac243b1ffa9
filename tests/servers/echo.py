"""A model server that repeats the API key it gets: in errors and in answers, in OpenAI's API and in Ollama's.

The path of its URL says how: `/REPEATED_IN/WAY`. `said` is what it sent, for tests that check that it did.
"""

from __future__ import annotations

import html
import json
import threading
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

PAUSE_S = 0.3
"""A pause in the middle of a stream, so that its first half is emitted as an event of its own."""
WAYS: dict[str, Callable[[str], str]] = {
    "whole": str,
    "beginning": lambda key: f"{key[:9]}...",
    "end": lambda key: f"...{key[-9:]}",
    "middle": lambda key: key[4:-4],
    "backwards": lambda key: key[::-1],
    "capitals": str.upper,
    "lines": lambda key: f"{key[:6]}\n{key[6:12]}\r\n{key[12:]}",
    "spaces": " ".join,
    "control": "\x07".join,
    "invisible": "\u200b".join,
    "list": lambda key: json.dumps([*key]),
    "groups": lambda key: ", ".join(key[start : start + 4] for start in range(0, len(key), 4)),
    "dump": lambda key: key.encode().hex(":"),
    "base64": lambda key: b64encode(f"Bearer {key}".encode()).decode(),
    "base64-url": lambda key: urlsafe_b64encode(f"user:{key}".encode()).decode(),
    "base64-backwards": lambda key: b64encode(key[::-1].encode()).decode(),
    "hex": lambda key: key.encode().hex().upper(),
    "percent": lambda key: "".join(f"%{ord(char):02x}" for char in key),
    "quoted": lambda key: quote(quote(key, safe=""), safe=""),
    "json": lambda key: json.dumps(json.dumps("".join(f"\\u{ord(char):04x}" for char in key))),
    "slashes": lambda key: key.replace("/", "\\/"),
    "html": html.escape,
    "entities": lambda key: "".join(f"&#{ord(char)};" for char in key),
    "tags": lambda key: f"{key[:6]}<b>{key[6:12]}</b>{key[12:]}",
}
"""How a key is repeated, by name."""


@dataclass
class EchoServer:
    """A running echo server.

    Attributes:
        url: Where it listens, without a path.
        said: The texts with the key that it sent.
    """

    url: str
    said: list[str] = field(default_factory=list)


@contextmanager
def echo_server() -> Iterator[EchoServer]:
    """An echo server on a free port of the loopback."""
    listening = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    listening.echo = EchoServer(f"http://127.0.0.1:{listening.server_port}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield listening.echo  # type: ignore[attr-defined]
    listening.shutdown()
    thread.join()
    listening.server_close()


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        """Lists a model with the key in its name, under `/listing/WAY`."""
        _, repeated_in, way, *_ = [*self.path.split("/"), ""]
        if repeated_in != "listing":
            return self._send(404, "application/json", b"{}")
        text = WAYS[way](self.headers["authorization"].removeprefix("Bearer "))
        self.server.echo.said.append(text)  # type: ignore[attr-defined]
        listing = {"data": [{"id": text}], "build_info": text, "total_slots": 1}
        return self._send(200, "application/json", json.dumps(listing).encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        _, repeated_in, way, *_ = self.path.split("/")
        text = f"you sent {WAYS[way](self.headers['authorization'].removeprefix('Bearer '))} as the key"
        self.server.echo.said.append(text)  # type: ignore[attr-defined]
        if repeated_in == "error":
            self._send(401, "application/json", json.dumps({"error": {"message": text}}).encode())
        elif repeated_in == "page":
            self._send(502, "text/html", f"<html><body>{text}</body></html>".encode())
        elif repeated_in == "redirect":
            self._send(307, "text/plain", b"", location=f"/{quote(text)}")
        elif "api/chat" in self.path:
            lines = [json.dumps(event) for event in _ollama(repeated_in, text)]
            self._send(200, "application/x-ndjson", *(f"{line}\n".encode() for line in lines))
        else:
            lines = [json.dumps(event) for event in _openai(repeated_in, text)]
            self._send(200, "text/event-stream", *(f"data: {line}\n\n".encode() for line in lines))

    def _send(self, status: int, kind: str, *parts: bytes, **headers: str) -> None:
        self.send_response(status)
        length = str(sum(map(len, parts)))
        for name, value in {"Content-Type": kind, "Content-Length": length, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        for number, part in enumerate(parts):
            self.wfile.write(part)
            if number == len(parts) // 2 > 0:
                time.sleep(PAUSE_S)


def _pieces(text: str) -> Iterator[str]:
    """The text in pieces of three characters, as a stream brings it."""
    return (text[start : start + 3] for start in range(0, len(text), 3))


def _openai(repeated_in: str, text: str) -> Iterator[dict[str, object]]:
    if repeated_in == "broken":
        yield {"id": "a", "choices": [{"index": 0, "delta": {"content": "Well"}}]}
        yield {"error": {"message": text}}
        return
    name = "reasoning_content" if repeated_in == "thoughts" else "content"
    for piece in _pieces(text):
        yield {"id": "a", "choices": [{"index": 0, "delta": {name: piece}}]}
    yield {"id": "a", "choices": [{"index": 0, "delta": {"content": " Done."}}]}
    reason = text if repeated_in == "reason" else "stop"
    yield {"id": "a", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}


def _ollama(repeated_in: str, text: str) -> Iterator[dict[str, object]]:
    common = {"model": "m", "created_at": "2026-01-01T00:00:00Z"}
    if repeated_in == "broken":
        yield {**common, "message": {"role": "assistant", "content": "Well"}, "done": False}
        yield {"error": text}
        return
    name = "thinking" if repeated_in == "thoughts" else "content"
    for piece in _pieces(text):
        yield {**common, "message": {"role": "assistant", "content": "", name: piece}, "done": False}
    reason = text if repeated_in == "reason" else "stop"
    end = {"role": "assistant", "content": " Done."}
    yield {**common, "message": end, "done": True, "done_reason": reason}
