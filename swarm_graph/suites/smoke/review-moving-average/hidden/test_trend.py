import pytest
from trend import moving_average, spikes


def test_every_window_has_a_mean():
    assert moving_average([1, 2, 3, 4], 2) == [1.5, 2.5, 3.5]
    assert moving_average([5, 7], 2) == [6]
    assert moving_average([5], 2) == []


def test_spikes():
    assert spikes([1, 1, 1, 9, 1], 2, 4.5) == [3]
    with pytest.raises(ValueError):
        moving_average([1], 0)
