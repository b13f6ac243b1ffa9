"""Call a function again after it has failed."""

import time
from typing import Callable, TypeVar

Result = TypeVar("Result")
MAX_PAUSE = 60.0


class Retry:
    """Calls functions, each several times if it fails with an OSError."""

    def __init__(
        self, attempts: int, first_pause: float, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        if attempts < 1:
            raise ValueError(f"attempts is {attempts}; expected at least 1")
        self._attempts, self._sleep = attempts, sleep
        self._first_pause = first_pause
        self.pauses: list[float] = []

    def call(self, function: Callable[[], Result]) -> Result:
        """The value of the function, from the first attempt that succeeds."""
        pause = self._first_pause
        for attempt in range(1, self._attempts + 1):
            try:
                return function()
            except OSError:
                if attempt == self._attempts:
                    raise
            self.pauses.append(min(pause, MAX_PAUSE))
            self._sleep(min(pause, MAX_PAUSE))
            pause *= 2
        raise AssertionError("unreachable")
