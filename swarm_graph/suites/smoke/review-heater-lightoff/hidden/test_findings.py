import json
import re
from pathlib import Path

ABOUT = {4, 5, 6, 7, 8}
"""The steps at which the mistake can be reported."""


def is_about(location):
    """Whether a place is one of those steps, or names no step by its number."""
    named = re.findall(r"\d+", " ".join(re.findall(r"steps?\b[\s#:]*(\d+(?:(?:\s|,|-|–|to|and|or|step)*\d+)*)", location.lower())))
    return not named or bool({int(number) for number in named} & ABOUT)


FINDINGS = [
    f"{finding['location']} {finding['problem']} {finding['suggestion']}".lower()
    for finding in json.loads(Path("findings.json").read_text())
    if finding["severity"] in ("critical", "major") and is_about(finding["location"])
]


def test_the_missing_purge_is_found():
    room = r"(heater|fire ?box|furnace|chamber|casing)"
    purge = (
        r"\b(purg\w*|pre-?purg\w*|air changes?|gas[- ]free\w*|(lel|explosi\w*|combustible\w*) .{0,20}(test|check|measure)\w*)"
        rf"|\b(ventilat|swe[ep]|flush)\w*.*{room}|{room}.*\b(ventilat|swe[ep]|flush)\w*"
    )
    assert any(re.search(purge, finding) for finding in FINDINGS)


def test_it_is_not_one_of_many():
    found = json.loads(Path("findings.json").read_text())
    assert sum(finding["severity"] in ("critical", "major") for finding in found) <= 8
