"""A cache whose values expire."""

import time


class TTLCache:
    """Holds at most `capacity` values, each for `seconds`."""

    def __init__(self, capacity, seconds, clock=time.monotonic):
        if capacity < 1 or seconds <= 0:
            raise ValueError("capacity and seconds must be positive")
        self.capacity, self.seconds, self.clock = capacity, seconds, clock
        self.values = {}

    def put(self, key, value):
        """Store a value."""
        self._expire()
        if len(self.values) >= self.capacity:
            del self.values[next(iter(self.values))]
        self.values[key] = (self.clock() + self.seconds, value)

    def get(self, key, default=None):
        """The value of a key, or `default`."""
        self._expire()
        if key in self.values:
            value = self.values[key][1]
            self.put(key, value)
            return value
        return default

    def __len__(self):
        self._expire()
        return len(self.values)

    def _expire(self):
        now = self.clock()
        self.values = {key: pair for key, pair in self.values.items() if pair[0] > now}
