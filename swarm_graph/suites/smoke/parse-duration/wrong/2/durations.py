"""Durations as people write them."""

_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def parse_duration(text: str) -> int:
    """The number of seconds that a text such as "1h30m" stands for."""
    total, digits = 0, ""
    for character in text.lower():
        if character.isdigit():
            digits += character
        elif character in _SECONDS:
            total += int(digits) * _SECONDS[character]
            digits = ""
        elif not character.isspace():
            raise ValueError(f"{text!r} is no duration")
    return total
