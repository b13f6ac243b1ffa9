"""Placeholders: lines of a file that stand for code left out, such as `# ... existing code ...`."""

from __future__ import annotations

import re

from swarm_graph.roles.fences import parse
from swarm_graph.roles.syntax import lines_in_strings

PROGRAMS = (
    "py", "pyi", "js", "jsx", "ts", "tsx", "c", "h", "cpp", "hpp", "cs", "java", "kt", "go", "rs", "rb",
    "php", "sh", "swift", "dart",
)  # fmt: skip
"""The file extensions of programs."""
_PYTHON = ("py", "pyi")

_COMMENT = re.compile(
    r"(?:#+|//+|--+|;+|%+|/\*+|<!--|\{/\*|\{-|\{#|\(\*|\*|\(|\[|'|!|REM\b)\s*(?P<words>.*?)\s*"
    r"(?:\*+/\}?|-->|-\}|#\}|\*\)|\)|\])?"
)
_COMMENT_START = re.compile(r"#|//|/\*|\*|--")
_DOTS = re.compile(r"(?:(?:#|//+|/\*+) ?)?(?:\.{3}|…)\s*(?:\*/)?")
_STUB_IN_PYTHON = re.compile(r"(?:.*: *)?(?:pass|\.{3}) *#(?P<remark>.*)")
_STUB_IN_BRACES = re.compile(r"[^\"'`/#]*\{ *(?:/\*(?P<remark>[^*]*)\*/|\.{3}|…) *\}[ ;]*")
"""Bodies that are left out on one line: `pass  # unchanged`, `{ /* unchanged */ }`, `{ ... }`."""

_WHAT = (
    r"code|file|class|module|functions?|methods?|implementation|imports?|contents?|tests?|lines|parts|sections"
    r"|definitions|logic|body|program|script|document|config|configuration|settings|styles|rules|steps|fields"
)
_LEFT_OUT = re.compile(
    r"(?:(?:all |the |your |my |any )*"
    r"(?:rest|remainder|remaining|existing|previous|original|other|unchanged|same|old)"
    rf"(?: (?:of|the|your|this|my|{_WHAT}|as|before|above|below|earlier|in|here|goes|go|stays?|remains?|is"
    r"|are|not|shown|omitted|unchanged|same|for|brevity|and|unmodified|untouched))*"
    r"|(?:code |lines |content |everything |nothing )?"
    r"(?:unchanged|omitted|snipped|snip|elided|truncated|no changes?)"
    r"(?: (?:from|here|above|below|code|for|brevity|lines|before|in|this|part|section))*"
    r"|(?:as|same as|like) (?:before|above|earlier)"
    r"|(?:keep|leave|insert|add|include|paste|put) (?:the |all |your )?"
    rf"(?:rest|existing|previous|remaining|original|other)(?: of)?(?: the| your)? (?:{_WHAT})(?: \w+){{0,4}}"
    r"|(?:der )?(?:restlicher?|übriger?|bestehender?) code\b.*|(?:der )?rest des (?:codes|programms)\b.*"
    r"|(?:le )?reste du (?:code|fichier)\b.*|(?:el |il )?resto del (?:código|archivo|codice)\b.*"
    r"|(?:o )?resto do código\b.*|остальн(?:ой|ая часть) код.*"
    r"|(?:其余|其他|剩余|现有|原有)的?代码.*|(?:此处)?省略.*"
    r"|(?:残りの|既存の)コード.*|(?:나머지|기존) 코드.*)",
    re.IGNORECASE,
)
_WEAK = re.compile(
    r"(?:(?:the|all|your) )*(?:rest|remaining|existing|previous|original|other|unchanged|same|old)"
    rf"(?: (?:{_WHAT}))?",
    re.IGNORECASE,
)
"""What an ordinary comment may say, such as "other tests"; only dots or brackets make it a placeholder."""
_MARKED = re.compile(r"^(?:\.{3}|…|[\[(<])|(?:\.{3}|…)$")
_BETWEEN_DOTS = re.compile(r"(?:\.{3}|…).*\w.*(?:\.{3}|…)")
_MAX_LINE = 120


def placeholder(path: str, text: str, old: str) -> str:
    """The first line of a file that stands for code left out; empty when there is none.

    Lines in a string and in a Markdown file's code blocks are no placeholders.

    Args:
        path: The file.
        text: Its text.
        old: Its text before; a line that stands there already is no placeholder.
    """
    known = set(map(str.strip, old.split("\n")))
    lines = text.split("\n")
    is_program = extension_of(path) in PROGRAMS
    found = [
        number
        for number, line in enumerate(lines)
        if 0 < len(line.strip()) <= _MAX_LINE
        and (_is_placeholder(lines, number) or (is_program and _is_omission(path, lines, number)))
        and line.strip() not in known
    ]
    quoted = _quoted_lines(path, text) if found else set()
    return next((lines[number].strip() for number in found if number not in quoted), "")


def extension_of(path: str) -> str:
    """The file extension of a path, without its dot."""
    return path.rpartition(".")[2]


def _is_placeholder(lines: list[str], number: int) -> bool:
    """Whether a line says only that something was left out: in a comment, or between dots or brackets."""
    line = lines[number].strip()
    comment = _COMMENT.fullmatch(line)
    words = (comment["words"] if comment else line).strip(" -=#*/")
    bare = words.strip(" .…:()[]{}<>")
    marked = bool(_MARKED.search(words)) and (bool(comment) or " " in bare)
    if not (comment or marked) or not _LEFT_OUT.fullmatch(bare):
        return False
    is_one_word = bare.isascii() and " " not in bare
    is_plain = not is_one_word and not _WEAK.fullmatch(bare)
    return marked or (is_plain and _stands_alone(lines, number))


def _stands_alone(lines: list[str], number: int) -> bool:
    """Whether no code follows a comment that it could be about."""
    following = lines[number + 1] if number + 1 < len(lines) else ""
    return not following.strip() or _indent(following) < _indent(lines[number])


def _is_omission(path: str, lines: list[str], number: int) -> bool:
    """Whether a line of a program has dots or a remark in the place of code."""
    line = lines[number].strip()
    is_python = extension_of(path) in _PYTHON
    if _DOTS.fullmatch(line):
        above = lines[number - 1].strip() if number else ""
        return not _COMMENT_START.match(above) and not (is_python and line[0] != "#")
    if _COMMENT_START.match(line):
        comment = _COMMENT.fullmatch(line)
        return bool(comment and _BETWEEN_DOTS.fullmatch(comment["words"]))
    stub = (_STUB_IN_PYTHON if is_python else _STUB_IN_BRACES).fullmatch(line)
    remark = (stub["remark"] or "").strip(" .…:()[]{}<>") if stub else ""
    return bool(stub) and (not remark or bool(_LEFT_OUT.fullmatch(remark)))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _quoted_lines(path: str, text: str) -> set[int]:
    """The numbers of the lines, from 0, that a file quotes: in strings, or in code blocks of Markdown."""
    if extension_of(path) in ("md", "mdx", "markdown"):
        return {number for block in parse(text).blocks for number in block.lines}
    if extension_of(path) == "rst":
        return {number for number, line in enumerate(text.split("\n")) if line[:1] in (" ", "\t")}
    return lines_in_strings(path, text) if extension_of(path) in PROGRAMS else set()
