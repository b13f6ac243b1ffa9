"""A key goes to its server and nowhere else: not into the database, state, files, logs or messages."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import warm

KEY, OWN = "sk-0123456789-very-secret", "own-0123456789-secret"
EVENTS = (
    {"choices": [{"index": 0, "delta": {"content": '{"findings": [], "approved": true}'}}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
)


SEEN: list[str] = []


class Echoing(BaseHTTPRequestHandler):
    """Answers a review; refuses with the key in its message where the path says so."""

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        text = f'{{"error": {{"message": "the key {self.headers["authorization"]} is not known"}}}}'.encode()
        self.send_response(401)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_POST(self) -> None:
        key = self.headers["authorization"]
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        SEEN.extend([key, body])
        if "refusing" in self.path:
            text = json.dumps({"error": {"message": f"the key {key} is not known; you sent {body}"}}).encode()
            self.send_response(401)
        else:
            text = b"".join(f"data: {json.dumps({'id': 'a', **event})}\n\n".encode() for event in EVENTS)
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@contextmanager
def server() -> Iterator[str]:
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Echoing)
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.server_port}"
    listening.shutdown()
    thread.join()
    listening.server_close()


@pytest.mark.parametrize(("path", "code"), [("v1", 0), ("refusing/v1", 1)])
def test_no_byte_of_a_key_is_kept_or_shown(path: str, code: int, tmp_path: Path) -> None:
    with server() as url:
        entry = {"url": f"{url}/{path}", "model": "m", "api_key_env": "SWARM_TEST_KEY", "retries": 0}
        settings = {
            "model_config": {"single_model": entry},
            "agent_parameters": {"reviewer": {"extra_body": {"auth_token": OWN, "top_k": 3}}},
            "workflow": {"verbose_logging": True},
        }
        (tmp_path / "config.json").write_text(json.dumps(settings))
        arguments = ["run", "x = 1", "--workflow", "review_only", "--session", "s"]
        done = warm.run(*arguments, cwd=tmp_path, env={**os.environ, "SWARM_TEST_KEY": KEY})
    (tmp_path / "config.json").unlink()
    assert done.returncode == code, done.stderr.decode()
    assert f"Bearer {KEY}" in SEEN, "the key never reached its server"
    assert OWN in "".join(SEEN)
    written = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert any(file.name == "swarm.db" for file in written)
    for where, data in [*written.items(), ("stdout", done.stdout), ("stderr", done.stderr)]:
        assert KEY.encode() not in data, where
        assert OWN.encode() not in data, where


def test_the_doctor_keeps_a_key_to_itself(tmp_path: Path) -> None:
    with server() as url:
        entry = {"url": f"{url}/refusing/v1", "model": "m", "api_key_env": "SWARM_TEST_KEY", "retries": 0}
        (tmp_path / "config.json").write_text(json.dumps({"model_config": {"single_model": entry}}))
        done = warm.run("doctor", "--measure", cwd=tmp_path, env={**os.environ, "SWARM_TEST_KEY": KEY})
    assert done.returncode == 1
    assert b"refused the key (401: the key Bearer *** is not known" in done.stdout
    assert KEY.encode() not in done.stdout + done.stderr
