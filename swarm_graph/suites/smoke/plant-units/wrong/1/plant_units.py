"""Units of plant values."""

_UNITS = {
    "bar(a)": ("pressure", 1.0, 0.0),
    "bar(g)": ("pressure", 1.0, 1.01325),
    "kPa(a)": ("pressure", 0.01, 0.0),
    "kPa(g)": ("pressure", 0.01, 1.01325),
    "psi(a)": ("pressure", 0.06894757, 0.0),
    "psi(g)": ("pressure", 0.06894757, 1.01325),
    "K": ("temperature", 1.0, 0.0),
    "°C": ("temperature", 1.0, 273.15),
    "°F": ("temperature", 5 / 9, 459.67 * 5 / 9),
    "ΔK": ("difference", 1.0, 0.0),
    "Δ°C": ("difference", 1.0, 0.0),
    "Δ°F": ("difference", 5 / 9, 0.0),
    "m3/h": ("flow", 1.0, 0.0),
    "l/min": ("flow", 0.06, 0.0),
    "t/d": ("flow", 1.0 / 24, 0.0),
}


def convert(value: float, source: str, target: str) -> float:
    """The value in another unit."""
    if source not in _UNITS or target not in _UNITS:
        raise ValueError(f"unknown unit in {source} or {target}")
    quantity, factor, offset = _UNITS[source]
    other, target_factor, target_offset = _UNITS[target]
    if quantity != other:
        raise ValueError(f"cannot convert {source} to {target}")
    common = value * factor + offset
    if quantity in ("pressure", "temperature") and common < -1e-9:
        raise ValueError("below the lowest value")
    return (common - target_offset) / target_factor
