"""Pieces of HTML that reports and notebooks share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from swarm_graph.text import plain_text


def text(value: str) -> str:
    """Anybody's words as HTML that is only text."""
    return escape(plain_text(value))


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table that scrolls by itself where it is too wide."""
    head = "".join(f"<th>{text(name)}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return f"<td>{ {True: 'yes', False: 'no', None: '-'}[value] }</td>"
    if isinstance(value, (int, float)):
        return (
            f'<td class="number">{value:,.2f}</td>'
            if isinstance(value, float)
            else f'<td class="number">{value:,}</td>'
        )
    return f"<td>{text(str(value))}</td>"
