"""Read an alarm log."""

import re
from dataclasses import dataclass
from typing import Iterable

_LINE = re.compile(r"\s*([01]\d|2[0-3]):([0-5]\d):([0-5]\d)\s+(\S+)\s+(ALM|ACK|RTN)\s*", re.ASCII)
_DAY = 86400


@dataclass(frozen=True)
class Alarm:
    """One line of the log."""

    second: int
    tag: str
    state: str


def parse(lines: Iterable[str]) -> list[Alarm]:
    """The alarms of a log.

    Raises:
        ValueError: A line cannot be read.
    """
    alarms: list[Alarm] = []
    midnight, last = 0, 0
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number} is no alarm: {line!r}")
        hours, minutes, seconds = (int(match[group]) for group in (1, 2, 3))
        time = hours * 3600 + minutes * 60 + seconds
        if time < last:
            midnight += _DAY
        last = time
        alarms.append(Alarm(midnight + time, match[4], match[5]))
    return alarms
