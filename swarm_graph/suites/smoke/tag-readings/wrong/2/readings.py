"""Summaries of plant readings in CSV."""

import csv
import io


def summarize(text: str) -> dict[str, dict[str, float]]:
    """Count, minimum, maximum and mean of the good readings of each tag."""
    reader = csv.DictReader(io.StringIO(text))
    for column in ("time", "tag", "value", "quality"):
        if column not in (reader.fieldnames or []):
            raise ValueError(column)
    result = {}
    for row in reader:
        if row["quality"].strip().upper() != "GOOD":
            continue
        try:
            value = float(row["value"])
        except ValueError:
            continue
        entry = result.setdefault(row["tag"].strip(), {"count": 0, "min": value, "max": value, "mean": 0.0})
        entry["mean"] = (entry["mean"] * entry["count"] + value) / (entry["count"] + 1)
        entry["count"] += 1
        entry["min"] = min(entry["min"], value)
        entry["max"] = max(entry["max"], value)
    return result
