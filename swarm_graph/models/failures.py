"""Any client library's exception as one line for people, and what can be done about it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from json import JSONDecodeError

from pydantic import ValidationError

from swarm_graph.errors import ModelError
from swarm_graph.settings import ModelEntry
from swarm_graph.text import plain_text

RETRY_STATUS = frozenset({408, 409, 425, 429, *range(500, 600)})
LONGEST_WAIT_S = 120.0
"""What a server's Retry-After may ask for at the most."""
OVERFLOW = (
    "exceed_context_size",
    "context length",
    "context size",
    "context window",
    "context_length_exceeded",
    "maximum context",
)
TAG = re.compile(r"<[^>]*>")
"""What the words of a web page stand between."""
BROKEN_STREAM = ("ClientPayloadError", "TransferEncodingError", "IncompleteRead", "RemoteProtocolError")


def explain(error: Exception, node: str, entry: ModelEntry, secrets: Sequence[str] = ()) -> ModelError:
    """Any client library's exception as one line: role, model, server, and what to do."""
    status = getattr(error, "status_code", None)
    root, detail = _root(error), _detail(error, secrets)
    retryable = loading = False
    if _is_lost_connection(root):
        what = f"cannot be reached: {detail}"
        cure = f"is the server running at {entry.server}? `swarm-graph doctor` checks it"
        retryable = True
    elif isinstance(root, TimeoutError) or "Timeout" in type(error).__name__:
        limits = f"timeout {entry.timeout:g} s, idle_timeout {entry.idle_timeout:g} s"
        what, cure = f"did not answer in time ({limits})", "raise them in the config or use a smaller model"
        retryable = True
    elif any(words in detail.lower() for words in OVERFLOW):
        what = f"has too small a context for this prompt: {detail}"
        cure = "give the server a larger context or shorten the request"
    elif status == 404:
        what = f"does not know this model or path (404: {detail})"
        cure = "`swarm-graph doctor` lists what it has"
    elif status in (401, 403):
        what, cure = f"refused the key ({status}: {detail})", "set api_key_env to the variable that holds it"
    elif status == 503 and "loading" in detail.lower():
        what, cure = f"is still loading the model after {entry.timeout:g} s", "raise its timeout"
        retryable = loading = True
    elif isinstance(status, int) and 300 <= status < 400:
        location = _headers(error).get("location", "another address")
        what = f"redirects to {_line(location, secrets)} ({status})"
        cure = "nothing is sent there unless its url says so"
    elif isinstance(status, int) and status > 0:
        what, cure = f"answered {status}: {detail}", "`swarm-graph doctor` checks the server"
        retryable = status in RETRY_STATUS
    elif {cls.__name__ for cls in type(root).__mro__} & {*BROKEN_STREAM}:
        what, cure = "cut the answer off before its end", "`swarm-graph doctor` checks the server"
        retryable = True
    elif "No generation chunks were returned" in detail:
        what, cure = "ended the stream without an answer", "is this the model server's port and path?"
        retryable = True
    elif isinstance(root, (JSONDecodeError, UnicodeDecodeError, ValidationError)):
        what, cure = f"answered what cannot be read: {detail}", "`swarm-graph doctor` checks the server"
        retryable = True
    else:
        names = {cls.__name__ for cls in type(error).__mro__}
        inside = status == -1 or "APIError" in names
        retryable = inside or bool(names & {"TransportError", "APIConnectionError"})
        what = f"broke off: {detail}" if inside else f"failed: {type(root).__name__}: {detail}"
        cure = "`swarm-graph doctor` checks the server"
    return ModelError(
        f"{node}: {entry.label} at {entry.server} {what}; {cure}",
        node=node,
        retryable=retryable,
        status=status,
        detail=detail,
        retry_after=_retry_after(error),
        loading=loading,
    )


def _retry_after(error: Exception) -> float:
    """The seconds that a server asks to wait; 0 when it does not say."""
    try:
        wanted = float(_headers(error).get("retry-after", 0))
    except ValueError:  # a date
        return 0.0
    return min(max(wanted, 0.0), LONGEST_WAIT_S)


def _headers(error: Exception) -> Mapping[str, str]:
    """The headers of the answer that an exception is about, if it is about one."""
    return getattr(getattr(error, "response", None), "headers", {})


def _is_lost_connection(root: BaseException) -> bool:
    """Refused, reset, or closed without an answer, which is no OSError but aiohttp's own class."""
    named = "ClientConnectionError" in {cls.__name__ for cls in type(root).__mro__}
    return (isinstance(root, OSError) or named) and not isinstance(root, TimeoutError)


def _root(error: BaseException) -> BaseException:
    """What an exception was raised from in the first place."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _detail(error: BaseException, secrets: Sequence[str]) -> str:
    """What the server said, else the first exception's words, on one line, without secrets."""
    body = getattr(error, "body", None)
    if isinstance(body, dict):
        text = str(body.get("message") or body.get("error") or body)
        if "type" in body and str(body["type"]) not in text:
            text = f"{body['type']}: {text}"
    elif isinstance(body, str) and body.strip():
        text = TAG.sub(" ", body) if body.lstrip().startswith("<") else body
    else:
        root = _root(error)
        text = str(getattr(error, "error", "") or root) or type(root).__name__
    return _line(text, secrets)


def _line(text: str, secrets: Sequence[str]) -> str:
    """What a server said as one line for people."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return plain_text(" ".join(text.split()))[:300]
