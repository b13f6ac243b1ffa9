"""The boiling temperature of water, from a short table."""

from bisect import bisect_left

SATURATION = [(1.0, 99.6), (2.0, 120.2), (4.0, 143.6), (6.0, 158.8), (10.0, 179.9), (16.0, 201.4)]
"""Absolute pressure in bar and temperature in °C."""


def interpolate(points: list[tuple[float, float]], x: float) -> float:
    """The y at an x, linearly between the points beside it.

    Raises:
        ValueError: There are fewer than 2 points, or the x is outside of them.
    """
    if len(points) < 2:
        raise ValueError(f"there are {len(points)} points; expected at least 2")
    ordered = sorted(points)
    places = [place for place, _ in ordered]
    if not places[0] <= x <= places[-1]:
        raise ValueError(f"{x} is outside of {places[0]} to {places[-1]}")
    upper = max(bisect_left(places, x), 1)
    (x0, y0), (x1, y1) = ordered[upper - 1], ordered[upper]
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)


def saturation_temperature(pressure: float) -> float:
    """The boiling temperature in °C at an absolute pressure in bar.

    Raises:
        ValueError: The pressure is outside of the table.
    """
    return interpolate(SATURATION, pressure)
