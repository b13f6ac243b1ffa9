"""The group `sessions`: commands that list, show, compare, report, fork and clean up sessions."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from swarm_graph.cli.console import print_result, program, say
from swarm_graph.cli.display import Display
from swarm_graph.cli.keyboard import Back, Keyboard
from swarm_graph.cli.options import (
    SessionOptions,
    config_option,
    data_option,
    json_option,
    output_option,
    read_edit,
    session_options,
    simulate_option,
    trust_option,
)
from swarm_graph.cli.session_runner import resuming_coordinator, run_session
from swarm_graph.errors import InputError, SwarmError
from swarm_graph.state import CHANGE, DATA_DIR, Phase, SwarmState

if TYPE_CHECKING:
    from swarm_graph.checkpoints.catalogue import Catalogue
    from swarm_graph.checkpoints.records import Session
    from swarm_graph.checkpoints.swarm_saver import SwarmSaver
    from swarm_graph.roles.registry import Roles
    from swarm_graph.workflows.pauses import Pause

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@click.group(
    invoke_without_command=True,
    short_help="List, show, compare, fork and clean up sessions.",
    epilog="Example: swarm-graph sessions list",
)
@click.pass_context
def sessions(context: click.Context) -> None:
    """List, show and compare sessions, fork them at a checkpoint, and keep their database small.

    Without a command, on a terminal: a menu.
    """
    if context.invoked_subcommand is None:
        if sys.stdin.isatty() and sys.stdout.isatty():
            menu(context)
        else:
            click.echo(context.get_help())


@sessions.command(
    "list",
    short_help="List the sessions, the most recently used first.",
    epilog="Example: swarm-graph sessions list --phase failed --limit 20",
)
@click.option("-w", "--workflow", metavar="W", help="Only sessions of this workflow.")
@click.option(
    "--phase",
    metavar="PHASE",
    type=click.Choice([*get_args(Phase), "interrupted"]),
    help="Only sessions in this phase: complete, failed, interrupted, ….",
)
@click.option(
    "--sort",
    default="updated",
    show_default=True,
    type=click.Choice(["updated", "created", "session", "workflow", "phase"]),
    help="The order of the list.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N.")
@click.option("--experiment", metavar="ID|all", help="List the trials of an experiment, or all sessions.")
@data_option
@json_option
def list_(
    workflow: str | None,
    phase: str | None,
    sort: str,
    limit: int | None,
    experiment: str | None,
    data_dir: str,
    as_json: bool,
) -> None:
    """List the sessions, the most recently used first; those of experiments only with --experiment."""
    from swarm_graph.reports.listing import session_rows, session_table
    from swarm_graph.sessions.ids import open_catalogue
    from swarm_graph.text import format_count

    with open_catalogue(Path(data_dir)) as catalogue:
        sessions = catalogue.sessions()
        listed = [one for one in sessions if experiment == "all" or one.experiment == (experiment or "")]
        rows = session_rows(catalogue, listed)
    if experiment is None and (trials := len(sessions) - len(listed)):
        say(f"note: {format_count(trials, 'session')} of experiments left out; --experiment all lists them")
    matching = [row for row in rows if workflow in (None, row["workflow"]) and phase in (None, row["phase"])]
    if rows and not matching:
        say(f"no session matches ({len(rows)} in total); without --workflow and --phase all are listed")
    if sort == "created":
        matching.sort(key=lambda row: row["created_at"], reverse=True)
    elif sort != "updated":
        matching.sort(key=lambda row: str(row[sort]))
    print_result(matching[:limit], session_table(matching[:limit]), as_json)


@sessions.command(
    short_help="Compare sessions with the first one.",
    epilog="Example: swarm-graph sessions compare queue-1 queue-2 --diff",
)
@click.argument("names", nargs=-1, required=True, metavar="SESSION...")
@click.option("--diff", is_flag=True, help="Also print how the files differ from the first session's.")
@data_option
@json_option
def compare(names: tuple[str, ...], diff: bool, data_dir: str, as_json: bool) -> None:
    """Compare sessions with the first one: outcome, time, tokens, findings, settings and files.

    With --json the differences of the files are always included.
    """
    from swarm_graph.reports.comparison import compare as side_by_side
    from swarm_graph.sessions.ids import find_session

    found = [find_session(Path(data_dir), name) for name in names]
    with _saver(data_dir) as saver:
        comparison = side_by_side(saver, found)
    print_result(comparison.to_dict(), comparison.text(diff=diff), as_json)
    if any(comparison.changes.values()) and not (diff or as_json):
        say("note: --diff shows how the files differ")


@sessions.command(
    short_help="Write the figures of all sessions to a table.",
    epilog="Example: swarm-graph sessions export swarm_metrics.csv",
)
@click.argument("path", default="swarm_metrics.csv", metavar="[FILE]")
@click.option("--calls", is_flag=True, help="One row per call, not per session and role.")
@data_option
def export(path: str, calls: bool, data_dir: str) -> None:
    """Write the figures of all sessions to FILE (.csv, .jsonl, .parquet; default swarm_metrics.csv)."""
    from swarm_graph.reports.manager import SwarmManager

    count = SwarmManager(data_dir=data_dir).export_metrics(path, calls=calls)
    say(f"wrote {count} rows to {path}")


@sessions.command(
    short_help="Write a report on all sessions, or on one.",
    epilog="Example: swarm-graph sessions report queue-1.html --session queue-1",
)
@click.argument("path", required=False, metavar="[FILE]")
@click.option("--session", metavar="ID", help="Report this session, as HTML.")
@click.option(
    "--html", is_flag=True, help="Report all sessions as HTML, as a FILE that ends in .html also does."
)
@click.option(
    "--savings",
    is_flag=True,
    help="Report where the tokens went, what they bought, and what would have been cheaper.",
)
@data_option
def report(path: str | None, session: str | None, html: bool, savings: bool, data_dir: str) -> None:
    """Write a report on all sessions, or on one, to FILE (default: swarm_report.txt or .html, or ID.html).

    An HTML page is one file that needs no network. With --savings and without FILE and --html, the report is
    printed.
    """
    from swarm_graph.reports.manager import SwarmManager
    from swarm_graph.text import file_name, printable

    manager = SwarmManager(data_dir=data_dir)
    if savings and not (path or html):
        click.echo(printable(manager.savings(session).text()), nl=False)
        return
    if savings:
        path = path or "swarm_savings.html"
        _check_html(path, html)
        manager.savings_report(path, session)
    elif session:
        path = path or f"{file_name(session)}.html"
        manager.session_report(session, path)
    else:
        path = path or f"swarm_report.{'html' if html else 'txt'}"
        _check_html(path, html)
        manager.generate_report(path)
    say(f"wrote {path}")


def _check_html(path: str, html: bool) -> None:
    if html and not path.endswith(".html"):
        raise InputError(f"--html writes HTML; name it '{path}.html', or leave --html out")


MENU = """Sessions:
  1. List all sessions
  2. Analyze a session
  3. Compare sessions
  4. Export metrics to CSV
  5. Generate a report
  6. Clean up old sessions
  0. Leave
  b back, q quit, ? help"""
CHOICES = {"1": "list", "2": "analyze", "3": "compare", "4": "export", "5": "report", "6": "clean up"}
MENU_HELP = "1 shows the ids that 2 and 3 ask for. 6 asks before it removes anything; output folders stay."


def menu(context: click.Context) -> None:
    """The old manager's menu: ask for commands until the user leaves."""
    data_dir = os.environ.get("SWARM_DATA_DIR") or DATA_DIR
    keyboard = Keyboard(Path(data_dir))
    while True:
        click.echo(MENU)
        try:
            choice = keyboard.choose("What", CHOICES, "1", MENU_HELP)
        except Back as back:
            if back.interrupted:
                raise KeyboardInterrupt from None
            return
        try:
            _choose(context, choice, keyboard, data_dir)
        except SwarmError as error:
            say(str(error))
        except Back:
            click.echo()


