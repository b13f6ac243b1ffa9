"""HTML primitives of drawings and notebooks: escaped text and tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from swarm_graph.text import printable

LEFT = ' style="text-align: left"'
"""Of heads and cells with text: JupyterLab aligns the cells of tables to the right."""


def escaped(text: str) -> str:
    """Any text as HTML that shows it and nothing else: no markup, no control characters."""
    return escape(printable(text))


def html_table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table for a notebook.

    Args:
        heads: One text for each column.
        rows: Cells of any type; numbers are aligned to the right, None is shown as "-". Texts are escaped.
    """
    head = "".join(f"<th{LEFT}>{escaped(name)}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return f"<td{LEFT}>{ {True: 'yes', False: 'no', None: '-'}[value] }</td>"
    if isinstance(value, (int, float)):
        return f"<td>{value:,.2f}</td>" if isinstance(value, float) else f"<td>{value:,}</td>"
    return f"<td{LEFT}>{escaped(str(value))}</td>"
