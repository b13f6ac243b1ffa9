"""Summaries of plant readings in CSV."""

import csv
import io
import math

COLUMNS = ("time", "tag", "value", "quality")


def summarize(text: str) -> dict[str, dict[str, float]]:
    """Count, minimum, maximum and mean of the good readings of each tag.

    Raises:
        ValueError: A column is missing.
    """
    rows = csv.DictReader(io.StringIO(text, newline=""))
    names = [name.strip() for name in rows.fieldnames or []]
    rows.fieldnames = names
    for column in COLUMNS:
        if column not in names:
            raise ValueError(f"there is no column {column}")
    latest: dict[tuple[str, str], float | None] = {}
    for row in rows:
        latest[(row["tag"] or "").strip(), (row["time"] or "").strip()] = _good_value(row)
    values: dict[str, list[float]] = {}
    for (tag, _), value in latest.items():
        if value is not None:
            values.setdefault(tag, []).append(value)
    return {
        tag: {"count": len(found), "min": min(found), "max": max(found), "mean": math.fsum(found) / len(found)}
        for tag, found in values.items()
    }


def _good_value(row: dict[str, str]) -> float | None:
    if (row["quality"] or "").strip().upper() != "GOOD":
        return None
    try:
        value = float((row["value"] or "").strip())
    except ValueError:
        return None
    return value if math.isfinite(value) else None
