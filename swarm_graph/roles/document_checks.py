"""The checks of a document: its text is compared with the outline, the request and the tester's checklist.

Nothing is run, and no model is asked. A check that does not hold says where and what; none says that a
document is right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import chain, islice
from typing import NamedTuple

from swarm_graph.roles.documents import (
    BOLD_LEVEL,
    Heading,
    headings,
    is_document,
    lines_outside_fences,
)
from swarm_graph.roles.units import bare_numbers, mixed_units
from swarm_graph.state import SwarmState

CHECKLIST = "checks/checklist.json"
"""The file in `tests` that holds the tester's checklist."""
MAX_OF_ONE_KIND = 8
"""Lines that fail the same check and are named; the others are counted."""
MIN_QUOTE_LETTERS = 8
"""A shorter quote would be found anywhere."""

_UNFINISHED = re.compile(
    r"\b(?:TODO|FIXME|XXX+)\b|\?{3,}|\[\s*(?:\.{2,}|…|\?+)\s*\]"
    r"|(?:[:=|(\[]|^|\b(?:is|are|be|at|to|of|below|above))\s*\bTB[CD]\b"
    r"|[\[<](?:insert|add|enter|your|to be|fill in)\b[^\]>]{0,80}[\]>]|\blorem ipsum\b",
    re.IGNORECASE,
)

_BLANK = re.compile(r"_{3,}")
_SIGNED = re.compile(
    r"(?:time|date|initials?|names?|sign(?:ed|ature)?|by|shift|no\.?|number|confirmed|checked|released|ok|done)"
    r"[\s:.)*]*$",
    re.IGNORECASE,
)
"""What stands before a blank that is filled in while the work is done, such as a signature."""
_OPEN_POINTS = re.compile(
    r"\bopen (?:points?|items?|questions?|fields?|values?)\b|\bblanks?\b", re.IGNORECASE
)
_TAG = re.compile(r"(?<![\w-])[A-Z]{1,5}-?\d{2,5}[A-Z]?(?![\w-]|\.\d)")
_WRITTEN_TAG = re.compile(r"(?<![A-Za-z0-9])[A-Z]{1,5}[-\u2010-\u2013\u00a0 ]?\d{2,5}[A-Z]?(?![A-Za-z0-9])")
_NO_TAG = re.compile(
    r"(?:ISO|IEC|EN|DIN|API|ASME|ANSI|ATEX|NFPA|OSHA|UTF|RFC|SIL|CAS|UN|VDI|VDE|BS|ASTM|ISA|SHA)-?\d"
    r"|C\d\d(?!\d)|H[234]\d\d(?!\d)|PT-?100(?!\d)"
)
"""Standards, hydrocarbons such as C12, hazard statements and kinds of sensors, which look like tags."""
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
    documents = {path: text for path, text in files.items() if is_document(path)}
    text = "\n".join(files.values())
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
    return not has_parts and not any(line.strip(" -*_=#") for line in body)


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
            (f"{path}:{number}", f"'{match[0]}' is left open")
            for number, line in lines_outside_fences(text)
            if (match := _UNFINISHED.search(line))
        )
        yield from _of_one_kind("nothing left unwritten", path, lines)


def _blanks(text: str) -> Iterator[int]:
    """The numbers of the lines with a value that a person must fill in, once for each blank."""
    section = ""
    titles = {heading.number: heading.title for heading in headings(text)}
    for number, line in lines_outside_fences(text):
        section = titles.get(number, section)
        if _OPEN_POINTS.search(section):
            continue
        for match in _BLANK.finditer(line):
            before = line[: match.start()]
            in_a_cell = before.rstrip().endswith("|") and line[match.end() :].lstrip().startswith("|")
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
    """The tags of equipment, alarms and interlocks in the request and its inputs."""
    written = {_plain_tag(match) for match in _WRITTEN_TAG.finditer(text)}
    written |= {tag.rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for tag in written}  # P-101 stands in P-101A, too
    wanted = {_plain_tag(match): match[0] for match in _TAG.finditer(request) if not _NO_TAG.match(match[0])}
    for plain, tag in wanted.items():
        problem = "" if plain in written else f"'{tag}' stands in the request, but not in the document"
        yield Check(f"the tag {tag}", "", problem)


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
    texts = {path: _quotable(text) for path, text in documents.items()}
    for item in items:
        quote = _quotable(item.quote)
        path = next((path for path, text in texts.items() if _is_quote(quote, text)), "")
        yield Check("a requirement", path or item.place, "" if path else _not_found(item))


def _read_items(text: str) -> list[Item]:
    try:
        return [Item(**item) for item in json.loads(text)["items"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []


def _is_quote(quote: str, text: str) -> bool:
    return sum(map(str.isalnum, quote)) >= MIN_QUOTE_LETTERS and quote in text


def _not_found(item: Item) -> str:
    if not item.quote.strip():
        return f"not found in the document: {item.requirement}"
    return f"not found in the document: {item.requirement} (what the tester quotes does not stand there)"


def _quotable(text: str) -> str:
    """A text as it is quoted: without marks of Markdown, in lower case, with single spaces."""
    return " ".join(
        re.sub(r"[*_`#>|\[\]]+|^\s*(?:[-+]|\d+[.)])\s", " ", text, flags=re.MULTILINE).lower().split()
    )


def _of_one_kind(name: str, place: str, problems: Iterable[tuple[str, str]]) -> Iterator[Check]:
    """A check for each problem, the first ones only; one check that holds if there is none."""
    iterator = iter(problems)
    named = list(islice(iterator, MAX_OF_ONE_KIND))
    yield from (Check(name, where, problem) for where, problem in named)
    if more := sum(1 for _ in iterator):
        yield Check(name, place, f"{more} more like these")
    if not named:
        yield Check(name, place)
