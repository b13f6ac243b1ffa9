"""A model server that answers late and always the same: an OpenAI API whose answers follow from the messages.

It knows when each answer was fully delivered, so a test can say which ones must never be asked for again.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
from dataclasses import dataclass
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

FAULTS = ("reset", "500", "503", "429", "stall", "cut")


@dataclass
class Asked:
    """One time that a question reached the server; `delivered`: when its last byte was sent (monotonic)."""

    key: str
    begun: float
    delivered: float | None = None


class ModelServer:
    """Use it in `with`. `stop` and `start` are its death and restart on the same port.

    `latency`: seconds for an answer, spread over it. `failing`: the share of questions that fail, by `seed`.
    `malformed`: the share of first answers that are broken off; they follow from the messages, too.
    """

    def __init__(
        self, *, latency: float = 0.04, failing: float = 0.0, malformed: float = 0.0, seed: int = 0
    ) -> None:
        self.latency, self.failing, self.malformed, self.seed = latency, failing, malformed, seed
        self.asked: list[Asked] = []
        self.port = 0
        self._lock = threading.Lock()
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self._server = _Server(("127.0.0.1", self.port), self)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def stop(self) -> None:
        """Ends at once: answers under way are cut."""
        if self._server:
            self._server.dead = True
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None

    def ask(self, key: str) -> tuple[Asked, str | None]:
        """Notes a question, and says how it is to fail, if it is."""
        with self._lock:
            times = sum(asked.key == key for asked in self.asked)
            asked = Asked(key, time.monotonic())
            self.asked.append(asked)
        dice = int(sha256(f"{self.seed} {key} {times}".encode()).hexdigest()[:8], 16)
        fails = dice % 1000 < self.failing * 1000
        return asked, FAULTS[dice // 1000 % len(FAULTS)] if fails else None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], model: ModelServer) -> None:
        self.model, self.dead = model, False
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = sha256(json.dumps(body["messages"]).encode()).hexdigest()[:16]
        asked, fault = self.server.model.ask(key)
        if fault == "reset":
            self._reset()
        elif fault in ("500", "503", "429"):
            self._error(int(fault))
        else:
            text = answer(body, key)
            first = len(body["messages"]) == 2
            broken = first and int(key, 16) // 7 % 1000 < self.server.model.malformed * 1000
            self._answer(text[: len(text) // 2] if broken else text, asked, fault)

    def _error(self, status: int) -> None:
        text = json.dumps({"error": {"message": "as planned", "code": status}}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def _answer(self, text: str, asked: Asked, fault: str | None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        pieces = [text[start : start + 80] for start in range(0, len(text), 80)]
        for number, piece in enumerate(pieces):
            time.sleep(self.server.model.latency / len(pieces))
            if fault and number >= len(pieces) // 2:
                if fault == "stall":
                    time.sleep(2)
                self._reset()
                return
            if self.server.dead:
                self._reset()
                return
            self._event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": piece}}]})
        self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self._event({"choices": [], "usage": _usage(text)})
        self._chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()
        asked.delivered = time.monotonic()

    def _event(self, data: dict[str, Any]) -> None:
        whole = {"id": "a", "object": "chat.completion.chunk", "created": 0, "model": "chaos", **data}
        self._chunk(f"data: {json.dumps(whole)}\n\n".encode())

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


def _usage(text: str) -> dict[str, int]:
    return {"prompt_tokens": 7, "completion_tokens": len(text) // 4, "total_tokens": 7 + len(text) // 4}


def answer(body: dict[str, Any], key: str) -> str:
    """What the model says: it follows from the messages alone."""
    prompt = "\n".join(str(message["content"]) for message in body["messages"])
    role = re.search(r"You are (?:the|a) (\w+)", prompt)
    dice = int(key, 16)
    match role[1] if role else "":
        case "clarifier":
            return json.dumps({"requirements": [f"It holds {key}."], "assumptions": [], "open_questions": []})
        case "coder":
            return _code(prompt, key, dice)
        case "tester":
            return f"```python path=tests/test_{dice % 3}.py\ndef test_{key}():\n    pass\n```"
        case "reviewer" | "security":
            finding = {
                "severity": "major",
                "location": "src/a.py:1",
                "problem": f"It lacks {key}.",
                "suggestion": "Add it.",
            }
            refused = dice % 3 == 0
            return json.dumps({"findings": [finding] if refused else [], "approved": not refused})
    return f"# {key}\n\n" + "".join(f"- Line {line} of {key}.\n" for line in range(dice % 9 + 1))


def _code(prompt: str, key: str, dice: int) -> str:
    """Files that come and go from round to round."""
    there = set(re.findall(r"path=(src/extra_\d\.py)", prompt))
    new = f"src/extra_{dice % 3}.py"
    deleted = "".join(f"DELETE {path}\n" for path in sorted(there - {new}))
    main = f"```python path=src/a.py\nx = '{key}'\n```\n"
    return f"{main}\n```python path={new}\ny = '{key}'\n```\n{deleted}"
