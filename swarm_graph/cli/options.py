"""Options that several commands share, and the files that options name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from swarm_graph.errors import InputError

DATA_DIR = ".swarm"


PROMPTS = "swarm_graph.prompts"
"""Where a command's context keeps what `--prompts` says."""


Option = Callable[[Callable[..., Any]], Callable[..., Any]]


config_option: Option = click.option(
    "--config", "config_file", metavar="FILE", help="Configuration; default $SWARM_CONFIG, then config.json."
)


data_option: Option = click.option(
    "--data-dir",
    default=DATA_DIR,
    envvar="SWARM_DATA_DIR",
    show_default=True,
    help="Folder of the session database.",
)


simulate_option: Option = click.option(
    "--simulate", is_flag=True, help="Ask no server; every answer is invented."
)


log_option: Option = click.option(
    "--log-file",
    metavar="FILE",
    expose_value=False,
    callback=lambda _context, _option, path: _log_to(path),
    help="Append a line per event; with a name in .jsonl as JSON.",
)


prompts_option: Option = click.option(
    "--prompts",
    metavar="DIR",
    expose_value=False,
    callback=lambda context, _option, name: context.meta.__setitem__(PROMPTS, _located(name)),
    help="A folder of own prompts, or a pack: process-safety.",
)


output_option: Option = click.option("--output", metavar="DIR", help="Default: swarm-output/<session>.")


events_option: Option = click.option(
    "--json-events", "as_events", is_flag=True, help="Print each event as a line of JSON, and nothing else."
)


json_option: Option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def session_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What the commands that run sessions have in common."""
    for option in (
        log_option,
        prompts_option,
        events_option,
        json_option,
        simulate_option,
        output_option,
        data_option,
        config_option,
    ):
        command = option(command)
    return command


def _log_to(path: str | None) -> None:
    from swarm_graph.sessions.logs import log_to_file

    if path is not None:
        log_to_file(path)


def _located(prompts: str | None) -> str | None:
    """A folder of prompts as an absolute path: a resume may begin elsewhere."""
    from swarm_graph.settings import PACKS

    return prompts if prompts is None or prompts in PACKS else str(Path(prompts).absolute())


def read_file(name: str) -> str:
    """A text file that an option names. InputError when it cannot be read."""
    try:
        return Path(name).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read the input file '{name}': {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the input file '{name}' is not UTF-8 text") from error


def read_edit(name: str) -> Any:
    """An edit from a file: a JSON object of keys and values, or plain text."""
    text = read_file(name)
    if not text.lstrip().startswith("{"):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
    except RecursionError as error:
        raise InputError(f"the JSON in '{name}' is nested too deep") from error
