"""Drawings of graphs, made offline: SVG of our own, and PNG from Mermaid text with the extra `draw`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from swarm_graph.errors import InputError, SwarmError
from swarm_graph.html import escaped
from swarm_graph.state import AgentRole
from swarm_graph.tasks.dependencies import waits_for
from swarm_graph.tasks.spec import TaskSpec
from swarm_graph.text import cut
from swarm_graph.workflows.layout import Edge, Point, Route, Size, arrange

if TYPE_CHECKING:
    from langchain_core.runnables.graph import Graph

ROLE_COLORS: Mapping[str, str] = {
    AgentRole.CLARIFIER: "#dbeafe",
    AgentRole.ARCHITECT: "#e0e7ff",
    AgentRole.CODER: "#dcfce7",
    AgentRole.REVIEWER: "#fef3c7",
    AgentRole.SECURITY: "#fee2e2",
    AgentRole.TESTER: "#ccfbf1",
    AgentRole.DEBUGGER: "#ffedd5",
    AgentRole.OPTIMIZER: "#f3e8ff",
    AgentRole.DOCUMENTER: "#fce7f3",
}
"""The color of a role's boxes. Boxes without a role, and of roles of users, are grey."""
OTHER_COLOR, PAUSE_COLOR = "#f3f4f6", "#ffffff"
TEXT, LINE, UPWARD = "#1f2937", "#6b7280", "#c2410c"
"""Edges that lead back to an earlier box have a color of their own."""

FONT_SIZE, CHARACTER_WIDTH, LABEL_CHARACTER_WIDTH = 12, 7.0, 6.2
"""In pixels. The widths are a little more than those of usual sans-serif fonts: no font is at hand."""
LINE_HEIGHT, BOX_PADDING = 15, 9
LEAST_SCALE = 0.75
"""A drawing shrinks to the width of its page, but no further than this: its text has to stay readable."""
MAX_NAME, MAX_LABEL = 26, 24
"""Characters; longer texts are cut with an ellipsis, and a tooltip has the whole text."""
MAX_BOXES = 300
ENDS = {"__start__": "start", "__end__": "end"}

LOOK = "---\nconfig:\n  theme: default\n  look: classic\n"
_METADATA = re.compile(r"<hr/><small><em>.*?</em></small>", re.DOTALL)
"""What LangGraph writes below a node's name, such as `defer = True`."""


class Box(NamedTuple):
    """A box of a drawing: its lines of text, its color, and its tooltip."""

    lines: tuple[str, ...]
    color: str
    tooltip: str = ""
    is_end: bool = False
    is_dashed: bool = False


class Arrow(NamedTuple):
    """An arrow of a drawing."""

    start: str
    end: str
    label: str = ""
    is_dashed: bool = False


def workflow_svg(graph: Graph, title: str) -> str:
    """A workflow as SVG; the same graph gives the same text.

    Args:
        graph: What `get_graph()` of a compiled graph returns.
        title: The name of the drawing, for screen readers.
    """
    boxes = {name: _workflow_box(name, node.data) for name, node in graph.nodes.items()}
    order = list(boxes)
    edges = sorted(graph.edges, key=lambda edge: (order.index(edge.source), order.index(edge.target)))
    arrows = [
        Arrow(edge.source, edge.target, str(edge.data or "").strip(), edge.conditional) for edge in edges
    ]
    return _svg(boxes, arrows, title)


def _workflow_box(name: str, node: object) -> Box:
    if name in ENDS:
        return Box((ENDS[name],), OTHER_COLOR, is_end=True)
    if name.startswith(("before_", "after_")):
        return Box((name,), PAUSE_COLOR, "waits for a person", is_dashed=True)
    role = getattr(getattr(node, "role", None), "role", "")
    return Box((name,), ROLE_COLORS.get(role, OTHER_COLOR), str(role))


def tasks_svg(graph: Mapping[str, TaskSpec], title: str) -> str:
    """A task graph as SVG; the same graph gives the same text.

    Args:
        graph: The tasks by id.
        title: The name of the drawing, for screen readers.

    Raises:
        InputError: There are more than MAX_BOXES tasks.
    """
    if len(graph) > MAX_BOXES:
        raise InputError(
            f"{len(graph)} tasks are too many for a drawing; expected at most {MAX_BOXES}; "
            "Mermaid text has no limit (--format mermaid)"
        )
    boxes = {
        name: Box((name, str(spec.assigned_role)), ROLE_COLORS.get(spec.assigned_role, OTHER_COLOR))
        for name, spec in graph.items()
    }
    arrows = [
        Arrow(need, name, spec.when or "", bool(spec.when))
        for name, spec in graph.items()
        for need in waits_for(spec)
        if need in graph
    ]
    return _svg(boxes, arrows, title)


def _svg(boxes: Mapping[str, Box], arrows: list[Arrow], title: str) -> str:
    sizes = {name: _size(box) for name, box in boxes.items()}
    edges = [
        Edge(one.start, one.end, _width(cut(one.label, MAX_LABEL), LABEL_CHARACTER_WIDTH)) for one in arrows
    ]
    layout = arrange(sizes, edges)
    width, height = (round(side) for side in layout.size)
    drawn = list(zip(arrows, layout.routes, strict=True))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="{FONT_SIZE}" '
        f'style="max-width:100%;min-width:{round(width * LEAST_SCALE)}px;height:auto">',
        f"<title>{escaped(title)}</title>",
        f'<rect width="{width}" height="{height}" rx="6" fill="#ffffff"/>',
        *(_arrow(arrow, route) for arrow, route in drawn),
        *(_box(box, layout.boxes[name], sizes[name]) for name, box in boxes.items()),
        *(_label(arrow, route) for arrow, route in drawn if arrow.label),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _size(box: Box) -> Size:
    width = max(_width(cut(line, MAX_NAME), CHARACTER_WIDTH) for line in box.lines)
    return Size(width + 2 * BOX_PADDING, len(box.lines) * LINE_HEIGHT + 2 * BOX_PADDING - 4)


