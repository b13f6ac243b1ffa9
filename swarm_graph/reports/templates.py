"""The templates of reports, as files and as pages: Jinja2, with every value escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from swarm_graph.text import local_time, printable

FOLDER = Path(__file__).with_name("templates")
STYLE = Path(__file__).with_name("report.css")


def new_environment(*folders: Path) -> Environment:
    """An environment with the templates of reports and of more folders.

    Every value is escaped, without control characters; only Markup, which our own code makes, is HTML.

    Args:
        folders: Folders with more templates; they are searched first.
    """
    environment = Environment(
        loader=FileSystemLoader([*folders, FOLDER]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters |= {"local_time": local_time}
    return environment


def _shown(value: Any) -> Any:
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable(value)
    return "" if value is None else value
