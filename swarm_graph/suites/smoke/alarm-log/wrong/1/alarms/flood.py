"""Alarm floods, and alarms that stand."""

from typing import Iterable

from alarms.parsing import Alarm


def floods(alarms: Iterable[Alarm], limit: int = 10, seconds: int = 600) -> list[tuple[int, int]]:
    """The first and the last second of each flood."""
    times = [alarm.second for alarm in alarms if alarm.state == "ALM"]
    found: list[tuple[int, int]] = []
    start = 0
    while start < len(times):
        end = start
        while end + 1 < len(times) and times[end + 1] - times[start] < seconds:
            end += 1
        if end - start + 1 > limit:
            found.append((times[start], times[end]))
            start = end + 1
        else:
            start += 1
    return found


def standing(alarms: Iterable[Alarm]) -> list[str]:
    """The tags that are in alarm at the end, sorted."""
    tags: set[str] = set()
    for alarm in alarms:
        if alarm.state == "ALM":
            tags.add(alarm.tag)
        elif alarm.state == "RTN":
            tags.discard(alarm.tag)
    return sorted(tags)
