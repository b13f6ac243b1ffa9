"""What the counting proxy and the Ollama front share: an HTTP server before llama.cpp, and its counts."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import httpx

JSON = "application/json; charset=utf-8"


@dataclass
class Call:
    """One chat call: what was asked, and the usage that llama.cpp reported when it had answered.

    `fault`: what the proxy did to it. `seconds`: from its arrival to its last byte.
    """

    body: dict[str, Any]
    usage: dict[str, Any] = field(default_factory=dict)
    fault: str = ""
    seconds: float = 0.0


class Calls:
    """All chat calls of a server, in the order of their arrival. Safe to read from any thread.

    A call is over before its last byte is sent, so calls one after the other are never two in flight.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: list[Call] = []
        self._in_flight: list[Call] = []
        self.most_in_flight = 0

    @contextmanager
    def counted(self, body: dict[str, Any]) -> Iterator[Call]:
        call = Call(body)
        with self._lock:
            self._calls.append(call)
            self._in_flight.append(call)
            self.most_in_flight = max(self.most_in_flight, len(self._in_flight))
        began = time.monotonic()
        try:
            yield call
        finally:
            call.seconds = time.monotonic() - began
            self.over(call)

    def over(self, call: Call) -> None:
        with self._lock:
            self._in_flight = [other for other in self._in_flight if other is not call]

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Call]:
        return iter(list(self._calls))

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [call.body for call in list(self._calls)]

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    @property
    def prompt_tokens(self) -> int:
        return self._sum("prompt_tokens")

    @property
    def completion_tokens(self) -> int:
        return self._sum("completion_tokens")

    def _sum(self, key: str) -> int:
        return sum(call.usage.get(key, 0) for call in list(self._calls))


class Loopback(ThreadingHTTPServer):
    """An HTTP server on a free port of 127.0.0.1, with a client for the llama.cpp server behind it.

    `delay` is added to each chat call, in seconds. Leaving `with` waits for every answer under way.
    """

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, upstream: str, handler: type["Handler"], *, delay: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.root = f"http://127.0.0.1:{self.server_port}"
        self.delay = delay
        self.calls = Calls()
        self.upstream = httpx.Client(
            base_url=upstream,
            trust_env=False,
            timeout=httpx.Timeout(120, pool=None),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )
        self.closing = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.closing.set()
        self.shutdown()
        self._thread.join()
        self.server_close()
        self.upstream.close()

    def pause(self) -> None:
        self.closing.wait(self.delay)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left, or a llama.cpp server that did, is no error of ours: the connection is cut."""
        if not isinstance(sys.exception(), ConnectionError | httpx.TransportError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Answers one request a connection."""

    protocol_version = "HTTP/1.1"
    server: Loopback

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def reply(self, status: int, body: bytes | str | dict[str, Any], kind: str = JSON) -> None:
        text = json.dumps(body) if isinstance(body, dict) else body
        data = text.encode() if isinstance(text, str) else text
        self._head(status, kind, ("Content-Length", str(len(data))))
        self.wfile.write(data)

    def begin_stream(self, kind: str) -> None:
        self._head(200, kind, ("Transfer-Encoding", "chunked"))

    def part(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def end_stream(self) -> None:
        self.wfile.write(b"0\r\n\r\n")

    def _head(self, status: int, kind: str, length: tuple[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header(*length)
        self.send_header("Connection", "close")
        self.end_headers()


def events(answer: httpx.Response) -> Iterator[bytes]:
    """The server-sent events of a stream, each as it came."""
    rest = b""
    for data in answer.iter_bytes():
        *whole, rest = (rest + data).split(b"\n\n")
        for event in whole:
            yield event + b"\n\n"
    if rest:
        yield rest


def event_data(event: bytes) -> dict[str, Any]:
    """The JSON of an event, {} for one without (`[DONE]`, a ping)."""
    data = event.removeprefix(b"data: ")
    found: dict[str, Any] = json.loads(data) if data.startswith(b"{") else {}
    return found
