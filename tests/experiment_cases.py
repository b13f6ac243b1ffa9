"""Suites for tests of experiments: small cases whose hidden tests decide by what the session's files hold."""

from __future__ import annotations

import json
from pathlib import Path

HIDDEN = "import a\n\n\ndef test_a():\n    assert {check}\n"
EVEN = "int(a.x, 16) % 2 == 0"
"""Solved or not as the answer of `chaos.ModelServer` falls."""


def write_suite(folder: Path, count: int, *, check: str = EVEN) -> Path:
    """A folder of cases that ask for `src/a.py`; returns the folder.

    Args:
        folder: Where the cases go.
        count: How many.
        check: What the hidden test of each asserts of the module `a`.
    """
    for number in range(count):
        case = folder / f"case-{number}"
        (case / "hidden").mkdir(parents=True)
        (case / "solution" / "src").mkdir(parents=True)
        request = json.dumps(f"Write src/a.py for case {number}: it sets x.")
        (case / "case.yaml").write_text(f"request: {request}\n")
        (case / "hidden" / "test_hidden.py").write_text(HIDDEN.format(check=check))
        (case / "solution" / "src" / "a.py").write_text("x = '0'\n")
    return folder
