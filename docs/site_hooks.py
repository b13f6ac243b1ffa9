"""Draws the workflows on the pages as SVG while the site is built: no page loads a script for them."""

from __future__ import annotations

import re
from typing import Any

DIAGRAM = re.compile(r"^```mermaid\n%% the workflow (\w+)\n.*?^```", re.DOTALL | re.MULTILINE)
"""A drawing by hand, for readers of the Markdown; the site shows the real graph."""


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace each drawing of a workflow by that of its graph."""
    return DIAGRAM.sub(lambda found: f'<div class="drawing">{_drawing(found[1])}</div>\n', markdown)


def _drawing(workflow: Any) -> str:
    from swarm_graph import build_graph
    from swarm_graph.workflows.drawing import workflow_svg

    svg = workflow_svg(build_graph(workflow).get_graph(), f"The workflow {workflow}")
    return re.sub(r"\n\s*\n", "\n", svg)  # a blank line would end the HTML block
