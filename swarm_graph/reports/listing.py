"""Sessions as tables, texts and JSON-like rows: lists, accounts, histories, states, cleanups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.experiments import Experiments
from swarm_graph.checkpoints.locks import is_running
from swarm_graph.checkpoints.records import Session
from swarm_graph.config import changed_settings, settings_in_words
from swarm_graph.reports.chosen_models import chosen_lines, chosen_models
from swarm_graph.reports.recalled_lines import recalled_lines
from swarm_graph.roles.findings import findings_text
from swarm_graph.roles.registry import Roles
from swarm_graph.sandbox.evidence import evidence_line
from swarm_graph.sessions.artifacts import files_text, notes_text, reviews_text
from swarm_graph.sessions.change_summary import SHORT_ID, made_commits
from swarm_graph.sessions.metrics import FAILED_TOOLS, summary
from swarm_graph.state import CHANGE, DOCUMENT, Repository, SwarmState, TaskStatus, verdict_word
from swarm_graph.text import (
    cost_cell,
    count_cell,
    cut,
    format_count,
    local_time,
    printable,
    text_table,
    without_empty_columns,
    without_loops,
)

if TYPE_CHECKING:
    from swarm_graph.checkpoints.retention import Cleanup
    from swarm_graph.sessions.history import Moment
    from swarm_graph.workflows.pauses import Pause

MAX_REQUEST_CHARACTERS = 60
MAX_TASKS = 40
"""Of a session with more tasks only those are listed that have not completed."""


def current_phase(catalogue: Catalogue, session: Session) -> str:
    """A session's phase; "interrupted" for a running session that no process works on any more."""
    if session.phase != "running":
        return session.phase
    return "running" if is_running(catalogue, session.session) else "interrupted"


def session_rows(catalogue: Catalogue, sessions: Sequence[Session]) -> list[dict[str, Any]]:
    """Sessions as the rows of `sessions list --json`; trials of an open A/B test show no verdict."""
    outcomes = catalogue.test_outcomes()
    is_with_trials = any(session.experiment for session in sessions)
    open_tests = Experiments(catalogue.database).open_tests() if is_with_trials else ()
    return [
        {
            "session": session.session,
            "workflow": session.workflow,
            "kind": session.kind,
            "phase": current_phase(catalogue, session),
            "verdict": (
                "" if session.experiment in open_tests else _verdict(session, outcomes.get(session.session))
            ),
            "created_at": session.created_at,
            "updated_at": session.updated_at,
            "simulated": session.simulated,
            "request": session.request,
        }
        for session in sessions
    ]


def _verdict(session: Session, tests: str | None) -> str:
    """The verdict of a session, and of its tests; empty if it has none, or may still be approved."""
    if not session.approved:
        return verdict_word(session.approved, session.phase)
    return {None: "approved", "passed": "approved, tests passed"}.get(tests, "approved, untested")


