"""Wrap text into lines."""

import textwrap


def wrap(text: str, width: int) -> str:
    """The text with lines of at most `width` characters."""
    if width < 4:
        raise ValueError("width must be at least 4")
    wrapped = []
    for paragraph in text.split("\n\n"):
        words = " ".join(paragraph.split())
        if words:
            indent = "  " if words.startswith("- ") else ""
            wrapped.append(textwrap.fill(words, width, subsequent_indent=indent))
    return "\n\n".join(wrapped)
