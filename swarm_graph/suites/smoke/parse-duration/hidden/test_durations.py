import pytest
from durations import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7s", 7),
        ("3m", 180),
        ("2h", 7200),
        ("4d", 345600),
        ("2h15m", 8100),
        ("1d1h1m1s", 90061),
        ("  3d  4s ", 259204),
        ("1H 5M", 3900),
        ("150m", 9000),
        ("0s", 0),
        ("007s", 7),
        ("1d30s", 86430),
    ],
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "   ", "12", "h", "5w", "-3s", "+3s", "1.5h", "1h1h", "5s2m", "3 h", "1h30", "1h,2m", "ten s", "1hm", "4ms"],
)
def test_what_is_no_duration(text):
    with pytest.raises(ValueError):
        parse_duration(text)


def test_it_returns_an_int():
    assert type(parse_duration("2m")) is int
