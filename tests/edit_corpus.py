"""Seeded edits with a known truth, written as models write them and drifted as models drift.

    python tests/edit_corpus.py [edits per cell]

prints how many edits of each form are applied right and refused aloud. None may be applied in a wrong place.
"""

from __future__ import annotations

import difflib
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

from swarm_graph.errors import UnreadableAnswer
from swarm_graph.roles.answered_files import read_answered_files
from swarm_graph.text import text_table

FROZEN = Path(__file__).parent / "data" / "edit_corpus"
"""Files of this repository as they once were: the cases stay the same when the code changes."""
REAL = [
    "swarm_graph/text.py", "swarm_graph/roles/fences.py", "nodes/tester.py", "swarm_graph/errors.py",
    "Makefile", "mkdocs.yml", "docs/servers.md", "config.example.json", "CONTRIBUTING.md", "tests/support.py",
]  # fmt: skip
PER_CELL = 8


class Script(NamedTuple):
    """One region of a file and what becomes of it: lines with their signs, as in a diff.

    Attributes:
        start: The line of the file at which the region begins, from 0.
        lines: Pairs of a sign (space, `-` or `+`) and a line.
    """

    start: int
    lines: list[tuple[str, str]]

    @property
    def before(self) -> list[str]:
        return [line for sign, line in self.lines if sign != "+"]

    @property
    def after(self) -> list[str]:
        return [line for sign, line in self.lines if sign != "-"]


@dataclass(frozen=True)
class Target:
    """A file, the change that is meant, and the file that is to come out."""

    path: str
    old: list[str]
    script: Script

    @property
    def new(self) -> list[str]:
        end = self.script.start + len(self.script.before)
        return [*self.old[: self.script.start], *self.script.after, *self.old[end:]]


# --- files ---------------------------------------------------------------------------------------


@cache
def _real(path: str) -> list[str]:
    name = f"{path.replace('/', '_')}.txt"
    return (FROZEN / name).read_text(encoding="utf-8").split("\n")


def file(chance: random.Random) -> tuple[str, list[str]]:
    """A file of the corpus: a real one of this repository, or a made one of another language."""
    path = chance.choice([*REAL, *MADE])
    return path, MADE[path](chance) if path in MADE else _real(path)


def _python(chance: random.Random) -> list[str]:
    lines = ["import os", ""]
    for number in range(12):
        lines += ["", f"class Pump{number}:", f'    """Pump {number}."""', ""]
        for name in chance.sample(["start", "stop", "read", "write", "close"], 3):
            lines += [
                f"    def {name}(self, value):",
                "        if value is None:",
                "            return None",
                "",
            ]
            lines += [
                f"        self.{name}_count = value + {chance.randrange(4)}",
                "        return value",
                "",
            ]
    return [*lines, ""]


def _javascript(chance: random.Random) -> list[str]:
    lines = ["'use strict';", ""]
    for number in range(20):
        lines += [
            f"function step{number}(a, b) {{",
            f"  const limit = {chance.randrange(3)};",
            "  if (a > b) {",
        ]
        lines += ["    return a - b;", "  }", "", '  log("done");', "  return limit;", "}", ""]
    return [*lines, ""]


def _yaml(chance: random.Random) -> list[str]:
    lines = ["services:"]
    for number in range(20):
        lines += [
            f"  service{number}:",
            "    image: base",
            "    ports:",
            f"      - {chance.randrange(8000, 8004)}",
        ]
        lines += ["    environment:", "      LEVEL: info", f"      NAME: 'service {number}'"]
    return [*lines, ""]


def _go(chance: random.Random) -> list[str]:
    lines = ["package main", ""]
    for number in range(15):
        lines += [
            f"func run{number}(a int) int {{",
            "\tif a > 1 {",
            f"\t\treturn a * {chance.randrange(3)}",
            "\t}",
        ]
        lines += ["", '\tprint("a")', "\treturn a", "}", ""]
    return [*lines, ""]


