"""A reverse proxy before llama.cpp that passes everything on as it comes, and counts the chat calls."""

import json

import httpx

from servers.loopback import Call, Handler, Loopback, event_data, events


class CountingProxy(Loopback):
    """`calls` has what reached the server and what it reported; usage only where the client asked for it."""

    def __init__(self, upstream: str, *, alias: str = "tiny", delay: float = 0.0) -> None:
        super().__init__(upstream, ProxyHandler, delay=delay)
        self.alias = alias

    @property
    def url(self) -> str:
        """The base URL of the OpenAI-compatible API."""
        return f"{self.root}/v1"


class ProxyHandler(Handler):
    def do_GET(self) -> None:  # noqa: N802
        self._pass_on(b"")

    def do_POST(self) -> None:  # noqa: N802
        raw = self.body()
        if not self.path.endswith("/chat/completions"):
            return self._pass_on(raw)
        with self.server.calls.counted(json.loads(raw)) as call:
            self.server.pause()
            return self._pass_on(raw, call)

    def _pass_on(self, raw: bytes, call: Call | None = None) -> None:
        headers = {"Content-Type": self.headers.get("Content-Type", "application/json")}
        with self.server.upstream.stream(self.command, self.path, content=raw, headers=headers) as answer:
            kind = answer.headers.get("Content-Type", "application/json")
            if kind.startswith("text/event-stream"):
                self._pass_on_events(answer, kind, call)
            else:
                data = answer.read()
                if call:
                    call.usage = answer.json().get("usage") or {}
                    self.server.calls.over(call)
                self.reply(answer.status_code, data, kind)

    def _pass_on_events(self, answer: httpx.Response, kind: str, call: Call | None) -> None:
        self.begin_stream(kind)
        for event in events(answer):
            if call and event.startswith(b"data: [DONE]"):
                self.server.calls.over(call)
            elif call:
                call.usage = event_data(event).get("usage") or call.usage
            self.part(event)
        self.end_stream()
