"""The templates of reports, as files and as pages: Jinja2, with every value escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from swarm_graph.text import duration, local_time, printable, visible

FOLDER = Path(__file__).with_name("templates")
STYLE = Path(__file__).with_name("report.css")


def new_environment(*folders: Path) -> Environment:
    """An environment with the templates of reports and of more folders.

    Every value is escaped, without control characters; only Markup, which our own code makes, is HTML. Two
    filters keep all characters: `exact` for the values of fields, which come back in a form, and `visible`
    for names that somebody approves: what nobody would see is spelled out.

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
    environment.filters |= {
        "local_time": local_time,
        "duration": duration,
        "exact": escape,
        "visible": visible,
    }
    return environment


def _shown(value: Any) -> Any:
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable(value)
    return "" if value is None else value


def file_html(template: str, **values: Any) -> str:
    """A page that is one file, with its style sheet inside.

    Args:
        template: The name of a template that extends `standalone.html`.
        values: What it shows.
    """
    return new_environment().get_template(template).render(style=Markup(_style()), **values)


def notebook_html(template: str, **values: Any) -> str:
    """The output of a notebook's cell: it looks like a report, and follows JupyterLab's light or dark theme.

    Args:
        template: The name of a template.
        values: What it shows.
    """
    html = new_environment().get_template(template).render(**values)
    return f'<div class="swarm-graph"><style>{_scoped_style()}</style>{html}</div>'


def _style() -> str:
    return STYLE.read_text(encoding="utf-8")


def _scoped_style() -> str:
    """The style sheet for a part of somebody else's page: its rules reach nothing outside of that part."""
    own = _style().replace(":root", "&").replace("body {", "& {", 1)
    return (
        f".swarm-graph {{ {own} & {{ color-scheme: light; background: none; margin: 0; padding: 0; }} "
        "& tbody tr:nth-child(n) { background: none; } } "
        'body[data-jp-theme-light="false"] .swarm-graph { color-scheme: dark; }'
    )
