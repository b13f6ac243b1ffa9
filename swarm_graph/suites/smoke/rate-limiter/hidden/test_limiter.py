import pytest
from limiter import Limiter


class Clock:
    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now


def test_it_is_full_at_first():
    limiter = Limiter(1, 3, Clock())
    assert [limiter.take() for _ in range(4)] == [True, True, True, False]


def test_tokens_flow_in():
    clock = Clock()
    limiter = Limiter(2, 4, clock)
    assert limiter.take(4)
    clock.now += 0.5
    assert not limiter.take(2)
    assert limiter.take()
    clock.now += 0.25
    assert not limiter.take()
    clock.now += 0.25
    assert limiter.take()


def test_it_never_holds_more_than_the_burst():
    clock = Clock()
    limiter = Limiter(10, 2, clock)
    clock.now += 100
    assert limiter.take(2)
    assert not limiter.take()


def test_a_refusal_takes_nothing():
    clock = Clock()
    limiter = Limiter(1, 4, clock)
    limiter.take(2)
    assert not limiter.take(3)
    assert limiter.take(2)


def test_frequent_questions_lose_no_fraction():
    clock = Clock(0.0)
    limiter = Limiter(1, 1, clock)
    assert limiter.take()
    for _ in range(8):
        clock.now += 0.125
        taken = limiter.take()
    assert taken


def test_wait_time():
    clock = Clock()
    limiter = Limiter(4, 2, clock)
    assert limiter.wait_time(2) == 0.0
    limiter.take(2)
    assert limiter.wait_time() == pytest.approx(0.25)
    assert limiter.wait_time(2) == pytest.approx(0.5)
    clock.now += 0.125
    assert limiter.wait_time(2) == pytest.approx(0.375)
    clock.now += 0.375
    assert limiter.wait_time(2) == 0.0
    assert limiter.take(2)


def test_a_clock_that_goes_back():
    clock = Clock(50.0)
    limiter = Limiter(1, 10, clock)
    limiter.take(10)
    clock.now = 45.0
    assert not limiter.take()
    clock.now = 50.0
    assert not limiter.take()
    clock.now = 51.0
    assert limiter.take()
    assert not limiter.take()


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (1, 0)])
def test_bad_constructors(rate, burst):
    with pytest.raises(ValueError):
        Limiter(rate, burst, Clock())


@pytest.mark.parametrize("tokens", [0, -1, 4])
def test_bad_tokens(tokens):
    limiter = Limiter(1, 3, Clock())
    with pytest.raises(ValueError):
        limiter.take(tokens)
    with pytest.raises(ValueError):
        limiter.wait_time(tokens)
