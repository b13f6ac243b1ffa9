"""The transfer into the tank TK-301."""

from tank import HIGH_LEVEL, volume

MAX_SPREAD = 0.05
NEEDED = 3
SLOW_SHARE = 0.95


def next_step(readings: list[float], diameter: float, target: float) -> str:
    """How the transfer may go on: stop, hold, slow or run."""
    if not readings:
        return "hold"
    filled = volume(readings[-1], diameter)
    if readings[-1] >= HIGH_LEVEL or filled >= target:
        return "stop"
    last = readings[-NEEDED:]
    if len(last) < NEEDED or max(last) - min(last) > MAX_SPREAD:
        return "hold"
    return "slow" if filled >= SLOW_SHARE * target else "run"
