"""Drawings of graphs, made offline: SVG of our own, and PNG from Mermaid text with the extra `draw`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, get_args

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
NARROW = 460
"""In pixels. On a page a drawing up to this width shrinks to the screen; a wider one scrolls in its box."""
MAX_BOXES = 300
ENDS = {"__start__": "start", "__end__": "end"}

LOOK = "---\nconfig:\n  theme: default\n  look: classic\n"
_METADATA = re.compile(r"<hr/><small><em>.*?</em></small>", re.DOTALL)
"""What LangGraph writes below a node's name, such as `defer = True`."""


NodeState = Literal["waiting", "running", "done", "failed", "paused", "skipped"]
NODE_STATES: tuple[NodeState, ...] = get_args(NodeState)
LONGEST_STATE = max(NODE_STATES, key=len)


class Box(NamedTuple):
    """A box of a drawing.

    Attributes:
        lines: Its text.
        role: The role that its node asks; empty for other nodes.
        tooltip: More about it.
        is_end: Whether it is the start or the end of the graph.
        is_pause: Whether it waits for a person.
    """

    lines: tuple[str, ...]
    role: str = ""
    tooltip: str = ""
    is_end: bool = False
    is_pause: bool = False

    @property
    def color(self) -> str:
        """Its color in a drawing that stands alone."""
        return PAUSE_COLOR if self.is_pause else ROLE_COLORS.get(self.role, OTHER_COLOR)

    @property
    def kind(self) -> str:
        """Its class, for a page that has its own colors."""
        return "pause" if self.is_pause else f"role-{self.role if self.role in ROLE_COLORS else 'other'}"


class Arrow(NamedTuple):
    """An arrow of a drawing."""

    start: str
    end: str
    label: str = ""
    is_dashed: bool = False


States: TypeAlias = Mapping[str, NodeState]
"""The state of each node, by its name. A drawing with states belongs to a page with our style sheet."""


def workflow_svg(graph: Graph, title: str, states: States | None = None) -> str:
    """A workflow as SVG; the same graph gives the same text.

    Args:
        graph: What `get_graph()` of a compiled graph returns.
        title: The name of the drawing, for screen readers.
        states: The state of each node, for a page; None for a drawing that stands alone.
    """
    boxes = {name: _workflow_box(name, node.data) for name, node in graph.nodes.items()}
    order = list(boxes)
    edges = sorted(graph.edges, key=lambda edge: (order.index(edge.source), order.index(edge.target)))
    arrows = [
        Arrow(edge.source, edge.target, str(edge.data or "").strip(), edge.conditional) for edge in edges
    ]
    return _svg(boxes, arrows, title, states)


def _workflow_box(name: str, node: object) -> Box:
    if name in ENDS:
        return Box((ENDS[name],), is_end=True)
    if name.startswith(("before_", "after_")):
        return Box((name,), tooltip="waits for a person", is_pause=True)
    role = str(getattr(getattr(node, "role", None), "role", ""))
    return Box((name,), role, role)


def tasks_svg(graph: Mapping[str, TaskSpec], title: str, states: States | None = None) -> str:
    """A task graph as SVG; the same graph gives the same text.

    Args:
        graph: The tasks by id.
        title: The name of the drawing, for screen readers.
        states: The state of each task, for a page; None for a drawing that stands alone.

    Raises:
        InputError: There are more than MAX_BOXES tasks.
    """
    if len(graph) > MAX_BOXES:
        raise InputError(
            f"{len(graph)} tasks are too many for a drawing; expected at most {MAX_BOXES}; "
            "Mermaid text has no limit (--format mermaid)"
        )
    boxes = {
        name: Box((name, str(spec.assigned_role)), str(spec.assigned_role)) for name, spec in graph.items()
    }
    arrows = [
        Arrow(need, name, spec.when or "", bool(spec.when))
        for name, spec in graph.items()
        for need in waits_for(spec)
        if need in graph
    ]
    return _svg(boxes, arrows, title, states)


