"""A file of a repository as text, and back as bytes: its encoding and line ends survive an edit."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher
from itertools import chain, zip_longest

from swarm_graph.errors import RepositoryError

_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",  # before UTF-16: its mark begins with that of UTF-16
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_LIKELY = ("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "koi8_r", "cp932", "gb18030", "big5", "euc_kr")
"""The encodings that are looked for: all of them keep ASCII."""
_LINE_END = re.compile("\r\n|\n|\r")
_CONTROLS = re.compile("[\0-\x06\x0e-\x1a\x1c-\x1f]")
MAX_COMPARED = 4_000_000
"""Old lines times new lines up to which lines are aligned; above, changed parts get the usual line end."""


def decode(data: bytes) -> str | None:
    """The text of a file, its line ends as `\\n`; None for a binary file.

    The encoding is UTF-8, or UTF-16 or UTF-32 after a byte order mark, or a single one that is likely, or
    latin-1, which every byte has.
    """
    text = _text(data)
    return None if text is None else _LINE_END.sub("\n", text)


def encode(text: str, original: bytes | None) -> bytes:
    """The bytes of a changed file, in the encoding of the original.

    A line that did not change keeps its line end; a new line has the line end of the line before it. A last
    newline that was missing stays missing if the last line did not change, and none gets lost.

    Args:
        text: The new text, its line ends as `\\n`.
        original: The file as it was; None for a new file, which is UTF-8.

    Raises:
        RepositoryError: The encoding of the file lacks a character of the text.
    """
    old = _text(original) if original else None
    if not original or old is None:
        return _encoded(_LINE_END.sub("\n", text), "utf-8")
    mark, encoding = _encoding(original)
    return mark + _encoded(_with_line_ends(_LINE_END.sub("\n", text), old), encoding)


def _text(data: bytes) -> str | None:
    """The text of a file with its own line ends; None for a binary file."""
    mark, encoding = _encoding(data)
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError:
        return None
    is_same = mark + text.encode(encoding) == data
    return text if is_same and not _CONTROLS.search(text) else None


def _encoding(data: bytes) -> tuple[bytes, str]:
    """The byte order mark of a file, which may be empty, and its encoding."""
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            return mark, encoding
    try:
        data.decode()
    except UnicodeDecodeError:
        return b"", _likely_encoding(data)
    return b"", "utf-8"


def _likely_encoding(data: bytes) -> str:
    """The encoding of a file that is not UTF-8. The same bytes are always taken for the same encoding."""
    try:
        from charset_normalizer import from_bytes
    except ImportError:
        return "latin-1"
    found = None if b"\0" in data else from_bytes(data, cp_isolation=[*_LIKELY]).best()
    return found.encoding if found and _keeps(data, found.encoding) else "latin-1"


def _keeps(data: bytes, encoding: str) -> bool:
    """Whether an encoding gives back exactly the bytes that it has read."""
    try:
        return data.decode(encoding).encode(encoding) == data
    except UnicodeError:
        return False


def _encoded(text: str, encoding: str) -> bytes:
    try:
        return text.encode(encoding)
    except UnicodeEncodeError as error:
        character = text[error.start]
        raise RepositoryError(
            f"the new text holds {character!a}, which the file's encoding, {codecs.lookup(encoding).name}, "
            "lacks; write it without that character, or convert the file to UTF-8 first"
        ) from error


# --- line ends -----------------------------------------------------------------------------------


def _with_line_ends(text: str, old: str) -> str:
    """A new text with the line ends of the old one, line by line."""
    old_lines, ends = _LINE_END.split(old), _LINE_END.findall(old)
    lines = text.split("\n")
    if old_lines[-1] and lines[-1] == "" and lines[-2:-1] == old_lines[-1:]:
        del lines[-1]  # the last newline was missing, and the last line is the same
    elif old_lines[-1] == "" and lines[-1] and ends:
        lines.append("")
    new_ends = _ends(lines, old_lines, ends)
    return "".join(chain.from_iterable(zip_longest(lines, new_ends[: len(lines) - 1], fillvalue="")))


def _ends(lines: list[str], old_lines: list[str], ends: list[str]) -> list[str]:
    """The line end of each line; the last line has none, and what it gets here is not used."""
    if not ends:
        return ["\n"] * len(lines)
    usual = Counter(ends).most_common(1)[0][0]
    if set(ends) == {usual}:
        return [usual] * len(lines)
    kept: dict[int, str] = {}
    for old_start, new_start, length in _same(old_lines, lines):
        kept.update(
            zip(range(new_start, new_start + length), ends[old_start : old_start + length], strict=False)
        )
    filled = [*_filled(kept, len(lines), usual)]
    for number, line in enumerate(lines[1:]):
        if line == "" and filled[number : number + 2] == ["\r", "\n"]:
            filled[number] = "\n"  # with the next line end it would be read as one
    return filled


def _filled(kept: dict[int, str], count: int, usual: str) -> Iterator[str]:
    end = kept.get(0, usual)
    for number in range(count):
        end = kept.get(number, end)
        yield end


def _same(old: list[str], new: list[str]) -> Iterable[tuple[int, int, int]]:
    """The runs of lines that stayed: where each begins in the old and in the new text, and its length."""
    start = _common(zip(old, new, strict=False))
    end = _common(zip(reversed(old[start:]), reversed(new[start:]), strict=False))
    yield 0, 0, start
    yield len(old) - end, len(new) - end, end
    old_part, new_part = old[start : len(old) - end], new[start : len(new) - end]
    if len(old_part) * len(new_part) <= MAX_COMPARED:
        matcher = SequenceMatcher(None, old_part, new_part, autojunk=False)
        for block in matcher.get_matching_blocks():
            yield block.a + start, block.b + start, block.size


def _common(pairs: Iterable[tuple[str, str]]) -> int:
    count = 0
    for old, new in pairs:
        if old != new:
            break
        count += 1
    return count
