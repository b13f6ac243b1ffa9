"""llama.cpp at the pace of a test: the text of an answer comes piece by piece as the test releases it."""

import math
import threading
from types import TracebackType

import httpx

from servers.counting_proxy import CountingProxy, ProxyHandler
from servers.loopback import Call, event_data, events

PACE_S = 0.25
"""A piece comes so long after the one before: the program tells of new text no more often."""


class PacedProxy(CountingProxy):
    """Holds back the text and the end of each answer until `release` or `hurry`."""

    def __init__(self, upstream: str) -> None:
        super().__init__(upstream)
        self.RequestHandlerClass = PacedHandler
        self._released = 0.0
        self._changed = threading.Condition()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.hurry()
        super().__exit__(kind, error, trace)

    def release(self) -> None:
        """Let one more piece of text come."""
        with self._changed:
            self._released += 1
            self._changed.notify_all()

    def hurry(self) -> None:
        """Let everything come at once, from now on."""
        with self._changed:
            self._released = math.inf
            self._changed.notify_all()

    def hold_back(self, *, is_end: bool) -> None:
        """Wait until a piece may come; the end comes only when the test is in a hurry."""
        with self._changed:
            least = math.inf if is_end else 1
            self._changed.wait_for(lambda: self._released >= least)
            self._released -= 1
            self._changed.wait_for(lambda: self._released == math.inf, PACE_S)


class PacedHandler(ProxyHandler):
    server: PacedProxy

    def _pass_on_events(self, answer: httpx.Response, kind: str, call: Call | None) -> None:
        self.begin_stream(kind)
        for event in events(answer):
            choices = event_data(event).get("choices", ())
            is_end = any(choice.get("finish_reason") for choice in choices)
            if is_end or any(choice.get("delta", {}).get("content") for choice in choices):
                self.server.hold_back(is_end=is_end)
            self.part(event)
        self.end_stream()
