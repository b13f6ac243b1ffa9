"""Charts of the HTML pages, as SVG inside the page: the timeline of calls, and the tokens of each role."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from swarm_graph.html import escaped

ROW_HEIGHT, LABEL_HEIGHT = 34, 18
"""In pixels. A row's label stands above its bars. Their places are in percent of the page's width."""
MIN_BAR_WIDTH = 0.2
"""Of a call, in percent."""
OUTCOME_COLORS = {"answered": "#2a7f9e", "truncated": "#d39e00", "failed": "#c0392b", "cancelled": "#8e8e8e"}
OTHER_COLOR, QUEUED_COLOR = "#555", "#d9d9d9"
INPUT_COLOR, OUTPUT_COLOR = "#9ecae1", "#2a7f9e"
LONG_GAP_S = 120.0
"""A timeline cuts a gap without calls that is at least this long."""
GAP_SHARE = 0.04
"""Width of a cut gap, as a share of the width of all working time."""
MAX_NAME_CHARACTERS = 40
"""Of a node beside its bars."""
MAX_CALLS, MAX_NODES = 2000, 60
"""Calls and nodes on a timeline; more could not be distinguished."""

Span = tuple[float, float]
"""Begin and end, in seconds since the epoch."""


class _TimeAxis:
    """The horizontal axis of a timeline: working time to scale, long gaps cut short."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self.periods = _working_periods(spans)
        self.worked_s = sum(end - begin for begin, end in self.periods) or 1e-6
        self._gap_s = GAP_SHARE * self.worked_s
        drawn_s = self.worked_s + self._gap_s * (len(self.periods) - 1)
        self._scale = 100 / drawn_s

    def x(self, moment: float) -> float:
        """The position of a moment inside a working period, in percent."""
        begun = [(begin, end) for begin, end in self.periods if begin <= moment]
        passed_s = sum(min(moment, end) - begin for begin, end in begun)
        return (passed_s + self._gap_s * (len(begun) - 1)) * self._scale

    def gaps(self) -> list[float]:
        """The positions of the middles of the cut gaps."""
        return [self.x(begin) - self._gap_s * self._scale / 2 for begin, _ in self.periods[1:]]


def _working_periods(spans: Iterable[Span]) -> list[Span]:
    """The spans joined where less than LONG_GAP_S lies between them."""
    periods: list[Span] = []
    for begin, end in sorted(spans):
        if periods and begin - periods[-1][1] < LONG_GAP_S:
            periods[-1] = (periods[-1][0], max(periods[-1][1], end))
        else:
            periods.append((begin, end))
    return periods


def timeline(calls: Sequence[Mapping[str, Any]]) -> str:
    """The calls of a session as bars, a row for each node: grey in the queue, then colored by outcome.

    A long gap between calls, as before a resume, is cut short and marked.

    Args:
        calls: Rows of the catalogue's calls, in the order of their ends. Calls above MAX_CALLS or MAX_NODES
            are left out; the legend counts them.
    """
    if not calls:
        return "<p>No calls.</p>"
    nodes = list(dict.fromkeys(call["node"] for call in calls[:MAX_CALLS]))[:MAX_NODES]
    drawn = [call for call in calls[:MAX_CALLS] if call["node"] in nodes]
    axis = _TimeAxis((_queued_at(call), call["time"]) for call in drawn)
    height = ROW_HEIGHT * len(nodes)
    shapes = [_label(row, node[:MAX_NAME_CHARACTERS]) for row, node in enumerate(nodes)]
    for call in drawn:
        shapes += _call_bars(call, nodes.index(call["node"]), axis)
    shapes += [_gap_mark(x, height) for x in axis.gaps()]
    shapes += [
        _text(0, height + 16, "0 s"),
        _text(100, height + 16, f"{axis.worked_s:.1f} s at work", anchor="end"),
    ]
    return _svg(height + 24, shapes) + _legend(len(calls) - len(drawn), len(calls))


def _queued_at(call: Mapping[str, Any]) -> float:
    return float(call["time"] - call["seconds"] - call["queued_s"])


def _call_bars(call: Mapping[str, Any], row: int, axis: _TimeAxis) -> list[str]:
    queued, started, ended = (
        axis.x(moment) for moment in (_queued_at(call), call["time"] - call["seconds"], call["time"])
    )
    title = f"{call['node']}, round {call['iteration']}, {call['outcome']}, {call['seconds']:.2f} s"
    color = OUTCOME_COLORS.get(call["outcome"], OTHER_COLOR)
    return [
        _bar(queued, row, started - queued, QUEUED_COLOR, f"{title}: queued {call['queued_s']:.2f} s"),
        _bar(started, row, max(ended - started, MIN_BAR_WIDTH), color, title),
    ]


def _gap_mark(x: float, height: int) -> str:
    return (
        f'<line x1="{x:.2f}%" x2="{x:.2f}%" y1="0" y2="{height}" stroke="#999" stroke-dasharray="2 3">'
        "<title>a long time without calls</title></line>"
    )


def _legend(omitted: int, total: int) -> str:
    colors = {**OUTCOME_COLORS, "in the queue": QUEUED_COLOR}
    legend = " ".join(f'<span style="color:{color}">■</span> {name}' for name, color in colors.items())
    more = f" … and {omitted} more of {total} calls" if omitted else ""
    return f"<p>{legend}{more}</p>"


def token_bars(tokens: Mapping[str, tuple[int, int]]) -> str:
    """Input and output tokens as bars, a row for each role.

    Args:
        tokens: By role: input tokens, output tokens.
    """
    most = max((sum(pair) for pair in tokens.values()), default=0) or 1
    scale = 100 / most
    shapes = []
    for row, (role, (sent, received)) in enumerate(tokens.items()):
        shapes += [
            _label(row, f"{role}: {sent:,} + {received:,}"),
            _bar(0, row, sent * scale, INPUT_COLOR, f"{sent} tokens in"),
            _bar(sent * scale, row, received * scale, OUTPUT_COLOR, f"{received} tokens out"),
        ]
    return _svg(ROW_HEIGHT * len(tokens) + 4, shapes) + "<p>Light: tokens in, dark: tokens out.</p>"


def _label(row: int, name: str) -> str:
    return _text(0, ROW_HEIGHT * row + LABEL_HEIGHT - 4, name)


def _text(x: float, y: int, text: str, *, anchor: str = "start") -> str:
    return f'<text x="{x:.2f}%" y="{y}" text-anchor="{anchor}">{escaped(text)}</text>'


def _bar(x: float, row: int, width: float, color: str, title: str) -> str:
    return (
        f'<rect x="{x:.2f}%" y="{ROW_HEIGHT * row + LABEL_HEIGHT}" width="{max(width, 0):.2f}%" '
        f'height="{ROW_HEIGHT - LABEL_HEIGHT - 4}" fill="{color}"><title>{escaped(title)}</title></rect>'
    )


def _svg(height: int, shapes: Iterable[str]) -> str:
    return f'<svg class="chart" width="100%" height="{height}">{"".join(shapes)}</svg>'
