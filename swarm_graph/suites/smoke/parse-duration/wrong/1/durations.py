"""Durations as people write them."""

import re

_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def parse_duration(text: str) -> int:
    """The number of seconds that a text such as "1h30m" stands for."""
    parts = re.findall(r"(\d+)\s*([dhms])", text.lower())
    if not parts:
        raise ValueError(f"{text!r} is no duration")
    return sum(int(number) * _SECONDS[unit] for number, unit in parts)