def _markdown(chance: random.Random) -> list[str]:
    lines = ["# Prüfung der Pumpen", ""]
    for number in range(12):
        lines += [
            f"## Schritt {number}",
            "",
            f"Öffne das Ventil „V{chance.randrange(4)}“ \u2013 langsam.  ",
            "",
            "```sh",
        ]
        lines += [
            "pump --start",
            f"pump --level {number}",
            "```",
            "",
            "| a | b |",
            "|---|---|",
            "| 1 | 2 |",
            "",
        ]
    return [*lines, ""]


MADE: dict[str, Callable[[random.Random], list[str]]] = {
    "src/pumps.py": _python, "web/steps.js": _javascript, "deploy/services.yaml": _yaml, "cmd/main.go": _go,
    "docs/pruefung.md": _markdown,
}  # fmt: skip


# --- changes -------------------------------------------------------------------------------------


def target(chance: random.Random) -> Target:
    """A file and a random change of it: lines replaced, inserted or deleted, with some lines around."""
    path, old = file(chance)
    filled = [number for number, line in enumerate(old[:-1]) if line.strip()]
    at = chance.choice(filled)
    what, size = chance.choice(["replace", "replace", "insert", "delete"]), chance.choice([1, 1, 2, 3])
    inserted = [_changed(line, chance) for line in old[at : at + size]]
    removed = [] if what == "insert" else old[at : min(at + size, len(old) - 1)]
    added = [] if what == "delete" else inserted
    above, below = chance.choice([0, 1, 2, 3]), chance.choice([0, 1, 2, 3])
    start, end = max(0, at - above), min(len(old) - 1, at + len(removed) + below)
    lines = [(" ", line) for line in old[start:at]]
    lines += [("-", line) for line in removed] + [("+", line) for line in added]
    lines += [(" ", line) for line in old[at + len(removed) : end]]
    found = Target(path, old, Script(start, lines))
    fits = any(line.strip() for line in found.script.before) and found.new != old
    says_something = what == "delete" or any(line not in old for line in inserted)
    return found if fits and says_something else target(chance)


def _changed(line: str, chance: random.Random) -> str:
    words = re.findall(r"\w+", line)
    if not words:
        return line
    word = chance.choice(words)
    return line.replace(word, f"{word}_{chance.randrange(90) + 10}", 1)


# --- forms ---------------------------------------------------------------------------------------


def whole(target: Target, _script: Script, _line: int) -> str:
    """The whole file, in a fence that it does not hold."""
    return f"~~~~text path={target.path}\n" + "\n".join(target.new) + "~~~~\n"


def search_replace(target: Target, script: Script, _line: int) -> str:
    before, after = ("".join(f"{x}\n" for x in lines) for lines in (script.before, script.after))
    return f"{target.path}\n<<<<<<< SEARCH\n{before}=======\n{after}>>>>>>> REPLACE\n"


def unified_diff(target: Target, script: Script, line: int) -> str:
    heading = _headings(target, script)[-1:]
    sizes = f"-{line},{len(script.before)} +{line},{len(script.after)}"
    body = "".join(f"{sign}{x}\n" for sign, x in script.lines)
    head = f"--- a/{target.path}\n+++ b/{target.path}\n@@ {sizes} @@ {''.join(heading)}\n"
    return f"```diff\n{head}{body}```\n"


def apply_patch(target: Target, script: Script, _line: int) -> str:
    heads = "".join(f"@@ {heading}\n" for heading in _headings(target, script)) or "@@\n"
    body = "".join(f"{sign}{x}\n" for sign, x in script.lines)
    return f"*** Begin Patch\n*** Update File: {target.path}\n{heads}{body}*** End Patch\n"