def _choose(context: click.Context, choice: str, keyboard: Keyboard, data_dir: str) -> None:
    """Run one command of the menu."""
    ids = "Choose 1 in the menu for the ids."
    if choice == "1":
        context.invoke(list_, data_dir=data_dir)
    elif choice == "2":
        context.invoke(show, session=_session(keyboard, data_dir), data_dir=data_dir)
    elif choice == "3":
        names = keyboard.line("Sessions, separated by spaces", help=ids).split()
        if len(names) < 2:
            raise InputError("name at least two sessions, as in queue-1 queue-2")
        context.invoke(compare, names=tuple(names), data_dir=data_dir)
    elif choice == "4":
        context.invoke(export, path=keyboard.line("File", "swarm_metrics.csv"), data_dir=data_dir)
    elif choice == "5":
        path = keyboard.line("File", "swarm_report.txt", "A file that ends in .html is a page.")
        context.invoke(report, path=path, session=None, html=False, savings=False, data_dir=data_dir)
    else:
        age = keyboard.line("Remove ended sessions not worked on for", "30d", "As in 12h, 30d or 8w.")
        context.invoke(cleanup, older_than=age, dry_run=True, data_dir=data_dir)
        if keyboard.choose("Do it", {"y": "yes", "n": "no"}, "n", "y removes them, n keeps them") == "y":
            context.invoke(cleanup, older_than=age, data_dir=data_dir)


