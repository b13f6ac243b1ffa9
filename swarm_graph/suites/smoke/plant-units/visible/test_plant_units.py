import pytest
from plant_units import convert


def test_pressures():
    assert convert(2.0, "bar(a)", "kPa(a)") == pytest.approx(200)
    assert convert(1.0, "bar(g)", "bar(a)") == pytest.approx(2.01325)
    assert convert(1.0, "psi(a)", "kPa(a)") == pytest.approx(6.894757)


def test_temperatures():
    assert convert(0.0, "°C", "K") == pytest.approx(273.15)
    assert convert(50.0, "°F", "°C") == pytest.approx(10)
    assert convert(20.0, "ΔK", "Δ°F") == pytest.approx(36)


def test_flows():
    assert convert(60.0, "m3/h", "l/min") == pytest.approx(1000)


@pytest.mark.parametrize(
    ("value", "source", "target"),
    [(1, "t/d", "l/min"), (1, "°C", "ΔK"), (1, "atm", "bar(a)"), (-300, "°C", "°C"), (-2, "bar(g)", "bar(a)")],
)
def test_errors(value, source, target):
    with pytest.raises(ValueError):
        convert(value, source, target)
