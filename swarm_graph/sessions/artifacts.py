"""The artifacts of a session as text: the roles' text files, notes, and the project's files."""

from __future__ import annotations

from swarm_graph.nodes.registry import all_roles, role_named
from swarm_graph.roles.documents import is_document
from swarm_graph.roles.file_blocks import Files, fenced
from swarm_graph.roles.findings import findings_text, review_text
from swarm_graph.roles.role import Role
from swarm_graph.sandbox.evidence import evidence_line, latest_evidence
from swarm_graph.state import DOCUMENT, SwarmState, TaskRecord, own_review
from swarm_graph.tasks.results import written_files
from swarm_graph.workflows.edits import keys_of

DOCUMENT_FILE = "generated_document.md"
"""The result of a session that makes a document."""
FIRST_NOTES = ("requirements", "design", "diagnosis", "optimization")
"""The first sections of notes.md, in this order; those of other roles follow."""


def project_files(state: SwarmState) -> dict[str, str]:
    """The files that roles wrote, merged: path to text.

    Where two roles wrote the same path, code wins over tests, and tests win over documentation.
    """
    merged = written_files(state)
    for key in reversed(keys_of("files")):
        files: dict[str, str] = state.get(key) or {}  # type: ignore[assignment]
        merged = Files(files).over(merged)
    return merged


def text_files(state: SwarmState) -> dict[str, str]:
    """The document, the text files of the roles, and notes.md: name to text, without empty ones."""
    roles = [role.for_kind(state.get("kind", "code")) for role in all_roles()]
    texts = {DOCUMENT_FILE: document_text(state)}
    texts |= {role.text_file: _text_of(role, state) for role in roles if role.text_file}
    texts["notes.md"] = notes_text(state)
    return {name: text for name, text in texts.items() if text}


def document_text(state: SwarmState) -> str:
    """The document that a session makes; several follow each other, each below a comment with its path.

    Empty if the session makes code, or has written none yet.
    """
    if state.get("kind") != DOCUMENT:
        return ""
    files = state.get("code") or written_files(state)
    documents = {path: text for path, text in files.items() if is_document(path)}
    if len(documents) == 1:
        return next(iter(documents.values()))
    return "\n".join(f"<!-- {path} -->\n\n{text}" for path, text in documents.items())


def _text_of(role: Role[object], state: SwarmState) -> str:
    if role.form == "reviews":
        return reviews_text(state)
    value = state.get(role.writes)
    return files_text(value) if role.form == "files" else str(value or "")  # type: ignore[arg-type]


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
    parts.append(
        f"Approved: {'yes' if state.get('approved') else 'no'}, after round {reviews[-1]['iteration']}"
    )
    return "\n\n".join(parts) + "\n"


def notes_text(state: SwarmState) -> str:
    """The texts of the roles as one Markdown file, with a section for each role."""
    roles = {role.writes: role for role in all_roles() if role.notes_title}
    keys = [*FIRST_NOTES, *(key for key in roles if key not in FIRST_NOTES)]
    sections = [(roles[key].notes_title, state.get(key)) for key in keys]
    return "\n".join(f"# {title}\n\n{text}\n" for title, text in sections if text)


def result_of(record: TaskRecord, state: SwarmState) -> str:
    """The result of a task of a built-in workflow as text, from the key that its role writes."""
    role = role_named(record["role"]).for_kind(state.get("kind", "code"))
    if role.form == "reviews":
        review = own_review(record["node"], state)
        return review_text(review) if review else ""
    value = state.get(role.writes)
    return fenced(value or {}) if role.form == "files" else str(value or "")  # type: ignore[arg-type]