def session_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A text table with one line for each row of `session_rows`."""
    cells = [
        (
            row["session"],
            _workflow_label(row),
            row["phase"],
            row["verdict"] or "-",
            local_time(row["updated_at"]),
            _shortened(row["request"]),
        )
        for row in rows
    ]
    return text_table(("session", "workflow", "phase", "verdict", "worked on", "request"), cells)


def _workflow_label(row: Mapping[str, Any]) -> str:
    words = [
        row["workflow"],
        CHANGE if row["kind"] == CHANGE else "",
        "simulated" if row["simulated"] else "",
    ]
    return ", ".join(filter(None, words))


def session_account(
    catalogue: Catalogue,
    session: Session,
    state: Mapping[str, Any] | None = None,
    pauses: Sequence[Pause] = (),
) -> dict[str, Any]:
    """Everything in the catalogue about one session, as `sessions show --json` prints it.

    Args:
        catalogue: The catalogue.
        session: The session.
        state: Its last state, which says what it did to a repository, and what it has recalled from memory.
        pauses: Where it waits for a person.
    """
    state = state or {}
    runs = [
        {**vars(run), "changed": changed_settings(session.config, run.config or session.config)}
        for run in catalogue.runs(session.session)
    ]
    tools = catalogue.tool_figures(session.session)
    return {
        **vars(session),
        "kind": session.kind,
        "phase": current_phase(catalogue, session),
        "verdict": _verdict(session, catalogue.test_outcomes().get(session.session)),
        **({"models": chosen} if (chosen := chosen_models(catalogue, session)) else {}),
        "pauses": [{**pause.to_dict(), "place": pause.place} for pause in pauses],
        "runs": runs,
        "tasks": catalogue.tasks(session.session),
        "metrics": summary(catalogue.calls(session.session), tools),
        "tool_calls": tools,
        "test_runs": catalogue.test_runs(session.session),
        **({"repository": state["repo"], "commits": made_commits(state)} if state.get("repo") else {}),
        **({"recalled": state["recalled"]} if state.get("recalled") else {}),
    }


def session_account_text(account: Mapping[str, Any]) -> str:
    """The account of a session as text: its state, its runs, tasks, calls by role, and test runs."""
    outcome = ", ".join(filter(None, (account["phase"], account["verdict"])))
    lines = [
        f"Session {account['session']} ({_workflow_label(account)}): {outcome}",
        f"Request: {_shortened(account['request'])}",
        f"Begun {local_time(account['created_at'])}, last worked on {local_time(account['updated_at'])}",
    ]
    if account["parent"]:
        lines.append(f"Forked from {account['parent']} at checkpoint {account['parent_checkpoint']}")
    lines += [f"Model of {line}" for line in chosen_lines(account.get("models", {}))]
    lines += [f"Waits for a person {printable(pause['place'])}" for pause in account["pauses"]]
    lines += _repository_line(account)
    lines += [f"Files in {account['output']}"] if account["output"] else []
    lines += ["", "Runs:", *map(_run_line, account["runs"])]
    tables = (_task_table(account), _call_table(account), _tool_table(account), _test_run_table(account))
    recalled = [f"  {line}\n" for line in recalled_lines(account)]
    memory = "".join(["Recalled from memory:\n", *recalled]) if recalled else ""
    return "\n".join(["\n".join(lines) + "\n", *filter(None, [*tables, memory])])


def _repository_line(account: Mapping[str, Any]) -> list[str]:
    """What a session did to a repository, or which range it reviewed."""
    repo: Repository | None = account.get("repository")
    if not repo:
        return []
    base, path = repo["base"][:SHORT_ID], repo["path"]
    if repo["compared_with"]:
        return [f"Reviewed {repo['compared_with'][:SHORT_ID]}..{base} in {path}"]
    commits = format_count(len(account["commits"]), "commit")
    return [f"Branch {repo['branch']} in {path}: {commits} after {base}"]


def _run_line(run: Mapping[str, Any]) -> str:
    duration = f"{run['ended_at'] - run['started_at']:.0f} s" if run["ended_at"] else "no end"
    changed = f"; other settings: {settings_in_words(run['changed'])}" if run["changed"] else ""
    error = f"; {run['error']}" if run["error"] else ""
    process = f"process {run['pid']} on {run['host']}"
    return (
        f"  {local_time(run['started_at'])}  {run['kind']}, {run['phase']}, {duration}, "
        f"{process}{changed}{error}"
    )


def _task_table(account: Mapping[str, Any]) -> str:
    """The tasks of a session; of many tasks those that have not completed, and the number of the others."""
    tasks = account["tasks"]
    if len(tasks) > MAX_TASKS:
        tasks = [task for task in tasks if task["status"] != TaskStatus.COMPLETED][:MAX_TASKS]
    rows = [
        (
            task["task_id"],
            task["status"].lower(),
            f"round {task['iteration']}",
            without_loops(task["error"] or task["note"] or ""),
        )
        for task in tasks
    ]
    table = text_table(("task", "status", "round", "note"), rows) if rows else ""
    if others := len(account["tasks"]) - len(tasks):
        completed = sum(task["status"] == TaskStatus.COMPLETED for task in account["tasks"])
        table += f"… and {others} of {len(account['tasks'])} tasks more, {completed} completed\n"
    return table


def _call_table(account: Mapping[str, Any]) -> str:
    rows = [
        (
            role,
            str(figures["total_calls"]),
            str(figures["input_tokens"]),
            count_cell(figures["prompt_tokens_evaluated"]),
            str(figures["output_tokens"]),
            cost_cell(figures["cost"]),
        )
        for role, figures in account["metrics"].items()
    ]
    heads = ("role", "calls", "tokens in", "evaluated", "out", "cost")
    return text_table(*without_empty_columns(heads, rows)) if rows else ""


def _tool_table(account: Mapping[str, Any]) -> str:
    """The calls of tools, added up by role and tool."""
    by_tool: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for call in account["tool_calls"]:
        by_tool.setdefault((call["role"], call["tool"]), []).append(call)
    rows = [
        (
            role,
            tool,
            str(len(calls)),
            str(sum(call["outcome"] in FAILED_TOOLS for call in calls) or ""),
            str(sum(call["outcome"] is None for call in calls) or ""),
            f"{sum(call['seconds'] or 0.0 for call in calls):.1f}",
        )
        for (role, tool), calls in by_tool.items()
    ]
    heads = ("role", "tool", "calls", "failed", "no end", "seconds")
    return text_table(*without_empty_columns(heads, rows)) if rows else ""


def _test_run_table(account: Mapping[str, Any]) -> str:
    rows = [
        (run["kind"], str(run["iteration"]), evidence_line(run), f"{run['seconds']:.1f}")
        for run in account["test_runs"]
    ]
    title = "checks" if account["kind"] == DOCUMENT else "tests"
    return text_table((title, "round", "outcome", "seconds"), rows) if rows else ""


def history_rows(moments: Iterable[Moment]) -> list[dict[str, Any]]:
    """Moments of a session as the rows of `sessions history --json`, without their states."""
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


def history_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A text table with one line for each row of `history_rows`."""
    cells = [
        (
            str(row["number"]),
            local_time(row["time"]),
            str(row["round"]),
            ", ".join(row["done"]) or "(begin)",
            ", ".join(row["next"]) or "(end)",
            row["checkpoint"],
        )
        for row in rows
    ]
    return text_table(("#", "time", "round", "done", "next", "checkpoint"), cells)


