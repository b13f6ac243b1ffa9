"""The checks of a document: its text is compared with the outline, the request and the tester's checklist.

Nothing is run, and no model is asked. The checks look at the text that a reader sees. A check that does not
hold says where and what; none says that a document is right.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import chain, islice
from typing import NamedTuple

from swarm_graph.roles.answered_document import (
    BOLD_LEVEL,
    Heading,
    headings,
    is_document,
    lines_outside_fences,
)
from swarm_graph.roles.units import bare_numbers, mixed_units
from swarm_graph.roles.visible_text import says_something, visible_text, without_code
from swarm_graph.state import SwarmState

CHECKLIST = "checks/checklist.json"
"""The file in `tests` that holds the tester's checklist."""
MAX_OF_ONE_KIND = 8
"""Lines that fail the same check and are named; the others are counted."""
MIN_QUOTE_LETTERS = 8
"""A shorter quote would be found anywhere, unless it is a whole line. A sign of Chinese or Japanese says as
much as two letters."""
MIN_HEADING_WORDS = 4
"""A shorter heading says only what a section is about, and is no quote that shows it."""
MAX_SAME_QUOTE = 3
"""Requirements that the same words can meet."""

_UNFINISHED = re.compile(
    r"\b(?:TODO(?=\s*(?:[:(\u2013-]|$)|(?!(?=.{0,200}[A-Z])[^a-z]{0,200}$))|FIXME)\b"
    r"|\bX{2,}(?=\s*(?:°|%|m?bar\b|[kM]?Pa\b|psi|kg\b|m³|m3|l/h|rpm|ppm|min\b|h\b|s\b))|\bXXX+\b(?=\s*$)"
    r"|\?{3,}|\[\s*(?:\.{2,}|…|\?+)\s*\]|\{\{\s*\w[^{}]{0,60}\}\}|(?<!\w)[tT]\.\s?[bB]\.\s?[dDcC]\."
    r"|(?:[:=|(\[]|^|\b(?:[iI]s|[aA]re|[bB]e|[aA]t|[tT]o|[oO]f|[bB]elow|[aA]bove))\s*\b[tT][bB][dDcC]\b"
    r"|[\[<](?:[iI]nsert|[aA]dd|[eE]nter|[yY]our|[tT]o be|[fF]ill in)\b[^\]>]{0,80}[\]>]|(?i:\blorem ipsum\b)"
)
"""TODO counts in capitals only, and not in a line of capitals: in Portuguese and Spanish it is a word."""
_TO_COME = re.compile(
    r"(?:^[\s*\-+]*|[|:]\s*)(?:to be (?:determined|defined|completed|added|confirmed|written|specified)"
    r"|(?:noch )?(?:zu (?:ergänzen|klären|definieren|bestimmen)|offen)"
    r"|wird (?:noch )?(?:ergänzt|nachgereicht)"
    r"|a (?:definir|completar|confirmar|preencher)|por (?:definir|completar|confirmar)"
    r"|à (?:compléter|définir|préciser))\.?\s*(?=\||$)",
    re.IGNORECASE,
)
"""What stands alone in a line or a cell in place of its text."""

_BLANK = re.compile(r"_{3,}|(?<!\.)\.{4,}(?=\s*(?:°|%|m?bar\b|[kM]?Pa\b|kg\b|min\b|h\b))")
_NEAR = 60
"""Characters beside a blank that say what it is for."""
_RULER = re.compile(r" {0,3}_[_ \t]*")
_SIGNED = re.compile(
    r"(?:time|date|initials?|names?|sign(?:ed|ature)?|by|shift|no\.?|number|confirmed|checked|released|ok|done"
    r"|datum|uhrzeit|zeit|unterschrift|kürzel|schicht|nr\.?|nummer|geprüft|bestätigt|freigegeben|von|erledigt"
    r"|data|hora|nome|assinatura|turno|número|verificado|confirmado|liberado|aprovado|por|feito"
    r"|fecha|nombre|firma|aprobado|hecho|nom|heure|visa|numéro|vérifié|confirmé|approuvé|par|fait)"
    r"[\s:.)*]*$",
    re.IGNORECASE,
)
"""What stands before a blank that is filled in while the work is done, such as a signature."""
_OPEN_POINTS = re.compile(
    r"\bopen (?:points?|items?|questions?|fields?|values?)\b|\bblanks?\b"
    r"|\boffene (?:punkte|fragen|werte|angaben|felder)\b"
    r"|\b(?:pontos|itens|campos|questões) (?:em )?abertos?\b"
    r"|\bpend[eê]ncias\b|\b(?:puntos|campos) (?:abiertos|pendientes)\b|\bpoints (?:ouverts|en suspens)\b",
    re.IGNORECASE,
)
_TAG = re.compile(r"(?<![\w-])[A-Z]{1,5}-?\d{2,5}[A-Z]?(?![\w-]|\.\d)")
_WRITTEN_TAG = re.compile(r"(?<![A-Za-z0-9])[A-Z]{1,5}[-\u2010-\u2013\u00a0 ]?\d{2,5}[A-Z]?(?![A-Za-z0-9])")
_NO_TAG = re.compile(
    r"(?:ISO|IEC|EN|DIN|API|ASME|ANSI|ATEX|NFPA|OSHA|UTF|RFC|SIL|CAS|UN|VDI|VDE|BS|ASTM|ISA|SHA"
    r"|GHS|EUH|DN|PN|AISI|FY|KW)-?\d|M\d\d(?!\d)|C\d\d(?!\d)|H[234]\d\d(?!\d)|PT-?100(?!\d)"
)
"""Standards, sizes, hydrocarbons such as C12, hazard statements and sensors, which look like tags."""
_LINK_INSIDE = re.compile(r"[\s*+\-|\d.)]*\[[^\]]*\]\(#[^)]*\)[\s|.]*")
_PAGE = re.compile(r"(?:\.{3}|(?:\. ){3})\s*\d+\s*\|?\s*$")
"""A line of a table of contents is a link inside the document, or ends with a page."""
_OUTLINE = re.compile(r"[ \t]*(?:[-*+]|\d+[.)])[ \t]+`(?P<marks>#{1,6})[ \t]+(?P<title>[^`]+?)[ \t]*`.*")


