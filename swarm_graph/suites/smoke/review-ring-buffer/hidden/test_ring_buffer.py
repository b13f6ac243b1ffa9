import pytest
from ring_buffer import RingBuffer


def test_it_keeps_the_last_items():
    buffer = RingBuffer(3)
    expected = []
    for item in range(10):
        buffer.append(item)
        expected = [*expected, item][-3:]
        assert buffer.oldest_first() == expected
        assert len(buffer) == len(expected)
        assert buffer.mean() == pytest.approx(sum(expected) / len(expected))


def test_the_list_is_a_new_one():
    buffer = RingBuffer(1)
    buffer.append(4)
    buffer.oldest_first().append(5)
    assert buffer.oldest_first() == [4]


def test_errors():
    with pytest.raises(ValueError):
        RingBuffer(0)
    with pytest.raises(ValueError):
        RingBuffer(2).mean()