def _headings(target: Target, script: Script) -> list[str]:
    """The definitions around a place, the outer one first."""
    found: list[str] = []
    changed = next((n for n, (sign, _) in enumerate(script.lines) if sign != " "), 0)
    width = 99
    for line in reversed(target.old[: script.start + min(changed, 1)]):
        indent = len(line) - len(line.lstrip())
        if re.match(r"\s*(?:def|class|func|function) ", line) and indent < width:
            found.insert(0, line.strip())
            width = indent
    return found


Form = Callable[[Target, Script, int], str]
FORMS: dict[str, Form] = {
    "whole file": whole, "search/replace": search_replace, "diff": unified_diff, "patch": apply_patch,
}  # fmt: skip


# --- drift ---------------------------------------------------------------------------------------


class Drifted(NamedTuple):
    """What a model makes of a change: the file as it is, what it writes, and the line that it states."""

    target: Target
    script: Script
    line: int
    crlf: bool = False


Drift = Callable[[Target, random.Random], Drifted | None]


def _plain(target: Target, script: Script | None = None) -> Drifted:
    return Drifted(target, script or target.script, target.script.start + 1)


def _mapped(target: Target, change: Callable[[str], str]) -> Drifted | None:
    lines = [(sign, change(line)) for sign, line in target.script.lines]
    return _plain(target, Script(target.script.start, lines)) if lines != target.script.lines else None


def none(target: Target, _chance: random.Random) -> Drifted | None:
    return _plain(target)


def trailing_spaces(target: Target, chance: random.Random) -> Drifted | None:
    if target.path.endswith(".md"):
        return None  # there they mean something
    found = _mapped(target, lambda line: line + " " * chance.choice([0, 1, 2]))
    return found if found and found.script.before != target.script.before else None


def stripped_ends(target: Target, _chance: random.Random) -> Drifted | None:
    if any(sign == "+" and line != line.rstrip() for sign, line in target.script.lines):
        return None
    return _mapped(target, str.rstrip)


def dedented(target: Target, _chance: random.Random) -> Drifted | None:
    filled = [line for _, line in target.script.lines if line.strip()]
    least = min(len(line) - len(line.lstrip()) for line in filled)
    return _mapped(target, lambda line: line[least:]) if least else None


def indented(target: Target, chance: random.Random) -> Drifted | None:
    more = "\t" if any(line.startswith("\t") for line in target.old) else " " * chance.choice([1, 2, 4])
    return _mapped(target, lambda line: more + line if line.strip() else line)


