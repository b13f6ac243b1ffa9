"""Reports as one HTML file that needs no network: nothing in it refers to anything outside of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from swarm_graph.html import table, text
from swarm_graph.reports.analysis import Analysis
from swarm_graph.reports.overview import WORKFLOW_HEADS, Overview
from swarm_graph.roles.findings import SEVERITIES, judge
from swarm_graph.sessions.summary_html import SIMULATED, roles_table
from swarm_graph.state import Review, SwarmState
from swarm_graph.text import local_time

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { padding: .25rem .8rem .25rem 0; text-align: left; vertical-align: top; }
th { border-bottom: 1px solid #999; white-space: nowrap; } td.number { text-align: right; }
svg text { font: 12px system-ui, sans-serif; fill: #222; }
pre { background: #f5f5f5; padding: .8rem; overflow-x: auto; }
.simulated { background: #fff3cd; padding: .5rem .8rem; }
"""
PAGE = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>{style}</style></head>
<body>
{body}
</body></html>
"""
WIDTH, LEFT, ROW = 880, 160, 22
COLORS = {"answered": "#2a7f9e", "truncated": "#d39e00", "failed": "#c0392b", "cancelled": "#8e8e8e"}
QUEUED = "#d9d9d9"
LONG = 120.0
"""Seconds without a call that a timeline cuts short."""
CUT = 0.04
"""What is left of them, as a share of the time at work."""
MOST_CALLS, MOST_NODES = 2000, 60
"""On a timeline; more would be no picture any more."""


def session_page(told: Analysis, calls: Sequence[Mapping[str, Any]], state: SwarmState, graph: str) -> str:
    """One session: figures, a timeline of its calls, tokens per role, findings by round, and its graph."""
    approved = "" if told.approved is None else f", {'approved' if told.approved else 'not approved'}"
    figures = {name.replace("_", " "): value for name, value in told.figures().items()}
    parts = [
        f"<h1>Session {text(told.session)} ({text(told.workflow)}): {text(told.phase)}{approved}</h1>",
        SIMULATED if told.simulated else "",
        f"<pre>{text(told.request)}</pre>",
        f"<p>Begun {local_time(told.created_at)}.</p>",
        f"<p>Its last run ended early: {text(told.error)}</p>" if told.error else "",
        table(("", ""), figures.items()),
        "<h2>Calls over time</h2>",
        timeline(calls),
        "<h2>Tokens per role</h2>",
        bars({role: (one["input_tokens"], one["output_tokens"]) for role, one in told.agents.items()}),
        roles_table(told.agents),
        "<h2>Findings by round</h2>",
        rounds(state.get("reviews", [])),
        "<h2>The graph</h2>",
        f'<div class="wide">{graph}</div>',
    ]
    return _page(f"Session {told.session}", parts)


def overview_page(made: Overview) -> str:
    """All sessions: by workflow, by role, the latest ones."""
    workflows = [
        (name, one.sessions, one.approved, ", ".join(f"{n} {phase}" for phase, n in one.phases.items()),
         one.rounds, one.seconds)
        for name, one in made.workflows.items()
    ]  # fmt: skip
    latest = [
        (row["session"], row["workflow"], row["phase"], local_time(row["updated_at"]), row["request"][:80])
        for row in made.latest
    ]
    findings = [(severity, made.findings.get(severity, 0)) for severity in SEVERITIES]
    parts = [
        f"<h1>Swarm report, {local_time(made.made_at)}</h1>",
        "<h2>Workflows</h2>",
        table(WORKFLOW_HEADS, workflows),
        "<h2>Roles</h2>",
        bars({role: (one["input_tokens"], one["output_tokens"]) for role, one in made.roles.items()}),
        roles_table(made.roles),
        "<h2>Open findings</h2>",
        table(("severity", "number"), findings),
        "<h2>The latest sessions</h2>",
        table(("session", "workflow", "phase", "worked on", "request"), latest),
    ]
    return _page("Swarm report", parts)


def timeline(calls: Sequence[Mapping[str, Any]]) -> str:
    """Calls as bars, a row for each node: grey while they waited in the queue, then coloured by outcome.

    A long time without any, as before a resume, is cut short and marked.
    """
    if not calls:
        return "<p>No calls.</p>"
    nodes = list(dict.fromkeys(call["node"] for call in calls[:MOST_CALLS]))[:MOST_NODES]
    every, calls = len(calls), [call for call in calls[:MOST_CALLS] if call["node"] in nodes]
    spans = [(call["time"] - call["seconds"] - call["queued_s"], call["time"]) for call in calls]
    at_work = _stretches(spans)
    worked = sum(end - begin for begin, end in at_work) or 1e-6
    shown = worked * (1 + CUT * (len(at_work) - 1))
    scale = (WIDTH - LEFT) / shown

    def place(moment: float) -> float:
        """Where a moment stands."""
        before = [(begin, end) for begin, end in at_work if begin <= moment]
        passed = sum(min(moment, end) - begin for begin, end in before) + CUT * worked * (len(before) - 1)
        return LEFT + passed * scale

    shapes = [
        f'<text x="{LEFT - 8}" y="{ROW * row + 15}" text-anchor="end">{text(node[:22])}</text>'
        for row, node in enumerate(nodes)
    ]
    for call, (queued, end) in zip(calls, spans, strict=True):
        y, start = ROW * nodes.index(call["node"]) + 3, place(end - call["seconds"])
        title = f"{call['node']}, round {call['iteration']}, {call['outcome']}, {call['seconds']:.2f} s"
        waited = start - place(queued)
        shapes.append(_bar(start - waited, y, waited, QUEUED, f"{title}: queued {call['queued_s']:.2f} s"))
        shapes.append(_bar(start, y, max(place(end) - start, 1), COLORS.get(call["outcome"], "#555"), title))
    height = ROW * len(nodes)
    shapes += [_cut(place(begin) - CUT * worked * scale / 2, height) for begin, _ in at_work[1:]]
    ticks = [
        f'<text x="{LEFT + share * (WIDTH - LEFT):.0f}" y="{height + 16}" text-anchor="{anchor}">'
        f"{said}</text>"
        for share, anchor, said in ((0, "start", "0 s"), (1, "end", f"{worked:.1f} s at work"))
    ]
    colors = {**COLORS, "in the queue": QUEUED}
    legend = " ".join(f'<span style="color:{color}">■</span> {name}' for name, color in colors.items())
    left = f" … and {every - len(calls)} more of {every} calls" if every > len(calls) else ""
    return _svg(height + 24, [*shapes, *ticks]) + f"<p>{legend}{left}</p>"


def _stretches(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Spans of time joined to stretches with less than LONG seconds between two of their spans."""
    joined: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if joined and begin - joined[-1][1] < LONG:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((begin, end))
    return joined


