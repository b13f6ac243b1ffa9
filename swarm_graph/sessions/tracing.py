"""OpenTelemetry spans of sessions, nodes and model calls, by its conventions for generative AI.

Nothing is sent unless `features.otlp_endpoint` names where, and then nowhere else: neither the
environment's endpoints nor its proxies are used, and no redirect is followed. Spans hold no prompt and
no answer. Source: opentelemetry.io/docs/specs/semconv/gen-ai.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from swarm_graph.config import SwarmConfig
from swarm_graph.errors import ConfigError
from swarm_graph.events import Event
from swarm_graph.sessions.logs import log

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

SEND_S = 2.0
"""For one batch of spans; what cannot be sent by then is dropped."""
PAUSE_S = 30.0
"""After a failure nothing is sent for so long: a dead viewer costs a session no time."""

Tell = Callable[[Event], None]


def spans(config: SwarmConfig) -> Tell | None:
    """What makes spans of a session's events; None where no endpoint is configured.

    ConfigError when the extra `otel` is not installed.
    """
    endpoint = config.features.otlp_endpoint
    if not endpoint:
        return None
    try:
        provider = _provider(endpoint)
    except ImportError as error:
        raise ConfigError(
            "features.otlp_endpoint needs the extra: pip install 'swarm-graph[otel]'"
        ) from error
    return _Spans(provider, {entry.label: entry.api_type for entry in config.entries}).on_event


class _Spans:
    """The open spans of one session."""

    def __init__(self, provider: TracerProvider, api_types: Mapping[str, str]) -> None:
        self._tracer, self._api_types = provider.get_tracer("swarm_graph"), api_types
        self._session: Span | None = None
        self._nodes: dict[str, Span] = {}
        self._calls: dict[str, Span] = {}

    def on_event(self, happened: Event) -> None:
        match happened.kind:
            case "session_started":
                name = f"invoke_workflow {happened.data['workflow']}"
                attributes = {"gen_ai.workflow.name": happened.data["workflow"]}
                self._session = self._begin(name, happened, None, "invoke_workflow", attributes)
            case "session_ended":
                self._end_session(happened)
            case "task_started" | "tests_started":
                self._begin_node(happened)
            case "task_ended" | "task_failed" | "task_stopped" | "tests_ended" if (
                happened.node in self._nodes
            ):
                error = happened.data.get("error") if happened.kind == "task_failed" else None
                self._end(self._nodes.pop(happened.node), happened, error)
            case "call_started":
                self._begin_call(happened)
            case "call_ended" if happened.node in self._calls:
                self._end_call(self._calls.pop(happened.node), happened)

    def _begin_node(self, happened: Event) -> None:
        role = happened.role or "run_tests"
        operation = "invoke_agent" if happened.role else "execute_tool"
        kind = "agent" if happened.role else "tool"
        attributes: dict[str, Any] = {f"gen_ai.{kind}.name": role, "swarm_graph.node": happened.node}
        attributes |= {"swarm_graph.task": happened.task, "swarm_graph.iteration": happened.iteration}
        span = self._begin(f"{operation} {role}", happened, self._session, operation, attributes)
        self._nodes[happened.node] = span

    def _begin_call(self, happened: Event) -> None:
        data, server = happened.data, urlsplit(happened.data["server"])
        attributes = {
            "gen_ai.provider.name": self._api_types.get(data["model"], "unknown"),
            "gen_ai.request.model": data["model"],
            "gen_ai.request.stream": True,
            "server.address": server.hostname or data["server"],
            "swarm_graph.attempt": data["attempt"],
            "swarm_graph.queued_s": data["queued_s"],
        }
        if server.port:
            attributes["server.port"] = server.port
        parent = self._nodes.get(happened.node, self._session)
        self._calls[happened.node] = self._begin(
            f"chat {data['model']}", happened, parent, "chat", attributes
        )

    def _end_call(self, span: Span, happened: Event) -> None:
        data = happened.data
        counted = {
            "gen_ai.usage.input_tokens": data["input_tokens"],
            "gen_ai.usage.output_tokens": data["output_tokens"],
            "gen_ai.usage.reasoning.output_tokens": data["reasoning_tokens"],
            "gen_ai.response.time_to_first_chunk": data["first_token_s"],
            "swarm_graph.outcome": data["outcome"],
        }
        span.set_attributes({name: value for name, value in counted.items() if value is not None})
        if data["finish_reason"]:
            span.set_attribute("gen_ai.response.finish_reasons", [data["finish_reason"]])
        if data["outcome"] in ("failed", "cancelled"):
            span.set_attribute("error.type", data["outcome"])
        self._end(span, happened, data["error"])

    def _end_session(self, happened: Event) -> None:
        for span in (*self._calls.values(), *self._nodes.values()):
            self._end(span, happened, None)
        self._calls.clear()
        self._nodes.clear()
        if self._session:
            came_to = {name: happened.data[name] for name in ("phase", "approved", "findings")}
            self._session.set_attributes({f"swarm_graph.{name}": value for name, value in came_to.items()})
            self._end(self._session, happened, "failed" if happened.data["phase"] == "failed" else None)

    def _begin(
        self, name: str, happened: Event, parent: Span | None, operation: str, attributes: Mapping[str, Any]
    ) -> Span:
        from opentelemetry.trace import SpanKind, set_span_in_context

        about = {"gen_ai.operation.name": operation, "gen_ai.conversation.id": happened.session}
        return self._tracer.start_span(
            name,
            context=set_span_in_context(parent) if parent else None,
            kind=SpanKind.CLIENT if operation == "chat" else SpanKind.INTERNAL,
            attributes={**about, **attributes},
            start_time=_nanoseconds(happened.time),
        )

    def _end(self, span: Span, happened: Event, error: str | None) -> None:
        from opentelemetry.trace import Status, StatusCode

        if error:
            span.set_status(Status(StatusCode.ERROR, error))
        span.end(_nanoseconds(happened.time))


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)


@cache
def _provider(endpoint: str) -> TracerProvider:
    """Sends spans to an endpoint, in a thread of its own; the rest of them when the process ends."""
    import logging

    import requests
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    logging.getLogger(OTLPSpanExporter.__module__).setLevel(logging.CRITICAL)  # one line of ours instead
    session = requests.Session()
    session.trust_env = False
    exporter = OTLPSpanExporter(
        endpoint, headers={}, timeout=SEND_S, compression=Compression.NoCompression, session=session
    )
    provider = TracerProvider(sampler=ALWAYS_ON, resource=Resource({"service.name": "swarm_graph"}))
    provider.add_span_processor(BatchSpanProcessor(_patient(exporter, endpoint)))
    return provider


def _patient(exporter: Any, endpoint: str) -> Any:
    """The exporter, quiet for a while after each failure."""
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Patient(SpanExporter):
        failed_at: float | None = None

        def export(self, batch: Any) -> SpanExportResult:
            if self.failed_at is not None and time.monotonic() - self.failed_at < PAUSE_S:
                return SpanExportResult.FAILURE
            result: SpanExportResult = exporter.export(batch)
            if result is SpanExportResult.SUCCESS:
                self.failed_at = None
            else:
                if self.failed_at is None:
                    log.warning("no spans could be sent to %s; the session goes on without", endpoint)
                self.failed_at = time.monotonic()
            return result

        def shutdown(self) -> None:
            exporter.shutdown()

    return Patient()
