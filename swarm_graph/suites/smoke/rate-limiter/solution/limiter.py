"""A token bucket."""

from typing import Callable


class Limiter:
    """Lets `rate` tokens per second pass, and at most `burst` at once."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        if rate <= 0:
            raise ValueError(f"rate is {rate}; expected more than 0")
        if burst < 1:
            raise ValueError(f"burst is {burst}; expected at least 1")
        self._rate, self._burst, self._clock = rate, burst, clock
        self._tokens, self._time = float(burst), clock()

    def take(self, tokens: int = 1) -> bool:
        """Take tokens if they are there."""
        self._fill(tokens)
        if self._tokens < tokens:
            return False
        self._tokens -= tokens
        return True

    def wait_time(self, tokens: int = 1) -> float:
        """The seconds until so many tokens will be there."""
        self._fill(tokens)
        return max(0.0, (tokens - self._tokens) / self._rate)

    def _fill(self, tokens: int) -> None:
        if not 1 <= tokens <= self._burst:
            raise ValueError(f"tokens is {tokens}; expected 1 to {self._burst}")
        now = self._clock()
        if now > self._time:
            self._tokens = min(self._burst, self._tokens + (now - self._time) * self._rate)
            self._time = now