@dataclass(frozen=True)
class Item:
    """One item of the tester's checklist.

    Attributes:
        requirement: What the document must hold.
        place: Where the tester has found it; may be empty.
        quote: The words of the document that meet it; empty if there are none.
    """

    requirement: str
    place: str
    quote: str


class Check(NamedTuple):
    """One check.

    Attributes:
        name: What was checked.
        place: path:line, or a path; empty where there is none.
        problem: What is wrong; empty if the check holds.
    """

    name: str
    place: str = ""
    problem: str = ""


class Checked(NamedTuple):
    """The result of all checks.

    Attributes:
        groups: The checks by what they look at.
        open_values: How many marked blanks a person must still fill in.
    """

    groups: dict[str, list[Check]]
    open_values: int

    @property
    def checks(self) -> list[Check]:
        """All checks."""
        return [check for checks in self.groups.values() for check in checks]

    @property
    def counts(self) -> str:
        """How many checks of each group hold: "structure 2/2, units 1/2"."""
        return ", ".join(
            f"{name} {sum(not check.problem for check in checks)}/{len(checks)}"
            for name, checks in self.groups.items()
            if checks
        )


def check_documents(state: SwarmState) -> Checked:
    """Check the documents of a state."""
    files = state.get("code", {})
    documents = {path: visible_text(text) for path, text in files.items() if is_document(path)}
    text = "\n".join({**files, **documents}.values())
    groups = {
        "structure": _structure(documents),
        "outline": _outline(state.get("design", ""), documents),
        "open fields": chain(_unfinished(documents), _open_values(documents)),
        "units": _units(documents),
        "tags": _tags(state.get("request", ""), text),
        "requirements": _checklist(state.get("tests", {}), documents),
    }
    checks = {name: list(found) for name, found in groups.items()}
    return Checked(checks, sum(1 for found in map(_blanks, documents.values()) for _ in found))


def checklist_text(items: Iterable[Item]) -> str:
    """A checklist as the text of its file."""
    return json.dumps({"items": [asdict(item) for item in items]}, indent=2, ensure_ascii=False) + "\n"


# --- structure -----------------------------------------------------------------------------------


def _structure(documents: Mapping[str, str]) -> Iterator[Check]:
    if not documents:
        yield Check("a document", "", "there is no document")
    for path, text in documents.items():
        found = [heading for heading in headings(text) if heading.level < BOLD_LEVEL]
        yield Check("a title", path, "" if any(headings(text)) else "the document has no heading")
        lines = text.split("\n")
        empty = (
            (f"{path}:{heading.number}", f"the section '{heading.title}' is empty")
            for heading, after in zip(found, [*found[1:], None], strict=True)
            if _is_empty(heading, after, lines)
        )
        yield from _of_one_kind("text in every section", path, empty)


def _is_empty(heading: Heading, after: Heading | None, lines: list[str]) -> bool:
    """Whether a section has no text, and no section below it."""
    body = lines[heading.number : after.number - 1 if after else None]
    has_parts = after is not None and after.level > heading.level
    return not has_parts and not says_something(body)


