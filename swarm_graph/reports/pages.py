"""HTML pages of one session and of all sessions: each is one file and needs no network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from swarm_graph.checkpoints.steps import ToolRecord
from swarm_graph.checkpoints.transcript import Call
from swarm_graph.html import escaped, html_table
from swarm_graph.reports.analysis import Analysis
from swarm_graph.reports.call_section import calls_section
from swarm_graph.reports.charts import timeline, token_bars
from swarm_graph.reports.overview import WORKFLOW_HEADS, Overview
from swarm_graph.reports.recalled_lines import recalled_section
from swarm_graph.reports.tool_lines import tools_table
from swarm_graph.roles.answered_document import DOCUMENT_FILE
from swarm_graph.roles.findings import SEVERITIES, finding_line, judge
from swarm_graph.roles.registry import Roles
from swarm_graph.sessions.artifacts import document_text
from swarm_graph.sessions.change_summary import PATCH_FILE
from swarm_graph.sessions.summary_html import SIMULATED_HTML, roles_table
from swarm_graph.state import ChangeState, Review, SwarmState, verdict_word
from swarm_graph.text import local_time

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
h3 { font-size: 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { padding: .25rem .8rem .25rem 0; text-align: left; vertical-align: top; }
th { border-bottom: 1px solid #999; white-space: nowrap; } td.number { text-align: right; }
td, li, h1 { overflow-wrap: anywhere; }
.wide > svg { max-width: 100%; height: auto; }
details { margin: .3rem 0; } details details, details p, details pre { margin-left: 1rem; }
summary { cursor: pointer; } summary, details p { overflow-wrap: anywhere; }
svg text { font: 12px system-ui, sans-serif; fill: #222; }
pre { background: #f5f5f5; padding: .8rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.simulated { background: #fff3cd; padding: .5rem .8rem; }
@media (max-width: 40rem) {
  body { margin: 1rem auto; }
  .stacks thead, .stacks td:empty { display: none; } .stacks tr, .stacks td:first-child { display: block; }
  .stacks tr { border-bottom: 1px solid #ddd; padding: .4rem 0; } .stacks td { display: inline-block; }
  .stacks td { padding: 0 .8rem 0 0; } .stacks td:first-child { font-weight: bold; }
  .stacks td + td[data-label]::before { content: attr(data-label) ": "; color: #666; }
}
"""
PAGE = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>{style}</style></head>
<body>
{body}
</body></html>
"""
MAX_FINDINGS, MAX_FINDING_CHARACTERS = 10, 400
"""Findings of each round, and the length of a finding's problem and suggestion."""
MAX_REQUEST_CHARACTERS = 80
MAX_DIFF_CHARACTERS = 200_000


def session_page(
    analyzed: Analysis,
    calls: Sequence[Mapping[str, Any]],
    state: SwarmState,
    roles: Roles,
    graph: str,
    transcript: Iterable[Call],
    diff: str = "",
    tools: Sequence[ToolRecord] = (),
) -> str:
    """The page of one session: figures, timeline, tokens by role, findings, graph, calls, what it recalled.

    Args:
        analyzed: The session's figures.
        calls: Rows of the catalogue's calls.
        state: The session's latest state.
        roles: The session's roles.
        graph: The drawing of its graph, as HTML or SVG.
        transcript: What the calls were asked and what they answered.
        diff: What the session changed in a repository, as a unified diff.
        tools: The calls of tools.
    """
    outcome = ", ".join(filter(None, [analyzed.phase, verdict_word(analyzed.approved, analyzed.phase)]))
    about = f"Session {analyzed.session} ({analyzed.workflow}): {outcome}"
    log = f"swarm-graph log {analyzed.session}"
    parts = [
        f"<h1>{escaped(about)}</h1>",
        SIMULATED_HTML if analyzed.simulated else "",
        f"<pre>{escaped(analyzed.request)}</pre>",
        f"<p>Begun {local_time(analyzed.created_at)}.</p>",
        *_document(state, roles),
        *_change(state, diff),
        f"<p>Its last run ended early: {escaped(analyzed.error)}</p>" if analyzed.error else "",
        html_table(("", ""), analyzed.figures_to_show().items()),
        "<h2>Calls over time</h2>",
        timeline(calls),
        "<h2>Tokens per role</h2>",
        *_role_figures(analyzed.agents, analyzed.rates),
        "<h2>Findings by round</h2>",
        *_rounds(state.get("reviews", [])),
        "<h2>The graph</h2>",
        f'<div class="wide">{graph}</div>',
        "<h2>Calls</h2>",
        calls_section(transcript, log),
        *(["<h2>Calls of tools</h2>", tools_table(tools, log)] if tools else []),
        recalled_section(state),
    ]
    return _page(f"Session {analyzed.session}", parts)