def _width(text: str, of_character: float) -> float:
    """The width of a text in pixels; letters of East Asia are twice as wide."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text) * of_character


# Colors of texts are styles, because a page around the drawing may have its own for texts.

# --- parts of the SVG ------------------------------------------------------------------------------


def _box(box: Box, middle: Point, size: Size) -> str:
    x, y = middle.x - size.width / 2, middle.y - size.height / 2
    radius = size.height / 2 if box.is_end else 6
    dash = ' stroke-dasharray="4 3"' if box.is_dashed else ""
    tooltip = ": ".join(filter(None, (" ".join(box.lines), box.tooltip)))
    first = middle.y - (len(box.lines) - 1) * LINE_HEIGHT / 2 + 4
    lines = "".join(
        f'<text x="{_number(middle.x)}" y="{_number(first + number * LINE_HEIGHT)}" text-anchor="middle" '
        f'style="fill:{TEXT if number == 0 else LINE}">{escaped(cut(line, MAX_NAME))}</text>'
        for number, line in enumerate(box.lines)
    )
    return (
        f'<g><title>{escaped(tooltip)}</title><rect x="{_number(x)}" y="{_number(y)}" '
        f'width="{_number(size.width)}" height="{_number(size.height)}" rx="{_number(radius)}" '
        f'fill="{box.color}" stroke="{LINE}"{dash}/>{lines}</g>'
    )


def _arrow(arrow: Arrow, route: Route) -> str:
    color = UPWARD if route.leads_up else LINE
    dash = ' stroke-dasharray="5 3"' if arrow.is_dashed else ""
    path = _turns(route.points) if route.leads_up else _curves(route.points)
    return (
        f'<path d="{path}" fill="none" stroke="{color}" stroke-width="{1.5 if route.leads_up else 1}"{dash}/>'
        f'<path d="{_head(*route.points[-2:])}" fill="{color}"/>'
    )


def _curves(points: list[Point]) -> str:
    """A path that leaves and reaches each row straight downward."""
    path = f"M{_at(points[0])}"
    for start, end in pairwise(points):
        if start.x == end.x:
            path += f" L{_at(end)}"
            continue
        middle = (start.y + end.y) / 2
        path += f" C{_at(Point(start.x, middle))} {_at(Point(end.x, middle))} {_at(end)}"
    return path


def _turns(points: list[Point]) -> str:
    """A path in right angles with rounded corners."""
    path = f"M{_at(points[0])}"
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        path += f" L{_at(_toward(corner, before))} Q{_at(corner)} {_at(_toward(corner, after))}"
    return f"{path} L{_at(points[-1])}"


def _toward(corner: Point, other: Point, radius: float = 6) -> Point:
    distance = abs(corner.x - other.x) + abs(corner.y - other.y)
    share = min(radius / distance, 0.5) if distance else 0
    return Point(corner.x + (other.x - corner.x) * share, corner.y + (other.y - corner.y) * share)


def _head(before: Point, tip: Point) -> str:
    """The head of an arrow: downward, or to the left when it comes from the right."""
    if before.y == tip.y:
        return f"M{_at(tip)} l8,-4 v8 z"
    return f"M{_at(tip)} l-4,-8 h8 z"


def _label(arrow: Arrow, route: Route) -> str:
    text, place = cut(arrow.label, MAX_LABEL), route.label
    tooltip = f"<title>{escaped(arrow.label)}</title>" if text != arrow.label else ""
    color, anchor = (UPWARD, "start") if route.leads_up else (LINE, "middle")
    return (
        f'<text x="{_number(place.x)}" y="{_number(place.y + 4)}" text-anchor="{anchor}" '
        f'style="fill:{color};font-size:11px" stroke="#ffffff" stroke-width="4" paint-order="stroke">'
        f"{escaped(text)}{tooltip}</text>"
    )


def _at(point: Point) -> str:
    return f"{_number(point.x)},{_number(point.y)}"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


# --- PNG -------------------------------------------------------------------------------------------


def draw_png(mermaid: str) -> bytes:
    """A PNG of what `graph.get_graph().draw_mermaid()` returned; the same text gives the same bytes.

    It has twice the size of the drawing, on white.

    Raises:
        SwarmError: The package mmdr (extra `draw`) is not installed, or the text is no Mermaid flowchart.
    """
    try:
        import mmdr
    except ImportError as error:
        raise SwarmError(
            "a PNG needs the package mmdr: `pip install mmdr`; an SVG needs no package"
        ) from error
    diagram = mmdr.render(_METADATA.sub("", mermaid).replace("---\nconfig:\n", LOOK, 1))
    try:
        box = re.search(r'viewBox="\S+ \S+ (\S+) ', diagram.svg())
        png: bytes = diagram.png(width=2 * float(box[1]) if box else None, background="#ffffff")
    except ValueError as error:
        raise SwarmError(f"not a Mermaid flowchart that can be drawn: {error}") from error
    return png
