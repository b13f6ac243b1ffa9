"""Mutants: small bugs at known places, and the reviews that are made of them."""

import ast
import json
from collections import Counter
from importlib import resources

import pytest

from swarm_graph.settings import Execution
from swarm_graph.suites.case import Case, Suite
from swarm_graph.suites.killed import RECORD, killed_mutants
from swarm_graph.suites.load_suite import load_suite
from swarm_graph.suites.mutants import mutants
from swarm_graph.suites.suite_check import check_suite

TEXT = '''"""A tank."""

LIMIT = 3


class Tank:
    def __init__(self, level):
        self.level = level
        self.log = []

    def fill(self, amount, note=f"{LIMIT + 1} é"):  # é: columns are bytes
        """Fill it up to 5."""
        if amount < 0 or not note:
            raise ValueError("é", amount)
        self.level += amount
        return min(self.level, LIMIT)


def share(a, b):
    return a / b if "é" and b else divmod(
        a,
        b)
'''


def test_every_kind_of_mutant() -> None:
    found = {
        (mutant.planted.symbol, mutant.planted.lines, mutant.planted.change)
        for mutant in mutants({"src/tank.py": TEXT, "notes.md": "1 < 2"})
    }
    assert found == {
        ("", (3, 3), "3 became 4"),
        ("Tank.__init__", (8, 8), "the line 'self.level = level' was removed"),
        ("Tank.__init__", (9, 9), "the line 'self.log = []' was removed"),
        ("Tank.fill", (13, 13), "< became <="),
        ("Tank.fill", (13, 13), "0 became 1"),
        ("Tank.fill", (13, 13), "or became and"),
        ("Tank.fill", (13, 13), "not was removed"),
        ("Tank.fill", (13, 13), "the check 'if amount < 0 or not note' was removed"),
        ("Tank.fill", (15, 15), "the line 'self.level += amount' was removed"),
        ("Tank.fill", (16, 16), "return was removed"),
        ("Tank.fill", (16, 16), "min became max"),
        ("Tank.fill", (16, 16), "the arguments of min were swapped"),
        ("share", (20, 20), "a / b became a * b"),
        ("share", (20, 20), "and became or"),
        ("share", (20, 20), "the arguments of divmod were swapped"),
        ("share", (20, 20), "return was removed"),
        ("Tank.fill", (14, 14), "the arguments of ValueError were swapped"),
    }


def test_a_mutant_changes_its_lines_only() -> None:
    files = {"tank.py": TEXT, "notes.md": "1 < 2"}
    made = mutants(files)
    old = TEXT.splitlines()
    for mutant in made:
        assert mutant.files["notes.md"] == files["notes.md"]
        new = mutant.files["tank.py"].splitlines()
        first = mutant.planted.lines[0] - 1
        assert new[:first] == old[:first]
        assert new[first:] != old[first:]
        assert old[-1] == new[-1] or "divmod" in new[first]
        ast.parse(mutant.files["tank.py"])
    assert made == mutants(files)
    assert len({mutant.identity for mutant in made}) == len(made)


@pytest.fixture(scope="module")
def reviews() -> Suite:
    return load_suite("reviews")


def test_reviews_have_as_many_bugs_as_clean_cases(reviews: Suite) -> None:
    for cases in (reviews.cases[:40], reviews.cases[:100], reviews.cases):
        kinds = Counter("bug" if case.planted else "clean" for case in cases if case.planted or case.is_clean)
        assert kinds["bug"] == kinds["clean"] == len(cases) / 2
    half = reviews.cases[: len(reviews.cases) // 2]
    assert len({case.name.rpartition("-")[0] for case in half}) == len(half)
    assert len({case.name for case in reviews.cases}) == len(reviews.cases) > 300
    assert load_suite("reviews").digest == reviews.digest


def test_nothing_in_a_review_tells_whether_it_has_a_bug(reviews: Suite) -> None:
    bugs = {case.name.rpartition("-")[0]: case for case in reviews.cases if case.planted}
    clean = {case.name.rpartition("-")[0]: case for case in reviews.cases if case.is_clean}
    for name, case in bugs.items():
        assert case.planted
        text, correct = case.shown[case.planted.path], clean[name].shown[case.planted.path]
        assert text != correct
        assert case.request.replace(text.rstrip(), correct.rstrip()) == clean[name].request
        assert case.planted.change not in case.request.replace(text.rstrip(), "")
        assert 1 <= case.planted.lines[0] <= case.planted.lines[1] <= len(text.splitlines())


def test_the_record_fits_the_references() -> None:
    """A reference that has changed needs its mutants found again."""
    text = resources.files("swarm_graph.suites").joinpath(RECORD).read_text(encoding="utf-8")
    record = json.loads(text)
    bases = {case.id: case for name in ("smoke", "humaneval") for case in load_suite(name).cases}
    for identity, recorded in record.items():
        assert len(killed_mutants(identity, bases[identity].solution)) == len(recorded) > 0
    written = {id for id, case in bases.items() if (case.assignment, case.kind) == ("write", "code")}
    assert len(written - record.keys()) <= 1


@pytest.mark.slow
def test_hidden_tests_kill_recorded_mutants(reviews: Suite) -> None:
    """Of every sixth review; `benchmarks/kill_mutants.py` has tried all."""
    bugs = [case for case in reviews.cases if case.planted][::6]
    chosen = [
        Case(case.suite, case.name, "", case.hidden, shown=case.shown, planted=case.planted) for case in bugs
    ]
    problems = check_suite(Suite("reviews", "", tuple(chosen)), Execution())
    assert [problem for problem in problems if "no reference" not in problem] == []
