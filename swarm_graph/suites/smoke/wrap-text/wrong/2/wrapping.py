"""Wrap text into lines."""


def wrap(text: str, width: int) -> str:
    """The text with lines of at most `width` characters."""
    if width < 4:
        raise ValueError("width must be at least 4")
    result = []
    for paragraph in text.split("\n\n"):
        line, lines = "", []
        for word in paragraph.split():
            if line and len(line) + len(word) + 1 > width:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}".strip()
        result.append("\n".join([*lines, line]))
    return "\n\n".join(result)
