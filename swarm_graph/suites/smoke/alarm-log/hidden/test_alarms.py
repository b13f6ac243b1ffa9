import dataclasses

import pytest
from alarms.flood import floods, standing
from alarms.parsing import Alarm, parse


def at(*seconds):
    return [Alarm(second, f"T-{number}", "ALM") for number, second in enumerate(seconds)]


def test_lines():
    found = parse(["00:00:01 PAH-1 ALM", "", "  # shift change", "01:02:03   LAL-2 RTN  ", "01:02:03 X ACK"])
    assert found == [Alarm(1, "PAH-1", "ALM"), Alarm(3723, "LAL-2", "RTN"), Alarm(3723, "X", "ACK")]


def test_midnight():
    found = parse(["23:59:59 A ALM", "00:00:01 B ALM", "00:00:01 C ALM", "00:00:00 D ALM"])
    assert [alarm.second for alarm in found] == [86399, 86401, 86401, 172800]


@pytest.mark.parametrize(
    "line",
    ["08:00 A ALM", "24:00:00 A ALM", "08:60:00 A ALM", "08:00:60 A ALM", "08:00:00 A", "08:00:00 A alm",
     "08:00:00 A ALM x", "noise", "-1:00:00 A ALM"],
)
def test_bad_lines(line):
    with pytest.raises(ValueError, match="3"):
        parse(["# a log", "", line])


def test_an_alarm_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Alarm(1, "A", "ALM").second = 2


def test_no_flood():
    assert floods([]) == []
    assert floods(at(1, 2, 3), limit=3, seconds=10) == []
    assert floods(at(0, 5, 10), limit=2, seconds=10) == []


def test_one_flood():
    assert floods(at(0, 5, 9), limit=2, seconds=10) == [(0, 9)]
    assert floods(at(0, 100, 104, 108, 300), limit=2, seconds=10) == [(100, 108)]


def test_a_flood_goes_on():
    assert floods(at(0, 4, 8, 12, 16, 40), limit=2, seconds=10) == [(0, 16)]


def test_two_floods():
    assert floods(at(0, 1, 2, 50, 51, 52, 53), limit=2, seconds=10) == [(0, 2), (50, 53)]


def test_groups_side_by_side_are_two_floods():
    assert floods(at(0, 1, 2, 11, 12, 13), limit=2, seconds=10) == [(0, 2), (11, 13)]


def test_the_defaults():
    assert floods(at(*range(0, 600, 60))) == []
    assert floods(at(*range(0, 550, 50))) == [(0, 500)]


def test_only_new_alarms_count():
    alarms = [Alarm(1, "A", "ALM"), Alarm(2, "A", "ACK"), Alarm(3, "A", "RTN"), Alarm(4, "B", "ALM")]
    assert floods(alarms, limit=2, seconds=10) == []


def test_standing():
    log = ["08:00:00 C ALM", "08:00:01 A ALM", "08:00:02 B ALM", "08:00:03 B RTN", "08:00:04 A ACK",
           "08:00:05 C RTN", "08:00:06 C ALM", "08:00:07 D RTN", "08:00:08 A ALM"]
    assert standing(parse(log)) == ["A", "C"]
