"""A token bucket."""


class Limiter:
    """Lets `rate` tokens per second pass, and at most `burst` at once."""

    def __init__(self, rate, burst, clock):
        if rate <= 0 or burst < 1:
            raise ValueError("rate and burst must be positive")
        self.rate, self.burst, self.clock = rate, burst, clock
        self.tokens, self.time = float(burst), clock()

    def take(self, tokens=1):
        """Take tokens if they are there."""
        if tokens < 1 or tokens > self.burst:
            raise ValueError("tokens out of range")
        now = self.clock()
        self.tokens = min(self.burst, self.tokens + max(0.0, now - self.time) * self.rate)
        self.time = now
        self.tokens -= tokens
        return self.tokens >= 0

    def wait_time(self, tokens=1):
        """The seconds until so many tokens will be there."""
        return max(0.0, (tokens - self.tokens) / self.rate)