def _cut(x: float, height: int) -> str:
    """Where time was cut out."""
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height}" stroke="#999" stroke-dasharray="2 3">'
        "<title>a long time without calls</title></line>"
    )


def bars(tokens: Mapping[str, tuple[int, int]]) -> str:
    """Tokens in and out per role."""
    most = max((sum(pair) for pair in tokens.values()), default=0) or 1
    scale = (WIDTH - LEFT - 120) / most
    shapes = []
    for row, (role, (sent, received)) in enumerate(tokens.items()):
        y = ROW * row + 3
        shapes += [
            f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{text(role)}</text>',
            _bar(LEFT, y, sent * scale, "#9ecae1", f"{sent} tokens in"),
            _bar(LEFT + sent * scale, y, received * scale, "#2a7f9e", f"{received} tokens out"),
            f'<text x="{LEFT + (sent + received) * scale + 6:.1f}" y="{y + 12}">'
            f"{sent:,} + {received:,}</text>",
        ]
    return _svg(ROW * len(tokens) + 4, shapes) + "<p>Light: tokens in, dark: tokens out.</p>"


def rounds(reviews: Iterable[Review]) -> str:
    """The merged findings of each round, by severity, and whether it was approved."""
    by_round: dict[int, list[Review]] = {}
    for review in reviews:
        by_round.setdefault(review["iteration"], []).append(review)
    if not by_round:
        return "<p>No reviews.</p>"
    rows = []
    for number, found in sorted(by_round.items()):
        approved, findings = judge(found)
        counts = [sum(finding["severity"] == severity for finding in findings) for severity in SEVERITIES]
        problems = "; ".join(finding["problem"][:120] for finding in findings[:5])
        rows.append((f"round {number}", "approved" if approved else "changes wanted", *counts, problems))
    return table(("", "verdict", *SEVERITIES, "the first findings"), rows)


def _bar(x: float, y: float, width: float, color: str, title: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y}" width="{max(width, 0):.1f}" height="{ROW - 6}" fill="{color}">'
        f"<title>{text(title)}</title></rect>"
    )


def _svg(height: int, shapes: Iterable[str]) -> str:
    inner = "".join(shapes)
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    return f'<div class="wide"><svg {size}>{inner}</svg></div>'


def _page(title: str, parts: Iterable[str]) -> str:
    return PAGE.format(title=text(title), style=STYLE, body="\n".join(part for part in parts if part))
