"""The rounds of a session as data for its report: verdicts, findings beside their code, changes, tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from swarm_graph.errors import SwarmError
from swarm_graph.reports.fates import Fate, fate_of
from swarm_graph.reports.file_diffs import Change, change_between
from swarm_graph.reports.highlight import CodeLines, Highlighter
from swarm_graph.reports.round_codes import RoundCode
from swarm_graph.roles.answered_change import repository_files, repository_of
from swarm_graph.roles.findings import SEVERITIES, abstains, comparable, judge
from swarm_graph.roles.locations import Place, located_reviews, place_of
from swarm_graph.sandbox.evidence import CHECK_DOCUMENT, evidence_line
from swarm_graph.state import Evidence, Finding, Review, SwarmState, has_ended
from swarm_graph.text import shortened, without_loops
from swarm_graph.workflows.verdict import SYNTAX, syntax_findings

CONTEXT_LINES, MAX_PLACE_LINES = 4, 40
"""Lines above and below the place of a finding, and lines of the place, that are shown."""
MAX_FINDINGS, MAX_FINDING_CHARACTERS = 100, 4_000
"""Findings of a round, and characters of a finding's texts, that are shown."""
MAX_OUTPUT = 20_000
"""Characters of a traceback, and of the output of a test command, that are shown."""


@dataclass(frozen=True)
class ShownFinding:
    """A finding for people.

    Attributes:
        id: Names it in its page.
        severity: Its severity.
        location: Where it is, as its reviewer wrote it, or as `path:line` of an existing file.
        problem: What is wrong.
        suggestion: What to do; empty if that says nothing new.
        seen_by: The nodes that made it.
        place: Its place in a file of its round; None if it names none that there is.
        code: The lines around its place; None without a place in a file that can be read.
        fate: What became of it.
    """

    id: str
    severity: str
    location: str
    problem: str
    suggestion: str
    seen_by: list[str]
    place: Place | None
    code: CodeLines | None
    fate: Fate


@dataclass(frozen=True)
class ShownReview:
    """What a reviewer said in a round: its node, its vote as it is and in words, its number of findings."""

    node: str
    approved: bool | None
    outcome: str
    findings: str


@dataclass(frozen=True)
class ShownTests:
    """A test run, or the checks of a document.

    Attributes:
        title: What ran.
        line: Its outcome in one line.
        kind: `good` if it passed, `muted` if nothing ran, otherwise `bad`.
        failures: The first failures.
        output: The end of the output.
    """

    title: str
    line: str
    kind: str
    failures: list[dict[str, Any]]
    output: str


@dataclass(frozen=True)
class Round:
    """A round of a session.

    Attributes:
        number: From 1.
        is_judged: Whether its verdict is there.
        approved: The verdict.
        counts: How many findings of each severity there are.
        reviews: What each reviewer said.
        findings: The findings, merged, the gravest first.
        more_findings: How many further findings there are.
        change: What changed since the round before; None for the first round, and if its code is not kept.
        has_code: Whether the code of the round is kept.
        tests: The test runs.
        circling: Which earlier round it repeats, in words; empty if none.
    """

    number: int
    is_judged: bool
    approved: bool
    counts: dict[str, int]
    reviews: list[ShownReview]
    findings: list[ShownFinding]
    more_findings: int
    change: Change | None
    has_code: bool
    tests: list[ShownTests]
    circling: str

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        if not self.is_judged:
            return "not judged yet"
        return "approved" if self.approved else "changes wanted"


@lru_cache(maxsize=1)
def _reviews_adapter() -> TypeAdapter[Review]:
    return TypeAdapter(Review)


def readable_reviews(state: Mapping[str, Any]) -> tuple[list[Review], int]:
    """The reviews of a state, and how many cannot be read: the database may be somebody else's."""
    found = state.get("reviews")
    given, reviews = found if isinstance(found, list) else [], list[Review]()
    for review in given:
        try:
            reviews.append(_reviews_adapter().validate_python(review))
        except ValidationError:
            continue
    return reviews, len(given) - len(reviews)


@dataclass(frozen=True)
class _Judged:
    """A round: its code, the files that its findings may be about, its reviews with located findings."""

    code: RoundCode | None
    files: Mapping[str, str]
    reviews: list[Review]


def rounds_of(
    state: SwarmState, codes: Mapping[int, RoundCode], highlighter: Highlighter, *, trusted: bool
) -> list[Round]:
    """The rounds of a session, the first one first.

    Args:
        state: The session's latest state.
        codes: The code of its rounds.
        highlighter: Shows the code of its findings.
        trusted: Whether the session is the user's own, so that git may read in the repository that it names.
    """
    given: dict[int, list[Review]] = {number: [] for number, code in codes.items() if code.files}
    for review in readable_reviews(state)[0]:
        given.setdefault(review["iteration"], []).append(review)
    rounds: dict[int, _Judged] = {}
    for number, reviews in sorted(given.items()):
        code = codes.get(number)
        files = _files(code, state, trusted=trusted)
        all_reviews = [*reviews, *(_syntax_review(number, code, state) if code else [])]
        all_reviews.sort(key=lambda review: review["node"])
        located = located_reviews(all_reviews, files, code.deleted if code else [])
        rounds[number] = _Judged(code, files, located)
    ended = has_ended(str(state.get("phase")))
    return [_round(number, rounds, state, highlighter, ended=ended) for number in rounds]


