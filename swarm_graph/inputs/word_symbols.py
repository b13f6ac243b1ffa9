"""The usual characters of fonts that have codes of their own: a tick, a degree sign, "at least"."""

from __future__ import annotations

import re


def _table(codes: str, characters: str) -> dict[int, str]:
    return dict(zip(bytes.fromhex(codes), characters, strict=True))


_FONTS = {
    "symbol": _table(
        "57616267446465686c6d707253737466772da3a5abacadaeafb0b1b3b4b7b8b9bbd6de",
        "ΩαβγΔδεηλµπρΣστφω−≤∞↔←↑→↓°±≥×•÷≠≈√⇒",  # noqa: RUF001
    ),
    "wingdings": _table("6c 6e 6f a7 a8 d8 df e0 e8 fb fc fd fe", "●■☐▪☐➢←→➔✗✓☒☑"),
    "wingdings 2": _table("4f 50 51 52 53 a3", "✗✓☒☑☒☐"),
}


def character_of(font: str, code: str) -> str:
    """The character that a symbol shows; empty if it is not known.

    Args:
        font: The name of its font.
        code: Its hexadecimal code; special fonts have F000 to F0FF.
    """
    number = int(code, 16) if re.fullmatch("[0-9A-Fa-f]{4}", code) else 0
    if characters := _FONTS.get(font.lower()):
        return characters.get(number & 0xFF, "")
    return "" if 0xD800 <= number <= 0xF8FF or number < ord(" ") else chr(number)
