import pytest
from ttl_cache import TTLCache


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_value_comes_back(clock):
    cache = TTLCache(2, 10, clock)
    cache.put("a", 1)
    cache.put("none", None)
    assert cache.get("a") == 1
    assert cache.get("none", "default") is None
    assert cache.get("b") is None
    assert cache.get("b", 7) == 7


def test_its_time_ends(clock):
    cache = TTLCache(2, 10, clock)
    cache.put("a", 1)
    clock.now += 9.5
    assert cache.get("a") == 1
    clock.now += 0.5
    assert cache.get("a") is None
    assert len(cache) == 0


def test_storing_again_starts_its_time_again(clock):
    cache = TTLCache(2, 10, clock)
    cache.put("a", 1)
    clock.now += 8
    cache.put("a", 2)
    clock.now += 8
    assert cache.get("a") == 2
    assert len(cache) == 1


def test_the_least_recently_used_goes(clock):
    cache = TTLCache(2, 10, clock)
    cache.put("a", 1)
    cache.put("b", 2)
    cache.get("a")
    cache.put("c", 3)
    assert [cache.get(key) for key in "abc"] == [1, None, 3]


def test_storing_again_counts_as_use(clock):
    cache = TTLCache(2, 10, clock)
    cache.put("a", 1)
    cache.put("b", 2)
    cache.put("a", 3)
    cache.put("c", 4)
    assert [cache.get(key) for key in "abc"] == [3, None, 4]


def test_expired_values_go_before_fresh_ones(clock):
    cache = TTLCache(2, 10, clock)
    cache.put("old", 1)
    clock.now += 6
    cache.put("new", 2)
    assert cache.get("old") == 1
    clock.now += 5
    cache.put("newest", 3)
    assert cache.get("new") == 2
    assert cache.get("newest") == 3


def test_length(clock):
    cache = TTLCache(3, 10, clock)
    cache.put("a", 1)
    clock.now += 5
    cache.put("b", 1)
    assert len(cache) == 2
    clock.now += 5
    assert len(cache) == 1


def test_a_full_cache_takes_a_known_key(clock):
    cache = TTLCache(1, 10, clock)
    cache.put("a", 1)
    cache.put("a", 2)
    assert cache.get("a") == 2


@pytest.mark.parametrize(("capacity", "seconds"), [(0, 1), (-1, 1), (1, 0), (1, -2)])
def test_bad_arguments(capacity, seconds):
    with pytest.raises(ValueError):
        TTLCache(capacity, seconds)
