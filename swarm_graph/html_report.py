"""Reports as one HTML file that needs no network: nothing in it refers to anything outside of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from swarm_graph.artifacts import plain_text
from swarm_graph.checkpoints.catalogue import local_time
from swarm_graph.comparison import Analysis
from swarm_graph.findings import SEVERITIES, judge
from swarm_graph.overview import WORKFLOW_HEADS, Overview
from swarm_graph.state import Review, SwarmState

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
MOST_CALLS = 2000
"""Calls on a timeline; more would be no picture any more."""


def session_page(told: Analysis, calls: Sequence[Mapping[str, Any]], state: SwarmState, graph: str) -> str:
    """One session: figures, a timeline of its calls, tokens per role, findings by round, and its graph."""
    approved = "" if told.approved is None else f", {'approved' if told.approved else 'not approved'}"
    figures = {name.replace("_", " "): value for name, value in told.figures().items()}
    parts = [
        f"<h1>Session {_text(told.session)} ({_text(told.workflow)}): {_text(told.phase)}{approved}</h1>",
        '<p class="simulated">Simulated: no model was asked, every answer is invented.</p>'
        if told.simulated
        else "",
        f"<pre>{_text(told.request)}</pre>",
        f"<p>Begun {local_time(told.created_at)}.</p>",
        _table(("", ""), figures.items()),
        "<h2>Calls over time</h2>",
        timeline(calls[:MOST_CALLS]),
        "<h2>Tokens per role</h2>",
        bars({role: (one["input_tokens"], one["output_tokens"]) for role, one in told.agents.items()}),
        _roles(told.agents),
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
        _table(WORKFLOW_HEADS, workflows),
        "<h2>Roles</h2>",
        bars({role: (one["input_tokens"], one["output_tokens"]) for role, one in made.roles.items()}),
        _roles(made.roles),
        "<h2>Open findings</h2>",
        _table(("severity", "number"), findings),
        "<h2>The latest sessions</h2>",
        _table(("session", "workflow", "phase", "worked on", "request"), latest),
    ]
    return _page("Swarm report", parts)


def timeline(calls: Sequence[Mapping[str, Any]]) -> str:
    """Calls as bars, a row for each node: grey while they waited in the queue, then coloured by outcome."""
    if not calls:
        return "<p>No calls.</p>"
    nodes = list(dict.fromkeys(call["node"] for call in calls))[:60]
    begun = {id(call): call["time"] - call["seconds"] for call in calls}
    first = min(begun[id(call)] - call["queued_s"] for call in calls)
    span = max(max(call["time"] for call in calls) - first, 1e-6)
    scale = (WIDTH - LEFT) / span
    shapes = [
        f'<text x="{LEFT - 8}" y="{ROW * row + 15}" text-anchor="end">{_text(node[:22])}</text>'
        for row, node in enumerate(nodes)
    ]
    for call in calls:
        if call["node"] not in nodes:
            continue
        y, start = ROW * nodes.index(call["node"]) + 3, LEFT + (begun[id(call)] - first) * scale
        waited = call["queued_s"] * scale
        title = f"{call['node']}, round {call['iteration']}, {call['outcome']}, {call['seconds']:.2f} s"
        shapes.append(_bar(start - waited, y, waited, QUEUED, f"{title}: queued {call['queued_s']:.2f} s"))
        shapes.append(
            _bar(start, y, max(call["seconds"] * scale, 1), COLORS.get(call["outcome"], "#555"), title)
        )
    height = ROW * len(nodes)
    ticks = [
        f'<text x="{LEFT + share * (WIDTH - LEFT):.0f}" y="{height + 16}" text-anchor="{anchor}">'
        f"{share * span:.1f} s</text>"
        for share, anchor in ((0, "start"), (0.5, "middle"), (1, "end"))
    ]
    colors = {**COLORS, "in the queue": QUEUED}
    legend = " ".join(f'<span style="color:{color}">■</span> {name}' for name, color in colors.items())
    return _svg(height + 24, [*shapes, *ticks]) + f"<p>{legend}</p>"


def bars(tokens: Mapping[str, tuple[int, int]]) -> str:
    """Tokens in and out per role."""
    most = max((sum(pair) for pair in tokens.values()), default=0) or 1
    scale = (WIDTH - LEFT - 120) / most
    shapes = []
    for row, (role, (sent, received)) in enumerate(tokens.items()):
        y = ROW * row + 3
        shapes += [
            f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{_text(role)}</text>',
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
    return _table(("", "verdict", *SEVERITIES, "the first findings"), rows)


def _roles(agents: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        (
            role, one["total_calls"], f"{one['success_rate']:.0%}", one["p50_seconds"], one["p95_seconds"],
            one["first_token_seconds"], one["queued_seconds"], one["tokens_per_second"], one["cost"],
        )
        for role, one in agents.items()
    ]  # fmt: skip
    heads = (
        "role", "calls", "answered", "p50 s", "p95 s", "first token s", "queued s", "tokens/s", "cost",
    )  # fmt: skip
    return _table(heads, rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return f"<td>{ {True: 'yes', False: 'no', None: '-'}[value] }</td>"
    if isinstance(value, (int, float)):
        return (
            f'<td class="number">{value:,.2f}</td>'
            if isinstance(value, float)
            else f'<td class="number">{value:,}</td>'
        )
    return f"<td>{_text(str(value))}</td>"


def _bar(x: float, y: float, width: float, color: str, title: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y}" width="{max(width, 0):.1f}" height="{ROW - 6}" fill="{color}">'
        f"<title>{_text(title)}</title></rect>"
    )


def _svg(height: int, shapes: Iterable[str]) -> str:
    inner = "".join(shapes)
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    return f'<div class="wide"><svg {size}>{inner}</svg></div>'


def _text(text: str) -> str:
    return escape(plain_text(text))


def _page(title: str, parts: Iterable[str]) -> str:
    return PAGE.format(title=_text(title), style=STYLE, body="\n".join(part for part in parts if part))
