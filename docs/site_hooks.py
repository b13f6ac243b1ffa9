"""Draws the Mermaid diagrams of the pages as SVG while the site is built; no page loads a script for them."""

from __future__ import annotations

import re
from typing import Any

DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```", re.DOTALL | re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace each Mermaid block of a page by its drawing."""
    return DIAGRAM.sub(lambda block: f'<div class="drawing">{_drawing(block[1])}</div>\n', markdown)


def _drawing(mermaid: str) -> str:
    from swarm_graph.workflows.drawing import draw

    svg = draw(mermaid, "svg").decode()
    return re.sub(r"\n\s*\n", "\n", svg)  # a blank line would end the HTML block
