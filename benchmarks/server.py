"""A sleeping chat server: OpenAI's streaming API on loopback, with one prepared answer per role.

It runs in a process of its own and does next to nothing per call, so that what a benchmark measures
is the client's side: it finds the role in the system prompt, waits, and writes the whole answer.

    python benchmarks/server.py --delay 0.2     # prints its base URL; ends when stdin is closed
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

ROLE = re.compile(rb"You are (?:the|a) (\w+)")
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CHUNK_END = re.compile(rb"\r\n\r\n|\n\n\r\n")
STREAM = re.compile(rb'"stream": *true')

REVIEW = json.dumps({"findings": [], "approved": True})
ANSWERS = {
    "clarifier": json.dumps(
        {
            "requirements": [
                "The queue returns items in the order in which they were put.",
                "A put on a full queue blocks until there is room or its timeout has passed.",
            ],
            "assumptions": ["Python 3.11 and its standard library."],
            "open_questions": [],
        }
    ),
    "architect": "## Files\n\n- `src/fifo_queue.py`: one class, one lock, two conditions.\n" * 5,
    "coder": "```python path=src/fifo_queue.py\n" + "class FifoQueue:\n    capacity = 8\n" * 10 + "```",
    "reviewer": REVIEW,
    "security": REVIEW,
    "tester": "```python path=tests/test_fifo_queue.py\ndef test_order():\n    assert True\n```",
    "debugger": "The timeout starts again each time the thread is woken.",
    "optimizer": "Nothing to gain.",
    "documenter": "# FIFO queue",
}


@dataclass(frozen=True)
class Server:
    """A running server, seen from the client."""

    root: str

    @property
    def url(self) -> str:
        """The base URL for OpenAI clients."""
        return f"{self.root}/v1"

    def stats(self) -> dict[str, Any]:
        """`calls`, `most_in_flight`, `bytes` (of request bodies), `roles`; counted from the last look."""
        with urlopen(f"{self.root}/stats") as answer:
            stats: dict[str, Any] = json.load(answer)
            return stats


@contextmanager
def running_server(delay: float = 0.0, pieces: int = 16, spread: float = 0.0) -> Iterator[Server]:
    """A server in its own process.

    `delay`: seconds before an answer; `pieces`: chunks it comes in; `spread`: seconds that these take.
    """
    numbers = [f"--delay={delay}", f"--pieces={pieces}", f"--spread={spread}"]
    command = [sys.executable, "-S", Path(__file__), *numbers]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        yield Server(process.stdout.readline().strip().removesuffix("/v1"))
        process.stdin.close()


class Desk:
    """The prepared responses and the counts."""

    def __init__(self, delay: float, pieces: int, spread: float = 0.0) -> None:
        self.delay, self.spread = delay, spread
        self.responses = {
            (role, streamed): response(text, pieces) if streamed else whole_response(text)
            for role, text in ANSWERS.items()
            for streamed in (True, False)
        }
        self.forget()

    def forget(self) -> None:
        self.roles: Counter[str] = Counter()
        self.bytes = self.in_flight = self.most_in_flight = 0

    def stats(self) -> bytes:
        counts = {"bytes": self.bytes, "most_in_flight": self.most_in_flight, "roles": self.roles}
        body = json.dumps({"calls": self.roles.total(), **counts})
        self.forget()
        return plain(body)


class Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive; one request at a time, as HTTP clients send them."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.received = desk, bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        end = self.received.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        length = LENGTH.search(self.received, 0, end)
        size = end + (int(length[1]) if length else 0)
        if len(self.received) >= size:
            request = bytes(self.received[:size])
            del self.received[:size]
            self.answer(request, size - end)

    def answer(self, request: bytes, length: int) -> None:
        desk = self.desk
        if request.startswith(b"GET /stats"):
            self.transport.write(desk.stats())
            return
        if request.startswith(b"GET"):  # what it is and what it takes; it does not say
            self.transport.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            return
        role = found[1].decode() if (found := ROLE.search(request)) else "documenter"
        desk.roles[role] += 1
        desk.bytes += length
        desk.in_flight += 1
        desk.most_in_flight = max(desk.most_in_flight, desk.in_flight)
        response = desk.responses[role, bool(STREAM.search(request))]
        if desk.delay:
            asyncio.get_running_loop().call_later(desk.delay, self.write, response)
        else:
            self.write(response)

    def write(self, response: bytes) -> None:
        self.desk.in_flight -= 1
        if self.desk.spread and b"text/event-stream" in response:
            self.write_slowly(response)
        else:
            self.transport.write(response)

    def write_slowly(self, response: bytes) -> None:
        chunks, loop = CHUNK_END.split(response), asyncio.get_running_loop()
        for number, chunk in enumerate(chunks):
            part = chunk + (b"\r\n\r\n" if number == 0 else b"\n\n\r\n" if number < len(chunks) - 1 else b"")
            loop.call_later(self.desk.spread * number / len(chunks), self.transport.write, part)


def response(text: str, pieces: int) -> bytes:
    """A text as OpenAI streams it: deltas, the reason of the end, the usage, all in HTTP chunks."""
    size = max(1, -(-len(text) // pieces))
    deltas: list[tuple[dict[str, str], str | None]] = [({"role": "assistant", "content": ""}, None)]
    deltas += [({"content": text[start : start + size]}, None) for start in range(0, len(text), size)]
    deltas += [({}, "stop")]
    events = [
        completion("chat.completion.chunk", [{"index": 0, "delta": delta, "finish_reason": reason}])
        for delta, reason in deltas
    ]
    events.append(completion("chat.completion.chunk", [], text))
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    lines = [f"data: {event}\n\n".encode() for event in [*map(json.dumps, events), "[DONE]"]]
    return head + b"".join(b"%x\r\n%s\r\n" % (len(line), line) for line in [*lines, b""])


def whole_response(text: str) -> bytes:
    """A text in one piece, for clients that do not stream."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return plain(json.dumps(completion("chat.completion", [choice], text)))


def completion(kind: str, choices: list[dict[str, Any]], counted: str | None = None) -> dict[str, Any]:
    body = {"id": "chatcmpl-1", "object": kind, "created": 1700000000, "model": "sleeper", "choices": choices}
    tokens = len(counted or "") // 4
    usage = {"prompt_tokens": 1000, "completion_tokens": tokens, "total_tokens": 1000 + tokens}
    return {**body, "usage": usage} if counted is not None else body


def plain(body: str) -> bytes:
    head = (
        f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body.encode())}\r\n\r\n"
    )
    return (head + body).encode()


async def serve(delay: float, pieces: int, spread: float) -> None:
    """Serves on a free port until stdin is closed."""
    desk, loop = Desk(delay, pieces, spread), asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(desk), "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--pieces", type=int, default=16, help="chunks that an answer comes in")
    parser.add_argument("--spread", type=float, default=0.0, help="seconds that these chunks take")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.delay, arguments.pieces, arguments.spread))


if __name__ == "__main__":
    main()
