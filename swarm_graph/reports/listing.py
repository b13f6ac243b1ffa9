"""Past sessions as people and programs read them: lists, accounts, histories, states."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.locks import is_at_work
from swarm_graph.checkpoints.records import Session
from swarm_graph.config import changed_settings
from swarm_graph.roles.findings import findings_text
from swarm_graph.sandbox.evidence import line
from swarm_graph.sessions.artifacts import listing, notes, reviews_text
from swarm_graph.sessions.metrics import summary
from swarm_graph.state import SwarmState
from swarm_graph.text import aligned, local_time, money

if TYPE_CHECKING:
    from swarm_graph.checkpoints.retention import Cleanup
    from swarm_graph.sessions.history import Moment

SHOWN_REQUEST = 60


def phase_now(catalogue: Catalogue, session: Session) -> str:
    """A session's phase; one that is running although nobody works on it was interrupted."""
    if session.phase != "running":
        return session.phase
    return "running" if is_at_work(catalogue, session.session) else "interrupted"


def rows(catalogue: Catalogue, sessions: Iterable[Session]) -> list[dict[str, Any]]:
    """Sessions as plain data."""
    return [
        {
            "session": known.session,
            "workflow": known.workflow,
            "phase": phase_now(catalogue, known),
            "created_at": known.created_at,
            "updated_at": known.updated_at,
            "simulated": known.simulated,
            "request": known.request,
        }
        for known in sessions
    ]


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """Sessions, one on a line."""
    cells = [
        (row["session"], _kind(row), row["phase"], local_time(row["updated_at"]), _short(row["request"]))
        for row in found
    ]
    return aligned(("session", "workflow", "phase", "worked on", "request"), cells)


def _kind(told: Mapping[str, Any]) -> str:
    """The workflow of a session, and whether a model was asked at all."""
    return f"{told['workflow']}, simulated" if told["simulated"] else str(told["workflow"])


def account(catalogue: Catalogue, known: Session) -> dict[str, Any]:
    """Everything that the catalogue has of a session."""
    runs = [
        {**vars(run), "changed": changed_settings(known.config, run.config or known.config)}
        for run in catalogue.runs(known.session)
    ]
    return {
        **vars(known),
        "phase": phase_now(catalogue, known),
        "runs": runs,
        "tasks": catalogue.tasks(known.session),
        "metrics": summary(catalogue.calls(known.session)),
        "test_runs": catalogue.test_runs(known.session),
    }


def account_text(told: Mapping[str, Any]) -> str:
    """A session for people: where it is, who worked on it, its tasks, calls and runs of tests."""
    lines = [
        f"Session {told['session']} ({_kind(told)}): {told['phase']}",
        f"Request: {_short(told['request'])}",
        f"Begun {local_time(told['created_at'])}, last worked on {local_time(told['updated_at'])}",
    ]
    if told["parent"]:
        lines.append(f"Forked from {told['parent']} at checkpoint {told['parent_checkpoint']}")
    lines += [f"Files in {told['output']}"] if told["output"] else []
    lines += ["", "Runs:", *map(_run_line, told["runs"])]
    tasks = [
        (task["task_id"], task["status"].lower(), f"round {task['iteration']}", task["error"] or task["note"])
        for task in told["tasks"]
    ]
    calls = [
        (
            role,
            str(agent["total_calls"]),
            str(agent["input_tokens"]),
            str(agent["output_tokens"]),
            money(agent["cost"]),
        )
        for role, agent in told["metrics"].items()
    ]
    parts = ["\n".join(lines) + "\n"]
    parts += ["\n" + aligned(("task", "status", "round", "note"), tasks)] if tasks else []
    parts += ["\n" + aligned(("role", "calls", "tokens in", "out", "cost"), calls)] if calls else []
    heads = ("tests", "round", "outcome", "seconds")
    tests = [
        (run["kind"], str(run["iteration"]), line(run), f"{run['seconds']:.1f}") for run in told["test_runs"]
    ]
    parts += ["\n" + aligned(heads, tests)] if tests else []
    return "".join(parts)


def _run_line(run: Mapping[str, Any]) -> str:
    ended = f"{run['ended_at'] - run['started_at']:.0f} s" if run["ended_at"] else "no end"
    changed = f"; other settings: {', '.join(run['changed'])}" if run["changed"] else ""
    error = f"; {run['error']}" if run["error"] else ""
    who = f"process {run['pid']} on {run['host']}"
    return f"  {local_time(run['started_at'])}  {run['kind']}, {run['phase']}, {ended}, {who}{changed}{error}"


def history_rows(moments: Iterable[Moment]) -> list[dict[str, Any]]:
    """Moments as plain data, without their states."""
    return [
        {
            "number": moment.number,
            "checkpoint": moment.checkpoint,
            "time": moment.time,
            "round": moment.round,
            "done": list(moment.done),
            "next": list(moment.next),
        }
        for moment in moments
    ]


def history_table(found: Sequence[Mapping[str, Any]]) -> str:
    """Moments, one on a line."""
    cells = [
        (
            str(row["number"]),
            local_time(row["time"]),
            str(row["round"]),
            ", ".join(row["done"]) or "(begin)",
            ", ".join(row["next"]) or "(end)",
            row["checkpoint"],
        )
        for row in found
    ]
    return aligned(("#", "time", "round", "done", "next", "checkpoint"), cells)


def state_text(state: SwarmState) -> str:
    """A state for people: notes, files, reviews, open findings."""
    parts = [
        ("Request", state.get("request", "")),
        ("", notes(state)),
        ("Code", listing(state.get("code"))),
        ("Tests", listing(state.get("tests"))),
        ("Documentation", listing(state.get("documentation"))),
        ("Reviews", reviews_text(state)),
        ("Open findings", findings_text(state.get("findings", []))),
    ]
    shown = [f"# {title}\n\n{text.rstrip()}\n" if title else text for title, text in parts if text]
    return "\n".join(shown)


def cleanup_text(done: Cleanup, dry_run: bool) -> str:
    """What a cleanup did."""
    would = "would be " if dry_run else ""
    lines = [
        f"{would}removed: {', '.join(done.removed) or 'none'}",
        f"{would}compacted: {len(done.compacted)}",
    ]
    if done.at_work:
        lines.append(f"left alone, at work: {', '.join(done.at_work)}")
    before, after = (f"{size / 1e6:.2f} MB" for size in (done.bytes_before, done.bytes_after))
    lines.append(f"database: {before}" if dry_run else f"database: {before} before, {after} after")
    return "\n".join(lines) + "\n"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_REQUEST else f"{line[: SHOWN_REQUEST - 1]}…"
