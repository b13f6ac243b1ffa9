"""The artifacts of a session as text: the roles' text files, notes, and the project's files."""

from __future__ import annotations

from swarm_graph.roles.answered_change import repository_of
from swarm_graph.roles.answered_document import DOCUMENT_FILE, is_document
from swarm_graph.roles.file_blocks import Files, fenced
from swarm_graph.roles.findings import findings_text, review_text
from swarm_graph.roles.registry import Roles
from swarm_graph.roles.role import Role
from swarm_graph.sandbox.evidence import evidence_line, latest_evidence
from swarm_graph.sessions.candidates import candidates_line, candidates_of
from swarm_graph.state import DOCUMENT, SwarmState, TaskRecord, own_review
from swarm_graph.tasks.results import written_files
from swarm_graph.text import to_json

FIRST_NOTES = ("requirements", "design", "diagnosis", "optimization")
"""The first sections of notes.md, in this order; those of other roles follow."""


def project_files(state: SwarmState, roles: Roles) -> dict[str, str]:
    """The files that roles wrote, merged: path to text.

    Where two roles wrote the same path, code wins over tests, and tests win over documentation.
    """
    merged = written_files(state, roles)
    for key in reversed(roles.keys_of("files")):
        files: dict[str, str] = state.get(key) or {}  # type: ignore[assignment]
        merged = Files(files).over(merged)
    return merged


def text_files(state: SwarmState, roles: Roles) -> dict[str, str]:
    """The document, the text files of the roles, and notes.md: name to text, without empty ones."""
    texts = {DOCUMENT_FILE: document_text(state, roles)}
    texts |= {role.text_file: _text_of(role, state) for role in roles.all() if role.text_file}
    texts["notes.md"] = notes_text(state, roles)
    return {name: text for name, text in texts.items() if text}


def document_text(state: SwarmState, roles: Roles) -> str:
    """The document that a session makes; several follow each other, each below a comment with its path.

    Empty if the session makes code, or has written none yet.
    """
    if state.get("kind") != DOCUMENT:
        return ""
    files = state.get("code") or written_files(state, roles)
    documents = {path: text for path, text in files.items() if is_document(path)}
    if len(documents) == 1:
        return next(iter(documents.values()))
    return "\n".join(f"<!-- {path} -->\n\n{text}" for path, text in documents.items())


def _text_of(role: Role[object], state: SwarmState) -> str:
    if role.form == "reviews":
        return reviews_text(state)
    value = state.get(role.writes)
    return files_text(value) if role.form == "files" else _text(value)  # type: ignore[arg-type]


def _text(value: object) -> str:
    """Markdown as it is, and a typed answer as JSON."""
    return value if isinstance(value, str) else to_json(value) if value else ""


def files_text(files: dict[str, str] | None) -> str:
    """The texts of files, each under a line with its path."""
    return "\n".join(f"===== {path} =====\n{text}" for path, text in (files or {}).items())


def reviews_text(state: SwarmState) -> str:
    """All reviews by round, then the open findings, the latest test run and the verdict."""
    reviews = sorted(state.get("reviews", []), key=lambda review: (review["iteration"], review["node"]))
    if not reviews:
        return ""
    parts = [f"Round {review['iteration']} - {review_text(review)}" for review in reviews]
    findings = state.get("findings", [])
    if findings:
        parts.append(f"Open findings ({len(findings)}):\n{findings_text(findings)}")
    if evidence := latest_evidence(state):
        what = "Checks" if state.get("kind") == DOCUMENT else "Tests"
        parts.append(f"{what}: {evidence_line(evidence)}")
    if unseen := not_shown(state):
        parts.append("\n".join(["Not shown to the reviewers:", *(f"  {one}" for one in unseen)]))
    if choice := candidates_line(state):
        parts.append(choice)
    verdict = {True: "yes", None: "nobody has reviewed it"}.get(state.get("approved"), "no")
    parts.append(f"Approved: {verdict}, after round {reviews[-1]['iteration']}")
    return "\n\n".join(parts) + "\n"


def not_shown(state: SwarmState) -> list[str]:
    """What no reviewer saw of a change under review."""
    repo = repository_of(state)
    return repo.get("not_shown", []) if repo else []


def notes_text(state: SwarmState, roles: Roles) -> str:
    """The texts of the roles as one Markdown file, with a section for each role."""
    writers = {role.writes: role for role in roles.all() if role.notes_title}
    keys = [*FIRST_NOTES, *(key for key in writers if key not in FIRST_NOTES)]
    sections = [(writers[key].notes_title, _note(state.get(key))) for key in keys]
    return "\n".join(f"# {title}\n\n{text}\n" for title, text in sections if text)


def _note(value: object) -> str:
    return _text(value) if isinstance(value, str) or not value else f"```json\n{_text(value)}```"


def result_of(record: TaskRecord, state: SwarmState, roles: Roles) -> str:
    """The result of a task of a workflow as text, from the key that its role writes."""
    role = roles.named(record["role"])
    if role.form == "reviews":
        review = own_review(record["node"], state)
        return review_text(review) if review else ""
    value = state.get(role.writes)
    if own := [one for one in candidates_of(state) if one["node"] == record["node"]]:
        value = own[0]["code"]
    return fenced(value or {}) if role.form == "files" else _text(value)  # type: ignore[arg-type]
