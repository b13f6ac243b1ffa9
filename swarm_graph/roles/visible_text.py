"""A Markdown text as its reader sees it: without comments, invisible characters and marks of HTML.

The checks of a document look at this text, so that nothing counts as said that nobody can read. Its lines
have the numbers of the document's.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator, Sequence

OPEN_COMMENT, END_COMMENT = "<!--", "-->"

_FENCE = re.compile(r" {0,3}(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^`]*)")
_CODE = re.compile(r"(?<!`)(`+)(?!`)[^`]*\1(?!`)")
_TAG = re.compile(
    r"</?(?:a|b|blockquote|br|center|code|dd|del|details|div|dl|dt|em|font|h[1-6]|hr|i|ins|kbd|li|mark|ol|p"
    r"|pre|q|s|small|span|strong|sub|summary|sup|table|tbody|td|tfoot|th|thead|tr|u|ul)\b[^<>]*>",
    re.IGNORECASE,
)
_DEFINITION = re.compile(r" {0,3}\[[^\]]+\]:\s.*")
"""The target of a link, which is not shown; comments are written as such, too."""
_ESCAPED = re.compile(r"\\([_\[\]])")
_DELIMITERS = re.compile(r"[ \t|:-]*-[ \t|:-]*")
_BLANK_CHARACTERS = dict.fromkeys([0x115F, 0x1160, 0x2800, 0x3164, 0xFFA0], " ")


def visible_text(text: str) -> str:
    """A Markdown text as it is read, with compatible characters as one, such as ℃ and °C."""
    return "\n".join(_shown_lines(text))


def without_code(line: str) -> str:
    """A line with blanks in place of its code spans."""
    return _CODE.sub(" ", line) if "`" in line else line


def says_something(lines: Sequence[str]) -> bool:
    """Whether visible lines hold a word or a number, besides the head of a table without rows."""
    return any(
        any(map(str.isalnum, line)) and not _is_head_alone(lines, number) for number, line in enumerate(lines)
    )


def _is_head_alone(lines: Sequence[str], number: int) -> bool:
    if "|" not in lines[number]:
        return False
    below = [*lines[number + 1 : number + 3], "", ""]
    return "|" in below[0] and bool(_DELIMITERS.fullmatch(below[0])) and "|" not in below[1]


def _shown_lines(text: str) -> Iterator[str]:
    fence, in_comment = "", False
    for line in text.split("\n"):
        found = None if in_comment else _FENCE.fullmatch(line)
        if fence or found:
            if not fence and found:
                fence = found["fence"]
            elif found and found["fence"].startswith(fence) and not found["info"]:
                fence = ""
            yield _plain(line)
            continue
        shown, in_comment = _without_comments(line, in_comment=in_comment)
        yield "" if _DEFINITION.fullmatch(shown) else _plain(html.unescape(_TAG.sub(" ", shown)))


def _without_comments(line: str, *, in_comment: bool) -> tuple[str, bool]:
    """A line without its comments, and whether one goes on in the next line."""
    if not in_comment and OPEN_COMMENT not in line:
        return line, False
    spans = [match.span() for match in _CODE.finditer(line)] if not in_comment else []
    parts: list[str] = []
    place = 0
    while place < len(line):
        if in_comment:
            end = line.find(END_COMMENT, place)
            if end < 0:
                return "".join(parts), True
            place, in_comment = end + len(END_COMMENT), False
            continue
        begin = line.find(OPEN_COMMENT, place)
        span = next((span for span in spans if span[0] < begin < span[1]), None)
        stop = span[1] if span else begin if begin >= 0 else len(line)
        parts.append(line[place:stop])
        place, in_comment = (stop, False) if span or begin < 0 else (stop + len(OPEN_COMMENT), True)
    return "".join(parts), in_comment


def _plain(line: str) -> str:
    """A line without invisible characters, and with one form of each character."""
    line = _ESCAPED.sub(r"\1", line)
    if line.isascii():
        return line
    line = unicodedata.normalize("NFKC", line.replace("º", "°").translate(_BLANK_CHARACTERS))
    return "".join(char for char in line if unicodedata.category(char) != "Cf")
