"""The command line `swarm-graph`. Heavy modules are imported by the commands that need them."""

from __future__ import annotations

import errno
import io
import os
import sys
import warnings
from pathlib import Path
from typing import Any, NoReturn

import click

from swarm_graph import __version__
from swarm_graph.cli.ab import ab
from swarm_graph.cli.apply import apply
from swarm_graph.cli.batch import batch
from swarm_graph.cli.completion import VARIABLE, complete_values, completion
from swarm_graph.cli.console import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, discard_stdout, end, say
from swarm_graph.cli.database import database
from swarm_graph.cli.eval import eval_
from swarm_graph.cli.inputs import inputs
from swarm_graph.cli.interactive import interactive
from swarm_graph.cli.log import log
from swarm_graph.cli.mcp import mcp
from swarm_graph.cli.memory import memory
from swarm_graph.cli.memory_offers import accept, offers, reject
from swarm_graph.cli.models import models
from swarm_graph.cli.one_model import NO_MODEL
from swarm_graph.cli.options import config_option
from swarm_graph.cli.queue import queue
from swarm_graph.cli.run import WORKFLOW_HELP, resume, run
from swarm_graph.cli.sessions import sessions
from swarm_graph.cli.setup import doctor, init
from swarm_graph.cli.submit import submit
from swarm_graph.cli.tools import tools
from swarm_graph.cli.ui import ui
from swarm_graph.cli.verify import verify
from swarm_graph.cli.worker import worker
from swarm_graph.errors import InputError, NoModel, SwarmError

UNWRITABLE = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


def main() -> NoReturn:
    """Run the command line. Every failure ends with one line on stderr and an exit code."""
    warnings.showwarning = _show_warning
    _open_streams()
    try:
        try:
            _command("--json" in sys.argv)
        finally:
            sys.stdout.flush()
    except OSError as error:  # nobody reads stdout any more, or its disk is full
        discard_stdout()
        if not isinstance(error, BrokenPipeError):
            say(f"cannot write to stdout: {error.strerror}; finished work is kept")
    sys.exit(EXIT_FAILED)


def _open_streams() -> None:
    """Replace closed standard streams (`>&-`), and print `?` for characters that the terminal lacks."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _command(as_json: bool) -> NoReturn:
    try:
        _check_folder()
        if VARIABLE in os.environ:
            complete_values(swarm_graph)
        swarm_graph.main(standalone_mode=False, prog_name="swarm-graph")
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "swarm-graph"
        message = error.format_message().rstrip(".")
        end_mark = "" if message.endswith("?") else ";"
        end(f"{message}{end_mark} `{command} --help` shows what is allowed", EXIT_USAGE, as_json)
    except click.exceptions.Exit as leaving:
        sys.exit(leaving.exit_code)
    except click.ClickException as error:
        end(error.format_message(), EXIT_USAGE, as_json)
    except NoModel as error:
        end(NO_MODEL, error.exit_code, as_json)
    except SwarmError as error:
        end(str(error), error.exit_code, as_json)
    except (click.Abort, KeyboardInterrupt):
        end("interrupted", EXIT_INTERRUPTED, as_json)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in UNWRITABLE and not error.filename:
            raise  # it is stdout
        if os.environ.get("SWARM_DEBUG"):
            raise
        end(f"unexpected {type(error).__name__}: {error}; SWARM_DEBUG=1 shows where", EXIT_FAILED, as_json)
    sys.exit(0)


def _check_folder() -> None:
    try:
        Path.cwd()
    except OSError as error:
        raise InputError("the current folder has been deleted; change to another one") from error


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    say(f"warning: {message}")


@click.group(
    "swarm-graph",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
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


for command in (offers, accept, reject):
    memory.add_command(command)
for command in (
    run,
    resume,
    batch,
    submit,
    worker,
    queue,
    eval_,
    ab,
    inputs,
    interactive,
    sessions,
    apply,
    log,
    verify,
    tools,
    models,
    ui,
    memory,
    mcp,
    database,
    init,
    doctor,
    completion,
):
    swarm_graph.add_command(command)


def _drawing(workflow: str, config_file: str | None, form: str) -> bytes:
    from swarm_graph.config import load_config
    from swarm_graph.workflows.build import new_builder

    graph = new_builder(workflow, load_config(config_file)).build(workflow)
    return graph.svg().encode() if form == "svg" else _from_mermaid(graph.get_graph().draw_mermaid(), form)


def _drawing_of_tasks(tasks: str, form: str) -> bytes:
    from swarm_graph.tasks.dependencies import checked_graph
    from swarm_graph.tasks.dry_run import task_mermaid
    from swarm_graph.tasks.files import read_tasks
    from swarm_graph.workflows.drawing import tasks_svg

    graph = checked_graph(read_tasks(tasks, None)[1])
    if form == "svg":
        return tasks_svg(graph, f"The task graph of {Path(tasks).name}").encode()
    return _from_mermaid(task_mermaid(graph), form)


def _from_mermaid(mermaid: str, form: str) -> bytes:
    from swarm_graph.workflows.drawing import draw_png

    return draw_png(mermaid) if form == "png" else mermaid.encode()


@swarm_graph.command(
    short_help="Draw a workflow or a task graph.",
    epilog="Example: swarm-graph graph --workflow full --output full.svg",
)
@click.option("-w", "--workflow", default="full", show_default=True, help=WORKFLOW_HELP)
@click.option("--tasks", metavar="FILE", help="Draw this task graph instead.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["mermaid", "svg", "png"]),
    help="Default: as --output ends, else mermaid. A PNG needs the extra `draw`.",
)
@click.option("-o", "--output", metavar="FILE", help="Default: stdout.")
@config_option
def graph(
    workflow: str, tasks: str | None, form: str | None, output: str | None, config_file: str | None
) -> None:
    """Draw a workflow, or a task graph, offline: Mermaid text, or a picture."""
    form = form or {".svg": "svg", ".png": "png"}.get(Path(output or "").suffix.lower(), "mermaid")
    picture = _drawing_of_tasks(tasks, form) if tasks else _drawing(workflow, config_file, form)
    if output is None:
        sys.stdout.buffer.write(picture)
        return
    try:
        Path(output).write_bytes(picture)
    except OSError as error:
        raise InputError(f"cannot write '{output}': {error.strerror}") from error
