"""Units of measurement in a text: quantities without one, and quantities in several."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_QUANTITY = (
    r"temperatures?|pressures?|levels?|flows?(?: rates?)?|speeds?|concentrations?|oxygen|o2|durations?"
    r"|volumes?|mass|weight|density|viscosity|voltage|current|power|vibration|vacuum|flow rate|set ?points?"
    r"|temperatur|druck|füllstand|durchfluss|drehzahl|temperatura|pressão|presión|nível|nivel|vazão|caudal"
    r"|température|pression|niveau|débit"
)
_RELATION = (
    r"(?:below|above|under|over|at(?: most| least)?|to|of|is|are|not exceeding|exceeds?|reach(?:es)?"
    r"|between|from|than|=|:|<|>|≤|≥|<=|>="
    r"|unter|über|auf|bei|von|bis|beträgt|höchstens|mindestens|abaixo de|acima de|é de|até"
    r"|debajo de|encima de"
    r"|sous|au-dessus de|est de|inférieure? à|supérieure? à)"
)
_END = (
    r"(?=\s*(?:$|[.,;:)](?:\s|$)"
    r"|\b(?:and|or|before|until|then|when|if|while|for|und|oder|dann|wenn|e|ou|y|et)\b(?!\s*[-+]?\d)))"
)
_BARE = re.compile(
    rf"\b(?:{_QUANTITY})\b[^.;:|\n]{{0,40}}?\s{_RELATION}\s*"
    rf"(?P<number>[-+]?\d+(?:[.,]\d+)?){_END}",
    re.IGNORECASE,
)

FAMILIES: dict[str, dict[str, str]] = {
    "temperature": {"°C": r"\d\s*(?:°\s*C|℃|deg\.? ?C)\b", "°F": r"\d\s*(?:°\s*F|℉|deg\.? ?F)\b"},
    "pressure": {
        "bar": r"\d\s*(?:m?bar[ga]?|м?бар)\b",  # noqa: RUF001
        "Pa": r"\d\s*(?:[kM]?Pa|[кМ]?Па)\b",
        "kg/cm²": r"\d\s*(?:kgf?/cm|кгс?/см)[2²]",
        "psi": r"\d\s*psi[ga]?\b",
    },
}
"""Units of one quantity that a document should not mix."""


def bare_numbers(line: str) -> Iterator[str]:
    """The words of a line that give a quantity a number without a unit, as in "temperature below 45".

    Zero needs none, except of a temperature: "the pressure is 0".
    """
    for match in _BARE.finditer(line):
        is_zero = not match["number"].strip("+-0.,")
        if not is_zero or match[0].lower().startswith("temp"):
            yield " ".join(match[0].split())


def mixed_units(lines: Iterable[str]) -> Iterator[str]:
    """The quantities of a text that stand in several units. A line with both is a conversion."""
    lines = list(lines)
    for quantity, units in FAMILIES.items():
        found: dict[str, None] = {}
        for line in lines:
            in_line = [unit for unit, pattern in units.items() if re.search(pattern, line)]
            if len(in_line) == 1:
                found[in_line[0]] = None
        if len(found) > 1:
            yield f"{quantity} stands in {' and in '.join(found)}; use one unit, or give both each time"
