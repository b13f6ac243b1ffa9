"""The mutants that are known to fail hidden tests. `benchmarks/kill_mutants.py` finds and records them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources

from swarm_graph.suites.mutants import Mutant, mutants

RECORD = "killed_mutants.json"


def killed_mutants(case: str, files: Mapping[str, str]) -> list[Mutant]:
    """The recorded mutants of a reference; the hidden tests of its case fail for each of them.

    Args:
        case: The id of the case.
        files: Path to text of its reference.
    """
    return [*_killed(case, tuple(files.items()))]


@cache
def _killed(case: str, files: tuple[tuple[str, str], ...]) -> tuple[Mutant, ...]:
    if not (identities := recorded().get(case)):
        return ()
    found = {mutant.identity: mutant for mutant in mutants(dict(files))}
    return tuple(found[identity] for identity in identities if identity in found)


@cache
def recorded() -> dict[str, list[str]]:
    """Case id to the identities of its recorded mutants."""
    text = resources.files("swarm_graph.suites").joinpath(RECORD).read_text(encoding="utf-8")
    record: dict[str, list[str]] = json.loads(text)
    return record