def _document(state: SwarmState, roles: Roles) -> list[str]:
    """The document that the session makes; nothing if it makes code."""
    text = document_text(state, roles)
    return [f"<h2>The document: {DOCUMENT_FILE}</h2>", f"<pre>{escaped(text)}</pre>"] if text else []


def _change(state: SwarmState, diff: str) -> list[str]:
    """The branch and the diff of a session that changes a repository; of a long diff the beginning."""
    repo = cast("ChangeState", state).get("repo")
    if not repo or not repo["branch"]:
        return []
    shown = diff[:MAX_DIFF_CHARACTERS]
    more = f"<p>… and {len(diff) - len(shown):,} characters more in {PATCH_FILE}</p>" if shown != diff else ""
    where = f"The change: branch {repo['branch']} in {repo['path']}"
    return [f"<h2>{escaped(where)}</h2>", f"<pre>{escaped(shown)}</pre>" if diff else "<p>No diff.</p>", more]


def _rounds(reviews: Iterable[Review]) -> list[str]:
    """For each round its verdict, the number of merged findings by severity, and a list of the findings."""
    by_round: dict[int, list[Review]] = {}
    for review in reviews:
        by_round.setdefault(review["iteration"], []).append(review)
    parts = [] if by_round else ["<p>No reviews.</p>"]
    for number, of_round in sorted(by_round.items()):
        approved, findings = judge(of_round)
        by_severity = Counter(finding["severity"] for finding in findings)
        counts = [f"{by_severity[severity]} {severity}" for severity in SEVERITIES if by_severity[severity]]
        verdict = "approved" if approved else "changes wanted"
        parts.append(f"<h3>Round {number}: {verdict}, {', '.join(counts) or 'no findings'}</h3>")
        lines = [finding_line(finding, MAX_FINDING_CHARACTERS) for finding in findings[:MAX_FINDINGS]]
        more = len(findings) - len(lines)
        lines += [f"… and {more} more in review_results.txt"] if more else []
        parts.append(f"<ol>{''.join(f'<li>{escaped(line)}</li>' for line in lines)}</ol>" if lines else "")
    return parts


def overview_page(overview: Overview) -> str:
    """The page of all sessions: figures by workflow and by role, open findings, the latest sessions."""
    workflows = [
        (
            name,
            figures.sessions,
            figures.approved,
            figures.phases_text,
            figures.rounds,
            figures.seconds,
        )
        for name, figures in overview.workflows.items()
    ]
    latest = [
        (
            row["session"],
            row["workflow"],
            row["phase"],
            row["verdict"] or "-",
            local_time(row["updated_at"]),
            row["request"][:MAX_REQUEST_CHARACTERS],
        )
        for row in overview.latest
    ]
    findings = [(severity, overview.findings.get(severity, 0)) for severity in SEVERITIES]
    parts = [
        f"<h1>Swarm report, {local_time(overview.made_at)}</h1>",
        "<h2>Workflows</h2>",
        html_table(WORKFLOW_HEADS, workflows),
        "<h2>Roles</h2>",
        *_role_figures(overview.roles, overview.rates),
        "<h2>Open findings</h2>",
        html_table(("severity", "number"), findings),
        "<h2>The latest sessions</h2>",
        html_table(("session", "workflow", "phase", "verdict", "worked on", "request"), latest),
    ]
    return _page("Swarm report", parts)


def _role_figures(roles: Mapping[str, Mapping[str, Any]], rates: Mapping[str, float]) -> list[str]:
    tokens = {role: (figures["input_tokens"], figures["output_tokens"]) for role, figures in roles.items()}
    return [token_bars(tokens), roles_table(roles, rates)]


def _page(title: str, parts: Iterable[str]) -> str:
    return PAGE.format(title=escaped(title), style=STYLE, body="\n".join(part for part in parts if part))
