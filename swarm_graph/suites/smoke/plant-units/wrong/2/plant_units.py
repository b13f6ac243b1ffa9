"""Units of plant values."""

_PRESSURES = {"bar": 1.0, "kPa": 0.01, "psi": 0.06894757}
_FLOWS = {"m3/h": 1.0, "l/min": 0.06}


def convert(value: float, source: str, target: str) -> float:
    """The value in another unit."""
    if source == target:
        return value
    if source[:-3] in _PRESSURES and target[:-3] in _PRESSURES:
        absolute = value * _PRESSURES[source[:-3]] + (1.01325 if source.endswith("(g)") else 0)
        return (absolute - (1.01325 if target.endswith("(g)") else 0)) / _PRESSURES[target[:-3]]
    if source in _FLOWS and target in _FLOWS:
        return value * _FLOWS[source] / _FLOWS[target]
    kelvin = {"K": value, "°C": value + 273.15, "°F": (value - 32) * 5 / 9 + 273.15}
    if source.lstrip("Δ") in kelvin and target.lstrip("Δ") in kelvin:
        found = kelvin[source.lstrip("Δ")]
        return {"K": found, "°C": found - 273.15, "°F": (found - 273.15) * 9 / 5 + 32}[target.lstrip("Δ")]
    raise ValueError(f"cannot convert {source} to {target}")
