"""The outcome of a session for clients: a report in Markdown, its findings, and its files as text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from swarm_graph.errors import InputError
from swarm_graph.mcp_server.status import Stored, stored_session
from swarm_graph.reports.recalled_lines import recalled_lines
from swarm_graph.roles.findings import finding_line
from swarm_graph.sandbox.evidence import evidence_line
from swarm_graph.sessions.change_summary import made_commits
from swarm_graph.sessions.findings_files import findings_rows
from swarm_graph.sessions.stored_files import stored_files
from swarm_graph.text import cut, cut_note, printable, shortened

MAX_FINDINGS, MAX_FINDING_CHARACTERS = 50, 600
MAX_FILES = 200
"""Files that a result lists; more are counted."""
MAX_FILE_CHARACTERS = 200_000
"""Of one file in one answer."""
MAX_REQUEST_CHARACTERS = 2000
ROOT = "swarm://session/"
"""What the URI of every resource begins with."""


def files_of(stored: Stored) -> dict[str, str]:
    """The files of a session, path to text, the most wanted first."""
    return stored_files(stored.saver, stored.session, stored.state)


def session_result(data_dir: Path, session_id: str, max_characters: int) -> dict[str, Any]:
    """The outcome of a session, with the texts of its files up to a limit.

    Raises:
        InputError: There is no such session.
    """
    with stored_session(data_dir, session_id) as stored:
        files, row = files_of(stored), stored.row
        report = session_report(stored, [*files])
    listed = [
        {"path": path, "characters": len(text), "uri": file_uri(session_id, path)}
        for path, text in files.items()
    ]
    more = len(listed) - MAX_FILES
    return {
        "id": session_id,
        "phase": row["phase"],
        "verdict": row["verdict"],
        "report": report,
        "files": listed[:MAX_FILES],
        **({"files_not_listed": more} if more > 0 else {}),
        "texts": _texts(files, max_characters),
    }


def _texts(files: Mapping[str, str], max_characters: int) -> dict[str, str]:
    """The texts of the first files, together no longer than the limit; a text that is cut says so."""
    texts: dict[str, str] = {}
    for path, text in files.items():
        if max_characters <= 0:
            break
        texts[path] = bounded(text, max_characters)
        max_characters -= len(text)
    return texts


def bounded(text: str, limit: int) -> str:
    """A text of at most `limit` characters; a longer one is cut, and says so."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}\n{cut_note(limit, len(text))}"


def session_report(stored: Stored, files: list[str]) -> str:
    """A session in Markdown: request, outcome, tests, open findings, change, files.

    Args:
        stored: The session.
        files: The paths of its files.
    """
    session, state, row = stored.session, stored.state, stored.row
    outcome = ", ".join(filter(None, (row["phase"], row["verdict"])))
    simulated = ["SIMULATED: no model was asked; every answer is scripted or invented.", ""]
    lines = [
        f"# Session {session.session}",
        "",
        *(simulated if session.simulated else []),
        f"- Workflow: {session.workflow}, kind {session.kind}",
        f"- Outcome: {outcome}, round {state.get('iteration', 0)}",
        *(
            f"- Tests in round {review['iteration']}: {evidence_line(review['evidence'])}"
            for review in state.get("reviews", [])
            if "evidence" in review
        ),
        *_change_lines(state),
        *_section("Request", [shortened(session.request, MAX_REQUEST_CHARACTERS)]),
        *_finding_lines(state),
        *_section("Recalled from memory", [f"- {line}" for line in recalled_lines(state)]),
        *_section("Files", [f"- {path}" for path in files[:MAX_FILES]]),
        *([f"- … and {len(files) - MAX_FILES} more"] if len(files) > MAX_FILES else []),
    ]
    return printable("\n".join(lines) + "\n")


def _section(title: str, lines: list[str]) -> list[str]:
    return ["", f"## {title}", "", *lines] if lines else []


def _finding_lines(state: Mapping[str, Any]) -> list[str]:
    findings = state.get("findings", [])
    lines = [f"- {finding_line(finding, MAX_FINDING_CHARACTERS)}" for finding in findings[:MAX_FINDINGS]]
    more = len(findings) - len(lines)
    return _section(f"Open findings ({len(findings)})", [*lines, *([f"- … and {more} more"] if more else [])])


def _change_lines(state: Mapping[str, Any]) -> list[str]:
    """The branch of a session that changes a repository."""
    commits = made_commits(state)
    if not commits:
        return []
    return [f"- Branch: {state['repo']['branch']}, commits {', '.join(one[:12] for one in commits)}"]


# --- resources -----------------------------------------------------------------------------------


def report_of(data_dir: Path, session_id: str) -> str:
    """The report of a session in Markdown. Raises InputError if there is no such session."""
    with stored_session(data_dir, session_id) as stored:
        return session_report(stored, [*files_of(stored)])


def findings_of(data_dir: Path, session_id: str) -> list[dict[str, Any]]:
    """The open findings of a session. Raises InputError if there is no such session."""
    with stored_session(data_dir, session_id) as stored:
        return findings_rows(stored.state.get("findings", []))


def file_of(data_dir: Path, session_id: str, path: str) -> str:
    """The text of a file of a session, cut if it is long. Raises InputError if there is no such file."""
    with stored_session(data_dir, session_id) as stored:
        files = files_of(stored)
    if path not in files:
        raise InputError(f"session '{session_id}' has no file {cut(path, 200)!r}; `result` lists its files")
    return bounded(files[path], MAX_FILE_CHARACTERS)


def session_uri(session_id: str, rest: str) -> str:
    """The URI of a session's resource, such as `swarm://session/ID/report`."""
    return f"{ROOT}{quote(session_id, safe='')}/{rest}"


def file_uri(session_id: str, path: str) -> str:
    """The URI of a session's file."""
    return session_uri(session_id, f"files/{quote(path)}")
