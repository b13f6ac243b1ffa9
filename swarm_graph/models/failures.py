"""Errors of any client library as one line for people, with a cure and whether a retry can help.

To change what is retried: add an HTTP status to `RETRY_STATUS`, or a row to `RULES` for any other symptom.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from json import JSONDecodeError
from typing import Any, NamedTuple

from pydantic import ValidationError

from swarm_graph.errors import ModelError
from swarm_graph.models.masking import masked
from swarm_graph.models.wire import UnreadableStream
from swarm_graph.settings import ModelEntry
from swarm_graph.text import printable

RETRY_STATUS = frozenset({408, 409, 425, 429, *range(500, 600)})
"""HTTP statuses of calls that are repeated. Every 5xx counts, 529 (overloaded) included."""
OVERLOADED = frozenset({429, 502, 503, 504, 529})
"""HTTP statuses that say nothing of the question: the server, or what stands before it, takes none now."""
MAX_RETRY_AFTER_S = 120.0
"""The longest wait that a server's Retry-After header can impose."""
OVERFLOW_PHRASES = (
    "exceed_context_size",
    "context length",
    "context size",
    "context window",
    "context_length_exceeded",
    "maximum context",
)
"""How servers say that a prompt does not fit."""
BROKEN_STREAM_ERRORS = {
    "ClientPayloadError",
    "TransferEncodingError",
    "IncompleteRead",
    "RemoteProtocolError",
}
"""Class names in aiohttp, http.client and httpx."""
TRANSPORT_ERRORS = {"TransportError", "ClientHttpProxyError"}
"""Class names in httpx and aiohttp of what else can go wrong on the way."""
MAX_DETAIL_CHARS = 300

_TAG = re.compile(r"<[^<>]*>")


@dataclass(frozen=True)
class _Failure:
    """An exception with the facts that the rules need."""

    error: Exception
    root: BaseException
    """The first exception of the chain."""
    status: Any
    """The HTTP status; None when there was no answer, -1 for an error inside a stream."""
    detail: str
    """The server's message, else the exception's."""
    location: str
    """The target of a redirect."""


_Test = Callable[[_Failure], bool]


class _Rule(NamedTuple):
    """If `applies`, the error reads "`problem`; `cure`". Both may use the fields in `_facts`."""

    applies: _Test
    problem: str
    cure: str
    retryable: bool = False
    loading: bool = False
    """The call is repeated until the model's timeout, whatever its `retries`."""
    outage: bool = False
    """It would be the same for any other question."""


def explain(error: Exception, node: str, entry: ModelEntry, secrets: Sequence[str] = ()) -> ModelError:
    """A client library's exception as a ModelError: role, model, server, problem and cure in one line.

    Args:
        error: An exception of openai, ollama, httpx, aiohttp or pydantic, or any other.
        node: The node that asked.
        entry: The model that failed.
        secrets: Texts that the message must not repeat, such as the API key.
    """
    failure = _Failure(
        error=error,
        root=_root(error),
        status=getattr(error, "status_code", None),
        detail=_detail(error, secrets),
        location=_one_line(_headers(error).get("location", "another address"), secrets),
    )
    rule = next(rule for rule in RULES if rule.applies(failure))
    facts = _facts(failure, entry)
    problem, cure = rule.problem.format_map(facts), rule.cure.format_map(facts)
    return ModelError(
        f"{node}: {entry.label} at {entry.server} {problem}; {cure}",
        node=node,
        retryable=rule.retryable,
        status=failure.status,
        detail=failure.detail,
        retry_after=_retry_after_s(error),
        loading=rule.loading,
        outage=rule.outage or failure.status in OVERLOADED,
    )


def is_overflow(detail: str) -> bool:
    """Whether a server's message says that the prompt does not fit into its context."""
    return any(phrase in detail.lower() for phrase in OVERFLOW_PHRASES)


def _facts(failure: _Failure, entry: ModelEntry) -> dict[str, Any]:
    return {
        "detail": failure.detail,
        "status": failure.status,
        "location": failure.location,
        "kind": type(failure.root).__name__,
        "server": entry.server,
        "timeout": entry.timeout,
        "idle_timeout": entry.idle_timeout,
    }


# --- the tests that the rules use ----------------------------------------------------------------


def _status_in(*statuses: int) -> _Test:
    return lambda failure: isinstance(failure.status, int) and failure.status in statuses


def _has_status(failure: _Failure) -> bool:
    return isinstance(failure.status, int) and failure.status > 0


def _is_lost_connection(failure: _Failure) -> bool:
    """Refused, reset, or closed without an answer, for which aiohttp has its own class, not an OSError."""
    root = failure.root
    lost = isinstance(root, OSError) or "ClientConnectionError" in _class_names(root)
    return lost and not isinstance(root, TimeoutError)


def _is_timeout(failure: _Failure) -> bool:
    return isinstance(failure.root, TimeoutError) or "Timeout" in type(failure.error).__name__


