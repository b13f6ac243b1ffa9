"""The command `log`: what the calls of a session were asked, thought and answered."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from swarm_graph.cli.console import print_result, say
from swarm_graph.cli.options import data_option, json_option
from swarm_graph.errors import InputError

if TYPE_CHECKING:
    from swarm_graph.checkpoints.catalogue import Catalogue
    from swarm_graph.checkpoints.records import Session
    from swarm_graph.checkpoints.steps import ToolRecord
    from swarm_graph.checkpoints.transcript import Call
    from swarm_graph.events import Event
    from swarm_graph.reports.call_log import LoggedCall
    from swarm_graph.state import Recalled


class Selection(NamedTuple):
    """The calls that the options select."""

    role: str | None
    node: str | None
    task: str | None
    last: bool
    failed: bool

    @property
    def matching(self) -> dict[str, str]:
        """The values that calls must have, by name."""
        named = {"role": self.role, "node": self.node, "task": self.task}
        return {name: value for name, value in named.items() if value is not None}

    @property
    def selects(self) -> bool:
        """Whether they select some of the calls."""
        return bool(self.matching) or self.last or self.failed

    def calls(self, catalogue: Catalogue, session: Session) -> Iterator[Call]:
        """Yield the selected calls of models; `last` is left to the caller."""
        found = catalogue.transcript.calls(session.session, self.matching)
        return filter(_has_failed(catalogue, session), found) if self.failed else found

    def with_tools(self, catalogue: Catalogue, session: Session) -> Iterator[LoggedCall]:
        """Yield the selected calls of models and of tools."""
        from swarm_graph.reports.call_log import in_order

        tools = (tool for tool in catalogue.tool_calls(session.session) if self._selects(tool))
        return in_order(self.calls(catalogue, session), tools)

    def _selects(self, tool: ToolRecord) -> bool:
        from swarm_graph.sessions.metrics import FAILED_TOOLS

        failed = tool.result is not None and tool.result.outcome in FAILED_TOOLS
        return (failed or not self.failed) and all(
            getattr(tool, name) == value for name, value in self.matching.items()
        )


def _has_failed(catalogue: Catalogue, session: Session) -> Callable[[Call], bool]:
    """Whether a call got no answer that could be used. A call that still runs may get one."""
    from swarm_graph.reports.listing import current_phase

    running = current_phase(catalogue, session) == "running"
    return lambda call: not (call.is_usable or (running and call.outcome == "open"))


@click.command(
    short_help="Show what the models were asked, and what they answered.",
    epilog="Example: swarm-graph log 20231205_143022_4f2a --node coder --last",
)
@click.argument("session", required=False)
@click.option("--role", metavar="R", help="Only calls of this role.")
@click.option("--node", metavar="N", help="Only calls of this node; in a task graph, of this task.")
@click.option("--task", metavar="T", help="Only calls of the task with this id.")
@click.option("--last", is_flag=True, help="Only the last call.")
@click.option("--failed", is_flag=True, help="Only calls without an answer that could be used.")
@click.option("--full", is_flag=True, help="Show every text as a whole.")
@click.option("--raw", is_flag=True, help="Print the exact text of the answers, and nothing else.")
@click.option("--grep", "wanted", metavar="TEXT", help="Search all texts of calls; a regular expression.")
@click.option("--all", "everywhere", is_flag=True, help="With --grep: search all sessions.")
@data_option
@json_option
def log(
    session: str | None,
    role: str | None,
    node: str | None,
    task: str | None,
    last: bool,
    failed: bool,
    full: bool,
    raw: bool,
    wanted: str | None,
    everywhere: bool,
    data_dir: str,
    as_json: bool,
) -> None:
    """Show what the calls of SESSION (default: the newest) were asked, and what they answered.

    Works while the session runs. A call is shown with its prompt, thoughts and answer, and with what could
    not be read in it; a call of a tool with its arguments and its result. Long texts are shortened.
    """
    from swarm_graph.sessions.ids import open_catalogue, session_to_read

    selection = Selection(role, node, task, last, failed)
    _check(session, selection, raw=raw, wanted=wanted, everywhere=everywhere, as_json=as_json)
    with open_catalogue(Path(data_dir)) as catalogue:
        sessions = catalogue.sessions() if everywhere else [session_to_read(catalogue, session)]
        if wanted is not None:
            _search(catalogue, sessions, selection, wanted, as_json)
            return
        (shown,) = sessions
        calls = [*selection.calls(catalogue, shown)]
        logged = calls[-1:] if last else [*selection.with_tools(catalogue, shown)]
        if not logged:
            _explain_nothing(catalogue, shown, selection)
        if raw:
            _print_raw(calls[-1:] if last else calls)
        elif as_json:
            _print_json(logged)
        elif logged:
            decisions = [] if selection.selects else _decisions(catalogue, shown)
            _print_log(catalogue, shown, logged, full, decisions)


def _check(
    session: str | None,
    selection: Selection,
    *,
    raw: bool,
    wanted: str | None,
    everywhere: bool,
    as_json: bool,
) -> None:
    """Raise InputError for options that do not go together."""
    if everywhere and (wanted is None or session is not None):
        raise InputError("--all goes with --grep TEXT and without a session: it searches all of them")
    if raw and (as_json or wanted is not None):
        raise InputError(f"--raw prints answers alone; leave {'--json' if as_json else '--grep'} out")
    if wanted == "":
        raise InputError("--grep '' would find every line; give a text, or `--full` shows everything")
    if wanted is not None and selection.last:
        raise InputError("--last shows one call; leave it or --grep out")


def _explain_nothing(catalogue: Catalogue, session: Session, selection: Selection) -> None:
    """Say on stderr why no call is selected.

    Raises:
        InputError: The session has no such role, node or task.
    """
    from swarm_graph.config_source import closest_match

    calls = [*catalogue.transcript.calls(session.session)]  # those that still run included
    for name, value in selection.matching.items():
        known = dict.fromkeys(str(getattr(call, name)) for call in calls)
        if known and value not in known:
            meant = closest_match(value, known)
            cure = f"did you mean '{meant}'?" if meant else f"it has: {', '.join([*known][:20])}"
            raise InputError(f"session '{session.session}' has no calls of the {name} '{value}'; {cure}")
    say(f"session {session.session}: no call matches ({len(calls)} in total)")


def _print_raw(calls: list[Call]) -> None:
    from swarm_graph.reports.call_log import answers
    from swarm_graph.text import printable

    text = answers(calls)
    if sys.stdout.isatty():
        text = f"{printable(text).rstrip()}\n"
    sys.stdout.write(text)


def _print_json(calls: Sequence[LoggedCall]) -> None:
    from swarm_graph.reports.call_log import call_dict

    print_result([call_dict(call) for call in calls], "", as_json=True)


def _decisions(catalogue: Catalogue, session: Session) -> list[Event]:
    """What a person has decided at pauses, and who it was; and which candidate was chosen, and why."""
    kinds = ["pause_answered", "candidate_chosen"]
    stored = catalogue.transcript.events(session_id=session.session, kinds=kinds)
    return [one.event for one in stored]


def _print_log(
    catalogue: Catalogue,
    session: Session,
    calls: Sequence[LoggedCall],
    full: bool,
    decisions: Sequence[Event],
) -> None:
    from swarm_graph.checkpoints.steps import ToolRecord
    from swarm_graph.reports.call_log import log_lines
    from swarm_graph.reports.listing import current_phase
    from swarm_graph.text import format_count, printable

    phase = current_phase(catalogue, session)
    tools = sum(isinstance(call, ToolRecord) for call in calls)
    counts = [format_count(len(calls) - tools, "call"), format_count(tools, "tool call") if tools else ""]
    title = f"Session {session.session} ({session.workflow}): {', '.join(filter(None, [phase, *counts]))}"
    recalled = _recalled(catalogue, session)
    running = phase == "running"
    for line in log_lines(title, calls, full=full, running=running, recalled=recalled, decisions=decisions):
        text = printable(line.text)
        click.echo(click.style(text, dim=True) if line.dim and text else text)


def _recalled(catalogue: Catalogue, session: Session) -> list[Recalled]:
    """What the session has recalled from memory; of one that recalls nothing the state is not even read."""
    if not catalogue.has_value(session.session, "recalled"):
        return []
    from swarm_graph.checkpoints.saver import saver_of
    from swarm_graph.reports.recalled_lines import recalled_of
    from swarm_graph.sessions.apply import state_of

    return recalled_of(state_of(saver_of(catalogue.database), session.session))


def _search(
    catalogue: Catalogue, sessions: list[Session], selection: Selection, wanted: str, as_json: bool
) -> None:
    from swarm_graph.reports.call_log import search

    pattern = _pattern(wanted)
    calls = (call for session in sessions for call in selection.with_tools(catalogue, session))
    found = [*search(pattern, calls)]
    if not found and len(sessions) == 1 and not any(selection.calls(catalogue, sessions[0])):
        _explain_nothing(catalogue, sessions[0], selection)
    elif not found:
        where = f"{len(sessions)} sessions" if len(sessions) != 1 else f"session {sessions[0].session}"
        say(f"nothing in {where} matches {wanted!r}")
    text = "".join(f"{line}\n" for line in found)
    print_result([line.to_dict() for line in found], text, as_json)


def _pattern(wanted: str) -> re.Pattern[str]:
    """A regular expression that ignores case; a text that is none is searched as it is."""
    try:
        return re.compile(wanted, re.IGNORECASE)
    except re.error as error:
        say(f"note: {wanted!r} is no regular expression ({error}); it is searched as a text")
        return re.compile(re.escape(wanted), re.IGNORECASE)