def _session(keyboard: Keyboard, data_dir: str) -> str:
    """Ask for the id of a session; default: the one that was last worked on."""
    from swarm_graph.sessions.ids import open_catalogue

    with open_catalogue(Path(data_dir)) as catalogue:
        newest = next((session.session for session in catalogue.sessions(experiment="")), "")
    return keyboard.line("Session", newest, "Choose 1 in the menu for the ids.")


@sessions.command(
    short_help="Show the runs, tasks and calls of a session.",
    epilog="Example: swarm-graph sessions show 20231205_143022_4f2a --at coder",
)
@click.argument("session", required=False)
@click.option(
    "--at", metavar="CHECKPOINT", help="Show the state at this checkpoint (see `sessions history`)."
)
@click.option(
    "--findings",
    type=click.Choice(["text", "json", "sarif"]),
    help="Print the findings alone: a line `path:line: severity: problem` each, JSON, or SARIF 2.1.0.",
)
@data_option
@json_option
def show(session: str | None, at: str | None, findings: str | None, data_dir: str, as_json: bool) -> None:
    """Show the runs, tasks and calls of SESSION (default: the newest); with --at an earlier state."""
    from swarm_graph.reports.listing import session_account, session_account_text, state_text
    from swarm_graph.sessions.ids import open_catalogue, session_to_read

    with open_catalogue(Path(data_dir)) as catalogue:
        found = session_to_read(catalogue, session)
        if at is None and findings is None:
            pauses = _pauses(found, data_dir)
            account = session_account(catalogue, found, _state_to_show(catalogue, found), pauses)
            print_result(account, session_account_text(account), as_json)
            return

    from swarm_graph.checkpoints.signatures import is_own
    from swarm_graph.sessions.history import find_moment, moments
    from swarm_graph.sessions.resume import roles_to_read

    with _saver(data_dir) as saver:
        past = moments(saver, found)
        state: SwarmState = find_moment(past, at).state if at else past[-1].state if past else {}
        roles = roles_to_read(found, trusted=is_own(saver.catalogue, found))
    if findings is None:
        print_result(state, state_text(state, roles), as_json)
    else:
        _print_findings(state, "json" if as_json else findings)


