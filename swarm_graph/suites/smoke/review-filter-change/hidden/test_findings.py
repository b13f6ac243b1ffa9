import json
import re
from pathlib import Path

ABOUT = {5, 6, 7, 8}
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
OPENED = r"hv[- ]?301[45]|\bvent\w*|\bdrain\w*|steps? (5|6)\b"
NOT_YET_CLOSED = (
    r"hv[- ]?301[12]|before (it is |the (filter|inlet|outlet|valves?) (is|are) )?(isolat|clos)\w*|still (open|in service|pressuri\w*|connected)"
    r"|too late|before steps? [56]|not (yet )?(been )?(isolat|clos)\w*|isolat\w* first|wrong order|order of|(inlet|outlet)\b.*\b(open|first|before)"
)


def test_the_wrong_order_is_found():
    assert any(re.search(OPENED, finding) and re.search(NOT_YET_CLOSED, finding) for finding in FINDINGS)


def test_it_is_not_one_of_many():
    found = json.loads(Path("findings.json").read_text())
    assert sum(finding["severity"] in ("critical", "major") for finding in found) <= 8
