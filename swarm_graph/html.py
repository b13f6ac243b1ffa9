"""HTML primitives of reports and notebooks: escaped text and tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from swarm_graph.text import printable

LEFT = ' style="text-align: left"'
"""Of heads and cells with text: JupyterLab aligns the cells of tables to the right."""
MAX_NARROW_COLUMNS = 3
"""A table of more columns does not fit on a narrow screen."""


def escaped(text: str) -> str:
    """Any text as HTML that shows it and nothing else: no markup, no control characters."""
    return escape(printable(text))


def html_table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table. Cells of a wide one name their column, so that a page can stack them on a narrow screen.

    Args:
        heads: One text for each column.
        rows: Cells of any type; numbers are aligned to the right, None is shown as "-". Texts are escaped.
    """
    is_wide = len(heads) > MAX_NARROW_COLUMNS
    labels = [f' data-label="{escaped(name)}"' if is_wide and name else "" for name in heads]
    head = "".join(f"<th{LEFT}>{escaped(name)}</th>" for name in heads)
    cells = (map(_cell, row, labels) for row in rows)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in cells)
    table = '<table class="stacks">' if is_wide else "<table>"
    return f'<div class="wide">{table}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def folded(title: str, body: str) -> str:
    """HTML that is hidden below a title until a reader opens it; the title is escaped, the body is not."""
    return f"<details><summary>{escaped(title)}</summary>{body}</details>"


def _cell(value: Any, label: str) -> str:
    if isinstance(value, bool) or value is None:
        return f"<td{LEFT}{label}>{ {True: 'yes', False: 'no', None: '-'}[value] }</td>"
    if isinstance(value, (int, float)):
        number = f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"
        return f'<td class="number"{label}>{number}</td>'
    return f"<td{LEFT}{label}>{escaped(str(value))}</td>"
