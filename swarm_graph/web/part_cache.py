"""Parts of pages as they were rendered last: several pages that show the same session share them."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import NamedTuple

MAX_PARTS, MAX_CHARACTERS = 256, 32_000_000
MAX_AGE_S = 1.0
"""A part may show what no event tells of, such as a price in the configuration."""


class _Kept(NamedTuple):
    version: Hashable
    made_at: float
    html: str


class PartCache:
    """Keeps parts for a short time. All threads may use it; a part is rendered by one of them at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._at_work: dict[Hashable, threading.Lock] = {}

    def rendered(
        self, key: Hashable, version: Hashable, render: Callable[[], str], *, max_age_s: float = MAX_AGE_S
    ) -> str:
        """A part as HTML.

        Args:
            key: The session or the experiment, and the part.
            version: Changes when the part may have changed.
            render: Renders it.
            max_age_s: How long it may be shown while its version stays the same.
        """
        with self._lock:
            at_work = self._at_work.setdefault(key, threading.Lock())
        with at_work:
            now = time.monotonic()
            kept = self._kept.get(key)
            if kept is None or kept.version != version or now - kept.made_at > max_age_s:
                kept = _Kept(version, now, render())
                self._keep(key, kept)
        return kept.html

    def _keep(self, key: Hashable, kept: _Kept) -> None:
        with self._lock:
            self._kept[key] = kept
            self._kept.move_to_end(key)
            while len(self._kept) > MAX_PARTS or (len(self._kept) > 1 and self._characters > MAX_CHARACTERS):
                oldest, _ = self._kept.popitem(last=False)
                self._at_work.pop(oldest, None)

    @property
    def _characters(self) -> int:
        return sum(len(kept.html) for kept in self._kept.values())
