"""The artifacts of a session as text: the seed's text files, notes, and the project's tree."""

from __future__ import annotations

from collections.abc import Callable

from swarm_graph.roles.file_blocks import Files, fenced
from swarm_graph.roles.findings import findings_text, review_text
from swarm_graph.sandbox import evidence
from swarm_graph.state import AgentRole, SwarmState, TaskRecord, own_review
from swarm_graph.tasks import results as task_results


def project_files(state: SwarmState) -> dict[str, str]:
    """Code, tests and documentation as one tree; where two roles wrote the same path the code's stays."""
    merged = task_results.project(state)
    for files in (state.get("documentation"), state.get("tests"), state.get("code")):
        merged = Files(files or {}).over(merged)
    return merged


def texts(state: SwarmState) -> dict[str, str]:
    """The text files that a state is ready for, by name."""
    found = {
        "generated_code.txt": listing(state.get("code")),
        "generated_tests.txt": listing(state.get("tests")),
        "generated_docs.txt": listing(state.get("documentation")),
        "review_results.txt": reviews_text(state),
        "notes.md": notes(state),
    }
    return {name: text for name, text in found.items() if text}


def listing(files: dict[str, str] | None) -> str:
    """Files one after the other, each under a line with its path."""
    return "\n".join(f"===== {path} =====\n{text}" for path, text in (files or {}).items())


def reviews_text(state: SwarmState) -> str:
    """All reviews by round, then the open findings and how the session stands."""
    reviews = sorted(state.get("reviews", []), key=lambda review: (review["iteration"], review["node"]))
    if not reviews:
        return ""
    parts = [f"Round {review['iteration']} - {review_text(review)}" for review in reviews]
    findings = state.get("findings", [])
    if findings:
        parts.append(f"Open findings ({len(findings)}):\n{findings_text(findings)}")
    if tested := evidence.latest(state):
        parts.append(f"Tests: {evidence.line(tested)}")
    parts.append(
        f"Approved: {'yes' if state.get('approved') else 'no'}, after round {reviews[-1]['iteration']}"
    )
    return "\n\n".join(parts) + "\n"


def notes(state: SwarmState) -> str:
    """Requirements, design, diagnosis and proposals as one Markdown file."""
    parts = [
        ("Requirements", state.get("requirements")),
        ("Design", state.get("design")),
        ("Diagnosis of the last revise round", state.get("diagnosis")),
        ("Proposed optimizations (not applied)", state.get("optimization")),
    ]
    return "\n".join(f"# {title}\n\n{text}\n" for title, text in parts if text)


def result_of(record: TaskRecord, state: SwarmState) -> str:
    """A task's result as text, from the state's own keys."""
    by_role: dict[str, Callable[[], str]] = {
        AgentRole.CLARIFIER: lambda: state.get("requirements", ""),
        AgentRole.ARCHITECT: lambda: state.get("design", ""),
        AgentRole.CODER: lambda: fenced(state.get("code", {})),
        AgentRole.TESTER: lambda: fenced(state.get("tests", {})),
        AgentRole.DOCUMENTER: lambda: fenced(state.get("documentation", {})),
        AgentRole.OPTIMIZER: lambda: state.get("optimization", ""),
        AgentRole.DEBUGGER: lambda: state.get("diagnosis", ""),
    }
    make = by_role.get(record["role"])
    if make is not None:
        return make()
    review = own_review(record["node"], state)
    return review_text(review) if review else ""
