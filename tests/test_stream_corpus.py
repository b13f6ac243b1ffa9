"""Streams that servers have really sent, through a graph, `run --tasks` and a batch, on both APIs.

The files under data/streams are the bodies of answers; a task names the one that it gets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers.loopback import Handler, Loopback
from support import write_config
from test_cli import swarm

from swarm_graph.errors import ModelError
from swarm_graph.workflows.build import build_graph

STREAMS = Path(__file__).parent / "data" / "streams"
PROMPT = "You answer.\n---\n$files"
WHOLE = "First second."
TOLD = {
    "done_without_reason": "Hello world.",
    "keep_alive": "late, but whole",
    "early_stop_then_half": "cut the answer off before its end",
    "cut": "cut the answer off before its end",
    "error_event": "broke off: no memory is left",
    "error_line": "broke off: no memory is left",
    "error_object": "broke off: no memory is left",
    "broken_json": "answered what cannot be read: broken JSON",
    "half_a_character": "answered what cannot be read: invalid UTF-8",
    "max_tokens": "was cut off at its limit",
    "all_thoughts": "answer is empty",
}
"""What a stream comes to: the answer, or words of the error. Those that are missing here come to WHOLE."""
ANSWERS = (WHOLE, TOLD["done_without_reason"], TOLD["keep_alive"])
KINDS = {"openai": "text/event-stream", "ollama": "application/x-ndjson"}


def streams(api: str) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in sorted((STREAMS / api).iterdir())}


class _Handler(Handler):
    server: Server

    def do_GET(self) -> None:  # noqa: N802
        self.reply(404, "not here", "text/plain")

    def do_POST(self) -> None:  # noqa: N802
        body = json.loads(self.body())
        (name,) = set(re.findall(r"stream=(\w+)", body["messages"][1]["content"]))
        self.server.asked.append(name)
        self.begin_stream("application/json" if name == "whole" else KINDS[self.server.api])
        for piece in self.pieces(name, streams(self.server.api)[name]):
            self.part(piece)
            self.wfile.flush()
        self.end_stream()

    def pieces(self, name: str, data: bytes) -> Iterator[bytes]:
        if name != "keep_alive":
            yield data
            return
        for line in data.splitlines(keepends=True):
            yield line
            if line.startswith(b":") or not line.strip():
                self.server.closing.wait(0.5)


class Server(Loopback):
    def __init__(self, api: str) -> None:
        super().__init__("http://127.0.0.1:1", _Handler)
        self.api = api
        self.asked: list[str] = []

    @property
    def config(self) -> dict[str, Any]:
        url = f"{self.root}/v1" if self.api == "openai" else self.root
        entry = {"url": url, "model": "m", "api_type": self.api, "retries": 1, "idle_timeout": 2, "slots": 4}
        return {"model_config": {"single_model": entry}}


@pytest.fixture(params=list(KINDS))
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server(request.param) as server:
        yield server


def check(server: Server, results: dict[str, str], errors: dict[str, str]) -> None:
    """Every stream has come to what it should, and was asked for as often as it should."""
    for name in streams(server.api):
        told = TOLD.get(name, WHOLE)
        if told in ANSWERS:
            assert results[name].strip() == told, name
            assert server.asked.count(name) == 1, name
        else:
            assert told in errors[name], name
            assert server.asked.count(name) == 2, "a retry, or a repair question"


def tasks(api: str) -> list[dict[str, Any]]:
    return [
        {"task_id": name, "assigned_role": "architect", "description": f"stream={name}"}
        for name in streams(api)
    ]


def test_the_corpus_through_a_graph(server: Server) -> None:
    graph = build_graph("custom", config=server.config)
    states = graph.stream({"tasks": tasks(server.api)}, stream_mode="values")
    seen: list[Any] = []
    with pytest.raises(ModelError):
        seen.extend(states)
    records = seen[-1]["tasks"]
    check(
        server,
        {name: record.get("result") or "" for name, record in records.items()},
        {name: record.get("error") or "" for name, record in records.items()},
    )


@pytest.mark.slow
@pytest.mark.parametrize("command", ["run", "batch"])
def test_the_corpus_through_the_command_line(command: str, server: Server, tmp_path: Path) -> None:
    write_config(tmp_path, **server.config)
    (tmp_path / "tasks.json").write_text(json.dumps({"tasks": tasks(server.api)}))
    (tmp_path / "prompt.md").write_text(PROMPT)
    (tmp_path / "docs").mkdir()
    for name in streams(server.api):
        (tmp_path / "docs" / f"{name}.txt").write_text(f"stream={name}")
    arguments = {
        "run": ["run", "--tasks", "tasks.json"],
        "batch": ["batch", "docs/*.txt", "--prompt", "prompt.md", "--role", "architect"],
    }
    done = swarm(*arguments[command], "--session", "s", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    shown = json.loads(swarm("sessions", "show", "s", "--json", cwd=tmp_path).stdout)
    errors = {task["task_id"]: task["error"] or "" for task in shown["tasks"]}
    files = (tmp_path / "swarm-output" / "s" / "results").iterdir()
    check(server, {path.stem: path.read_text() for path in files}, errors)
