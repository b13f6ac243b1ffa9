"""A cache whose values expire."""

import time
from collections import OrderedDict
from typing import Any, Callable, Hashable


class TTLCache:
    """Holds at most `capacity` values, each for `seconds`."""

    def __init__(self, capacity: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}; expected at least 1")
        if seconds <= 0:
            raise ValueError(f"seconds is {seconds}; expected more than 0")
        self._capacity, self._seconds, self._clock = capacity, seconds, clock
        self._values: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()

    def put(self, key: Hashable, value: Any) -> None:
        """Store a value."""
        self._drop_expired()
        if key not in self._values and len(self._values) >= self._capacity:
            self._values.popitem(last=False)
        self._values[key] = (self._clock() + self._seconds, value)
        self._values.move_to_end(key)

    def get(self, key: Hashable, default: Any = None) -> Any:
        """The value of a key, or `default`."""
        self._drop_expired()
        if key not in self._values:
            return default
        self._values.move_to_end(key)
        return self._values[key][1]

    def __len__(self) -> int:
        self._drop_expired()
        return len(self._values)

    def _drop_expired(self) -> None:
        now = self._clock()
        for key in [key for key, (end, _) in self._values.items() if end <= now]:
            del self._values[key]
