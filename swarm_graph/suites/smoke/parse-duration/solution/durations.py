"""Durations as people write them."""

import re

_DURATION = re.compile(r"\s*(?:(\d+)d)?\s*(?:(\d+)h)?\s*(?:(\d+)m)?\s*(?:(\d+)s)?\s*", re.IGNORECASE | re.ASCII)
_SECONDS = (86400, 3600, 60, 1)


def parse_duration(text: str) -> int:
    """The number of seconds that a text such as "1h30m" stands for.

    Raises:
        ValueError: It is no duration.
    """
    match = _DURATION.fullmatch(text)
    if match is None or not any(match.groups()):
        raise ValueError(f"{text!r} is no duration; expected a text such as 1h30m")
    return sum(int(number or 0) * seconds for number, seconds in zip(match.groups(), _SECONDS))
