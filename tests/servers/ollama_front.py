"""Ollama's native API before llama.cpp, in the shapes of a real Ollama (0.33), with its errors.

What differs: every model is the tiny one, there are no tools and no thinking, and a grammar can
constrain an answer, which Ollama does not offer: the model's own (`tiny-files` always answers with a
file) or one in `options.grammar`. A `format` in the request goes before a grammar.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import httpx

from servers.grammars import FILES_GRAMMAR, TESTS_GRAMMAR
from servers.loopback import Call, Handler, Loopback, event_data, events

MODELS: Mapping[str, str | None] = {"tiny": None, "tiny-files": FILES_GRAMMAR, "tiny-tests": TESTS_GRAMMAR}
CAPABILITIES = ["completion"]
DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "34K",
    "quantization_level": "F32",
}
OPTIONS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "seed": "seed",
    "stop": "stop",
    "repeat_penalty": "repeat_penalty",
    "grammar": "grammar",
}


class OllamaError(Exception):
    """What Ollama answers with a status and `{"error": text}`."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class OllamaFront(Loopback):
    """Serves `models`: name → its grammar or None.

    `context` is the models' context in tokens, and the default of `num_ctx`.
    """

    def __init__(
        self,
        upstream: str,
        *,
        models: Mapping[str, str | None] = MODELS,
        context: int = 32768,
        delay: float = 0.0,
    ) -> None:
        super().__init__(upstream, OllamaHandler, delay=delay)
        self.models, self.context = models, context
        self.loaded: dict[str, int] = {}  # name → the num_ctx in force

    @property
    def url(self) -> str:
        return self.root

    def model(self, body: dict[str, Any]) -> str:
        asked = body.get("model")
        if not asked:
            raise OllamaError(400, "model is required")
        name: str = asked.removesuffix(":latest")
        if name not in self.models:
            raise OllamaError(404, f"model '{asked}' not found")
        return name

    def request(self, body: dict[str, Any], num_ctx: int) -> dict[str, Any]:
        """The request for llama.cpp that says what the one for Ollama says."""
        options = {key: value for key, value in (body.get("options") or {}).items() if value is not None}
        messages, tokens = self.fitting(body, num_ctx)
        room, wanted = num_ctx - tokens, options.get("num_predict", -1)
        return {
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": min(room, wanted) if wanted >= 0 else room,
            "grammar": self.models[self.model(body)],
            **{theirs: options[ours] for ours, theirs in OPTIONS.items() if ours in options},
            **_response_format(body.get("format")),
        }

    def fitting(self, body: dict[str, Any], num_ctx: int) -> tuple[list[dict[str, Any]], int]:
        """The messages without the oldest ones that have no room (the system's and the last one stay)."""
        messages = [{"role": m["role"], "content": m.get("content", "")} for m in body["messages"]]
        tokens = self._tokens(messages)
        while tokens >= num_ctx:
            oldest = next((i for i, m in enumerate(messages[:-1]) if m["role"] != "system"), None)
            if oldest is None or body.get("truncate") is False:
                raise OllamaError(400, json.dumps(_too_long(tokens, num_ctx)))
            del messages[oldest]
            tokens = self._tokens(messages)
        return messages, tokens

    def _tokens(self, messages: list[dict[str, Any]]) -> int:
        prompt = self.upstream.post("/apply-template", json={"messages": messages}).json()["prompt"]
        answer = self.upstream.post("/tokenize", json={"content": prompt, "parse_special": True})
        return len(answer.json()["tokens"])


