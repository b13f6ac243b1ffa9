"""The command `apply`: bring the change of a session into the user's repository, or take it back."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from swarm_graph.cli.console import print_result, program, say
from swarm_graph.cli.options import data_option, json_option
from swarm_graph.errors import InputError

if TYPE_CHECKING:
    from swarm_graph.repository.apply import Applied
    from swarm_graph.sessions.apply import Change


@click.command(
    short_help="Bring the change of a session into your repository.",
    epilog="Example: swarm-graph apply 20231205_143022_4f2a --merge",
)
@click.argument("session", required=False)
@click.option("--merge", is_flag=True, help="Merge the session's branch into the one that is checked out.")
@click.option("--patch", is_flag=True, help="Print the change as a patch for `git am`; change nothing.")
@click.option("--undo", is_flag=True, help="Take the last `apply` of the session back.")
@click.option("--repo", metavar="DIR", help="The repository; default: the one that the session began in.")
@data_option
@json_option
def apply(
    session: str | None, merge: bool, patch: bool, undo: bool, repo: str | None, data_dir: str, as_json: bool
) -> None:
    """Bring the change of SESSION (default: the newest) into your working tree, uncommitted.

    Without --merge your index and branch stay as they are. Nothing is written if a file does not fit or
    has uncommitted changes.
    """
    if merge + patch + undo > 1:
        raise InputError("give one of --merge, --patch and --undo")
    if patch and as_json:
        raise InputError("--patch prints the patch itself; leave --json out")
    from swarm_graph.checkpoints.saver import open_checkpointer
    from swarm_graph.sessions.apply import change_of
    from swarm_graph.sessions.ids import existing_place, session_to_read

    with open_checkpointer(existing_place(Path(data_dir)), data_dir=data_dir) as saver:
        change = change_of(saver, session_to_read(saver.catalogue, session), repo)
    if patch:
        _print(change.patch())
        return
    if not undo and change.state.get("approved") is not True:
        say(f"note: the reviews did not approve the change of session {change.session}")
    applied = change.undo() if undo else change.apply(merge=merge)
    document = {"session": change.session, "repo": change.repo["path"], "undone": undo, **applied._asdict()}
    back = ("--undo", *(["--repo", repo] if repo else []))
    print_result(document, _text(change, applied, data_dir, None if undo else back), as_json)


def _text(change: Change, applied: Applied, data_dir: str, back: Sequence[str] | None) -> str:
    """What was done, for people; `back` are the options that take it back, None after it was."""
    from swarm_graph.reports.terminal import session_command
    from swarm_graph.text import format_count

    folder = change.repo["path"]
    lines = [f"  {path}" for path in applied.written] + [f"  {path} (deleted)" for path in applied.deleted]
    count = format_count(len(lines), "file")
    if back is None:
        return "\n".join(
            [f"Took the change of session {change.session} back: {count} in {folder}", *lines, ""]
        )
    if not lines and not applied.commit:
        return f"{folder} has the change of session {change.session} already\n"
    how = f"commit {applied.commit[:12]}" if applied.commit else "uncommitted"
    command = session_command(program(), "apply", change.session, *back, data_dir=data_dir)
    first = f"Applied session {change.session} to {folder}: {count}, {how}"
    return "\n".join([first, *lines, f"`{command}` takes it back", ""])


def _print(patch: bytes) -> None:
    """Print a patch as it is; to a terminal without characters that control it."""
    from swarm_graph.text import printable

    if sys.stdout.isatty():
        click.echo(printable(patch.decode(errors="replace")), nl=False)
    else:
        sys.stdout.buffer.write(patch)
