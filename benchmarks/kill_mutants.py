"""Find mutants of reference solutions that fail the hidden tests, and record them for the suite `reviews`.

    python benchmarks/kill_mutants.py [SUITE…]   # writes swarm_graph/suites/killed_mutants.json

A mutant that hangs is left out: it would cost every later check its whole time limit.
"""

from __future__ import annotations

import json
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from swarm_graph.settings import Execution
from swarm_graph.suites.case import Case
from swarm_graph.suites.judge import judge
from swarm_graph.suites.killed import RECORD, recorded
from swarm_graph.suites.load_suite import load_suite
from swarm_graph.suites.mutants import mutants

TRIED, KEPT = 6, 4
"""Mutants of each case."""
SECONDS = 5.0


def killed_of(case: Case) -> list[str]:
    """The identities of some mutants of a case that its hidden tests kill."""
    found = mutants(case.solution)
    chosen = random.Random(case.id).sample(found, min(TRIED, len(found)))
    quick = replace(case, seconds=SECONDS)
    killed: list[str] = []
    for mutant in chosen:
        if len(killed) < KEPT and judge(quick, mutant.files, [], Execution()).outcome == "failed":
            killed.append(mutant.identity)
    return killed


def main() -> None:
    suites = sys.argv[1:] or ["smoke", "humaneval"]
    cases = [case for name in suites for case in load_suite(name).cases]
    cases = [case for case in cases if case.assignment == "write" and case.kind == "code"]
    with ThreadPoolExecutor(2) as pool:
        found = zip(cases, pool.map(killed_of, cases), strict=True)
        record = {case.id: killed for case, killed in found if killed}
    others = {case: killed for case, killed in recorded().items() if case.partition("/")[0] not in suites}
    target = Path(__file__).parent.parent / "swarm_graph" / "experiments" / RECORD
    target.write_text(json.dumps({**others, **record}, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{sum(map(len, record.values()))} mutants of {len(record)} cases, of {len(cases)} tried")


if __name__ == "__main__":
    main()
