"""The tank TK-301."""

import math

HEIGHT = 12.0
HIGH_LEVEL = 11.2


def volume(level: float, diameter: float) -> float:
    """The volume below a level, in m3."""
    if not 0 <= level <= HEIGHT:
        raise ValueError(f"the level is {level} m; expected 0 to {HEIGHT}")
    return math.pi * diameter**2 / 4 * level