def _outline(design: str, documents: Mapping[str, str]) -> Iterator[Check]:
    """The headings that the architect's outline lists, as in "- `## Limits`: …"."""
    present = [_comparable(heading.title) for text in documents.values() for heading in headings(text)]
    matches = (_OUTLINE.fullmatch(line) for line in design.split("\n"))
    sections = (match["title"].strip() for match in matches if match and len(match["marks"]) > 1)
    for title in dict.fromkeys(sections):
        wanted = _comparable(title)
        is_there = any(wanted in one or (len(one) > 3 and one in wanted) for one in present)
        yield Check(f"the section '{title}'", "", "" if is_there else f"the section '{title}' is missing")


def _comparable(text: str) -> str:
    """A text without the differences that do not count: case, marks, spaces, numbering."""
    words = re.sub(r"[^\w°%]+", " ", text.lower().replace("_", " "))
    return re.sub(r"^(?:\d+ )+", "", " ".join(words.split()))


# --- fields left open ----------------------------------------------------------------------------


def _unfinished(documents: Mapping[str, str]) -> Iterator[Check]:
    for path, text in documents.items():
        lines = (
            (f"{path}:{number}", f"'{words}' is left open")
            for number, line, section in _lines_of_sections(text)
            if (words := _unwritten(without_code(line), section))
        )
        yield from _of_one_kind("nothing left unwritten", path, lines)


def _unwritten(line: str, section: str) -> str:
    """The words of a line that stand for text that is not written; empty if there are none."""
    match = _UNFINISHED.search(line)
    if not match and not _OPEN_POINTS.search(section):
        match = _TO_COME.search(line)
    return match[0].strip() if match else ""


def _lines_of_sections(text: str) -> Iterator[tuple[int, str, str]]:
    """The lines outside of fenced blocks, with their numbers and the title of their section."""
    section = ""
    titles = {heading.number: heading.title for heading in headings(text)}
    for number, line in lines_outside_fences(text):
        section = titles.get(number, section)
        yield number, line, section


def _blanks(text: str) -> Iterator[int]:
    """The numbers of the lines with a value that a person must fill in, once for each blank."""
    for number, line, section in _lines_of_sections(text):
        if _OPEN_POINTS.search(section) or _RULER.fullmatch(line):
            continue
        for match in _BLANK.finditer(line):
            before = line[max(match.start() - _NEAR, 0) : match.start()]
            after = line[match.end() : match.end() + _NEAR]
            in_a_cell = before.rstrip().endswith("|") and after.lstrip().startswith("|")
            if not in_a_cell and not _SIGNED.search(before):
                yield number


def _open_values(documents: Mapping[str, str]) -> Iterator[Check]:
    """Marked blanks are fine if a section tells who must fill them in."""
    for path, text in documents.items():
        blanks = list(_blanks(text))
        listed = any(_OPEN_POINTS.search(heading.title) for heading in headings(text))
        problem = f"{len(blanks)} blanks are in no section 'Open points'" if blanks and not listed else ""
        place = f"{path}:{blanks[0]}" if problem else path
        yield Check("blanks listed under open points", place, problem)


# --- units and names -----------------------------------------------------------------------------


def _units(documents: Mapping[str, str]) -> Iterator[Check]:
    for path, text in documents.items():
        lines = list(lines_outside_fences(text))
        bare = (
            (f"{path}:{number}", f"'{words}' has no unit")
            for number, line in lines
            if "|" not in line
            for words in bare_numbers(line)
        )
        yield from _of_one_kind("numbers with units", path, bare)
        mixed = ((path, problem) for problem in mixed_units(line for _, line in lines))
        yield from _of_one_kind("one unit for each quantity", path, mixed)


def _tags(request: str, text: str) -> Iterator[Check]:
    """The tags of equipment, alarms and interlocks in the request and its inputs.

    A table of contents says nothing of a tag.
    """
    text = "\n".join(line for line in text.split("\n") if not _is_of_contents(line))
    written = {_plain_tag(match) for match in _WRITTEN_TAG.finditer(text)}
    written |= {tag.rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for tag in written}  # P-101 stands in P-101A, too
    wanted = {_plain_tag(match): match[0] for match in _TAG.finditer(request) if not _NO_TAG.match(match[0])}
    for plain, tag in wanted.items():
        problem = "" if plain in written else f"'{tag}' stands in the request, but not in the document"
        yield Check(f"the tag {tag}", "", problem)


def _is_of_contents(line: str) -> bool:
    return bool(_LINK_INSIDE.fullmatch(line) or _PAGE.search(line))


def _plain_tag(match: re.Match[str]) -> str:
    """A tag in which P-101, P 101 and P101 are the same."""
    return re.sub(r"[^A-Z0-9]", "", match[0])


# --- the tester's checklist ----------------------------------------------------------------------


