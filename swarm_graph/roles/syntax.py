"""Whether a file parses, and mending what a server or a model has encoded in a file beyond doubt.

Only formats whose parser is at hand are checked: Python, JSON, YAML, TOML and XML. In other code, only HTML
entities are noticed.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache
from html import unescape
from pathlib import PurePosixPath
from typing import NamedTuple

_COMMENTED_JSON = re.compile(
    r"(?:.*/)?(?:(?:ts|js)config.*\.json|\.(?:eslintrc|swcrc|babelrc).*|devcontainer\.json|appsettings.*\.json"
    r"|(?:deno|turbo|biome|api-extractor)\.json|\.vscode/.*\.json)"
)
"""Files with the extension of JSON whose programs accept comments and final commas."""
_TEMPLATE = re.compile(r"\{\{|\{%|<%")
_ENTITY = re.compile(r"&(?:lt|gt|amp|quot|apos|#39|#x27|#34);")
_PYTHON_STRINGS = re.compile(
    r'"""(?:[^\\]|\\.)*?"""|\'\'\'(?:[^\\]|\\.)*?\'\'\'|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'|(?<!&)#[^\n]*',
    re.DOTALL,
)
_OTHER_STRINGS = re.compile(
    r'"""(?:[^\\]|\\.)*?"""|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'|`(?:[^`\\]|\\.)*`|//[^\n]*|(?<!&)#[^\n]*|/\*(?:[^*]|\*(?!/))*\*/',
    re.DOTALL,
)
_SQL_STRINGS = re.compile(r"'[^']*'|\"[^\"]*\"|--[^\n]*|/\*(?:[^*]|\*(?!/))*\*/")
_REGEX = re.compile(r"/(?:[^/\\\n]|\\.)+/")
_CODE = ("js", "jsx", "ts", "tsx", "c", "h", "cpp", "hpp", "cs", "java", "kt", "go", "rs", "rb", "sh", "sql")
_PAGES = ("html", "htm", "vue", "svelte", "php")
_BYTE_TOKENS = re.compile(r"(?:<0x[0-9A-F]{2}>)+")
_ENCODED = re.compile(r"<0x[0-9A-F]{2}>|[\u2581\u010a]")
"""Byte tokens, and the characters by which tokenizers write a space and a line end."""
_LOOKALIKES = str.maketrans({
    "\u201c": '"', "\u201d": '"', "\u201e": '"', "\u2018": "'", "\u2019": "'", "\u00a0": " ", "\u202f": " ",
    "\u2212": "-", "\u2013": "-", "\u200b": "", "\ufeff": "", "\uff08": "(", "\uff09": ")", "\uff0c": ",",
    "\uff1a": ":", "\u3000": " ", **{chr(space): " " for space in range(0x2000, 0x200b)},
})  # fmt: skip
"""Characters that stand in code only where a model or an editor has put them for another one."""
_MAX_MENDED_LINES = 200


class SyntaxProblem(NamedTuple):
    """Why a file does not parse; `line` is 0 where no line is to blame."""

    line: int
    message: str


class Mended(NamedTuple):
    """A mended file, and what was mended, in words; `what` is empty for a file that was left as it is."""

    text: str
    what: str = ""


@lru_cache(maxsize=256)
def syntax_problem(path: str, text: str) -> SyntaxProblem | None:
    """Why a file does not parse; None when it does, or when no parser for it is at hand.

    Code with an HTML entity where only an encoding can have put it does not count as parsed: `a &lt; b` is
    valid Python. Files with `{{`, `{%` or `<%` that do not parse may be templates, except Python's.
    """
    if entity := _encoded_entity(path, text):
        return SyntaxProblem(0, f"the code contains the HTML entity {entity}")
    parse = _PARSERS.get(PurePosixPath(path).suffix.lower())
    if parse is None or not text.strip() or _COMMENTED_JSON.fullmatch(path):
        return None
    problem = parse(text)
    return None if parse is not _parse_python and _TEMPLATE.search(text) else problem


def mended(path: str, text: str) -> Mended:
    """A file in which an encoding that is no part of it is undone, if that is beyond doubt.

    What can be undone: byte tokens such as `<0x0A>`, line ends written as `\\n`, HTML entities, and quotation
    marks and spaces of typography where the language knows only plain ones.
    """
    for what, mend in _MENDS.items():
        if _is_code(path) or _has_parser(path) or (_is_page(path) and mend is _entities):
            candidate = mend(path, text)
            if candidate is not None and candidate != text:
                return Mended(candidate, what)
    return Mended(text)


def lines_in_strings(path: str, text: str) -> set[int]:
    """The numbers of the lines of a program, from 0, that begin inside of a string."""
    found: set[int] = set()
    number = position = 0
    for string in _strings(path).finditer(text):
        if string[0][0] not in "#/-":
            number += text.count("\n", position, string.start())
            found.update(range(number + 1, number + string[0].count("\n") + 1))
            number, position = number + string[0].count("\n"), string.end()
    return found


def decoded_bytes(text: str) -> str:
    """A text with the characters that its byte tokens stand for: `<0x0A>` is a line end."""
    return _BYTE_TOKENS.sub(
        lambda found: bytes.fromhex(found[0].replace("<0x", "").replace(">", "")).decode(errors="replace"),
        text,
    )


def _encoded_entity(path: str, text: str) -> str:
    """An HTML entity that stands in code where only an encoding can have put it; empty when there is none."""
    if _is_page(path):
        return "&lt;" if "<" not in text and text.lstrip().startswith("&lt;") else ""
    if not _is_code(path):
        return ""
    if not _is_python(path) and "<" in text:
        return ""  # what encodes a file leaves no `<`: the entity belongs to HTML in the code
    code = _without_strings(path, text)
    return next((found[0] for found in _ENTITY.finditer(code) if _is_operator(found, code)), "")


# --- parsers -------------------------------------------------------------------------------------


def _parse_python(text: str) -> SyntaxProblem | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(text, "file", "exec", dont_inherit=True)
    except SyntaxError as error:
        return SyntaxProblem(error.lineno or 0, f"{type(error).__name__}: {error.msg}")
    except (ValueError, RecursionError, MemoryError) as error:
        return SyntaxProblem(0, f"{type(error).__name__}: {error}")
    return None


def _parse_json(text: str) -> SyntaxProblem | None:
    try:
        json.loads(text.removeprefix("\ufeff"))
    except json.JSONDecodeError as error:
        return SyntaxProblem(error.lineno, f"invalid JSON: {error.msg}")
    except (ValueError, RecursionError) as error:
        return SyntaxProblem(0, f"invalid JSON: {error}")
    return None


def _parse_yaml(text: str) -> SyntaxProblem | None:
    import yaml

    try:
        for _ in yaml.parse(text, Loader=yaml.SafeLoader):
            pass
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        return SyntaxProblem(
            mark.line + 1 if mark else 0, f"invalid YAML: {getattr(error, 'problem', None) or error}"
        )
    except RecursionError:
        return SyntaxProblem(0, "invalid YAML: nested too deep")
    return None


def _parse_toml(text: str) -> SyntaxProblem | None:
    import tomllib

    try:
        tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        line = re.search(r"at line (\d+)", str(error))
        return SyntaxProblem(int(line[1]) if line else 0, f"invalid TOML: {error}")
    return None


def _parse_xml(text: str) -> SyntaxProblem | None:
    from xml.parsers import expat

    try:
        expat.ParserCreate().Parse(text.strip().encode(), True)
    except expat.ExpatError as error:
        return SyntaxProblem(error.lineno, f"invalid XML: {expat.ErrorString(error.code)}")
    return None


_PARSERS: Mapping[str, Callable[[str], SyntaxProblem | None]] = {
    **dict.fromkeys((".py", ".pyi"), _parse_python),
    **dict.fromkeys((".json", ".ipynb"), _parse_json),
    **dict.fromkeys((".yaml", ".yml"), _parse_yaml),
    **dict.fromkeys((".xml", ".svg"), _parse_xml),
    ".toml": _parse_toml,
}


# --- mends ---------------------------------------------------------------------------------------


def _byte_tokens(path: str, text: str) -> str | None:
    if not _ENCODED.search(_without_strings(path, text)):
        return None
    if not _has_parser(path) and not _outnumber_plain_ones(text):
        return None
    candidate = text.replace("\u2581", " ").replace("\u0120", " ").replace("\u010a", "\n")
    return _if_it_parses(path, text, decoded_bytes(candidate))


def _outnumber_plain_ones(text: str) -> bool:
    """Whether more spaces or line ends are encoded than plain; `Register<0x0A>` alone is C++."""
    spaces, line_ends = (
        text.count("\u2581") + text.count("\u0120"),
        text.count("<0x0A>") + text.count("\u010a"),
    )
    return spaces > text.count(" ") or line_ends > text.count("\n")


def _line_ends(path: str, text: str) -> str | None:
    lines = text.strip().split("\n")
    if len(lines) > 1 or text.count("\\n") < 2 or _says_something(path, text):
        return None
    try:
        candidate = json.loads(f'"{lines[0]}"')
    except ValueError:
        candidate = lines[0].replace("\\r", "").replace("\\n", "\n").replace("\\t", "\t")
    candidate = candidate.replace("\r", "")
    return candidate.rstrip("\n") + "\n" if syntax_problem(path, candidate) is None else None


def _entities(path: str, text: str) -> str | None:
    candidate = _ENTITY.sub(lambda found: unescape(found[0]), text)
    if _is_page(path):
        return candidate if _encoded_entity(path, text) else None
    if not _encoded_entity(path, text):
        return None if _is_code(path) else _if_it_parses(path, text, candidate)
    inside = len(_ENTITY.findall(text)) > len(_ENTITY.findall(_without_strings(path, text)))
    return None if inside or syntax_problem(path, candidate) else candidate


def _typography(path: str, text: str) -> str | None:
    if text.isascii():
        return None
    if path.endswith((".json", ".toml")):
        return _if_it_parses(path, text, text.translate(_LOOKALIKES))
    return _typography_where_python_stumbles(text) if _is_python(path) else None


def _typography_where_python_stumbles(text: str) -> str | None:
    """Only the lines that the parser rejects are mended; elsewhere these characters are text."""
    lines = text.split("\n")
    for _ in range(_MAX_MENDED_LINES):
        problem = _parse_python("\n".join(lines))
        if problem is None:
            return "\n".join(lines)
        line = lines[problem.line - 1] if 0 < problem.line <= len(lines) else ""
        if line.translate(_LOOKALIKES) == line:
            return None
        lines[problem.line - 1] = line.translate(_LOOKALIKES)
    return None


_MENDS: Mapping[str, Callable[[str, str], str | None]] = {
    "byte tokens": _byte_tokens,
    "line ends written as \\n": _line_ends,
    "HTML entities": _entities,
    "quotation marks and spaces of typography": _typography,
}


def _if_it_parses(path: str, text: str, candidate: str) -> str | None:
    """The candidate if it parses and the text does not, or if there is no parser to ask."""
    if not _has_parser(path):
        return candidate
    return candidate if syntax_problem(path, text) and not syntax_problem(path, candidate) else None


def _says_something(path: str, text: str) -> bool:
    """Whether a text of one line is a file as it stands: it parses and is more than a comment or a string."""
    if _is_python(path):
        try:
            body = ast.parse(text).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
        return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in body)
    if _has_parser(path):
        return syntax_problem(path, text) is None
    return "\\n" not in _REGEX.sub("", _without_strings(path, text))


def _is_code(path: str) -> bool:
    return path.rpartition(".")[2] in (*_CODE, "py", "pyi")


def _is_page(path: str) -> bool:
    return path.rpartition(".")[2] in _PAGES


def _is_python(path: str) -> bool:
    return path.endswith((".py", ".pyi"))


def _has_parser(path: str) -> bool:
    return PurePosixPath(path).suffix.lower() in _PARSERS


def _is_operator(entity: re.Match[str], code: str) -> bool:
    """Whether an entity stands where an operator can: not in a regex, nor where its line ends.

    `x = &lt;` is C for the address of `lt`.
    """
    in_regex = code[max(0, entity.start() - 1) : entity.start()] in ("/", "|")
    return not in_regex and bool(code[entity.end() : entity.end() + 100].split("\n")[0].strip())


def _strings(path: str) -> re.Pattern[str]:
    """Matches a string or comment."""
    return _PYTHON_STRINGS if _is_python(path) else _SQL_STRINGS if path.endswith(".sql") else _OTHER_STRINGS


def _without_strings(path: str, text: str) -> str:
    """Code without its comments, and with empty strings."""
    return _strings(path).sub(lambda found: "" if found[0][0] in "#/-" else '""', text)
