"""A doctor's check, and a list of checks as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from swarm_graph.text import format_count


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        name: The thing that was checked, such as a server.
        ok: True: fine; False: failed; None: a warning.
        text: What was found.
        cure: What to do about it; empty when nothing is to be done.
    """

    name: str
    ok: bool | None
    text: str
    cure: str = ""


def failed_check(name: str, message: str) -> Check:
    """A failed check from an error message of the form "problem; cure"."""
    text, _, cure = message.partition("; ")
    return Check(name, False, text, cure)


def checks_text(checks: Sequence[Check]) -> str:
    """The checks as text, one line each, and a last line that counts the failed ones and the warnings."""
    marks = {True: "ok  ", None: "warn", False: "FAIL"}
    lines = []
    for check in checks:
        cure = f" → {check.cure}" if check.cure else ""
        lines.append(f"{marks[check.ok]}  {check.name}: {check.text}{cure}")
    failed = sum(check.ok is False for check in checks)
    warnings = sum(check.ok is None for check in checks)
    last = f"{failed} of {len(checks)} checks failed" if failed else "no check failed"
    if warnings:
        last += f", {format_count(warnings, 'warning')}"
    lines.append(last)
    return "\n".join(lines) + "\n"