class OllamaHandler(Handler):
    server: OllamaFront

    def do_GET(self) -> None:  # noqa: N802
        if self.path == "/":
            self.reply(200, "Ollama is running", "text/plain; charset=utf-8")
        elif self.path == "/api/version":
            self.reply(200, {"version": "0.33.0"})
        elif self.path == "/api/tags":
            self.reply(200, {"models": [_entry(name) for name in self.server.models]})
        elif self.path == "/api/ps":
            self.reply(200, {"models": [_loaded(*item) for item in self.server.loaded.items()]})
        elif self.path in ("/api/show", "/api/chat"):
            self.reply(405, "405 method not allowed", "text/plain")
        else:
            self.reply(404, "404 page not found", "text/plain")

    def do_POST(self) -> None:  # noqa: N802
        raw = self.body()
        if self.path not in ("/api/show", "/api/chat"):
            return self.reply(404, "404 page not found", "text/plain")
        try:
            body = _json(raw)
            return self._show(body) if self.path == "/api/show" else self._chat(body)
        except OllamaError as error:
            return self.reply(error.status, {"error": str(error)})

    def _show(self, body: dict[str, Any]) -> None:
        self.server.model(body)
        info = {"general.architecture": "llama", "llama.context_length": self.server.context}
        answer = {"modelfile": "", "template": "", "details": DETAILS, "model_info": info}
        self.reply(200, answer | {"capabilities": CAPABILITIES, "modified_at": _now()})

    def _chat(self, body: dict[str, Any]) -> None:
        name = self.server.model(body)
        if body.get("think"):
            raise OllamaError(400, f'"{body["model"]}" does not support thinking')
        if not body.get("messages"):
            return self._load(name, body)
        with self.server.calls.counted(body) as call:
            self.server.pause()
            num_ctx = self._keep_loaded(name, body)
            request = self.server.request(body, num_ctx)
            with self.server.upstream.stream("POST", "/v1/chat/completions", json=request) as answer:
                if answer.status_code != 200:
                    raise OllamaError(answer.status_code, answer.read().decode())
                return self._answer(body, self._lines(answer, body["model"], call))

    def _load(self, name: str, body: dict[str, Any]) -> None:
        gone = body.get("keep_alive") == 0
        if gone:
            self.server.loaded.pop(name, None)
        else:
            self._keep_loaded(name, body)
        self.reply(200, _line(body["model"]) | {"done": True, "done_reason": "unload" if gone else "load"})

    def _keep_loaded(self, name: str, body: dict[str, Any]) -> int:
        """The num_ctx in force from now on: what is asked for, no more than the model has."""
        asked = (body.get("options") or {}).get("num_ctx") or self.server.context
        self.server.loaded[name] = min(asked, self.server.context)
        return self.server.loaded[name]

    def _answer(self, body: dict[str, Any], lines: Iterator[dict[str, Any]]) -> None:
        if body.get("stream", True):
            self.begin_stream("application/x-ndjson")
            for line in lines:
                self.part(json.dumps(line).encode() + b"\n")
            self.end_stream()
        else:
            *parts, last = lines
            text = "".join(part["message"]["content"] for part in parts)
            self.reply(200, last | {"message": {"role": "assistant", "content": text}})

    def _lines(self, answer: httpx.Response, model: str, call: Call) -> Iterator[dict[str, Any]]:
        """Ollama's lines for llama.cpp's events. The call is over before the last one."""
        reason, timings = "stop", dict[str, Any]()
        for data in map(event_data, events(answer)):
            call.usage, timings = data.get("usage") or call.usage, data.get("timings") or timings
            for choice in data.get("choices", ()):
                reason = choice.get("finish_reason") or reason
                if text := choice["delta"].get("content"):
                    yield _line(model, text)
        self.server.calls.over(call)
        yield _line(model) | {"done": True, "done_reason": reason} | _statistics(call.usage, timings)


def _json(raw: bytes) -> dict[str, Any]:
    if not raw:
        raise OllamaError(400, "missing request body")
    try:
        body: dict[str, Any] = json.loads(raw)
    except ValueError:
        raise OllamaError(400, "unexpected EOF") from None
    return body


def _response_format(format: Any) -> dict[str, Any]:
    """llama.cpp's form of Ollama's `format`; it goes before a grammar there."""
    if not format:
        return {}
    if format == "json":
        return {"response_format": {"type": "json_object"}}
    if isinstance(format, dict):
        return {"response_format": {"type": "json_schema", "json_schema": {"schema": format}}}
    raise OllamaError(500, f'invalid format: "{format}"; expected "json" or a valid JSON Schema object')


def _too_long(tokens: int, num_ctx: int) -> dict[str, Any]:
    return {
        "error": {
            "code": 400,
            "message": f"request ({tokens} tokens) exceeds the available context size ({num_ctx} tokens)",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": tokens,
            "n_ctx": num_ctx,
        }
    }


def _entry(name: str) -> dict[str, Any]:
    name = f"{name}:latest"
    about = {"modified_at": _now(), "size": 150_000, "digest": "0" * 64, "details": DETAILS}
    return {"name": name, "model": name, "capabilities": CAPABILITIES, **about}


def _loaded(name: str, num_ctx: int) -> dict[str, Any]:
    return _entry(name) | {"expires_at": _now(), "size_vram": 0, "context_length": num_ctx}


def _line(model: str, text: str = "") -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {"model": model, "created_at": _now(), "message": message, "done": False}


def _statistics(usage: dict[str, Any], timings: dict[str, Any]) -> dict[str, int]:
    """Counts in tokens, durations in nanoseconds."""
    prompt, answer = (int(timings.get(key, 0) * 1e6) for key in ("prompt_ms", "predicted_ms"))
    return {
        "total_duration": prompt + answer,
        "load_duration": 0,
        "prompt_eval_count": usage.get("prompt_tokens", 0),
        "prompt_eval_cached_count": (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0),
        "prompt_eval_duration": prompt,
        "eval_count": usage.get("completion_tokens", 0),
        "eval_duration": answer,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
