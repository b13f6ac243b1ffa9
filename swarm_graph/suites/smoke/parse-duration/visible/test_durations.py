import pytest
from durations import parse_duration


def test_examples():
    assert parse_duration("1h30m") == 5400
    assert parse_duration("2d") == 172800
    assert parse_duration("1d 2h 3m 4s") == 93784
    assert parse_duration("90M") == 5400


@pytest.mark.parametrize("text", ["", "45", "s", "3y", "-1h", "2.5m", "1m1m", "1s1h", "2h7"])
def test_others_are_refused(text):
    with pytest.raises(ValueError):
        parse_duration(text)
