"""Alarm floods, and alarms that stand."""

from typing import Iterable

from alarms.parsing import Alarm


def floods(alarms: Iterable[Alarm], limit: int = 10, seconds: int = 600) -> list[tuple[int, int]]:
    """The first and the last second of each flood."""
    times = [alarm.second for alarm in alarms if alarm.state == "ALM"]
    found: list[tuple[int, int]] = []
    last = -1
    for start in range(len(times) - limit):
        end = start + limit
        if times[end] - times[start] > seconds:
            continue
        if start <= last:
            found[-1] = (found[-1][0], times[end])
        else:
            found.append((times[start], times[end]))
        last = end
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
