"""Outages of a plant, and how much of a period they leave."""


def merge(outages: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same minutes as few outages as possible, sorted by start."""
    outages.sort()
    merged = [outages[0]]
    for start, end in outages[1:]:
        if start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def available(outages: list[tuple[int, int]], start: int, end: int) -> float:
    """The share of the minutes of a period that no outage covers."""
    covered = sum(last - first for first, last in merge(outages))
    return 1 - covered / (end - start)
