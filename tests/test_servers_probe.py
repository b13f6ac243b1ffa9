"""Probes of servers with odd answers: wrong shapes, wrong keys, too slow, hostile names."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from servers.counting_proxy import CountingProxy
from servers.llama import Llama
from servers.ollama_front import OllamaFront

from swarm_graph.models.probe import ServerInfo, discover, inspect

OLLAMA: dict[str, Any] = {
    "/": "Ollama is running",
    "/api/version": {"version": "0.33.0"},
    "/api/tags": {"models": [{"name": "m:latest"}]},
    "/api/ps": {"models": []},
}
LISTED: dict[str, Any] = {"/": "hello", "/v1/models": {"data": [{"id": "m"}]}}


class Page(BaseHTTPRequestHandler):
    """Answers by a table of paths: text, JSON, or a status and either."""

    table: Mapping[str, Any]

    def do_GET(self) -> None:
        answer = self.table.get(self.path, (404, ""))
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        if status == 302:
            self.send_header("Location", self.table["location"])
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        return


class Trickle(Page):
    """Sends a byte every 50 ms, without end: no single read takes long."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"x")
                time.sleep(0.05)
        except OSError:
            return


class Endless(Page):
    """Sends data as fast as the client reads it, without end."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"x" * 2**16)
        except OSError:
            return


@contextmanager
def serving(table: Mapping[str, Any], page: type[Page] = Page) -> Iterator[str]:
    handler = type("Served", (page,), {"table": table})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def report(table: Mapping[str, Any], path: str = "/v1", **options: Any) -> ServerInfo:
    with serving(table) as url:
        return asyncio.run(inspect(url + path, **options))


ODD: list[Any] = [-1, 1.5, "text", None, True, [], {}, [1], ["a"], [None], [[]], [{}], [{"name": 7, "id": 7}]]


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_no_shape_of_an_answer_raises(odd: Any) -> None:
    entry = {"id": "m", "name": "m", "meta": odd, "context_length": odd, "size": odd, "size_vram": odd}
    entry |= {"type": odd, "capabilities": odd, "max_model_len": odd, "loaded_context_length": odd}
    for models in ({"models": odd}, odd, {"models": [entry, odd]}):
        found = report({**OLLAMA, "/api/version": odd, "/api/tags": models, "/api/ps": models}, "")
        assert found.kind == "ollama"
    for data in ({"data": odd}, odd, {"data": [entry, odd]}):
        props = {"total_slots": odd, "default_generation_settings": odd, "build_info": odd}
        found = report({"/v1/models": data, "/props": props, "/api/v0/models": data})
        assert found.reachable
        assert found.slots is None


def test_names_and_errors_carry_no_control_characters() -> None:
    hostile = "\x1b[31mred\n{"
    tags = {"models": [{"name": hostile}]}
    found = report({**OLLAMA, "/api/version": {"version": hostile}, "/api/tags": tags})
    assert found.models == ()
    assert found.version == "[31mred {"
    listed = {"data": [{"id": hostile}, {"id": "m"}]}
    found = report({"/v1/models": listed, "/props": {"build_info": hostile}})
    assert found.models == ("m",)
    assert found.version.isprintable()


@pytest.mark.parametrize("page", [Trickle, Endless])
def test_a_server_that_never_ends_is_left(page: type[Page]) -> None:
    with serving({}, page) as url:
        found = asyncio.run(inspect(url, patience_s=0.3))
    assert found.kind == "unknown"
    if page is Trickle:
        assert found.error == "no answer within 0.3 s"


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:abc/v1", "http://127.0.0.1:99999", "http://[::1", "http://a b", "file:///x", "m", ""],
)
def test_what_is_no_url_is_reported(url: str) -> None:
    found = asyncio.run(inspect(url))
    assert not found.reachable
    assert found.error


def test_a_password_in_a_url_is_not_sent() -> None:
    found = asyncio.run(inspect("http://user:secret@127.0.0.1:9/v1"))
    assert "expected no password" in found.error
    assert "secret" not in found.error


def test_no_redirect_is_followed() -> None:
    with serving(OLLAMA) as elsewhere:
        found = report({"/": (302, ""), "/v1/models": (302, ""), "location": elsewhere})
    assert (found.reachable, found.kind) == (True, "unknown")
    assert "(status 302)" in found.error


def test_a_refused_key_is_told_from_a_missing_one() -> None:
    closed = {"/v1/models": (401, {"error": "key"})}
    assert report(closed).error == "it requires an API key"
    assert report(closed, key="wrong").error == "it refuses the API key"
    assert report(closed).key_refused


def test_the_report_names_the_address_that_works(ollama: OllamaFront) -> None:
    with serving(LISTED) as url:
        assert asyncio.run(inspect(url)).url == f"{url}/v1"
    assert asyncio.run(inspect(f"{ollama.root}/v1")).url == ollama.root


def test_a_proxy_of_the_config_is_used_and_none_of_the_environment(
    llama: Llama, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert asyncio.run(inspect(llama.url)).kind == "llama.cpp"
    seen = asyncio.run(inspect("http://models.invalid/v1", proxy=llama.root))
    assert seen.reachable  # llama.cpp answers a request that is meant for a proxy


def test_embedding_models_are_skipped() -> None:
    names: list[dict[str, Any]] = [{"name": "m:latest"}, {"name": "nomic-embed-text:latest"}]
    tags = [*names, {"name": "vectors", "capabilities": ["embedding"]}]
    assert report({**OLLAMA, "/api/tags": {"models": tags}}, "").models == ("m:latest",)


def test_lm_studio_is_known_by_its_own_list() -> None:
    data = [
        {"id": "coder", "type": "llm", "state": "loaded", "loaded_context_length": 8192},
        {"id": "other", "type": "vlm", "state": "not-loaded", "max_context_length": 131072},
        {"id": "vectors", "type": "embeddings"},
    ]
    found = report({**LISTED, "/api/v0/models": {"data": data}})
    assert found.kind == "lm-studio"
    assert found.models == ("coder", "other")
    assert (found.context_of("coder"), found.context_of("other")) == (8192, None)


def test_vllm_says_its_context_per_model() -> None:
    found = report({"/v1/models": {"data": [{"id": "m", "max_model_len": 32768}]}})
    assert found.kind == "openai-compatible"
    assert found.context_of("m") == 32768


def test_ollama_says_what_is_loaded_and_with_which_context() -> None:
    loaded = {"name": "m:latest", "context_length": 4096, "size": 4 * 10**9, "size_vram": 3 * 10**9}
    found = report({**OLLAMA, "/api/ps": {"models": [loaded]}}, "")
    assert found.context_of("m") == 4096
    assert found.context_of("another") is None
    assert found.loaded == ("m:latest (75 % of 4.0 GB in VRAM)",)


def test_no_probe_sends_a_prompt(counted: CountingProxy) -> None:
    asyncio.run(inspect(f"{counted.root}/v1"))
    assert len(counted.calls) == 0


def found_with(monkeypatch: pytest.MonkeyPatch, openai: str, ollama: str) -> list[ServerInfo]:
    monkeypatch.setenv("OPENAI_BASE_URL", openai)
    monkeypatch.setenv("OLLAMA_HOST", ollama)
    return asyncio.run(discover())


def test_one_server_under_several_names_is_found_once(
    ollama: OllamaFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = ollama.root.rpartition(":")[2]
    for openai in (f"http://localhost:{port}/v1", f"{ollama.root}/v1/"):
        for host in (f"localhost:{port}", f"0.0.0.0:{port}", f":{port}", ollama.root, f"{ollama.root}/"):
            found = found_with(monkeypatch, openai, host)
            assert [r.url for r in found if r.url.endswith(f":{port}")] == [ollama.root], (openai, host)
            assert len({r.url for r in found}) == len(found)


@pytest.mark.parametrize("nonsense", ["http://h:x/v1", "localhost:99999", "::", "http://[", "//"])
def test_nonsense_in_the_environment_is_passed_over(nonsense: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = found_with(monkeypatch, nonsense, nonsense)
    assert all(report.url.startswith("http://127.0.0.1:") for report in found)
