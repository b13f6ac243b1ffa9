import pytest
from alarms.flood import floods, standing
from alarms.parsing import Alarm, parse


def test_parse():
    assert parse(["10:00:00 TAH-7 ALM"]) == [Alarm(36000, "TAH-7", "ALM")]
    assert [alarm.second for alarm in parse(["23:00:00 A ALM", "23:00:00 B ALM", "01:00:00 C ALM"])] == [
        82800,
        82800,
        90000,
    ]
    with pytest.raises(ValueError, match="2"):
        parse(["10:00:00 A ALM", "10:00:00 A OFF"])


def test_floods():
    alarms = [Alarm(second, "X", "ALM") for second in (0, 3, 6, 9, 12, 100)]
    assert floods(alarms, limit=2, seconds=7) == [(0, 12)]
    assert floods(alarms, limit=2, seconds=6) == []


def test_standing():
    assert standing([Alarm(1, "B", "ALM"), Alarm(2, "A", "ALM"), Alarm(3, "B", "RTN")]) == ["A"]
