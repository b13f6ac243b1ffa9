"""The settings of a test run that come from the base commit: a change must not choose its own judge."""

from __future__ import annotations

import configparser
import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from swarm_graph.repository.test_commands import BaseFiles, TestCommand, tool_tables

_ONLY_PYTEST = ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini")
_SECTIONS = {"tox.ini": "pytest", "setup.cfg": "tool:pytest"}
_BUILD_SETTINGS = ("pyproject.toml", "setup.cfg", "setup.py")
_SETTINGS = (*_ONLY_PYTEST, "pyproject.toml", *_SECTIONS)


class Judging(NamedTuple):
    """A change as the test run sees it.

    Attributes:
        changed: The files that it wrote, without settings of pytest.
        deleted: The paths that it deletes, without settings of pytest.
        notes: What is left out, and what a person should look at.
    """

    changed: dict[str, bytes]
    deleted: set[str]
    notes: list[str]


def judging_settings(
    base: BaseFiles, changed: Mapping[str, bytes], deleted: Collection[str], command: TestCommand
) -> Judging:
    """The change without its edits of pytest's settings; the base commit's settings apply.

    Args:
        base: The files of the base commit.
        changed: The files that the change wrote.
        deleted: The paths that it deletes.
        command: What runs the tests.
    """
    touched = {*changed, *deleted}
    kept = {
        path for path in _SETTINGS if path in touched and _settings(path, base) != _settings(path, changed)
    }
    notes = [
        f"{path} is the base commit's here: the change edits its settings of pytest" for path in sorted(kept)
    ]
    judges = {command.found_by, *(path for path in touched if PurePosixPath(path).name == "conftest.py")}
    notes += [
        f"the change edits {path}, which the tests rest on"
        for path in sorted(judges & touched - {*_SETTINGS})
    ]
    return Judging(
        {path: content for path, content in changed.items() if path not in kept}, {*deleted} - kept, notes
    )


def _settings(path: str, files: Mapping[str, bytes]) -> Any:
    """The settings of pytest in a file; None if it has none."""
    if path not in files:
        return None
    text = files[path].decode(errors="replace")
    if path in _ONLY_PYTEST:
        return text
    if path == "pyproject.toml":
        return tool_tables(text).get("pytest")
    with suppress(configparser.Error):
        parser = configparser.RawConfigParser()
        parser.read_string(text)
        section = _SECTIONS[path]
        return dict(parser[section]) if parser.has_section(section) else None
    return text


def source_folders(base: BaseFiles, paths: Iterable[str]) -> list[str]:
    """The folders from which the project's Python modules are imported; the top folder is the last.

    Args:
        base: The files of the base commit.
        paths: The paths of the copy.
    """
    found = ["src"] if any(path.startswith("src/") for path in paths) else []
    texts = {name: base[name].decode(errors="replace") for name in _BUILD_SETTINGS if name in base}
    found += _setuptools_folders(tool_tables(texts.get("pyproject.toml", "")))
    found += _cfg_folders(texts.get("setup.cfg", ""))
    found += re.findall(
        r"""package_dir\s*=\s*\{\s*(?:""|'')\s*:\s*["']([^"']+)["']""", texts.get("setup.py", "")
    )
    inside = [path for path in found if not PurePosixPath(path).is_absolute() and ".." not in path]
    return [*dict.fromkeys(inside), "."]


def _cfg_folders(text: str) -> list[str]:
    """The folders that a setup.cfg gives setuptools."""
    with suppress(configparser.Error):
        parser = configparser.RawConfigParser()
        parser.read_string(text)
        where = parser.get("options.packages.find", "where", fallback="")
        named = re.search(r"^\s*=\s*(\S+)", parser.get("options", "package_dir", fallback=""), re.MULTILINE)
        return [*([named[1]] if named else []), *where.split()]
    return []


def _setuptools_folders(tools: Mapping[str, Any]) -> list[str]:
    match tools.get("setuptools"):
        case {"package-dir": {"": str(folder)}}:
            return [folder]
        case {"packages": {"find": {"where": [*folders]}}}:
            return [folder for folder in folders if isinstance(folder, str)]
    return []