def _syntax_review(number: int, code: RoundCode, state: SwarmState) -> list[Review]:
    """The refusal of code that does not parse, which the verdict adds to the reviews of a round.

    In a repository a file may have been so before; then git would have to tell.
    """
    findings = [] if state.get("repo") else [*syntax_findings(code.code)]
    return [Review(node=SYNTAX, iteration=number, approved=False, findings=findings)] if findings else []


def _round(
    number: int, rounds: Mapping[int, _Judged], state: SwarmState, highlighter: Highlighter, *, ended: bool
) -> Round:
    this, before = rounds[number], rounds.get(number - 1)
    is_last = number == max(rounds)
    approved, findings = judge(this.reviews)
    reviews = {one: judged.reviews for one, judged in rounds.items()}
    shown = findings[:MAX_FINDINGS]
    fates = [fate_of(finding, number, reviews, always=(SYNTAX,), ended=ended) for finding in shown]
    return Round(
        number=number,
        is_judged=ended or not is_last or (this.code is not None and this.code.is_judged),
        approved=approved,
        counts=_counts(findings),
        reviews=[_review(review) for review in this.reviews if "evidence" not in review],
        findings=[
            _finding(finding, f"round-{number}-finding-{place}", this.files, highlighter, fate)
            for place, (finding, fate) in enumerate(zip(shown, fates, strict=True), 1)
        ],
        more_findings=len(findings) - len(shown),
        change=_change(before, this),
        has_code=this.code is not None,
        tests=[_tests(one["node"], one["evidence"]) for one in this.reviews if "evidence" in one],
        circling=str(state.get("circling") or "") if is_last else "",
    )


def _change(before: _Judged | None, after: _Judged) -> Change | None:
    return (
        change_between(before.code.files, after.code.files) if before and before.code and after.code else None
    )


def _files(code: RoundCode | None, state: SwarmState, *, trusted: bool) -> Mapping[str, str]:
    """The files that findings of a round may be about."""
    written = code.files if code else {}
    repo = repository_of(state)
    if not repo or not trusted:  # git runs in the folder that the session names
        return written
    try:
        return repository_files(repo, written, code.deleted if code else [])
    except SwarmError:  # the repository is gone
        return written


def _review(review: Review) -> ShownReview:
    words = [f"{count} {severity}" for severity, count in _counts(review["findings"]).items()]
    outcome = {True: "approved", False: "changes wanted", None: "could not be read: no approval"}
    text = "no vote" if abstains(review) else outcome[review["approved"]]
    return ShownReview(review["node"], review["approved"], text, ", ".join(words))


def _counts(findings: Sequence[Finding]) -> dict[str, int]:
    """How many findings of each severity there are, the gravest first."""
    counts = Counter(finding["severity"] for finding in findings)
    return {severity: counts[severity] for severity in SEVERITIES if counts[severity]}


def _finding(
    finding: Finding, name: str, files: Mapping[str, str], highlighter: Highlighter, fate: Fate
) -> ShownFinding:
    place = _place(finding, files)
    problem, suggestion = (
        shortened(without_loops(finding[key]), MAX_FINDING_CHARACTERS) for key in ("problem", "suggestion")
    )
    return ShownFinding(
        id=name,
        severity=finding["severity"],
        location=shortened(finding["location"], 300),
        problem=problem,
        suggestion="" if comparable(suggestion) == comparable(problem) else suggestion,
        seen_by=finding["seen_by"],
        place=place,
        code=_code(place, files, highlighter) if place and place.line else None,
        fate=fate,
    )


def _place(finding: Finding, files: Mapping[str, str]) -> Place | None:
    place = place_of(finding["location"])
    return place if place and place.path in files else None


def _code(place: Place, files: Mapping[str, str], highlighter: Highlighter) -> CodeLines:
    path, line, last = place
    return highlighter.place(path, files[path], line, max(last, line), CONTEXT_LINES, MAX_PLACE_LINES)


def _tests(node: str, evidence: Evidence) -> ShownTests:
    failures: list[dict[str, Any]] = [
        {**failure, "text": shortened(failure["text"], MAX_OUTPUT)} for failure in evidence["failures"]
    ]
    return ShownTests(
        title="Checks" if node == CHECK_DOCUMENT else "Tests",
        line=evidence_line(evidence).removeprefix("tests "),  # "tests not run" below "Tests"
        kind={"passed": "good", "not_run": "muted"}.get(evidence["outcome"], "bad"),
        failures=failures,
        output=shortened(evidence["output"], MAX_OUTPUT),
    )
