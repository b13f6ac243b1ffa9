"""A token bucket."""


class Limiter:
    """Lets `rate` tokens per second pass, and at most `burst` at once."""

    def __init__(self, rate, burst, clock):
        if rate <= 0 or burst < 1:
            raise ValueError("rate and burst must be positive")
        self.rate, self.burst, self.clock = rate, burst, clock
        self.tokens, self.time = burst, clock()

    def take(self, tokens=1):
        """Take tokens if they are there."""
        self._fill(tokens)
        if self.tokens >= tokens:
            self.tokens -= tokens
            return True
        return False

    def wait_time(self, tokens=1):
        """The seconds until so many tokens will be there."""
        self._fill(tokens)
        return max(0.0, (tokens - self.tokens) / self.rate)

    def _fill(self, tokens):
        if tokens < 1 or tokens > self.burst:
            raise ValueError("tokens out of range")
        now = self.clock()
        self.tokens = min(self.burst, self.tokens + int((now - self.time) * self.rate))
        self.time = now
