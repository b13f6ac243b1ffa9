"""A cache whose values expire."""

import time
from collections import OrderedDict


class TTLCache:
    """Holds at most `capacity` values, each for `seconds`."""

    def __init__(self, capacity, seconds, clock=time.monotonic):
        if capacity < 1 or seconds <= 0:
            raise ValueError("capacity and seconds must be positive")
        self.capacity, self.seconds, self.clock = capacity, seconds, clock
        self.values = OrderedDict()

    def put(self, key, value):
        """Store a value."""
        self.values[key] = (self.clock(), value)
        if len(self.values) > self.capacity:
            self.values.popitem(last=False)

    def get(self, key, default=None):
        """The value of a key, or `default`."""
        if key not in self.values:
            return default
        stored, value = self.values[key]
        if self.clock() - stored > self.seconds:
            del self.values[key]
            return default
        self.values.move_to_end(key)
        return value

    def __len__(self):
        return len(self.values)
