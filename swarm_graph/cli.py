"""The command line `swarm-graph`. Heavy modules are imported by the commands that need them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from swarm_graph import __version__
from swarm_graph.cli_setup import doctor, init
from swarm_graph.errors import InputError, SwarmError

if TYPE_CHECKING:
    from swarm_graph.config import SwarmConfig
    from swarm_graph.coordinator import SwarmCoordinator
    from swarm_graph.state import SwarmState

EXIT_FAILED, EXIT_USAGE, EXIT_NOT_APPROVED, EXIT_INTERRUPTED, EXIT_TERMINATED = 1, 2, 4, 130, 143
MENU = """Select a workflow:
  1. STANDARD  clarify, design, code, three reviews
  2. FULL      all roles: also tests, security, docs
  3. REVIEW    four reviews of code that you paste"""
WORKFLOW_HELP = "standard, full or review_only."


def main() -> NoReturn:
    """Runs the command line. Every failure ends as one line on stderr and an exit code."""
    as_json = "--json" in sys.argv
    warnings.showwarning = _show_warning
    try:
        swarm_graph.main(standalone_mode=False, prog_name="swarm-graph")
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "swarm-graph"
        _end(
            f"{error.format_message().rstrip('.')}; `{command} --help` shows what is allowed",
            EXIT_USAGE,
            as_json,
        )
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.ClickException as error:
        _end(error.format_message(), EXIT_USAGE, as_json)
    except SwarmError as error:
        _end(str(error), error.exit_code, as_json)
    except (click.Abort, KeyboardInterrupt):
        _end("interrupted", EXIT_INTERRUPTED, as_json)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)
    except Exception as error:
        if os.environ.get("SWARM_DEBUG"):
            raise
        _end(f"unexpected {type(error).__name__}: {error}; SWARM_DEBUG=1 shows where", EXIT_FAILED, as_json)
    sys.exit(0)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    sys.stderr.write(f"swarm-graph: warning: {message}\n")


def _end(message: str, code: int, as_json: bool = False) -> NoReturn:
    from swarm_graph.artifacts import plain_text, to_json

    line = plain_text(" ".join(message.split()))
    if as_json:
        sys.stdout.write(to_json({"error": line, "exit_code": code}))
    sys.stderr.write(f"swarm-graph: {line}\n")
    sys.exit(code)


@click.group(
    "swarm-graph",
    invoke_without_command=True,
    epilog='Example: swarm-graph run "Create a thread-safe FIFO queue" --workflow full',
)
@click.version_option(__version__, prog_name="swarm-graph")
@click.pass_context
def swarm_graph(context: click.Context) -> None:
    """Nine agent roles turn a request into reviewed code, tests and docs, on model servers of your own."""
    if context.invoked_subcommand is None:
        if sys.stdin.isatty() and sys.stdout.isatty():
            context.invoke(interactive)
        else:
            click.echo(context.get_help())


swarm_graph.add_command(doctor)
swarm_graph.add_command(init)

Option = Callable[[Callable[..., Any]], Callable[..., Any]]
config_option: Option = click.option(
    "--config", "config_file", metavar="FILE", help="Configuration; default $SWARM_CONFIG, then config.json."
)
data_option: Option = click.option(
    "--data-dir",
    default=".swarm",
    envvar="SWARM_DATA_DIR",
    show_default=True,
    help="Folder of the session database.",
)
simulate_option: Option = click.option(
    "--simulate", is_flag=True, help="Ask no server; every answer is invented."
)
output_option: Option = click.option("--output", metavar="DIR", help="Default: swarm-output/<session>.")
approval_option: Option = click.option(
    "--require-approval", is_flag=True, help="Exit with 4 when not approved."
)
json_option: Option = click.option(
    "--json", "as_json", is_flag=True, help="Print the session as one JSON document."
)


def session_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What `run` and `resume` have in common."""
    for option in (json_option, approval_option, simulate_option, output_option, data_option, config_option):
        command = option(command)
    return command


@swarm_graph.command(epilog='Example: swarm-graph run "Create a CSV parser" --workflow full --output parser')
@click.argument("request", required=False)
@click.option("--workflow", default="standard", show_default=True, help=WORKFLOW_HELP)
@click.option(
    "--input", "inputs", multiple=True, metavar="FILE", help="A file to add to the request; repeatable."
)
@click.option("--session", metavar="ID", help="Default: the time and four characters.")
@click.option("--follow-up", is_flag=True, help="Ask an ended --session for more.")
@session_options
def run(
    request: str | None,
    workflow: str,
    inputs: tuple[str, ...],
    session: str | None,
    follow_up: bool,
    config_file: str | None,
    data_dir: str,
    output: str | None,
    simulate: bool,
    require_approval: bool,
    as_json: bool,
) -> None:
    """Run a workflow on REQUEST (`-`: read it from stdin)."""
    text = whole_request(request, inputs)
    if follow_up and not session:
        raise InputError("--follow-up needs --session ID: which session is asked for more?")
    coordinator = _coordinator(_config(config_file, simulate), data_dir, output)

    async def work() -> SwarmState:
        return await coordinator.arun_workflow(text, workflow, session_id=session, follow_up=follow_up)

    _carry_out(coordinator, work, require_approval, as_json)


@swarm_graph.command(epilog="Example: swarm-graph resume 20231205_143022_4f2a")
@click.argument("session", required=False)
@session_options
def resume(
    session: str | None,
    config_file: str | None,
    data_dir: str,
    output: str | None,
    simulate: bool,
    require_approval: bool,
    as_json: bool,
) -> None:
    """Go on with SESSION (default: the newest that has not ended); finished work is not asked for again.

    The configuration is today's; without one, that which the session began with.
    """
    from swarm_graph.session import find_session

    known = find_session(Path(data_dir), session)
    config = _config(config_file, simulate or known.simulated, kept=known.config)
    coordinator = _coordinator(config, data_dir, output)
    _carry_out(coordinator, lambda: coordinator.aresume(known.session), require_approval, as_json)


