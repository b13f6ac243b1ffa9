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
        0: "success; also a session that ended without approval, and an experiment, whatever it has shown",
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
    """Every key of a config file under its path in the file, with its type, default and meaning."""
    parts = [
        "# Settings\n\nEvery key of a config file, by its path in the file; generated from its JSON Schema "
        "(`swarm-graph init --schema`). `config.example.json` has all keys in one file. "
        "Environment variables override the file, with `__` for each dot of the path: "
        "`SWARM_WORKFLOW__MAX_ITERATIONS=2` sets `workflow.max_iterations`.\n"
    ]
    parts += [_group(path, group) for path, group in GROUPS.items()]
    return "\n".join(parts)


NAMES = {"agent_parameters": ["ROLE"], "multi_model": ["NAME", "ROLE"], "mcp_servers": ["NAME"]}
"""What stands in a path for the keys that people choose: one for each form that their values may have."""
TOP = "The file"


def _groups(
    path: str, group: Mapping[str, Any], found: dict[str, Mapping[str, Any]]
) -> dict[str, Mapping[str, Any]]:
    """An object of settings and those inside it by their paths; what is inside one met before is left out."""
    met = any(group is other for other in found.values())
    found[path or TOP] = group
    for key, one in () if met else group["properties"].items():
        for inner, place in _objects(f"{path}.{key}".removeprefix("."), one):
            _groups(place, inner, found)
    return found


def _objects(path: str, one: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], str]]:
    """The groups of settings that a key holds, itself, by name or in a list, each with its path."""
    values = one.get("additionalProperties")
    values = values if isinstance(values, Mapping) else {}
    by_pattern = one.get("patternProperties", {}).values()  # the names have a form of their own
    others = one.get("anyOf", ())
    in_lists = [other["items"] for other in others if "items" in other]
    held = (one, values, *values.get("oneOf", ()), *by_pattern, *others, *in_lists)
    found = [SCHEMA["$defs"].get(some.get("$ref", "").rpartition("/")[2], {}) for some in held]
    groups = [group for group in found if "properties" in group]
    names = NAMES.get(path.rpartition(".")[2])
    places = [f"{path}.{name}" for name in names] if names else [path]
    return list(zip(groups, places, strict=False))


GROUPS = _groups("", SCHEMA, {})


def _group(path: str, group: Mapping[str, Any]) -> str:
    first = next(one for one, same in GROUPS.items() if same is group)
    title = path if path == TOP else f"`{path}`"
    if first != path:
        return f"## {title}\n\nThe same keys as {_link(first)}.\n"
    prefix = "" if path == TOP else f"{path}."
    rows = [
        f"| `{key}` | {_type(prefix + key, one)} | {_cell(_shown(one.get('default')))} | "
        f"{_cell(one.get('description', ''))} |"
        for key, one in group["properties"].items()
    ]
    about = "The keys at the top of the file." if path == TOP else _text(group.get("description"))
    return (
        "\n".join([f"## {title}\n", about, "", "| key | type | default | |", "|---|---|---|---|", *rows])
        + "\n"
    )


def _link(path: str) -> str:
    """A link to the section of a path; the anchor is the one that the site and GitHub make of its title."""
    return f"[`{path}`](#{path.lower().replace('.', '')})"


def _type(path: str, one: Mapping[str, Any]) -> str:
    key = path.rpartition(".")[2]
    held = [_link(place) for _, place in _objects(path, one)]
    if held and key in NAMES:
        return f"objects by name: {' or '.join(held)}"
    if held and "anyOf" in one and any("items" in other for other in one["anyOf"]):
        return " or ".join(
            f"list of {held[0]}" if "items" in other else _type(path, other) for other in one["anyOf"]
        )
    if held:
        return held[0]
    if "$ref" in one:
        return _type(path, SCHEMA["$defs"][one["$ref"].rpartition("/")[2]])
    if "anyOf" in one:
        return " or ".join(_type(path, other) for other in one["anyOf"] if other.get("type") != "null")
    if "enum" in one:
        return ", ".join(f"`{value}`" for value in one["enum"])
    if one.get("type") == "array":
        return f"list of {_type(path, one['items'])}" if "items" in one else "list"
    return str(one.get("type", "anything"))


def _shown(default: Any) -> str:
    if isinstance(default, (dict, list)) and default:
        return ""
    return "" if default is None else f"`{json.dumps(default)}`"


def _text(text: str | None) -> str:
    return " ".join((text or "").replace("\b", "").split())


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("][", "]\\[")


PAGES = {"commands.md": command_pages, "settings.md": settings_page}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