def _print_findings(state: SwarmState, form: str) -> None:
    from swarm_graph.sessions.findings_files import (
        findings_lines,
        findings_rows,
        findings_sarif,
        has_verdict,
    )

    if not has_verdict(state):
        say("note: there is no verdict yet, so there are no findings")
    found = state.get("findings", [])
    document = findings_sarif(found) if form == "sarif" else findings_rows(found)
    print_result(document, findings_lines(found), as_json=form != "text")


@sessions.command(
    short_help="List the checkpoints of a session.",
    epilog="Example: swarm-graph sessions history 20231205_143022_4f2a",
)
@click.argument("session", required=False)
@data_option
@json_option
def history(session: str | None, data_dir: str, as_json: bool) -> None:
    """List the checkpoints of SESSION (default: the newest): time, round, finished nodes, next nodes."""
    from swarm_graph.reports.listing import history_rows, history_table
    from swarm_graph.sessions.history import moments
    from swarm_graph.sessions.ids import open_catalogue, session_to_read

    with open_catalogue(Path(data_dir)) as catalogue:
        found = session_to_read(catalogue, session)
    with _saver(data_dir) as saver:
        rows = history_rows(moments(saver, found))
    print_result(rows, history_table(rows), as_json)


@sessions.command(
    short_help="Start another session at a checkpoint of one.",
    epilog="Example: swarm-graph sessions fork 20231205_143022_4f2a --from coder --edit design.md",
)
@click.argument("session")
@click.option(
    "--from",
    "start",
    required=True,
    metavar="CHECKPOINT",
    help="The number or id of a checkpoint, or the node that comes next.",
)
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="A key of the state to set; repeatable."
)
@click.option(
    "--edit",
    metavar="FILE",
    help="A JSON object of keys to set, or text for the key that the next node works from.",
)
@click.option(
    "--session", "name", metavar="ID", help="The new session's id; default: the time and four characters."
)
@click.option("--no-run", is_flag=True, help="Only make the session; `resume` runs it.")
@session_options(config_option, data_option, output_option, simulate_option, json_option, trust_option)
def fork(
    session: str,
    start: str,
    settings: tuple[str, ...],
    edit: str | None,
    name: str | None,
    no_run: bool,
    options: SessionOptions,
) -> None:
    """Start another session at a checkpoint of SESSION, which does not change. Only later roles run again."""
    from swarm_graph.checkpoints.records import new_session_id
    from swarm_graph.checkpoints.signatures import is_own
    from swarm_graph.reports.terminal import session_command
    from swarm_graph.sessions.history import find_moment, moments
    from swarm_graph.sessions.history import fork as make_fork
    from swarm_graph.sessions.ids import find_session, validated_session_id
    from swarm_graph.sessions.resume import roles_to_read

    parent = find_session(Path(options.data_dir), session)
    new_id = validated_session_id(name) if name else new_session_id()
    with _saver(options.data_dir) as saver:
        moment = find_moment(moments(saver, parent), start)
        roles = roles_to_read(parent, trusted=is_own(saver.catalogue, parent))
        edits = _edits(settings, edit, moment.next, roles)
        forked = make_fork(saver, parent, moment, new_id, edits)
    if no_run:
        place = ", ".join(moment.next) or "its end"
        command = session_command(program(), "resume", new_id, data_dir=options.data_dir)
        say(f"made session {new_id} from {session} before {place}; continue with `{command}`")
        return
    display = Display(options)
    coordinator = resuming_coordinator(options, forked, display)
    run_session(coordinator, display, lambda coordinator: coordinator.aresume(new_id))


