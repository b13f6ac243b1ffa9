"""Writes the reference pages that follow from the code: `python docs/reference_pages.py`.

A test compares them with what stands in the repository.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from swarm_graph.cli.main import swarm_graph
from swarm_graph.config import config_schema

SCHEMA = config_schema()
FOLDER = Path(__file__).parent / "reference"


def command_pages() -> str:
    """Every command with its arguments and options, as `--help` has them."""
    parts = ["# Commands\n\nGenerated from the program; `swarm-graph COMMAND --help` prints the same.\n"]
    parts += [_command(path, command) for path, command in sorted(_commands(swarm_graph, ()))]
    parts.append("## Exit codes\n\n" + _exit_codes())
    return "\n".join(parts)


def _commands(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name))
        else:
            yield (*path, name), command


def _command(path: tuple[str, ...], command: click.Command) -> str:
    context = click.Context(command, info_name=" ".join(("swarm-graph", *path)))
    arguments = [param for param in command.params if isinstance(param, click.Argument)]
    usage = " ".join(
        [" ".join(("swarm-graph", *path)), "[OPTIONS]", *(one.make_metavar(context) for one in arguments)]
    )
    rows = [
        f"| `{_names(option)}` | {_cell((option.help or '').strip())}{_values(option, context)} |"
        for option in command.params
        if isinstance(option, click.Option)
    ]
    table = "\n".join(["| option | |", "|---|---|", *rows]) if rows else ""
    example = (command.epilog or "").removeprefix("Example: ")
    shown = f"```text\n{example}\n```\n" if example else ""
    return f"## {' '.join(path)}\n\n`{usage}`\n\n{_text(command.help)}\n\n{shown}\n{table}\n"


def _names(option: click.Option) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    if option.is_flag:
        return names
    return f"{names} {option.metavar or option.type.name.upper()}"


def _values(option: click.Option, context: click.Context) -> str:
    """The choices of an option, and its default."""
    choices = option.type.choices if isinstance(option.type, click.Choice) else ()
    named = f" One of {', '.join(f'`{choice}`' for choice in choices)}." if choices else ""
    default = option.get_default(context)
    shown = option.show_default and default not in (None, False, ())
    return named + (f" Default: `{default}`." if shown else "")


def _exit_codes() -> str:
    rows = {
        0: "success; also a session that ended without approval",
        1: "a failure of a model, the disk or a budget; finished work is kept",
        2: "invalid input: an argument, a file or a setting",
        3: "the session waits for a person",
        4: "not approved, with `--require-approval`",
        130: "stopped by Ctrl-C; `resume` continues",
        143: "stopped by SIGTERM; `resume` continues",
    }
    return (
        "\n".join(["| code | |", "|---|---|", *(f"| {code} | {text} |" for code, text in rows.items())])
        + "\n"
    )


def settings_page() -> str:
    """Every key of a config file, its type, default and meaning."""
    parts = [
        "# Settings\n\nEvery key of a config file, generated from its JSON Schema "
        "(`swarm-graph init --schema`). `config.example.json` has all keys in one file. "
        "Environment variables override the file: "
        "`SWARM_WORKFLOW__MAX_ITERATIONS=2`.\n"
    ]
    parts += [_group(title, group) for title, group in _groups(SCHEMA)]
    return "\n".join(parts)


def _groups(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "The file", schema
    for name, group in sorted(schema["$defs"].items()):
        if "properties" in group:
            yield name, group


def _group(title: str, group: Mapping[str, Any]) -> str:
    rows = [
        f"| `{key}` | {_type(one)} | {_cell(_shown(one.get('default')))} | "
        f"{_cell(one.get('description', ''))} |"
        for key, one in group["properties"].items()
    ]
    about = _text(group.get("description"))
    return (
        "\n".join([f"## {title}\n", about, "", "| key | type | default | |", "|---|---|---|---|", *rows])
        + "\n"
    )


def _type(one: Mapping[str, Any]) -> str:
    if "$ref" in one:
        name = one["$ref"].rpartition("/")[2]
        meant = SCHEMA["$defs"][name]
        return f"[{name}](#{name.lower()})" if "properties" in meant else _type(meant)
    if "anyOf" in one:
        return " or ".join(_type(other) for other in one["anyOf"] if other.get("type") != "null")
    if "enum" in one:
        return ", ".join(f"`{value}`" for value in one["enum"])
    if one.get("type") == "array":
        return f"list of {_type(one['items'])}" if "items" in one else "list"
    if one.get("type") == "object" and isinstance(one.get("additionalProperties"), Mapping):
        return f"object of {_type(one['additionalProperties'])}"
    return str(one.get("type", "anything"))


def _shown(default: Any) -> str:
    if isinstance(default, (dict, list)) and default:
        return ""
    return "" if default is None else f"`{json.dumps(default)}`"


def _text(text: str | None) -> str:
    return " ".join((text or "").replace("\b", "").split())


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


PAGES = {"commands.md": command_pages, "settings.md": settings_page}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