def _checklist(tests: Mapping[str, str], documents: Mapping[str, str]) -> Iterator[Check]:
    """A requirement is met if the words that the tester quotes for it stand in the document."""
    if CHECKLIST not in tests:
        return
    items = _read_items(tests[CHECKLIST])
    if not items:
        yield Check("the tester's checklist", CHECKLIST, "it could not be read, or it is empty")
    texts = {path: _Quotable(text) for path, text in documents.items()}
    times = Counter(_plain_words(item.quote) for item in items)
    for item in items:
        problems = {path: text.problem(item.quote) for path, text in texts.items()}
        path = next((path for path, problem in problems.items() if not problem), "")
        problem = "" if path else next(iter(problems.values()), "")
        if path and (same := times[_plain_words(item.quote)]) > MAX_SAME_QUOTE:
            problem = f"the tester quotes the same words for {same} requirements"
        text = f"not found in the document: {item.requirement}{f' ({problem})' if item.quote.strip() else ''}"
        yield Check("a requirement", path or item.place, text if problem else "")


def _read_items(text: str) -> list[Item]:
    try:
        items = [Item(**item) for item in json.loads(text)["items"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []
    are_texts = all(isinstance(value, str) for item in items for value in vars(item).values())
    return items if are_texts else []


class _Quotable:
    """A document in which quotes are looked for."""

    def __init__(self, text: str) -> None:
        below_title = [heading for heading in headings(text) if heading.level < BOLD_LEVEL][1:]
        self._headings = [_plain_words(heading.title) for heading in below_title]
        under = {heading.number for heading in below_title}
        lines = text.split("\n")
        self._text = _plain_words(text)
        self._body = _plain_words(
            "\n".join("" if number in under else line for number, line in enumerate(lines, 1))
        )
        self._lines = {_plain_words(line) for line in lines}

    def problem(self, quote: str) -> str:
        """Why a quote shows nothing; empty if it stands in the document."""
        forms = [_plain_words(quote), _plain_words(_NUMBERING.sub(" ", quote))]
        if not any(self._stands(form, self._text) for form in forms):
            return "what the tester quotes does not stand there"
        if _weight(forms[0]) < MIN_QUOTE_LETTERS and forms[0] not in self._lines:
            return "what the tester quotes is too short to show it"
        is_name = len(forms[0].split()) < MIN_HEADING_WORDS and any(
            forms[0] in title for title in self._headings
        )
        return "the tester quotes only a heading" if is_name and forms[0] not in self._body else ""

    def _stands(self, quote: str, text: str) -> bool:
        """Whether a text holds a quote; dots in it stand for words left out."""
        place = 0
        parts = [part.strip() for part in quote.split("...")]
        for part in filter(None, parts):
            place = _find(part, text, place)
            if place < 0 or (len(parts) > 1 and _weight(part) < MIN_QUOTE_LETTERS):
                return False
            place += len(part)
        return any(map(str.isalnum, quote))


def _find(part: str, text: str, place: int) -> int:
    """Where a part of a quote begins, but not within a number: 180 does not stand in 1800; -1 if nowhere."""
    while (place := text.find(part, place)) >= 0:
        before, after = text[max(place - 2, 0) : place], text[place + len(part) : place + len(part) + 2]
        cut_before = part[0].isdigit() and _CUT_BEFORE.search(before)
        cut_after = part[-1].isdigit() and _CUT_AFTER.match(after)
        if not cut_before and not cut_after:
            return place
        place += 1
    return -1


_CUT_BEFORE = re.compile(r"\d[.,]?$|(?:^|[^\w])-$")
_CUT_AFTER = re.compile(r"[.,]?\d")
_NUMBERING = re.compile(r"(?:^|(?<=\s))\d+[.)]\s")
_MARKS = re.compile(r"[*_`#>|\[\]]+|^\s*(?:[-+]|\d+[.)])\s", re.MULTILINE)
_SIGNS = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u2032", "'"),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
        **dict.fromkeys('\u201c\u201d\u201e\u00ab\u00bb\u2033"', " "),
    }
)
"""Quotation marks, dashes and minus signs in one form."""


def _plain_words(text: str) -> str:
    """A text as it is quoted: without marks of Markdown, in lower case, with single spaces."""
    return " ".join(_MARKS.sub(" ", visible_text(text).translate(_SIGNS)).lower().split())


def _weight(text: str) -> int:
    """The letters and digits of a text; a sign of Chinese or Japanese counts as two."""
    return sum(2 if char >= "\u2e80" else 1 for char in text if char.isalnum())


def _of_one_kind(name: str, place: str, problems: Iterable[tuple[str, str]]) -> Iterator[Check]:
    """A check for each problem, the first ones only; one check that holds if there is none."""
    iterator = iter(problems)
    named = list(islice(iterator, MAX_OF_ONE_KIND))
    yield from (Check(name, where, problem) for where, problem in named)
    if more := sum(1 for _ in iterator):
        yield Check(name, place, f"{more} more like these")
    if not named:
        yield Check(name, place)
