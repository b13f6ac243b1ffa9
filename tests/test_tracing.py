"""OpenTelemetry spans: sent to the endpoint that is configured, over a real socket, and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import warm
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from support import SIMULATED, dead_port, write_config


class Collector:
    """Receives spans as a viewer does (OTLP over HTTP)."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.requests.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/traces"

    def spans(self) -> list[Any]:
        found = [
            span
            for request in self.requests
            for group in request.resource_spans
            for scope in group.scope_spans
            for span in scope.spans
        ]
        return sorted(found, key=lambda span: span.start_time_unix_nano)


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def run(folder: Path, endpoint: str | None, **settings: Any) -> subprocess.CompletedProcess[str]:
    write_config(folder, features={"otlp_endpoint": endpoint}, **settings)
    environment = {
        **os.environ,
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=secret",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
    }
    arguments = ["run", "Build a queue", "--session", "s"]
    return warm.run(*arguments, cwd=folder, env=environment, text=True)


def attributes(span: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes}


def test_a_session_is_a_trace_of_agents_and_calls(tmp_path: Path, collector: Collector) -> None:
    done = run(tmp_path, collector.url)
    assert (done.returncode, done.stderr) == (0, "")
    session, *spans = collector.spans()
    assert session.name == "invoke_workflow standard"
    assert not session.parent_span_id
    assert attributes(session)["gen_ai.conversation.id"] == "s"
    assert attributes(session)["swarm_graph.phase"] == "complete"
    assert {span.trace_id for span in spans} == {session.trace_id}
    by_id = {span.span_id: span for span in spans}
    agents = [span for span in spans if span.name.startswith("invoke_agent ")]
    calls = [span for span in spans if span.name.startswith("chat ")]
    assert len(agents) + len(calls) == len(spans)
    assert {span.parent_span_id for span in agents} == {session.span_id}
    assert {by_id[span.parent_span_id].name.split()[0] for span in calls} == {"invoke_agent"}
    told = attributes(calls[0])
    assert told["gen_ai.operation.name"] == "chat"
    assert told["gen_ai.provider.name"] == "simulated"
    assert told["gen_ai.usage.output_tokens"] > 0
    for span in spans:
        parent = by_id.get(span.parent_span_id, session)
        assert parent.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= parent.end_time_unix_nano
    (resource,) = {
        request.resource_spans[0].resource.attributes[0].value.string_value for request in collector.requests
    }
    assert resource == "swarm_graph"
    sent = b"".join(request.SerializeToString() for request in collector.requests)
    assert b"Build a queue" not in sent, "neither prompts nor answers travel"


def test_a_failed_call_is_an_error(tmp_path: Path, collector: Collector) -> None:
    dead = {"url": f"http://127.0.0.1:{dead_port()}/v1", "model": "m", "retries": 1}
    assert run(tmp_path, collector.url, model_config={"single_model": dead}).returncode == 1
    calls = [span for span in collector.spans() if span.name == "chat m"]
    assert [attributes(span)["swarm_graph.attempt"] for span in calls] == [1, 2]
    assert {(span.status.code, attributes(span)["error.type"]) for span in calls} == {(2, "failed")}
    assert attributes(calls[0])["gen_ai.provider.name"] == "openai"


def test_a_dead_endpoint_costs_one_line(tmp_path: Path) -> None:
    endpoint = f"http://127.0.0.1:{dead_port()}/v1/traces"
    done = run(tmp_path, endpoint)
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        f"cannot send spans to {endpoint}; the session continues without them"
    ]


@pytest.mark.slow
def test_nothing_is_sent_or_loaded_without_an_endpoint(tmp_path: Path) -> None:
    done = run(tmp_path, None)
    assert (done.returncode, done.stderr) == (0, "")
    code = (
        "import sys; from swarm_graph import SwarmCoordinator; "
        f"SwarmCoordinator({SIMULATED!r}).run_workflow('x'); "
        "sys.exit(any('opentelemetry.exporter' in name for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode == 0


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from swarm_graph import SwarmCoordinator
    from swarm_graph.errors import ConfigError
    from swarm_graph.sessions.tracing import _provider

    _provider.cache_clear()
    monkeypatch.setitem(sys.modules, "requests", None)
    settings = {**SIMULATED, "features": {"otlp_endpoint": "http://127.0.0.1:4318/v1/traces"}}
    with pytest.raises(ConfigError, match="pip install opentelemetry-sdk"):
        SwarmCoordinator(settings)