@swarm_graph.command(epilog="Example: swarm-graph interactive --simulate")
@config_option
@data_option
@simulate_option
def interactive(config_file: str | None = None, data_dir: str = ".swarm", simulate: bool = False) -> None:
    """Choose a workflow from a menu and type the request, ended by a line END."""
    if not sys.stdin.isatty():
        raise InputError("interactive needs a terminal; use `swarm-graph run REQUEST`")
    config = _config(config_file, simulate)
    workflows = {"1": "standard", "2": "full", "3": "review_only"}
    click.echo(MENU)
    choice = click.prompt("Workflow", type=click.Choice(list(workflows)), default="1")
    click.echo(f"What would you like to build?\n{'=' * 80}")
    click.echo(f"(Type your input. Enter 'END' on a new line when done)\n{'-' * 80}")
    lines = iter(sys.stdin.readline, "")
    text = "".join(line for line in _until_end(lines))
    coordinator = _coordinator(config, data_dir, None)
    _carry_out(coordinator, lambda: coordinator.arun_workflow(text, workflows[choice]), False, False)


@swarm_graph.command(epilog="Example: swarm-graph graph --workflow full --format svg --output full.svg")
@click.option("--workflow", default="full", show_default=True, help=WORKFLOW_HELP)
@click.option(
    "--format", "form", default="mermaid", show_default=True, type=click.Choice(["mermaid", "svg", "png"])
)
@click.option("--output", metavar="FILE", help="Default: stdout.")
@config_option
def graph(workflow: str, form: str, output: str | None, config_file: str | None) -> None:
    """Draw a workflow, offline: Mermaid text, or a picture."""
    from swarm_graph.config import load_config
    from swarm_graph.workflows import build_graph

    mermaid = build_graph(workflow, config=load_config(config_file)).get_graph().draw_mermaid()
    picture = mermaid.encode()
    if form != "mermaid":
        from swarm_graph.drawing import draw

        picture = draw(mermaid, "svg" if form == "svg" else "png")
    if output is None:
        sys.stdout.buffer.write(picture)
        return
    try:
        Path(output).write_bytes(picture)
    except OSError as error:
        raise InputError(f"cannot write '{output}': {error.strerror}") from error


def whole_request(request: str | None, inputs: tuple[str, ...]) -> str:
    """The request with the files given to it, each as a fenced block with its path."""
    from swarm_graph.answers import fenced

    text = _stdin() if request == "-" else request or ""
    files = {Path(name).as_posix(): _read(name) for name in inputs}
    whole = "\n\n".join(part for part in (text.strip(), fenced(files)) if part)
    if not whole:
        raise InputError(
            'the request is empty; type it in quotes, as in swarm-graph run "Create a CSV parser"'
        )
    return whole


def _stdin() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise InputError("the request on stdin is not UTF-8 text") from error


def _read(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read the input file '{name}': {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the input file '{name}' is not UTF-8 text") from error


def _until_end(lines: Any) -> Any:
    for line in lines:
        if line.strip() == "END":
            return
        yield line


def _config(config_file: str | None, simulate: bool, kept: dict[str, Any] | None = None) -> SwarmConfig:
    """The configuration; `kept`: what a session began with, for when there is no file any more."""
    from swarm_graph.config import load_config

    config = load_config(config_file)
    if kept and config == load_config({}):
        config = load_config(kept)
    return config.simulated() if simulate else config


def _coordinator(config: SwarmConfig, data_dir: str, output: str | None) -> SwarmCoordinator:
    from swarm_graph.coordinator import SwarmCoordinator

    return SwarmCoordinator(config, data_dir=data_dir, output=output)


def _carry_out(
    coordinator: SwarmCoordinator,
    work: Callable[[], Awaitable[SwarmState]],
    require_approval: bool,
    as_json: bool,
) -> None:
    """Runs a session with its progress on stderr, prints the result, ends with its exit code."""
    from swarm_graph.artifacts import to_json
    from swarm_graph.progress import Progress
    from swarm_graph.report import failures_text, session_text

    with Progress(coordinator.config.workflow.max_iterations) as progress:
        coordinator.on_event = progress.on_event
        try:
            asyncio.run(_until_terminated(work()))
        except (KeyboardInterrupt, _Terminated) as stop:
            code = EXIT_TERMINATED if isinstance(stop, _Terminated) else EXIT_INTERRUPTED
            how = f"; `{program()} resume {coordinator.session_id}` goes on" if coordinator.session_id else ""
            progress.__exit__(None, None, None)
            _end(f"stopped{how}", code, as_json)
    sys.stdout.write(to_json(coordinator.document()) if as_json else session_text(coordinator, program()))
    sys.stdout.flush()
    if coordinator.state["phase"] == "failed":
        cure = f"`{program()} resume {coordinator.session_id}` asks only for what is missing"
        _end(f"{failures_text(coordinator.completed_tasks)}; {cure}", EXIT_FAILED)
    if require_approval and not coordinator.state.get("approved"):
        sys.exit(EXIT_NOT_APPROVED)


class _Terminated(BaseException):
    """SIGTERM."""


async def _until_terminated(work: Awaitable[Any]) -> None:
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        if asyncio.current_task().cancelling():  # type: ignore[union-attr]
            raise
        raise _Terminated from None


def program() -> str:
    """How this program was called, for the commands that it prints."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "swarm-graph" and not called.is_absolute() else "swarm-graph"
