import pytest
from steam import interpolate, saturation_temperature


@pytest.mark.parametrize(("x", "y"), [(0, 10), (1, 15), (2, 20), (3, 10), (4, 0)])
def test_interpolate(x, y):
    assert interpolate([(4, 0), (0, 10), (2, 20)], x) == pytest.approx(y)


@pytest.mark.parametrize(("points", "x"), [([(0, 1), (1, 2)], 1.1), ([(0, 1), (1, 2)], -0.1), ([(0, 1)], 0), ([], 0)])
def test_errors(points, x):
    with pytest.raises(ValueError):
        interpolate(points, x)


def test_steam():
    assert saturation_temperature(1.0) == pytest.approx(99.6)
    assert saturation_temperature(16.0) == pytest.approx(201.4)
    assert saturation_temperature(3.0) == pytest.approx(131.9)
    with pytest.raises(ValueError):
        saturation_temperature(0.5)
