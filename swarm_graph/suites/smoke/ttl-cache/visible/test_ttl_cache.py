import pytest
from ttl_cache import TTLCache


def test_values_expire():
    now = [0.0]
    cache = TTLCache(5, 3, lambda: now[0])
    cache.put("x", "value")
    now[0] = 2.0
    assert cache.get("x") == "value"
    now[0] = 3.0
    assert cache.get("x", "gone") == "gone"
    assert len(cache) == 0


def test_the_capacity_is_kept():
    now = [0.0]
    cache = TTLCache(3, 60, lambda: now[0])
    for key in "xyz":
        cache.put(key, key)
    cache.get("x")
    cache.put("w", "w")
    assert [cache.get(key) for key in "wxyz"] == ["w", "x", None, "z"]
    assert len(cache) == 3


def test_reading_does_not_prolong():
    now = [0.0]
    cache = TTLCache(3, 4, lambda: now[0])
    cache.put("k", 1)
    now[0] = 3.0
    cache.get("k")
    now[0] = 5.0
    assert cache.get("k") is None


def test_bad_arguments():
    with pytest.raises(ValueError):
        TTLCache(0, 5)
    with pytest.raises(ValueError):
        TTLCache(5, 0)
