"""Options that several commands share, and the files that options name."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from swarm_graph.database_place import config_named
from swarm_graph.errors import InputError
from swarm_graph.state import DATA_DIR, KINDS, OUTPUT_DIR, Kind

Option = Callable[[Callable[..., Any]], Callable[..., Any]]
config_option: Option = click.option(
    "-c",
    "--config",
    "config_file",
    metavar="FILE",
    callback=lambda *given: let_name_database(*given),
    help="The configuration; default: $SWARM_CONFIG, then config.json.",
)
data_option: Option = click.option(
    "--data-dir",
    default=DATA_DIR,
    envvar="SWARM_DATA_DIR",
    show_default=True,
    help="The folder of the session database.",
)
MAX_SESSIONS = 4
output_dir_option: Option = click.option(
    "--output-dir",
    default=OUTPUT_DIR,
    show_default=True,
    metavar="DIR",
    help="The folder in which each session gets a folder.",
)
max_sessions_option: Option = click.option(
    "--max-sessions",
    type=click.IntRange(min=1),
    default=MAX_SESSIONS,
    show_default=True,
    metavar="N",
    help="Sessions that run at once.",
)
simulate_option: Option = click.option(
    "--simulate", is_flag=True, help="Contact no server; every answer is made up."
)
url_option: Option = click.option(
    "--url",
    metavar="URL",
    default="",
    callback=lambda *given: _not_empty(*given),
    help="A server with one model for all roles; no config needed.",
)
model_option: Option = click.option(
    "-m",
    "--model",
    metavar="NAME",
    default="",
    callback=lambda *given: _not_empty(*given),
    help="One model for all roles: its name on the server, an entry of multi_model, or FILE.gguf.",
)
api_type_option: Option = click.option(
    "--api-type",
    metavar="TYPE",
    default="",
    callback=lambda *given: _not_empty(*given),
    help="With --url: openai or ollama; default: as the server says.",
)
key_option: Option = click.option(
    "--api-key-env",
    metavar="NAME",
    default="",
    callback=lambda *given: _not_empty(*given),
    help="The environment variable with the API key of the server.",
)
choose_option: Option = click.option(
    "--choose",
    metavar="ROLE=ENTRY",
    multiple=True,
    help="The model of a role that may have several (any_of), whatever was measured; repeatable.",
)
MODEL_OPTIONS = (url_option, model_option, api_type_option, key_option)
"""The options that name one model for all roles; `cli/one_model.py` finds it."""
no_memory_option: Option = click.option(
    "--no-memory", is_flag=True, help="Recall nothing from memory, and keep nothing in it."
)
log_option: Option = click.option(
    "--log-file",
    metavar="FILE",
    expose_value=False,
    callback=lambda _context, _option, path: _log_to(path),
    help="Append a line per event to FILE; as JSON if its name ends in .jsonl.",
)
prompts_option: Option = click.option(
    "--prompts",
    metavar="DIR",
    callback=lambda _context, _option, name: _absolute_unless_pack(name),
    help="A folder with prompts of your own, or a pack: process-safety.",
)
kind_option: Option = click.option(
    "--kind",
    type=click.Choice(KINDS),
    help="What the session makes; default: as configured, or as the prompts declare, else code.",
)
repo_option: Option = click.option(
    "--repo", metavar="DIR", default="", callback=lambda *given: _not_empty(*given),
    help="The git repository to change on a branch of its own, to review or to read; your files stay.",
)  # fmt: skip
base_option: Option = click.option(
    "--base", metavar="REF", default="", help="With --repo: start from this commit instead of HEAD."
)
with_changes_option: Option = click.option(
    "--with-changes", is_flag=True, help="With --repo: include your uncommitted changes."
)
REPOSITORY_OF_TASKS = (repo_option, base_option, with_changes_option)
REPOSITORY_OPTIONS = (
    *REPOSITORY_OF_TASKS,
    click.option(
        "--only", "only_files", metavar="GLOB", multiple=True,
        help="With --repo: only these paths may be changed; repeatable.",
    ),
    click.option(
        "--read-only-files", metavar="GLOB", multiple=True,
        help="With --repo: these paths may not be changed; repeatable.",
    ),
    click.option(
        "--diff", metavar="RANGE",
        help="With --repo and --workflow review_only: review this range, as in main...",
    ),
)  # fmt: skip
"""The options of a new session on a repository; `cli/one_repository.py` reads them."""
output_option: Option = click.option(
    "-o", "--output", metavar="DIR", help=f"Default: {OUTPUT_DIR}/<session>."
)
trust_option: Option = click.option(
    "--trust-session",
    is_flag=True,
    help="Use what a session of somebody else recorded: its servers, programs, keys and folders.",
)
events_option: Option = click.option(
    "--json-events", "as_events", is_flag=True, help="Print each event as a line of JSON, and nothing else."
)
json_option: Option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@dataclass(frozen=True)
class SessionOptions:
    """The options of commands that run sessions; see the options of the same names."""

    config_file: str | None = None
    data_dir: str = DATA_DIR
    output: str | None = None
    simulate: bool = False
    prompts: str | None = None
    kind: Kind | None = None
    as_json: bool = False
    as_events: bool = False
    trust_session: bool = False
    url: str = ""
    model: str = ""
    api_type: str = ""
    api_key_env: str = ""
    choose: tuple[str, ...] = ()
    no_memory: bool = False
    repo: str = ""
    base: str = ""
    only_files: tuple[str, ...] = ()
    read_only_files: tuple[str, ...] = ()
    with_changes: bool = False
    diff: str | None = None


def session_options(*options: Option) -> Option:
    """Add options to a command, which gets them as one argument `options`, a SessionOptions."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def call(*args: Any, **kwargs: Any) -> Any:
            names = SessionOptions.__dataclass_fields__.keys() & kwargs.keys()
            given = {name: kwargs.pop(name) for name in names}
            return command(*args, options=SessionOptions(**given), **kwargs)

        with_options: Callable[..., Any] = call
        for option in reversed(options):
            with_options = option(with_options)
        return with_options

    return add


