"""Summaries of plant readings in CSV."""


def summarize(text: str) -> dict[str, dict[str, float]]:
    """Count, minimum, maximum and mean of the good readings of each tag."""
    lines = [line for line in text.splitlines() if line.strip()]
    header = [name.strip() for name in lines[0].split(",")]
    for column in ("time", "tag", "value", "quality"):
        if column not in header:
            raise ValueError(f"missing column: {column}")
    values = {}
    for line in lines[1:]:
        row = dict(zip(header, (cell.strip() for cell in line.split(","))))
        if row["quality"].upper() != "GOOD":
            continue
        try:
            values.setdefault(row["tag"], {})[row["time"]] = float(row["value"])
        except ValueError:
            continue
    return {
        tag: {
            "count": len(found),
            "min": min(found.values()),
            "max": max(found.values()),
            "mean": sum(found.values()) / len(found),
        }
        for tag, found in values.items()
        if found
    }
