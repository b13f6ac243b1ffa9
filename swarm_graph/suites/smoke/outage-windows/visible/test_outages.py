import pytest
from outages import available, merge


def test_merge():
    assert merge([]) == []
    assert merge([(7, 9), (1, 3), (2, 5)]) == [(1, 5), (7, 9)]
    assert merge([(1, 2), (2, 3)]) == [(1, 3)]
    assert merge([(1, 9), (2, 4)]) == [(1, 9)]


def test_available():
    assert available([(0, 5)], 0, 20) == pytest.approx(0.75)
    assert available([(0, 15)], 10, 20) == pytest.approx(0.5)


def test_errors():
    with pytest.raises(ValueError):
        merge([(4, 2)])
    with pytest.raises(ValueError):
        available([], 5, 1)
