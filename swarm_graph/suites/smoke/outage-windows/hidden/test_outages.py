import pytest
from outages import available, merge


def test_nothing():
    assert merge([]) == []
    assert available([], 10, 20) == 1.0


def test_overlapping_outages_become_one():
    assert merge([(30, 50), (0, 10), (5, 20)]) == [(0, 20), (30, 50)]


def test_touching_outages_become_one():
    assert merge([(10, 20), (0, 10)]) == [(0, 20)]


def test_an_outage_inside_another_one():
    assert merge([(0, 100), (10, 20), (90, 95)]) == [(0, 100)]
    assert available([(0, 50), (10, 20)], 0, 100) == pytest.approx(0.5)


def test_available_counts_the_period_only():
    assert available([(0, 60), (100, 200)], 50, 150) == pytest.approx(0.4)
    assert available([(0, 1000)], 10, 20) == 0.0
    assert available([(0, 10), (20, 30)], 10, 20) == 1.0


def test_minutes_count_once():
    assert available([(0, 30), (20, 40), (20, 40)], 0, 80) == pytest.approx(0.5)


def test_arguments_stay_as_they_are():
    outages = [(5, 9), (1, 6)]
    merge(outages)
    available(outages, 0, 10)
    assert outages == [(5, 9), (1, 6)]


@pytest.mark.parametrize("outages", [[(5, 5)], [(0, 3), (9, 8)]])
def test_bad_outages(outages):
    with pytest.raises(ValueError):
        merge(outages)
    with pytest.raises(ValueError):
        available(outages, 0, 10)


def test_a_bad_period():
    with pytest.raises(ValueError):
        available([], 10, 10)
