"""A case of a suite: a request, and the hidden tests that decide whether an answer solves it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Literal

from swarm_graph.state import Kind

Assignment = Literal["write", "review"]
"""What a case asks for: files, or findings about the files in its request."""

FINDINGS = "findings.json"
"""The file in which hidden tests find the findings of the session."""


@dataclass(frozen=True)
class Planted:
    """The bug that was planted in the code of a review case.

    Attributes:
        path: The file.
        lines: The first and the last line that differ from the correct file, from 1.
        symbol: The function or class around them; empty at the top of the file.
        change: What was changed, for people: `<= became <`.
    """

    path: str
    lines: tuple[int, int]
    symbol: str
    change: str


@dataclass(frozen=True)
class Case:
    """One case. Only `request` and `kind` may reach a prompt; everything else is hidden.

    Attributes:
        suite: The name of its suite.
        name: Its name there; letters, digits, `-` and `_`, at most 40.
        request: What the swarm is asked. It names the files that the hidden tests import.
        assignment: Whether files are wanted, or findings about the files in the request.
        kind: What it is about: code or a document.
        hidden: Path to text of the hidden tests. They see the session's files, and `findings.json`.
        solution: Path to text of a reference that passes them. Of a review of code the correct code; of a
            review that hidden tests score `findings.json`.
        wrong: Wrong answers, each path to text like `solution`, for simulated models.
        shown: Path to text of the files that the request of a review shows; findings name places in them.
        visible: Tests that a good tester would write, for simulated models. They show nothing of `hidden`.
        planted: The bug of a review case; None if its code is correct, and for other cases.
        is_clean: Whether it is a review case with correct code.
        seconds: Wall-clock limit of its hidden tests.
        packages: The packages that its code and tests may import, as pip names them.
    """

    suite: str
    name: str
    request: str
    hidden: Mapping[str, str]
    assignment: Assignment = "write"
    kind: Kind = "code"
    solution: Mapping[str, str] = field(default_factory=dict)
    wrong: tuple[Mapping[str, str], ...] = ()
    shown: Mapping[str, str] = field(default_factory=dict)
    visible: Mapping[str, str] = field(default_factory=dict)
    planted: Planted | None = None
    is_clean: bool = False
    seconds: float = 30.0
    packages: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Its suite and its name."""
        return f"{self.suite}/{self.name}"

    @property
    def is_scored(self) -> bool:
        """Whether hidden tests or places of findings score an answer; the line of a text file has neither."""
        return bool(self.hidden) or self.assignment == "review"

    @property
    def digest(self) -> str:
        """A fingerprint of all that it consists of."""
        return sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Suite:
    """Cases that are evaluated together.

    Attributes:
        name: `smoke`, `humaneval`, `reviews`, or the name of a folder or file.
        source: Where it comes from, for people: a package with its version, or a path with its sha256.
        cases: The cases, in their order.
    """

    name: str
    source: str
    cases: tuple[Case, ...]

    @property
    def digest(self) -> str:
        """A fingerprint of all its cases."""
        return sha256("\n".join(case.digest for case in self.cases).encode()).hexdigest()
