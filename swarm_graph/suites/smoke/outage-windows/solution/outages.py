"""Outages of a plant, and how much of a period they leave."""


def merge(outages: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same minutes as few outages as possible, sorted by start."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(outages):
        if end <= start:
            raise ValueError(f"the outage ({start}, {end}) does not end after its start")
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def available(outages: list[tuple[int, int]], start: int, end: int) -> float:
    """The share of the minutes of a period that no outage covers."""
    if end <= start:
        raise ValueError(f"the period ({start}, {end}) does not end after its start")
    covered = 0
    for first, last in merge(outages):
        covered += max(0, min(last, end) - max(first, start))
    return 1 - covered / (end - start)
