import pytest
from limiter import Limiter


def test_burst_and_rate():
    now = [0.0]
    limiter = Limiter(0.5, 2, lambda: now[0])
    assert limiter.take(2)
    assert not limiter.take()
    assert limiter.wait_time() == pytest.approx(2.0)
    now[0] = 1.0
    assert not limiter.take()
    now[0] = 2.0
    assert limiter.take()
    now[0] = 100.0
    assert limiter.take(2)
    assert not limiter.take()


def test_a_clock_that_goes_back_adds_nothing():
    now = [10.0]
    limiter = Limiter(1, 1, lambda: now[0])
    limiter.take()
    now[0] = 5.0
    limiter.take()
    now[0] = 10.5
    assert not limiter.take()


def test_errors():
    with pytest.raises(ValueError):
        Limiter(0, 1, lambda: 0.0)
    limiter = Limiter(1, 2, lambda: 0.0)
    for tokens in (0, 3):
        with pytest.raises(ValueError):
            limiter.take(tokens)
        with pytest.raises(ValueError):
            limiter.wait_time(tokens)
