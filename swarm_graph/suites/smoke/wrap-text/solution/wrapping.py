"""Wrap text into lines."""

import re


def wrap(text: str, width: int) -> str:
    """The text with lines of at most `width` characters.

    Raises:
        ValueError: The width is below 4.
    """
    if width < 4:
        raise ValueError(f"width is {width}; expected at least 4")
    paragraphs = [part for part in re.split(r"\n[^\S\n]*(?:\n[^\S\n]*)+", text) if part.strip()]
    return "\n\n".join(_paragraph(part.strip(), width) for part in paragraphs)


def _paragraph(text: str, width: int) -> str:
    if not text.startswith("- "):
        return "\n".join(_lines(text.split(), width))
    lines = _lines(text[2:].split(), width - 2)
    return "- " + "\n  ".join(lines)


def _lines(words: list[str], width: int) -> list[str]:
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
            continue
        pieces = [word[start : start + width] for start in range(0, len(word), width)]
        lines += pieces if lines[-1] else []
        lines = lines if lines[-1] else pieces
    return lines
