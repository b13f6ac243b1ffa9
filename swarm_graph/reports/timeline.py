"""What happened when: calls, test runs and calls of tools as bars, a row for each node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.records import Session
from swarm_graph.reports.time_split import (
    LEAST_SECONDS,
    Span,
    call_spans,
    queue_spans,
    test_spans,
    tool_spans,
)
from swarm_graph.sandbox.evidence import RUN_TESTS
from swarm_graph.sessions.metrics import FAILED_TOOLS
from swarm_graph.state import DOCUMENT
from swarm_graph.text import duration

LONG_GAP_S = 120.0
"""A timeline cuts a gap without work that is at least this long."""
GAP_SHARE = 0.04
"""Width of a cut gap, as a share of the width of all working time."""
MAX_NODES = 60
"""More nodes share a row for each role."""
MAX_BARS = 300
"""Of a row; more are joined where they touch."""
JOINED_WITHIN = 0.1
"""In percent of the width: bars of the same kind that are no further apart become one."""
LEAST_WIDTH = 0.01
"""In percent: a bar without a width would not be drawn at all, outline included."""
THIN = 0.4
"""In percent: a narrower bar gets an outline, so that it can be seen on every screen."""
MAX_ROWS = 300
"""Of the table."""
LABELS = 5
"""Of the time axis, besides the one at its begin."""
NEAR_THE_END = 92
"""In percent: a label there ends at its place, and does not leave the page."""
LOOKS: Mapping[str, str] = {
    "queue": "waiting in the queue",
    "answered": "answered",
    "truncated": "answer cut off",
    "failed": "failed",
    "cancelled": "stopped",
    "passed": "passed",
    "broken": "failed",
    "not-run": "not run",
    "tool": "tool",
    "tool-failed": "failed",
}
"""The kinds of bars, in words. Those with the same words have the same color."""


class Work(NamedTuple):
    """A call, a test run, or a call of a tool.

    Attributes:
        span: When it went on.
        queued: When it waited before; None if it did not.
        node: The node.
        role: The role; empty for tests.
        look: One of LOOKS.
        what: In words.
        round: The round.
        outcome: In words.
    """

    span: Span
    queued: Span | None
    node: str
    role: str
    look: str
    what: str
    round: int
    outcome: str


class Bar(NamedTuple):
    """A bar; its place is in percent of the width."""

    x: float
    width: float
    look: str
    title: str

    @property
    def is_thin(self) -> bool:
        """Whether it is too narrow to be seen without an outline."""
        return self.width < THIN


@dataclass
class Lane:
    """A row: its name, the bars of calls and tests, and below them those of tools."""

    name: str
    bars: list[Bar] = field(default_factory=list)
    tools: list[Bar] = field(default_factory=list)


class Label(NamedTuple):
    """A time on the axis; `x` is in percent."""

    x: float
    text: str
    anchor: str


class Timeline(NamedTuple):
    """A timeline.

    Attributes:
        lanes: Its rows.
        labels: Of the axis, in seconds at work.
        gaps: Where a long time without work is cut, in percent.
        looks: The kinds of bars that occur, by their words.
        work: All work in the order in which it began, for a table; at most MAX_ROWS.
        left_out: What the table lacks.
        by_role: Whether a row stands for a role, because there are too many nodes.
        worked_s: The seconds in which anything went on.
    """

    lanes: list[Lane]
    labels: list[Label]
    gaps: list[float]
    looks: dict[str, str]
    work: list[Work]
    left_out: int
    by_role: bool
    worked_s: float


def timeline(catalogue: Catalogue, session: Session, calls: Sequence[Mapping[str, Any]]) -> Timeline:
    """The timeline of a session, from the catalogue alone.

    Args:
        catalogue: The catalogue.
        session: The session.
        calls: The rows of its calls.
    """
    name = session.session
    tests = [run for run in catalogue.test_runs(name) if run["kind"] == "run"]
    tools = [tool for tool in catalogue.tool_figures(name) if tool["outcome"]]
    is_document = session.kind == DOCUMENT
    work = [*_calls(calls), *_tests(tests, is_document), *_tools(tools)]
    return drawn_timeline(sorted(work, key=lambda one: one.span))


def drawn_timeline(work: Sequence[Work]) -> Timeline:
    """The timeline of work that is sorted by its begin."""
    axis = _TimeAxis(span for one in work for span in (one.queued, one.span) if span)
    by_role = len({one.node for one in work}) > MAX_NODES
    lanes: dict[str, Lane] = {}
    for one in work:
        name = one.role or one.node if by_role else one.node
        lane = lanes.setdefault(name, Lane(name))
        if one.queued:
            lane.bars.append(_bar(axis, one.queued, "queue", f"{one.what}: in the queue"))
        title = f"{one.what}, {one.outcome}"
        (lane.tools if one.look.startswith("tool") else lane.bars).append(
            _bar(axis, one.span, one.look, title)
        )
    for lane in lanes.values():
        lane.bars, lane.tools = _joined(lane.bars), _joined(lane.tools)
    occurring = {one.look for one in work} | ({"queue"} if any(one.queued for one in work) else set())
    return Timeline(
        lanes=list(lanes.values()),
        labels=axis.labels(),
        gaps=axis.gaps(),
        looks={words: look for look, words in LOOKS.items() if look in occurring},
        work=list(work[:MAX_ROWS]),
        left_out=max(len(work) - MAX_ROWS, 0),
        by_role=by_role,
        worked_s=axis.worked_s,
    )


def _calls(calls: Sequence[Mapping[str, Any]]) -> list[Work]:
    spans = zip(calls, call_spans(calls), queue_spans(calls), strict=True)
    return [
        Work(
            span=span,
            queued=queued if call["queued_s"] >= LEAST_SECONDS else None,
            node=call["node"],
            role=call["role"],
            look=call["outcome"] if call["outcome"] in LOOKS else "failed",
            what=f"call of {call['node']}, round {call['iteration']}",
            round=call["iteration"],
            outcome=call["outcome"],
        )
        for call, span, queued in spans
    ]


def _tests(tests: Sequence[Mapping[str, Any]], is_document: bool) -> list[Work]:
    node, what = ("check_document", "document check") if is_document else (RUN_TESTS, "test run")
    return [
        Work(
            span=span,
            queued=None,
            node=node,
            role="",
            look={"passed": "passed", "not_run": "not-run"}.get(run["outcome"], "broken"),
            what=f"{what}, round {run['iteration']}",
            round=run["iteration"],
            outcome=run["outcome"].replace("_", " "),
        )
        for run, span in zip(tests, test_spans(tests), strict=True)
    ]


def _tools(tools: Sequence[Mapping[str, Any]]) -> list[Work]:
    return [
        Work(
            span=span,
            queued=None,
            node=tool["node"],
            role=tool["role"],
            look="tool-failed" if tool["outcome"] in FAILED_TOOLS else "tool",
            what=f"{tool['tool']} by {tool['node']}, round {tool['iteration']}",
            round=tool["iteration"],
            outcome=tool["outcome"].replace("_", " "),
        )
        for tool, span in zip(tools, tool_spans(tools), strict=True)
    ]


def _bar(axis: _TimeAxis, span: Span, look: str, title: str) -> Bar:
    x = axis.x(span.begin)
    return Bar(x, max(axis.x(span.end) - x, LEAST_WIDTH), look, f"{title}, {duration(span.end - span.begin)}")


def _joined(bars: list[Bar]) -> list[Bar]:
    """The bars of a row; of very many those that touch are joined."""
    if len(bars) <= MAX_BARS:
        return bars
    joined: list[Bar] = []
    counts: list[int] = []
    for bar in bars:
        last = joined[-1] if joined else None
        if last and last.look == bar.look and bar.x - (last.x + last.width) <= JOINED_WITHIN:
            width = max(bar.x + bar.width, last.x + last.width) - last.x
            joined[-1], counts[-1] = bar._replace(x=last.x, width=width), counts[-1] + 1
        else:
            joined.append(bar)
            counts.append(1)
    return [
        bar if count == 1 else bar._replace(title=f"{count:,} times: {LOOKS[bar.look]}")
        for bar, count in zip(joined, counts, strict=True)
    ]


class _TimeAxis:
    """The horizontal axis: working time to scale, long gaps cut short."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self._periods = _working_periods(spans)
        self.worked_s = sum(end - begin for begin, end in self._periods) or 1e-6
        self._gap_s = GAP_SHARE * self.worked_s
        drawn_s = self.worked_s + self._gap_s * max(len(self._periods) - 1, 0)
        self._scale = 100 / drawn_s

    def x(self, moment: float) -> float:
        """The position of a moment inside a working period, in percent."""
        begun = [period for period in self._periods if period.begin <= moment]
        passed_s = sum(min(moment, period.end) - period.begin for period in begun)
        return (passed_s + self._gap_s * max(len(begun) - 1, 0)) * self._scale

    def gaps(self) -> list[float]:
        """The positions of the middles of the cut gaps."""
        return [self.x(period.begin) - self._gap_s * self._scale / 2 for period in self._periods[1:]]

    def labels(self) -> list[Label]:
        """Seconds at work, at round numbers."""
        step = _round_step(self.worked_s / LABELS)
        passed = [number * step for number in range(1, LABELS + 1) if number * step <= self.worked_s]
        labels = [Label(self._x_at_work(seconds), duration(seconds), "middle") for seconds in passed]
        if labels and labels[-1].x > NEAR_THE_END:
            labels[-1] = labels[-1]._replace(anchor="end")
        return [Label(0.0, "0 s", "start"), *labels]

    def _x_at_work(self, seconds: float) -> float:
        for period in self._periods:
            length = period.end - period.begin
            if seconds <= length:
                return self.x(period.begin + seconds)
            seconds -= length
        return 100.0


def _working_periods(spans: Iterable[Span]) -> list[Span]:
    """The spans joined where less than LONG_GAP_S lies between them."""
    periods: list[Span] = []
    for begin, end in sorted(spans):
        if periods and begin - periods[-1].end < LONG_GAP_S:
            periods[-1] = Span(periods[-1].begin, max(periods[-1].end, end))
        else:
            periods.append(Span(begin, end))
    return periods


def _round_step(least: float) -> float:
    """The smallest step of a time axis that is not less than some seconds."""
    steps = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 21600, 86400)
    return next((step for step in steps if step >= least), least)