def _svg(boxes: Mapping[str, Box], arrows: list[Arrow], title: str, states: States | None) -> str:
    states = states or {}
    sizes = {name: _size(box, has_state=name in states) for name, box in boxes.items()}
    edges = [
        Edge(one.start, one.end, _width(cut(one.label, MAX_LABEL), LABEL_CHARACTER_WIDTH)) for one in arrows
    ]
    layout = arrange(sizes, edges)
    width, height = (round(side) for side in layout.size)
    drawn = list(zip(arrows, layout.routes, strict=True))
    # The parts of an image have no names of their own for screen readers; nodes with states need them.
    role = f'role="group" aria-label="{escaped(title)}"' if states else 'role="img"'
    classes = "graph narrow" if width <= NARROW else "graph"
    parts = [
        f'<svg class="{classes}" xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" {role} font-family="system-ui, sans-serif" font-size="{FONT_SIZE}">',
        "" if states else f"<title>{escaped(title)}</title>\n<style>{_own_style(width)}</style>",
        f'<rect class="sheet" width="{width}" height="{height}" rx="6" fill="#ffffff"/>',
        *(_arrow(arrow, route) for arrow, route in drawn),
        *(_box(name, box, layout.boxes[name], sizes[name], states.get(name)) for name, box in boxes.items()),
        *(_label(arrow, route) for arrow, route in drawn if arrow.label),
        "</svg>",
    ]
    return "\n".join(filter(None, parts)) + "\n"


def _own_style(width: int) -> str:
    """The style of a drawing that stands alone: a page around it may have a style of its own for texts."""
    drawing = f'.graph[width="{width}"]'
    least = round(width * LEAST_SCALE)
    return (
        f"{drawing}{{max-width:100%;min-width:{least}px;height:auto}} .graph text{{fill:{TEXT}}} "
        f".graph .second,.graph .label{{fill:{LINE}}} .graph .label{{font-size:11px}} "
        f".graph .label.up{{fill:{UPWARD}}}"
    )


def _size(box: Box, *, has_state: bool) -> Size:
    lines = [*(cut(line, MAX_NAME) for line in box.lines), *([LONGEST_STATE] if has_state else [])]
    width = max(_width(line, CHARACTER_WIDTH) for line in lines)
    return Size(width + 2 * BOX_PADDING, len(lines) * LINE_HEIGHT + 2 * BOX_PADDING - 4)


def _width(text: str, of_character: float) -> float:
    """The width of a text in pixels; letters of East Asia are twice as wide."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text) * of_character


# --- parts of the SVG ------------------------------------------------------------------------------


def _box(name: str, box: Box, middle: Point, size: Size, state: NodeState | None) -> str:
    x, y = middle.x - size.width / 2, middle.y - size.height / 2
    radius = size.height / 2 if box.is_end else 6
    dash = ' stroke-dasharray="4 3"' if box.is_pause else ""
    tooltip = ": ".join(filter(None, (" ".join(box.lines), box.tooltip)))
    marked = f' data-node="{escaped(name)}" data-state="{state}"' if state else ""
    lines = [
        f"{_text_at(middle.x, _line_y(box, middle, number, state), 'second' if number else 'first')}"
        f"{escaped(cut(line, MAX_NAME))}</text>"
        for number, line in enumerate(box.lines)
    ]
    if state:
        lines.append(_state_text(middle.x, _line_y(box, middle, len(box.lines), state)))
    return (
        f'<g class="node {box.kind}"{marked}><title>{escaped(tooltip)}</title><rect x="{_number(x)}" '
        f'y="{_number(y)}" width="{_number(size.width)}" height="{_number(size.height)}" '
        f'rx="{_number(radius)}" fill="{box.color}" stroke="{LINE}"{dash}/>{"".join(lines)}</g>'
    )


def _line_y(box: Box, middle: Point, number: int, state: NodeState | None) -> float:
    lines = len(box.lines) + bool(state)
    return middle.y - (lines - 1) * LINE_HEIGHT / 2 + 4 + number * LINE_HEIGHT


def _text_at(x: float, y: float, kind: str) -> str:
    return f'<text class="{kind}" x="{_number(x)}" y="{_number(y)}" text-anchor="middle">'


def _state_text(x: float, y: float) -> str:
    """The words of all states, of which the style sheet shows the one that `data-state` names."""
    words = "".join(f'<tspan class="{word}">{word}</tspan>' for word in NODE_STATES)
    return f"{_text_at(x, y, 'state')}{words}</text>"


def _arrow(arrow: Arrow, route: Route) -> str:
    color, way = (UPWARD, " up") if route.leads_up else (LINE, "")
    dash = ' stroke-dasharray="5 3"' if arrow.is_dashed else ""
    path = _turns(route.points) if route.leads_up else _curves(route.points)
    return (
        f'<path class="line{way}" d="{path}" fill="none" stroke="{color}" '
        f'stroke-width="{1.5 if route.leads_up else 1}"{dash}/>'
        f'<path class="head{way}" d="{_head(*route.points[-2:])}" fill="{color}"/>'
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
    way, anchor = (" up", "start") if route.leads_up else ("", "middle")
    return (
        f'<text class="label{way}" x="{_number(place.x)}" y="{_number(place.y + 4)}" '
        f'text-anchor="{anchor}" stroke="#ffffff" stroke-width="4" paint-order="stroke">'
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
