"""Imports what a configuration names as `module:attribute`: the user's own roles and workflows.

The names come from the user's own configuration only: a session of somebody else is refused before
(`sessions/trust.py`).
"""

from __future__ import annotations

import importlib
import sys
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

from swarm_graph.config_source import closest_match, one_line
from swarm_graph.errors import ConfigError
from swarm_graph.names import GIVEN_IN_PYTHON


def load_object(setting: str, reference: Any, folder: str | None) -> Any:
    """The object that a setting names, or is.

    Args:
        setting: The dotted path of the setting, for messages.
        reference: `module:attribute`, or the object itself.
        folder: Where the module may lie, besides the Python path. It is appended to the Python path, and
            stays there for later imports of the module's functions.

    Raises:
        ConfigError: It cannot be imported.
    """
    if not isinstance(reference, str):
        return reference
    if reference == GIVEN_IN_PYTHON:
        raise ConfigError(
            f"{setting}: a program gave it as an object, which a session cannot record; give a configuration "
            "with it, or name it as 'module:attribute'"
        )
    name, _, attribute = reference.partition(":")
    module = _import(setting, name, folder)
    try:
        return reduce(getattr, attribute.split("."), module)
    except AttributeError as error:
        meant = closest_match(attribute, [one for one in vars(module) if not one.startswith("_")])
        hint = f"; did you mean '{meant}'?" if meant else ""
        raise ConfigError(f"{setting}: {_file(module)} has no '{attribute}'{hint}") from error


def _import(setting: str, name: str, folder: str | None) -> ModuleType:
    if folder and folder not in sys.path:
        sys.path.append(folder)  # at the end: no file of the user's takes the place of a library
    importlib.invalidate_caches()  # the file may have been written a moment ago
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0] and error.name != name:
            raise ConfigError(_cannot_import(setting, name, error)) from error
        place = f"in '{folder}' or " if folder else ""
        raise ConfigError(f"{setting}: there is no module '{name}' {place}on the Python path") from error
    except (Exception, SystemExit) as error:  # code of the user's, which may raise anything
        raise ConfigError(_cannot_import(setting, name, error)) from error
    _check_is_own(setting, module, folder)
    return module


def _cannot_import(setting: str, name: str, error: BaseException) -> str:
    place = f"{error.filename}, line {error.lineno}: " if isinstance(error, SyntaxError) else ""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return one_line(f"{setting}: cannot import '{name}': {place}{type(error).__name__}: {text}")


def _check_is_own(setting: str, module: ModuleType, folder: str | None) -> None:
    """Raises ConfigError for a module of that name from elsewhere, though the folder has one, too."""
    path = Path(folder or "", *module.__name__.split("."))
    expected = [path.with_suffix(".py"), path / "__init__.py"] if folder else []
    for file in expected:
        if file.is_file() and not (module.__file__ and Path(module.__file__).samefile(file)):
            raise ConfigError(
                f"{setting}: this process has another module of the name '{module.__name__}' already, "
                f"{_file(module)}; rename '{file}'"
            )


def _file(module: ModuleType) -> str:
    return f"'{module.__file__ or module.__name__}'"
