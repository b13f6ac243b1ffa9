"""The model server of the documentation: sensible answers to the requests of its pages, by role."""

from __future__ import annotations

import json
import re

from servers.canned import Canned
from swarm_graph.testing import APPROVED

MODEL = "qwen2.5-coder-7b"
"""What the pages call the model that the server calls `canned`."""
CELSIUS = '''\
"""A 4-20 mA temperature sensor: 4 mA is 0 °C, 20 mA is 150 °C."""


def celsius(milliamps: float) -> float:
    """Return the temperature; ValueError where the signal says a broken wire or a short circuit."""
    if not 4 <= milliamps <= 20:
        raise ValueError(f"{milliamps} mA is outside 4 to 20 mA")
    return (milliamps - 4) / 16 * 150
'''
KELVIN = '''

def kelvin(milliamps: float) -> float:
    """Return the absolute temperature."""
    return celsius(milliamps) + 273.15
'''
ADDITION = "def add(a: float, b: float) -> float:\n    return a + b\n"
C_CODE = "#include <stdint.h>\n\nuint16_t read_sensor(void) { return adc_read(3); }\n"
ANSWERS = {
    "clarifier": json.dumps(
        {"requirements": ["Below 4 mA is an error."], "assumptions": [], "open_questions": []}
    ),
    "architect": "One module with one function.",
    "reviewer": APPROVED,
    "security": APPROVED,
    "debugger": "The suction line loses its head below 20 % level, and P-101 draws vapour.",
    "documenter": "# P-101 at low level\n\nStop P-101 below 20 % level.",
}


def answer(system: str, user: str) -> str:
    """The answer to a system message and a user message."""
    if found := re.search(r"to (\d+) °C", user):
        return json.dumps({"celsius": int(found[1])})
    role = re.search(r"^You are (?:the|a) (\w+)", f"{system}\n{user}", re.MULTILINE)
    if role and role[1] in ANSWERS:
        return ANSWERS[role[1]]
    return _code(user)


def _code(user: str) -> str:
    if "8-bit controller" in user:
        return f"```c path=src/sensor.c\n{C_CODE}```"
    if re.search(r"adds? two numbers", user, re.IGNORECASE):
        return f"```python path=src/add.py\n{ADDITION}```"
    return f"```python path=src/sensor.py\n{CELSIUS}{KELVIN if 'kelvin' in user else ''}```"


def scribe() -> Canned:
    """The server; use it with `with`."""
    return Canned(answer)
