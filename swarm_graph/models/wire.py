"""The bytes of an answer: lines and JSON within bounds, and the errors that a server reports in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

MAX_DOCUMENT_BYTES = 2**24
"""The longest line, event or JSON document of an answer: 16 MiB."""
MAX_QUOTE_CHARS = 80
BOM = b"\xef\xbb\xbf"


class Response(NamedTuple):
    """The beginning of a response, as tracers of LangChain read it."""

    status_code: int
    headers: Mapping[str, str]


class RefusedRequest(Exception):
    """A server answered with an error status.

    Attributes:
        status_code: The HTTP status.
        body: The server's error: its JSON, or its text.
        response: The HTTP response, for its headers.
    """

    def __init__(self, response: Response, body: Any) -> None:
        super().__init__("no reason given")
        self.status_code, self.body, self.response = response.status_code, body, response


IN_ANSWER = -1
"""Stands for the status of an error that a server reports in the middle of an answer."""


class ErrorInStream(Exception):
    """A server reported an error inside an answer that had begun with status 200.

    Attributes:
        status_code: The status that the error names while there is no text yet; else IN_ANSWER.
        body: The server's error: its JSON, or its text.
    """

    def __init__(self, body: Any, *, begun: bool) -> None:
        super().__init__("the server reported an error inside its answer")
        code = body.get("code") if isinstance(body, dict) else None
        is_status = type(code) is int and 400 <= code < 600
        self.status_code, self.body = code if is_status and not begun else IN_ANSWER, body


class UnreadableStream(Exception):
    """The bytes of an answer are not what its API sends."""


def error_in(document: Any) -> Any:
    """The error that a JSON document reports: its `error` where it has one, else all of it."""
    if isinstance(document, list) and document:
        document = document[0]
    return (document.get("error") or document) if isinstance(document, dict) else str(document)


def json_object(data: bytes, *, errors: str = "strict") -> dict[str, Any]:
    """The JSON object in a line or an event.

    Args:
        data: The bytes.
        errors: What happens to invalid UTF-8, as in `bytes.decode`.

    Raises:
        UnreadableStream: It is not valid UTF-8, or no JSON object.
    """
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        document = _decoded(data, errors)
    if not isinstance(document, dict):
        raise UnreadableStream(f"no JSON object: {_quote(data)}")
    return document


def _decoded(data: bytes, errors: str) -> Any:
    """What orjson does not read: half a surrogate pair, NaN, and bytes that are no UTF-8 and no JSON."""
    try:
        return json.loads(data.decode(errors=errors))
    except UnicodeDecodeError:
        raise UnreadableStream(f"invalid UTF-8 in {_quote(data)}") from None
    except (ValueError, RecursionError):
        raise UnreadableStream(f"broken JSON: {_quote(data)}") from None


def _quote(data: bytes) -> str:
    text = data[: 4 * MAX_QUOTE_CHARS].decode(errors="replace")
    return repr(text[:MAX_QUOTE_CHARS]) + ("…" if len(text) > MAX_QUOTE_CHARS else "")


class Lines:
    """Splits bytes into lines as they arrive; LF, CR and CRLF end a line, byte order marks are dropped."""

    def __init__(self) -> None:
        self._begun: list[bytes] = []
        self._size = 0
        self._after_cr = False

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that more bytes complete, without their ends.

        Raises:
            UnreadableStream: A line is too long.
        """
        if self._after_cr and data.startswith(b"\n"):
            data, self._after_cr = data[1:], False
        if data:
            self._after_cr = data.endswith(b"\r")
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, *others = data.split(b"\n")
        self._begun.append(first)
        self._size += len(first)
        if self._size > MAX_DOCUMENT_BYTES:
            raise UnreadableStream(f"a line of more than {MAX_DOCUMENT_BYTES >> 20} MiB")
        if not others:
            return []
        *whole, last = b"".join(self._begun), *others
        self._begun, self._size = [last], len(last)
        return [line.removeprefix(BOM) for line in whole]

    def end(self) -> bytes:
        """The line that has begun and was not ended; empty when there is none."""
        return b"".join(self._begun).removeprefix(BOM)