_ALL = (
    config_option,
    *MODEL_OPTIONS,
    choose_option,
    no_memory_option,
    data_option,
    output_option,
    simulate_option,
    json_option,
    events_option,
    prompts_option,
    log_option,
)
all_session_options: Option = session_options(*_ALL, *REPOSITORY_OPTIONS)
"""Every option of the commands that run sessions."""
resuming_options: Option = session_options(*_ALL, repo_option, trust_option)
"""Every option of the commands that resume sessions."""
batch_options: Option = session_options(*_ALL, *REPOSITORY_OF_TASKS, trust_option)
"""Every option of `batch`, which makes sessions and resumes them."""


def _log_to(path: str | None) -> None:
    if path is None:
        return
    from swarm_graph.sessions.logs import log_to_file

    log_to_file(path)


def let_name_database(context: click.Context, _: click.Parameter, given: str | tuple[str, ...] | None) -> Any:
    """Let the config file that a command names say where its sessions are; of several files the first."""
    files = given if isinstance(given, tuple) else filter(None, [given])
    for file in [*files][:1]:
        context.with_resource(config_named(file))
    return given


def _not_empty(context: click.Context, option: click.Parameter, value: str) -> str:
    """The value of an option. Raises InputError if it is given but empty, as a variable that is not set."""
    if value == "" and context.get_parameter_source(option.name or "") == ParameterSource.COMMANDLINE:
        raise InputError(f"{option.opts[-1]} is empty; give a value, or leave the option out")
    return value


def _absolute_unless_pack(prompts: str | None) -> str | None:
    """A folder of prompts as an absolute path, because a resume may start in another folder."""
    if prompts is None:
        return None
    from swarm_graph.settings import PROMPT_PACKS

    return prompts if prompts in PROMPT_PACKS else str(Path(prompts).absolute())


def read_file(name: str) -> str:
    """The text of a file that an option names. Raises InputError when it cannot be read."""
    try:
        return Path(name).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read the input file '{name}': {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the input file '{name}' is not UTF-8 text") from error


def read_edit(name: str) -> Any:
    """An edit from a file: a JSON object of keys and values, or text. Raises InputError."""
    text = read_file(name)
    if not text.lstrip().startswith("{"):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
    except RecursionError as error:
        raise InputError(f"the JSON in '{name}' is nested too deep") from error