def _edits(
    settings: tuple[str, ...], edit: str | None, following: tuple[str, ...], roles: Roles
) -> dict[str, Any]:
    """The keys of the state that the options set."""
    from swarm_graph.sessions.history import works_from
    from swarm_graph.workflows.edits import editable_keys

    edits: dict[str, Any] = {}
    if edit is not None:
        given = read_edit(edit)
        edits = given if isinstance(given, dict) else {works_from(following, roles): given}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise InputError(f"--set {setting!r} is not KEY=VALUE; keys: {', '.join(editable_keys(roles))}")
        edits[key] = value
    return edits


@sessions.command(
    short_help="Remove old sessions, and free the space.",
    epilog="Example: swarm-graph sessions cleanup --older-than 30d --keep 10 --dry-run",
)
@click.option(
    "--older-than",
    metavar="AGE",
    help="Remove ended sessions that were not used for this long: 12h, 30d, 8w.",
)
@click.option(
    "--keep",
    default=None,
    show_default="10; with --calls and no age 0",
    type=click.IntRange(min=0),
    help="How many of the newest sessions always stay.",
)
@click.option("--unfinished", is_flag=True, help="Also remove old sessions that have not ended.")
@click.option(
    "--history",
    default="all",
    show_default=True,
    type=click.Choice(["all", "last"]),
    help="Which checkpoints of ended sessions stay: all, or only the last (no history, no forks).",
)
@click.option(
    "--calls",
    is_flag=True,
    help="Remove only the prompts and answers of the selected sessions; without --older-than of all.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@data_option
@json_option
def cleanup(
    older_than: str | None,
    keep: int | None,
    unfinished: bool,
    history: Any,
    calls: bool,
    dry_run: bool,
    data_dir: str,
    as_json: bool,
) -> None:
    """Remove old sessions from the database, compact the others, and free the space. Output folders stay.

    The branch and worktree of a removed session are deleted, too, unless somebody changed them.
    """
    from swarm_graph.checkpoints.retention import clean_up
    from swarm_graph.reports.listing import cleanup_text
    from swarm_graph.sessions.removal import remove_belongings

    age = seconds(older_than) if older_than is not None else None
    if keep is None:
        keep = 0 if calls and age is None else 10
    with _saver(data_dir) as saver:
        cleaned = clean_up(
            saver,
            older_than_s=age,
            keep=keep,
            unfinished=unfinished,
            history=history,
            calls_only=calls,
            dry_run=dry_run,
            before_removal=remove_belongings,
        )
    if calls and not cleaned.forgotten:
        cure = f": the newest {keep} stay as they are; --keep 0 keeps none" if keep else ""
        say(f"no ended session is selected{cure}")
    print_result(vars(cleaned), cleanup_text(cleaned, dry_run), as_json)


def seconds(age: str) -> float:
    """An age such as 12h, 30d or 8w, in seconds. Raises InputError when it cannot be read."""
    given = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", age.strip())
    if not given:
        raise InputError(f"the age '{age}' cannot be read; expected a number with s, m, h, d or w, as in 30d")
    return float(given[1]) * SECONDS[given[2]]


def _state_to_show(catalogue: Catalogue, session: Session) -> Mapping[str, Any]:
    """The last state of a session that works on a repository or recalls from memory; empty for any other."""
    if session.kind != CHANGE and not catalogue.has_value(session.session, "recalled"):
        return {}
    from swarm_graph.checkpoints.saver import saver_of
    from swarm_graph.sessions.apply import state_of

    return state_of(saver_of(catalogue.database), session.session)


def _pauses(session: Session, data_dir: str) -> list[Pause]:
    """The pauses at which a session waits for a person."""
    if session.phase != "paused":
        return []
    from swarm_graph.sessions.history import pauses_of

    with _saver(data_dir) as saver:
        return pauses_of(saver, session)


@contextmanager
def _saver(data_dir: str) -> Iterator[SwarmSaver]:
    from swarm_graph.checkpoints.saver import open_checkpointer
    from swarm_graph.sessions.ids import existing_place

    with open_checkpointer(existing_place(Path(data_dir)), data_dir=data_dir) as saver:
        yield saver
