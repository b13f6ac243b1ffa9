import pytest
from plant_units import convert


@pytest.mark.parametrize(
    ("value", "source", "target", "expected"),
    [
        (5.0, "bar(a)", "kPa(a)", 500.0),
        (0.0, "bar(g)", "bar(a)", 1.01325),
        (1.01325, "bar(a)", "kPa(g)", 0.0),
        (100.0, "psi(g)", "bar(g)", 6.894757),
        (14.695949, "psi(a)", "psi(g)", 0.0),
        (10.0, "bar(g)", "psi(a)", 159.733728),
        (250.0, "kPa(g)", "kPa(a)", 351.325),
        (-0.5, "bar(g)", "kPa(a)", 51.325),
        (100.0, "°C", "°F", 212.0),
        (-40.0, "°F", "°C", -40.0),
        (0.0, "K", "°C", -273.15),
        (98.6, "°F", "K", 310.15),
        (10.0, "ΔK", "Δ°F", 18.0),
        (9.0, "Δ°F", "Δ°C", 5.0),
        (-7.0, "Δ°C", "ΔK", -7.0),
        (6.0, "m3/h", "l/min", 100.0),
        (250.0, "l/min", "m3/h", 15.0),
        (12.0, "t/d", "t/d", 12.0),
    ],
)
def test_values(value, source, target, expected):
    assert convert(value, source, target) == pytest.approx(expected, rel=1e-6, abs=1e-5)


@pytest.mark.parametrize(
    ("source", "target"),
    [("t/d", "m3/h"), ("bar(g)", "°C"), ("°C", "Δ°C"), ("ΔK", "K"), ("l/min", "t/d")],
)
def test_different_quantities(source, target):
    with pytest.raises(ValueError) as error:
        convert(1.0, source, target)
    assert source in str(error.value)
    assert target in str(error.value)


@pytest.mark.parametrize("unit", ["bar", "BAR(g)", "degC", "", "psig", "m3/H"])
def test_unknown_units(unit):
    with pytest.raises(ValueError):
        convert(1.0, unit, "bar(a)")
    with pytest.raises(ValueError):
        convert(1.0, "bar(a)", unit)


@pytest.mark.parametrize(
    ("value", "source", "target"),
    [
        (-1.1, "bar(g)", "kPa(a)"),
        (-0.1, "psi(a)", "psi(a)"),
        (-274.0, "°C", "K"),
        (-460.0, "°F", "°F"),
        (-1.0, "K", "°C"),
        (-102.0, "kPa(g)", "kPa(g)"),
    ],
)
def test_what_cannot_be(value, source, target):
    with pytest.raises(ValueError):
        convert(value, source, target)


def test_absolute_zero_and_vacuum_themselves_are_possible():
    assert convert(0.0, "K", "K") == pytest.approx(0.0)
    assert convert(0.0, "bar(a)", "bar(g)") == pytest.approx(-1.01325)
