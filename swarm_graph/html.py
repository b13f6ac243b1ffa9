"""HTML primitives of reports and notebooks: escaped text and tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from swarm_graph.text import printable


def escaped(text: str) -> str:
    """Any text as HTML that shows it and nothing else: no markup, no control characters."""
    return escape(printable(text))


def html_table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table that scrolls sideways on its own when it is wider than the page.

    Args:
        heads: One text for each column.
        rows: Cells of any type; numbers are aligned to the right, None is shown as "-". Texts are escaped.
    """
    head = "".join(f"<th>{escaped(name)}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return f"<td>{ {True: 'yes', False: 'no', None: '-'}[value] }</td>"
    if isinstance(value, (int, float)):
        number = f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"
        return f'<td class="number">{number}</td>'
    return f"<td>{escaped(str(value))}</td>"
