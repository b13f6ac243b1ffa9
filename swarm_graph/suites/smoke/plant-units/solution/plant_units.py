"""Units of plant values."""

_ATMOSPHERE = 101.325
_PSI = 6.894757
_ZERO = 273.15

# Unit: quantity, factor and offset to the quantity's own unit.
_UNITS = {
    "bar(a)": ("pressure", 100.0, 0.0),
    "bar(g)": ("pressure", 100.0, _ATMOSPHERE),
    "kPa(a)": ("pressure", 1.0, 0.0),
    "kPa(g)": ("pressure", 1.0, _ATMOSPHERE),
    "psi(a)": ("pressure", _PSI, 0.0),
    "psi(g)": ("pressure", _PSI, _ATMOSPHERE),
    "K": ("temperature", 1.0, 0.0),
    "°C": ("temperature", 1.0, _ZERO),
    "°F": ("temperature", 5 / 9, _ZERO - 32 * 5 / 9),
    "ΔK": ("temperature difference", 1.0, 0.0),
    "Δ°C": ("temperature difference", 1.0, 0.0),
    "Δ°F": ("temperature difference", 5 / 9, 0.0),
    "m3/h": ("volume flow", 1.0, 0.0),
    "l/min": ("volume flow", 0.06, 0.0),
    "t/d": ("mass flow", 1.0, 0.0),
}
_BOUNDED = ("pressure", "temperature")
_ROUNDING = 1e-9


def convert(value: float, source: str, target: str) -> float:
    """The value in another unit.

    Raises:
        ValueError: A unit is unknown, the units do not fit, or there is no such value.
    """
    for unit in (source, target):
        if unit not in _UNITS:
            raise ValueError(f"unknown unit {unit!r}")
    quantity, factor, offset = _UNITS[source]
    target_quantity, target_factor, target_offset = _UNITS[target]
    if quantity != target_quantity:
        raise ValueError(f"{source} is a {quantity}, {target} is a {target_quantity}")
    common = value * factor + offset
    if quantity in _BOUNDED and common < -_ROUNDING:
        raise ValueError(f"there is no {quantity} of {value} {source}")
    return (common - target_offset) / target_factor
