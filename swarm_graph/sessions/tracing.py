"""OpenTelemetry spans of sessions, nodes, and calls of models and tools.

Spans go to `features.otlp_endpoint` and nowhere else: endpoints and proxies of the environment are ignored,
and no redirect is followed. Without an endpoint nothing is sent. Spans hold no prompt, no answer, and nothing
that a tool was given or returned. Names and attributes follow the conventions for generative AI:
opentelemetry.io/docs/specs/semconv/gen-ai.
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
from swarm_graph.settings import AUTO

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

SEND_TIMEOUT_S = 2.0
"""For one batch of spans; a batch that takes longer is dropped."""
PAUSE_S = 30.0
"""Nothing is sent for this long after a failure, so that a dead endpoint does not slow down a session."""

Observer = Callable[[Event], None]


def span_observer(config: SwarmConfig) -> Observer | None:
    """A function that turns a session's events into spans; None if no endpoint is configured.

    Raises:
        ConfigError: The extra `otel` is not installed.
    """
    endpoint = config.features.otlp_endpoint
    if not endpoint:
        return None
    try:
        provider = _provider(endpoint)
    except ImportError as error:
        raise ConfigError(
            "features.otlp_endpoint needs two packages: "
            "`pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http`"
        ) from error
    api_types = {entry.label: entry.api_type for entry in config.entries if entry.api_type != AUTO}
    return _Spans(provider, api_types).on_event


class _Spans:
    """The open spans of one session."""

    def __init__(self, provider: TracerProvider, api_types: Mapping[str, str]) -> None:
        self._tracer, self._api_types = provider.get_tracer("swarm_graph"), api_types
        self._session: Span | None = None
        self._nodes: dict[str, Span] = {}
        self._calls: dict[str, Span] = {}
        self._tools: dict[str, Span] = {}

    def on_event(self, event: Event) -> None:
        match event.kind:
            case "session_started":
                name = f"invoke_workflow {event.data['workflow']}"
                attributes = {"gen_ai.workflow.name": event.data["workflow"]}
                self._session = self._begin(name, event, None, "invoke_workflow", attributes)
            case "session_ended":
                self._end_session(event)
            case "task_started" | "tests_started":
                self._begin_node(event)
            case "task_ended" | "task_failed" | "task_stopped" | "tests_ended" if event.node in self._nodes:
                error = event.data.get("error") if event.kind == "task_failed" else None
                self._end(self._nodes.pop(event.node), event, error)
            case "recalled" if event.node in self._nodes:
                figures = {name: event.data[name] for name in ("passages", "characters")}
                self._nodes[event.node].add_event("recalled", figures, _nanoseconds(event.time))
            case "remembered" if self._session:
                figures = {name: event.data[name] for name in ("kept", "offered")}
                self._session.add_event("remembered", figures, _nanoseconds(event.time))
            case "call_started":
                self._begin_call(event)
            case "call_ended" if event.node in self._calls:
                self._end_call(self._calls.pop(event.node), event)
            case "tool_started":
                self._begin_tool(event)
            case "tool_ended":
                self._end_tool(event)

    def _begin_node(self, event: Event) -> None:
        role = event.role or event.node
        operation = "invoke_agent" if event.role else "execute_tool"
        kind = "agent" if event.role else "tool"
        attributes: dict[str, Any] = {f"gen_ai.{kind}.name": role, "swarm_graph.node": event.node}
        attributes |= {"swarm_graph.task": event.task, "swarm_graph.iteration": event.iteration}
        span = self._begin(f"{operation} {role}", event, self._session, operation, attributes)
        self._nodes[event.node] = span

    def _begin_call(self, event: Event) -> None:
        data, server = event.data, urlsplit(event.data["server"])
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
        parent = self._nodes.get(event.node, self._session)
        self._calls[event.node] = self._begin(f"chat {data['model']}", event, parent, "chat", attributes)

    def _end_call(self, span: Span, event: Event) -> None:
        data = event.data
        usage = {
            "gen_ai.usage.input_tokens": data["input_tokens"],
            "gen_ai.usage.output_tokens": data["output_tokens"],
            "gen_ai.usage.reasoning.output_tokens": data["reasoning_tokens"],
            "gen_ai.response.time_to_first_chunk": data["first_token_s"],
            "swarm_graph.outcome": data["outcome"],
        }
        span.set_attributes({name: value for name, value in usage.items() if value is not None})
        if data["finish_reason"]:
            span.set_attribute("gen_ai.response.finish_reasons", [data["finish_reason"]])
        if data["outcome"] in ("failed", "cancelled"):
            span.set_attribute("error.type", data["outcome"])
        self._end(span, event, data["error"])

    def _begin_tool(self, event: Event) -> None:
        tool = event.data["tool"]
        attributes = {"gen_ai.tool.name": tool, "swarm_graph.node": event.node}
        if event.data["server"]:
            attributes["swarm_graph.mcp_server"] = event.data["server"]
        parent = self._nodes.get(event.node, self._session)
        span = self._begin(f"execute_tool {tool}", event, parent, "execute_tool", attributes)
        self._tools[event.node] = span

    def _end_tool(self, event: Event) -> None:
        span = self._tools.pop(event.node, None)
        if span is None:  # it was refused before it began
            return
        outcome = event.data["outcome"]
        span.set_attribute("swarm_graph.outcome", outcome)
        if outcome != "answered":
            span.set_attribute("error.type", outcome)
        self._end(span, event, None if outcome == "answered" else outcome)

    def _end_session(self, event: Event) -> None:
        for span in (*self._tools.values(), *self._calls.values(), *self._nodes.values()):
            self._end(span, event, None)
        self._tools.clear()
        self._calls.clear()
        self._nodes.clear()
        if self._session:
            outcome = {name: event.data[name] for name in ("phase", "approved", "findings")}
            self._session.set_attributes({f"swarm_graph.{name}": value for name, value in outcome.items()})
            self._end(self._session, event, "failed" if event.data["phase"] == "failed" else None)

    def _begin(
        self, name: str, event: Event, parent: Span | None, operation: str, attributes: Mapping[str, Any]
    ) -> Span:
        from opentelemetry.trace import SpanKind, set_span_in_context

        common = {"gen_ai.operation.name": operation, "gen_ai.conversation.id": event.session}
        return self._tracer.start_span(
            name,
            context=set_span_in_context(parent) if parent else None,
            kind=SpanKind.CLIENT if operation == "chat" else SpanKind.INTERNAL,
            attributes={**common, **attributes},
            start_time=_nanoseconds(event.time),
        )

    def _end(self, span: Span, event: Event, error: str | None) -> None:
        from opentelemetry.trace import Status, StatusCode

        if error:
            span.set_status(Status(StatusCode.ERROR, error))
        span.end(_nanoseconds(event.time))


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)


@cache
def _provider(endpoint: str) -> TracerProvider:
    """The provider for an endpoint. It sends in a thread of its own, and the rest when the process ends."""
    import logging

    import requests
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    # The exporter logs every failed batch; `_pausing` logs one line per outage instead.
    logging.getLogger(OTLPSpanExporter.__module__).setLevel(logging.CRITICAL)
    session = requests.Session()
    session.trust_env = False
    exporter = OTLPSpanExporter(
        endpoint, headers={}, timeout=SEND_TIMEOUT_S, compression=Compression.NoCompression, session=session
    )
    provider = TracerProvider(sampler=ALWAYS_ON, resource=Resource({"service.name": "swarm_graph"}))
    provider.add_span_processor(BatchSpanProcessor(_pausing(exporter, endpoint)))
    return provider


def _pausing(exporter: Any, endpoint: str) -> Any:
    """An exporter that drops spans for PAUSE_S after each failure, and warns once per outage."""
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class PausingExporter(SpanExporter):
        failed_at: float | None = None

        def export(self, batch: Any) -> SpanExportResult:
            if self.failed_at is not None and time.monotonic() - self.failed_at < PAUSE_S:
                return SpanExportResult.FAILURE
            result: SpanExportResult = exporter.export(batch)
            if result is SpanExportResult.SUCCESS:
                self.failed_at = None
            else:
                if self.failed_at is None:
                    log.warning("cannot send spans to %s; the session continues without them", endpoint)
                self.failed_at = time.monotonic()
            return result

        def shutdown(self) -> None:
            exporter.shutdown()

    return PausingExporter()