def _is_overflow(failure: _Failure) -> bool:
    return is_overflow(failure.detail)


def _is_loading(failure: _Failure) -> bool:
    return failure.status == 503 and "loading" in failure.detail.lower()


def _is_broken_stream(failure: _Failure) -> bool:
    return bool(_class_names(failure.root) & BROKEN_STREAM_ERRORS)


def _is_empty_stream(failure: _Failure) -> bool:
    return "No generation chunks were returned" in failure.detail  # LangChain's words


def _is_unreadable(failure: _Failure) -> bool:
    known = (UnreadableStream, JSONDecodeError, UnicodeDecodeError, ValidationError)
    return isinstance(failure.root, known)


def _is_error_in_stream(failure: _Failure) -> bool:
    """An error object instead of the next token. openai, which supplied models use, raises APIError."""
    return failure.status == -1 or "APIError" in _class_names(failure.error)


def _is_transport_error(failure: _Failure) -> bool:
    return bool(_class_names(failure.error) & TRANSPORT_ERRORS)


def _class_names(error: BaseException) -> set[str]:
    """The names of an exception's classes, so that no client library has to be imported."""
    return {cls.__name__ for cls in type(error).__mro__}


_DOCTOR = "`swarm-graph doctor` checks the server"

RULES = (
    _Rule(
        _is_lost_connection,
        "cannot be reached: {detail}",
        "is the server running at {server}? `swarm-graph doctor` checks it",
        retryable=True,
        outage=True,
    ),
    _Rule(
        _is_timeout,
        "did not answer in time (timeout {timeout:g} s, idle_timeout {idle_timeout:g} s)",
        "raise them in the config or use a smaller model",
        retryable=True,
    ),
    _Rule(
        _is_overflow,
        "has too small a context for this prompt: {detail}",
        "give the server a larger context or shorten the request",
    ),
    _Rule(
        _status_in(404),
        "does not know this model or path (404: {detail})",
        "`swarm-graph doctor` lists what it has",
        outage=True,
    ),
    _Rule(
        _status_in(401, 403),
        "refused the key ({status}: {detail})",
        "set api_key_env to the variable that holds it",
        outage=True,
    ),
    _Rule(
        _is_loading,
        "is still loading the model after {timeout:g} s",
        "raise its timeout",
        retryable=True,
        loading=True,
        outage=True,
    ),
    _Rule(
        _status_in(*range(300, 400)),
        "redirects to {location} ({status})",
        "nothing is sent there unless its url says so",
        outage=True,
    ),
    _Rule(_status_in(*RETRY_STATUS), "answered {status}: {detail}", _DOCTOR, retryable=True),
    _Rule(_has_status, "answered {status}: {detail}", _DOCTOR),
    _Rule(_is_broken_stream, "cut the answer off before its end", _DOCTOR, retryable=True),
    _Rule(
        _is_empty_stream,
        "ended the stream without an answer",
        "is this the model server's port and path?",
        retryable=True,
    ),
    _Rule(_is_unreadable, "answered what cannot be read: {detail}", _DOCTOR, retryable=True),
    _Rule(_is_error_in_stream, "broke off: {detail}", _DOCTOR, retryable=True),
    _Rule(_is_transport_error, "failed: {kind}: {detail}", _DOCTOR, retryable=True),
    _Rule(lambda _: True, "failed: {kind}: {detail}", _DOCTOR),
)
"""The first rule that applies explains the error, so specific rules stand before general ones."""


# --- facts from the exception --------------------------------------------------------------------


def _retry_after_s(error: Exception) -> float:
    """The seconds that the server's Retry-After asks for; 0 without the header."""
    try:
        seconds = float(_headers(error).get("retry-after", 0))
    except ValueError:  # an HTTP date; the usual backoff applies
        return 0.0
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


def _headers(error: Exception) -> Mapping[str, str]:
    """The headers of the server's answer; empty when the exception carries no answer."""
    return getattr(getattr(error, "response", None), "headers", {})


def _root(error: BaseException) -> BaseException:
    """The first exception of a chain of causes."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _detail(error: BaseException, secrets: Sequence[str]) -> str:
    """The server's message, else the root exception's, on one line and without secrets."""
    body = getattr(error, "body", None)
    if isinstance(body, dict):
        text = str(body.get("message") or body.get("error") or body.get("detail") or body)
        if "type" in body and str(body["type"]) not in text:
            text = f"{body['type']}: {text}"
    elif isinstance(body, str) and body.strip():
        text = _TAG.sub(" ", body) if body.lstrip().startswith("<") else body  # a proxy's HTML page
    else:
        root = _root(error)
        text = str(getattr(error, "error", "") or root) or type(root).__name__
    return _one_line(text, secrets)


def _one_line(text: str, secrets: Sequence[str]) -> str:
    """Text from a server on one short line, without secrets and control characters."""
    return printable(" ".join(masked(text, secrets).split()))[:MAX_DETAIL_CHARS]
