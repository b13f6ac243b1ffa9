"""The command `completion`, and what the shell is offered for each option and argument."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from swarm_graph.database_place import is_server, place_of
from swarm_graph.errors import InputError, SwarmError
from swarm_graph.state import DATA_DIR, SESSION_ID, WORKFLOWS, AgentRole

PROGRAM = "swarm-graph"
VARIABLE = "_SWARM_GRAPH_COMPLETE"
"""When this variable is set, click prints completions in place of running a command."""
SHELLS = ("bash", "zsh", "fish")
_MEMORY_ID = re.compile("[0-9a-f]{10}")
_UNSAFE = re.compile(r"[^A-Za-z_, ]")
COMPINIT = "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }"


@click.command(
    short_help="Print a shell's script that completes commands with Tab.",
    epilog="Example: swarm-graph completion bash --install",
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.option("--install", is_flag=True, help="Save the script, and load it in the shell's start-up file.")
@click.pass_context
def completion(context: click.Context, shell: str, install: bool) -> None:
    """Print the script that completes commands, options, workflows, sessions, roles and files in SHELL.

    Without --install nothing is written; the end of the script says how to load it.
    """
    root = context.find_root().command
    found = get_completion_class(shell)
    assert found
    script = found(root, {}, PROGRAM, VARIABLE).source().strip()
    path = script_path(shell)
    if not install:
        click.echo(f"{script}\n\n{_how_to_load(shell, path)}")
        return
    _write(path, f"{script}\n")
    click.echo(f"wrote {path}")
    start_file, line = start_up(shell, path)
    if start_file and _add_line(start_file, line):
        click.echo(f"added a line to {start_file}")
    click.echo(f"open a new {shell} to use it")


def script_path(shell: str) -> Path:
    """Where --install saves the script. fish loads it from there by itself."""
    if shell == "fish":
        return _folder("XDG_CONFIG_HOME", ".config") / "fish" / "completions" / f"{PROGRAM}.fish"
    return _folder("XDG_DATA_HOME", ".local/share") / PROGRAM / f"completion.{shell}"


def _folder(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / default)


def start_up(shell: str, path: Path) -> tuple[Path | None, str]:
    """The start-up file of a shell, and the line in it that loads the script; no file for fish."""
    load = f". {shlex.quote(str(path))}"
    if shell == "bash":
        return Path.home() / ".bashrc", load
    return (_folder("ZDOTDIR", "") / ".zshrc", f"{COMPINIT}; {load}") if shell == "zsh" else (None, "")


def _how_to_load(shell: str, path: Path) -> str:
    """The end of the printed script, as comments."""
    start_file, line = start_up(shell, path)
    saved = f"# To load it: {PROGRAM} completion {shell} --install\n# or save this script as {path}"
    return f"{saved}\n# and add to {start_file}: {line}" if start_file else saved


def _add_line(file: Path, line: str) -> bool:
    """Append a line to a start-up file that lacks it; returns whether it did."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
        if line in text.splitlines():
            return False
        with file.open("a", encoding="utf-8") as target:
            target.write(f"{'' if text.endswith(chr(10)) or not text else chr(10)}{line}\n")
    except OSError as error:
        raise InputError(
            f"cannot write '{file}': {error.strerror}; add this line yourself: {line}"
        ) from error
    return True


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot write '{path}': {error.strerror}; `{PROGRAM} completion` without --install prints it"
        ) from error


# --- values --------------------------------------------------------------------------------------

Complete = Callable[[click.Context, str], Iterable[CompletionItem]]


def complete_values(command: click.Command) -> None:
    """Give each option and argument of a command, and of its subcommands, the values that it completes."""
    for parameter in command.params:
        if complete := _completer(parameter):
            parameter.type = _Completed(complete)
    for inner in getattr(command, "commands", {}).values():
        complete_values(inner)


def _completer(parameter: click.Parameter) -> Complete | None:
    """What completes the values of a parameter; None if click does, or nothing can."""
    if not isinstance(parameter.type, click.types.StringParamType):
        return None
    metavar = (parameter.metavar or "").rstrip(".").strip("[]")
    by_name: dict[str | None, Complete] = {
        "workflow": _workflows, "data_dir": _folders, "session": _sessions, "model": _files,
    }  # fmt: skip
    by_metavar: dict[str, Complete] = {
        "FILE": _files, "INPUT": _files, "DIR": _folders, "SESSION": _sessions, "ROLE": _roles,
        "TOOL": _tools, "MEMORY": _memories,
    }  # fmt: skip
    return by_metavar.get(metavar) or by_name.get(parameter.name)


class _Completed(click.types.StringParamType):
    """A text with completions."""

    def __init__(self, complete: Complete) -> None:
        self._complete = complete

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [*self._complete(ctx, incomplete)]


def _files(_: click.Context, incomplete: str) -> Iterable[CompletionItem]:
    yield CompletionItem(incomplete, type="file")


def _folders(_: click.Context, incomplete: str) -> Iterable[CompletionItem]:
    yield CompletionItem(incomplete, type="dir")


def _workflows(_: click.Context, incomplete: str) -> Iterable[CompletionItem]:
    return (CompletionItem(name) for name in WORKFLOWS if name.startswith(incomplete))


def _roles(_: click.Context, incomplete: str) -> Iterable[CompletionItem]:
    return (CompletionItem(name) for name in AgentRole if name.startswith(incomplete))


def _tools(_: click.Context, incomplete: str) -> Iterable[CompletionItem]:
    from swarm_graph.tool_settings import MEMORY_TOOL
    from swarm_graph.tools.names import BUILT_IN_TOOLS

    names = (*BUILT_IN_TOOLS, MEMORY_TOOL)
    return (CompletionItem(name) for name in names if name.startswith(incomplete))


def _memories(context: click.Context, incomplete: str) -> Iterable[CompletionItem]:
    from swarm_graph.checkpoints.session_names import memory_names

    for name in memory_names(_database(context)):
        if name.id.startswith(incomplete) and _MEMORY_ID.fullmatch(name.id):
            yield CompletionItem(name.id, help=_UNSAFE.sub("", name.source))


def _database(context: click.Context) -> Path | None:
    """The file of the sessions; None for a server: nobody waits for one while a completion is made."""
    given: Any = context.params.get("data_dir") or os.environ.get("SWARM_DATA_DIR") or DATA_DIR
    with suppress(SwarmError):
        if not is_server(place := place_of(given)):
            return Path(place)
    return None


def _sessions(context: click.Context, incomplete: str) -> Iterable[CompletionItem]:
    from swarm_graph.checkpoints.session_names import session_names

    for name in session_names(_database(context)):
        # A received database may hold ids that a shell would take for commands.
        if name.session.startswith(incomplete) and SESSION_ID.fullmatch(name.session):
            yield CompletionItem(name.session, help=_UNSAFE.sub("", f"{name.workflow}, {name.phase}"))
