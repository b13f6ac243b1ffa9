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


def step(*patterns):
    """The place of the first step with all of the patterns."""
    for place, (kind, text) in enumerate(BLOCKS):
        if kind == "step" and all(re.search(pattern, text, re.IGNORECASE) for pattern in patterns):
            return place
    raise AssertionError(f"no step with {patterns}")


def start():
    return step(r"^start the motor")


def test_steps_are_numbered_through():
    numbers = [int(match[1]) for match in map(STEP.match, TEXT.splitlines()) if match]
    assert len(numbers) >= 7
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_casing_is_vented_with_the_suction_open():
    opened = step(r"HV-1011", r"\bopen", r"\bfull|complete|100")
    vented = step(r"HV-1014", r"\b(open|vent|crack)")
    assert opened < vented < start()


def test_the_vent_is_closed_before_the_start():
    closed = step(r"HV-1014", r"\b(clos|shut)")
    assert step(r"HV-1014", r"\b(open|vent|crack)") <= closed < start()


def test_the_valves_stand_right_at_the_start():
    assert step(r"HV-1012", r"\b(closed?|shut)\b") < start()
    for kind, text in BLOCKS[: start()]:
        assert kind != "step" or not re.search(r"(?<!not )(?<!never )\bopen\s+(the\s+)?(\w+\s+){0,3}HV-1012", text, re.I)
    assert step(r"HV-1013", r"\bopen") < start()


def test_the_motor_is_stopped_without_pressure():
    checked = step(r"PI-1012", r"\b12\s*bar", r"\b30\s*(s\b|sec)", r"\bstop")
    assert start() < checked
    assert re.search(r"\bnot\b|n't\b|\bbelow|\bless|\bunder|\blower|\bfail", BLOCKS[checked][1], re.I)
    assert not re.search(r"\bnot (below|less|under|lower)", BLOCKS[checked][1], re.I)


def test_the_discharge_is_opened_before_the_minimum_flow_is_closed():
    after = [text for kind, text in BLOCKS[start() :] if kind == "step"]
    opened = [place for place, text in enumerate(after) if "HV-1012" in text and re.search(r"\bopen", text, re.I)]
    closed = [place for place, text in enumerate(after) if "HV-1013" in text and re.search(r"\b(clos|shut)", text, re.I)]
    assert opened
    assert closed
    first, last = opened[0], closed[-1]
    assert first < last or (first == last and after[first].index("HV-1012") < after[first].index("HV-1013"))


def test_the_warning_stands_before_the_vent():
    place = step(r"HV-1014", r"\b(open|vent|crack)")
    kind, text = BLOCKS[place - 1]
    assert kind == "WARNING"
    assert re.search(r"H2S|H₂S|hydrogen sul", text, re.I)
    assert re.search(r"detector|monitor", text, re.I)


def test_the_hold_point_stands_before_the_start():
    kind, text = BLOCKS[start() - 1]
    assert kind == "HOLD POINT"
    for word in ("supervisor", "guard", "clear"):
        assert word in text.lower()


def test_no_tag_and_no_limit_is_invented():
    known = {"P-101A", "HV-1011", "HV-1012", "HV-1013", "HV-1014", "PI-1012", "LP-101"}
    assert set(re.findall(r"\b[A-Z]{1,4}-\d{3,4}[A-Z]?\b", TEXT)) <= known
    assert set(re.findall(r"(\d+(?:\.\d+)?)\s*bar", TEXT)) <= {"12"}
