import re
from pathlib import Path

TEXT = "\n".join(path.read_text() for path in sorted(Path().rglob("*.md")))
STEP = re.compile(r"^\s*(?:[-*#>]+\s*)?\**(\d+)[.)]\**\s+(.*)$")


def blocks():
    """The steps with their text, and the warnings and hold points between them, in their order."""
    found = []
    for line in TEXT.splitlines():
        plain = re.sub(r"[*_>`]", "", line).strip()
        step = STEP.match(re.sub(r"[*`]", "", line))
        special = re.match(r"(?:[-#]+\s*)?(WARNING|HOLD POINT)\s*:", plain)
        if special:
            found.append((special[1], plain))
        elif step:
            found.append(("step", step[2].strip()))
        elif re.match(r"#+\s", line):
            found.append(("heading", plain))
        elif found and plain:
            found[-1] = (found[-1][0], f"{found[-1][1]} {plain}")
    return found


BLOCKS = [block for block in blocks() if block[0] != "heading"]


def steps(*patterns):
    """The places of the steps with all of the patterns."""
    found = [
        place
        for place, (kind, text) in enumerate(BLOCKS)
        if kind == "step" and all(re.search(pattern, text, re.IGNORECASE) for pattern in patterns)
    ]
    assert found, f"no step with {patterns}"
    return found


def entry():
    return steps(r"^enter the vessel")[0]


def test_steps_are_numbered_through():
    numbers = [int(match[1]) for match in map(STEP.match, TEXT.splitlines()) if match]
    assert len(numbers) >= 7
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_order():
    actions = [
        steps(r"HV-2051", r"\b(open|depress)")[0],
        steps(r"HV-2052", r"\b(open|drain)")[0],
        steps(r"HV-2053", r"\b(open|purge)")[0],
        steps(r"\bM-1\b", r"\bopen")[0],
        steps(r"oxygen|O2", r"LEL", r"H2S|H₂S")[0],
        entry(),
    ]
    assert actions == sorted(actions)


def test_every_blind_is_in_before_the_manway_is_opened():
    drained, opened = steps(r"HV-2052")[0], steps(r"\bM-1\b", r"\bopen")[0]
    for blind in ("B-1", "B-2", "B-3"):
        assert drained < steps(rf"\b{blind}\b")[0] < opened


def test_the_pressure_is_gone_before_the_blinds():
    gone = steps(r"PI-2050", r"\b0 ?bar")[0]
    assert gone < steps(r"\bB-1\b")[0]


def test_the_vessel_is_ventilated_before_the_test():
    ventilated = steps(r"ventilat\w*|air")[0]
    assert ventilated < steps(r"oxygen|O2", r"LEL")[0]


def test_the_limits():
    text = BLOCKS[steps(r"oxygen|O2", r"LEL", r"H2S|H₂S")[0]][1]
    for pattern in (r"19\.5", r"23\.5", r"\b5 ?% ?(of (the )?)?LEL", r"\b5 ?ppm"):
        assert re.search(pattern, text)


def test_the_warning_stands_before_the_nitrogen():
    kind, text = BLOCKS[steps(r"HV-2053")[0] - 1]
    assert kind == "WARNING"
    assert re.search(r"nitrogen", text, re.I)
    assert re.search(r"suffocat|asphyx|unconscious|displac|oxygen[- ](defici|deplet|free)|(lack|no|without) (of )?oxygen", text, re.I)


def test_the_hold_point_stands_before_the_entry():
    kind, text = BLOCKS[entry() - 1]
    assert kind == "HOLD POINT"
    for word in ("permit", "attendant", "authority"):
        assert word in text.lower()


def test_the_atmosphere_is_tested_again():
    assert re.search(r"\b30\s*min", TEXT)
    near = re.search(r"(test|repeat|measure)[^.]{0,160}\b30\s*min|\b30\s*min[^.]{0,160}(test|repeat|measure)", TEXT, re.I | re.S)
    assert near


def test_no_tag_and_no_limit_is_invented():
    known = {"V-205", "HV-2051", "HV-2052", "HV-2053", "PI-2050"}
    assert set(re.findall(r"\b[A-Z]{1,4}-\d{3,4}[A-Z]?\b", TEXT)) <= known
    assert set(re.findall(r"(\d+(?:\.\d+)?)\s*ppm", TEXT)) <= {"5"}