def other_tabs(target: Target, _chance: random.Random) -> Drifted | None:
    if any(line.startswith("\t") for line in target.old):
        return _mapped(target, lambda line: line.replace("\t", "    "))
    widths = [len(line) - len(line.lstrip()) for line in target.old if line.startswith("  ")]
    unit = 2 if any(width % 4 for width in widths) else 4
    indent = re.compile(rf"^(?: {{{unit}}})+(?! )")
    return _mapped(target, lambda line: indent.sub(lambda found: "\t" * (len(found[0]) // unit), line))


def lost_blank_lines(target: Target, _chance: random.Random) -> Drifted | None:
    filled = [n for n, (sign, line) in enumerate(target.script.lines) if sign != "+" and line.strip()]
    lines = [
        (sign, line)
        for n, (sign, line) in enumerate(target.script.lines)
        if sign != " " or line.strip() or not filled[0] < n < filled[-1]
    ]
    return _plain(target, Script(target.script.start, lines)) if lines != target.script.lines else None


def more_blank_lines(target: Target, chance: random.Random) -> Drifted | None:
    kept = [n for n, (sign, _) in enumerate(target.script.lines) if sign == " "]
    if not kept:
        return None
    lines = list(target.script.lines)
    lines.insert(chance.choice(kept), (" ", ""))
    found = _plain(target, Script(target.script.start, lines))
    return None if "\n".join(found.script.before) in "\n".join(target.old) else found


def wrong_numbers(target: Target, chance: random.Random) -> Drifted | None:
    off = chance.choice([-30, -7, -1, 1, 2, 5, 60])
    return _plain(target)._replace(line=max(1, target.script.start + 1 + off))


def crlf(target: Target, _chance: random.Random) -> Drifted | None:
    return _plain(target)._replace(crlf=True)


def smart_quotes(target: Target, _chance: random.Random) -> Drifted | None:
    def typographic(line: str) -> str:
        return re.sub('"([^"]*)"', "\u201c\\1\u201d", line).replace("'", "\u2019").replace("...", "\u2026")

    if set("\u201c\u2026") & set("".join(target.old)):
        return None
    found = _mapped(target, typographic)
    return found if found and found.script.before != target.script.before else None


def elided(target: Target, chance: random.Random) -> Drifted | None:
    lines = target.script.lines
    kept = [n for n in range(1, len(lines) - 1) if lines[n][0] == " " and lines[n][1].strip()]
    if not kept:
        return None
    at = chance.choice(kept)
    dots = chance.choice(["...", "    ...", "# ... existing code ..."])
    return _plain(target, Script(target.script.start, [*lines[:at], (" ", dots), *lines[at + 1 :]]))


def _stale(target: Target, chance: random.Random, signs: str) -> Drifted | None:
    lines = list(target.script.lines)
    places = [n for n, (sign, line) in enumerate(lines) if sign in signs and len(line.strip()) > 3]
    if not places:
        return None
    at = chance.choice(places)
    lines[at] = (lines[at][0], _changed(lines[at][1], chance))
    script = Script(target.script.start, lines)
    return _plain(target, script) if script.before not in (target.script.before, script.after) else None


def stale_context(target: Target, chance: random.Random) -> Drifted | None:
    return _stale(target, chance, " ")


def stale_target(target: Target, chance: random.Random) -> Drifted | None:
    return _stale(target, chance, "-")


def duplicated(target: Target, chance: random.Random) -> Drifted | None:
    """A second copy of the region stands elsewhere, perhaps indented or with other blank lines."""
    copy = list(target.script.before)
    form = chance.choice(["same", "same", "indented", "blank lines", "changed around"])
    if form == "indented":
        copy = [f"    {line}" if line.strip() else line for line in copy]
    elif form == "blank lines":
        copy = [line for line in copy if line.strip()] if "" in copy else [copy[0], "", *copy[1:]]
    elif form == "changed around":
        copy = ["other_line = 1", *copy, "another_line = 2"]
    end = target.script.start + len(target.script.before)
    if chance.random() < 0.5:
        at = chance.randrange(0, target.script.start + 1)
        old = [*target.old[:at], *copy, *target.old[at:]]
        script = Script(target.script.start + len(copy), target.script.lines)
    else:
        at = chance.randrange(end, len(target.old))
        old, script = [*target.old[:at], *copy, *target.old[at:]], target.script
    return _plain(replace(target, old=old, script=script))


def _after(drift: Drift) -> Drift:
    """A second copy, and then another drift."""

    def both(target: Target, chance: random.Random) -> Drifted | None:
        twice = duplicated(target, chance)
        return drift(twice.target, chance) if twice else None

    return both


DRIFTS: dict[str, Drift] = {
    "none": none, "CRLF": crlf,
    "spaces at line ends": trailing_spaces, "no spaces at line ends": stripped_ends,
    "indentation removed": dedented, "indentation added": indented, "tabs and spaces": other_tabs,
    "blank lines lost": lost_blank_lines, "blank lines added": more_blank_lines,
    "typography": smart_quotes,
    "wrong line numbers": wrong_numbers, "context left out": elided, "stale context": stale_context,
    "stale target": stale_target, "a second copy": duplicated,
    "a second copy, spaces at line ends": _after(trailing_spaces),
    "a second copy, indentation removed": _after(dedented),
    "a second copy, indentation added": _after(indented),
    "a second copy, blank lines lost": _after(lost_blank_lines),
    "a second copy, wrong line numbers": _after(wrong_numbers),
    "a second copy, stale context": _after(stale_context),
}  # fmt: skip
"""What models get wrong, in words; whole files are only tried with the first two."""


# --- the corpus ----------------------------------------------------------------------------------


class Case(NamedTuple):
    """One edit.

    Attributes:
        form: How the answer is written.
        drift: What is wrong with it.
        seed: Makes the same edit again.
        path: The file.
        old: Its text.
        new: The text that is meant.
        answer: What the model writes.
    """

    form: str
    drift: str
    seed: int
    path: str
    old: str
    new: str
    answer: str


def case(form: str, drift: str, seed: int) -> Case:
    """The edit of a seed."""
    chance = random.Random(f"{form}/{drift}/{seed}")
    drifted = None
    while drifted is None:
        drifted = DRIFTS[drift](target(chance), chance)
    answer = FORMS[form](drifted.target, drifted.script, drifted.line)
    answer = answer.replace("\n", "\r\n") if drifted.crlf else answer
    old, new = ("\n".join(lines) for lines in (drifted.target.old, drifted.target.new))
    return Case(form, drift, seed, drifted.target.path, old, new, f"Here is the change.\n\n{answer}")


def cases(per_cell: int = PER_CELL) -> Iterator[Case]:
    """The corpus: every form with every drift that it can have."""
    for form in FORMS:
        for drift in list(DRIFTS)[: 2 if form == "whole file" else None]:
            if drift.endswith("wrong line numbers") and form != "diff":
                continue
            yield from (case(form, drift, seed) for seed in range(per_cell))


def outcome(case: Case) -> str:
    """What comes of an edit: `right`, `refused` or `wrong`."""
    try:
        answer = read_answered_files(case.answer, {case.path: case.old, "other.py": "X = 1\n"})
    except UnreadableAnswer:
        return "refused"
    return "right" if answer.written == {case.path: case.new} and not answer.doubts else "wrong"


def complaints(outcomes: Sequence[tuple[Case, str]]) -> list[tuple[str, str, int]]:
    """The edits that came out wrong, and those applied although they do not quote what they replace."""
    return [
        (case.form, case.drift, case.seed)
        for case, found in outcomes
        if found == "wrong" or (found == "right" and case.drift in ("stale target", "context left out"))
    ]


def table(outcomes: Sequence[tuple[Case, str]]) -> str:
    """The outcomes by drift and form: applied right of all; wrong ones are named."""
    counts = Counter((case.drift, case.form, found) for case, found in outcomes)

    def cell(drift: str, form: str) -> str:
        right, refused, wrong = (counts[drift, form, found] for found in ("right", "refused", "wrong"))
        total = right + refused + wrong
        return f"{right}/{total}" + (f", {wrong} WRONG" if wrong else "") if total else ""

    rows = [(drift, *(cell(drift, form) for form in FORMS)) for drift in DRIFTS]
    return text_table(("applied right of all", *FORMS), rows)


def difference(case: Case) -> str:
    """The answer of a case, and how what came out differs from what was meant."""
    written = read_answered_files(case.answer, {case.path: case.old}).written.get(case.path, "")
    lines = difflib.unified_diff(case.new.split("\n"), written.split("\n"), "meant", "made", lineterm="")
    return f"{case.form}, {case.drift}, seed {case.seed}\n{case.answer}\n" + "\n".join(lines)


def main() -> None:
    outcomes = [(case, outcome(case)) for case in cases(int(sys.argv[1]) if sys.argv[1:] else PER_CELL)]
    print(table(outcomes))
    totals = Counter(found for _, found in outcomes)
    print(f"\n{len(outcomes)} edits: {dict(totals)}")
    for case, found in outcomes:
        if found == "wrong":
            print(f"\n--- {difference(case)}")


if __name__ == "__main__":
    main()
