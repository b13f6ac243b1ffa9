import json
import re
from pathlib import Path

ABOUT = {4, 5, 6, 7}
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
RELIEF = r"\bpsv|hv[- ]?1106|relief|safety valve"
BLOCKED = r"isolat\w*|block(ed|s|ing)? (in|valve)|clos(e|ed|es|ing)\b|unprotected|without (relief|protection|a path)"
DANGER = r"pressur\w*|protect\w*|relie(f|ve)\w*|rupture|burst|expan\w*|heat\w*|steam"


def test_the_isolated_relief_valve_is_found():
    assert any(all(re.search(words, finding) for words in (RELIEF, BLOCKED, DANGER)) for finding in FINDINGS)


def test_it_is_not_one_of_many():
    found = json.loads(Path("findings.json").read_text())
    assert sum(finding["severity"] in ("critical", "major") for finding in found) <= 8
