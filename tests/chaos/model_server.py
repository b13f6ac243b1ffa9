"""A model server that answers late and always the same: an OpenAI API whose answers follow from the messages.

With a seed they follow from that, too.

It knows when each answer was fully delivered, so a test can say which ones must never be asked for again.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

FAULTS = ("reset", "500", "503", "429", "stall", "cut")


@dataclass(eq=False)
class Asked:
    """One time that a question reached the server; `delivered`: when its last byte was sent (monotonic).

    Of a custom session: `task`, whose description names it, and `turn`, 1 for a repair question. `beside`:
    how many were in flight then, with this one. `released`: its answer may go; False: it was dropped.
    `request`: what the session's request is called, if it begins with `Request NAME:`.
    """

    key: str
    begun: float
    delivered: float | None = None
    task: str = ""
    turn: int = 0
    beside: int = 1
    released: bool | None = None
    request: str = ""


class ModelServer:
    """Use it in `with`. `stop` and `start` are its death and restart on the same port.

    `latency`: seconds for an answer, spread over it. `failing`: the share of questions that fail, by `seed`.
    `malformed`: the share of first answers that are broken off; they follow from the messages, too.
    `held`: every answer waits for its `release`. `tool_calls`: how many calls of a tool come before the
    answer to a question that offers one; the third repeats the second.
    """

    def __init__(
        self,
        *,
        latency: float = 0.04,
        failing: float = 0.0,
        malformed: float = 0.0,
        seed: int = 0,
        held: bool = False,
        tool_calls: int = 0,
    ) -> None:
        self.latency, self.failing, self.malformed, self.seed = latency, failing, malformed, seed
        self.held, self.tool_calls = held, tool_calls
        self.asked: list[Asked] = []
        self._times: Counter[str] = Counter()
        self.in_flight: list[Asked] = []
        self.port = 0
        self._changed = threading.Condition()
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
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends at once: answers under way are cut."""
        if self._server:
            self._server.dead = True
            self.drop()
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None

    def ask(self, key: str, task: str = "", turn: int = 0) -> tuple[Asked, str | None]:
        """Notes a question, and says how it is to fail, if it is."""
        with self._changed:
            times, beside = self._times[key], len(self.in_flight) + 1
            self._times[key] += 1
            asked = Asked(key, time.monotonic(), None, task, turn, beside)
            self.asked.append(asked)
            self.in_flight.append(asked)
            self._changed.notify_all()
        dice = int(sha256(f"{self.seed} {key} {times}".encode()).hexdigest()[:8], 16)
        fails = dice % 1000 < self.failing * 1000
        return asked, FAULTS[dice // 1000 % len(FAULTS)] if fails else None

    def land(self, asked: Asked) -> None:
        """A question is in flight no more; told before its last byte goes, so that nobody asks too early."""
        with self._changed:
            if asked in self.in_flight:
                self.in_flight.remove(asked)
                self._changed.notify_all()

    def may_go(self, asked: Asked) -> bool:
        """Waits for the release of an answer; False when it was dropped."""
        with self._changed:
            self._changed.wait_for(lambda: asked.released is not None or not self.held)
            return asked.released is not False

    def release(self, task: str) -> None:
        """Lets the answer to a task's question go."""
        with self._changed:
            for asked in self.in_flight:
                asked.released = asked.released or asked.task == task or None
            self._changed.notify_all()

    def drop(self) -> None:
        """Answers none of the questions in flight: the one who asked them is dead."""
        with self._changed:
            for asked in self.in_flight:
                asked.released = False
            self.in_flight.clear()
            self._changed.notify_all()

    def wait_for(self, tasks: set[str], seconds: float = 10.0) -> list[str]:
        """The tasks in flight, as soon as they are these; whichever they are after some seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._flying() == sorted(tasks), seconds)
            return self._flying()

    def _flying(self) -> list[str]:
        return sorted(asked.task for asked in self.in_flight)


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
        asks = [body["messages"], body["seed"]] if "seed" in body else body["messages"]
        key = sha256(json.dumps(asks).encode()).hexdigest()[:16]
        turn = len(body["messages"]) // 4
        asked, fault = self.server.model.ask(key, task_of(body), turn)
        asked.request = request_of(body)
        try:
            self._respond(body, asked, fault)
        finally:
            self.server.model.land(asked)

    def _respond(self, body: dict[str, Any], asked: Asked, fault: str | None) -> None:
        if fault == "reset" or not self.server.model.may_go(asked):
            self._reset()
        elif fault in ("500", "503", "429"):
            self._error(int(fault))
        elif "tools" in body and calls_in(body) < self.server.model.tool_calls:
            self._call(body, asked)
        else:
            text = answer(body, asked.key)
            first = len(body["messages"]) == 2
            broken = first and int(asked.key, 16) // 7 % 1000 < self.server.model.malformed * 1000
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

    def _begin(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _call(self, body: dict[str, Any], asked: Asked) -> None:
        self._begin()
        arguments = json.dumps({"text": asked.key})
        if calls_in(body) == 2:
            (call,) = body["messages"][-2]["tool_calls"]
            arguments = call["function"]["arguments"]
        function = {"name": body["tools"][0]["function"]["name"], "arguments": arguments}
        call = {"index": 0, "id": f"call-{asked.key}", "type": "function", "function": function}
        self._event({"choices": [{"index": 0, "delta": {"role": "assistant", "tool_calls": [call]}}]})
        self._end("tool_calls", json.dumps(call), asked)

    def _answer(self, text: str, asked: Asked, fault: str | None) -> None:
        self._begin()
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
        self._end("stop", text, asked)

    def _end(self, reason: str, text: str, asked: Asked) -> None:
        self.server.model.land(asked)
        self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
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


def calls_in(body: dict[str, Any]) -> int:
    """How many results of tools a question holds."""
    return sum(message["role"] == "tool" for message in body["messages"])


def answer(body: dict[str, Any], key: str) -> str:
    """What the model says: it follows from the messages alone."""
    prompt = "\n".join(str(message["content"]) for message in body["messages"])
    found = re.search(r"You are (?:the|a) (\w+)", prompt)
    role, dice = found[1] if found else "", int(key, 16)
    if task := task_of(body):
        return _task_answer(task, "expands" if '"tasks": [{"task_id"' in prompt else role, key)
    match role:
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


def task_of(body: dict[str, Any]) -> str:
    """The task of a custom session that a question is for."""
    found = re.search(r"<task>\nTask (\S+):", str(body["messages"][1]["content"]))
    return found[1] if found else ""


def request_of(body: dict[str, Any]) -> str:
    """What the request of a question's session is called."""
    found = re.search(r"\bRequest (\S+):", str(body["messages"][1]["content"]))
    return found[1] if found else ""


def _task_answer(task: str, role: str, key: str) -> str:
    """An answer that names its task, also when it is broken off, and differs as soon as a message differs."""
    named, dice = f"Task {task} says {key}.", int(key, 16)
    more = ["It is so."] * (dice % 30 + 9)
    match role:
        case "expands":
            return _expansion(task, named, dice)
        case "clarifier":
            return json.dumps({"requirements": [named, *more], "assumptions": [], "open_questions": []})
        case "coder":
            return "\n# ".join([f"```python path=src/{task}.py", named, *more]) + "\n```"
        case "reviewer":
            finding = {"severity": "info" if dice % 2 else "major", "location": task, "problem": named}
            return json.dumps({"findings": [finding], "approved": bool(dice % 2)})
    return "\n".join([named, *more])


def _expansion(task: str, named: str, dice: int) -> str:
    """One to three tasks, side by side or in a row; at the first level one of them may expand again."""
    names = "abc"[: dice % 3 + 1]
    tasks = [
        {
            "task_id": name,
            "assigned_role": ("architect", "coder", "reviewer", "optimizer")[dice // 10 ** (number + 1) % 4],
            "description": f"Task {task}.{name}: a part.",
            "dependencies": [names[number - 1]] if number and dice // 7 % 2 else [],
            "expands": number == dice // 11 % 6 and "." not in task,
        }
        for number, name in enumerate(names)
    ]
    return json.dumps({"plan": named, "tasks": tasks})
