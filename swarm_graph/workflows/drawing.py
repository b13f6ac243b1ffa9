"""A workflow's drawing as SVG or PNG, made offline from the Mermaid text that LangGraph writes."""

from __future__ import annotations

import re
from typing import Literal

from swarm_graph.errors import SwarmError

LOOK = "---\nconfig:\n  theme: default\n  look: classic\n"

_METADATA = re.compile(r"<hr/><small><em>.*?</em></small>", re.DOTALL)
"""What LangGraph writes below a node's name, such as `defer = True`."""


def draw(mermaid: str, format: Literal["svg", "png"]) -> bytes:
    """Draw what `graph.get_graph().draw_mermaid()` returned; the same text gives the same bytes.

    A PNG has twice the SVG's size, on white. Raises SwarmError without the `draw` extra, and when the
    text is no Mermaid flowchart.
    """
    try:
        import mmdr
    except ImportError as error:
        raise SwarmError("drawing an SVG or PNG needs the extra: pip install 'swarm-graph[draw]'") from error
    diagram = mmdr.render(_METADATA.sub("", mermaid).replace("---\nconfig:\n", LOOK, 1))
    try:
        svg = diagram.svg()
        if format == "svg":
            return svg.encode()
        box = re.search(r'viewBox="\S+ \S+ (\S+) ', svg)
        return diagram.png(width=2 * float(box[1]) if box else None, background="#ffffff")
    except ValueError as error:
        raise SwarmError(f"not a Mermaid flowchart that can be drawn: {error}") from error