def state_text(state: SwarmState, roles: Roles) -> str:
    """A session's state as text: request, notes, files, reviews, open findings, what it recalled."""
    sections = [
        ("Request", state.get("request", "")),
        ("", notes_text(state, roles)),
        ("Code", files_text(state.get("code"))),
        ("Tests", files_text(state.get("tests"))),
        ("Documentation", files_text(state.get("documentation"))),
        ("Reviews", reviews_text(state)),
        ("Open findings", findings_text(state.get("findings", []))),
        ("Recalled from memory", "\n".join(recalled_lines(state))),
    ]
    return "\n".join(f"# {title}\n\n{text.rstrip()}\n" if title else text for title, text in sections if text)


def cleanup_text(cleanup: Cleanup, dry_run: bool) -> str:
    """The result of a cleanup as text; with `dry_run`, what it would do."""
    would = "would be " if dry_run else ""
    lines = [
        f"{would}removed: {', '.join(cleanup.removed) or 'none'}",
        f"{would}compacted: {len(cleanup.compacted)}",
    ]
    if cleanup.forgotten:
        lines.append(f"prompts and answers {would}removed: {', '.join(cleanup.forgotten)}")
    if cleanup.at_work:
        lines.append(f"left alone, still running: {', '.join(cleanup.at_work)}")
    lines += cleanup.notes
    before, after = (f"{size / 1e6:.2f} MB" for size in (cleanup.bytes_before, cleanup.bytes_after))
    lines.append(f"database: {before}" if dry_run else f"database: {before} before, {after} after")
    return "\n".join(lines) + "\n"


def _shortened(request: str) -> str:
    return cut(" ".join(request.split()), MAX_REQUEST_CHARACTERS)
