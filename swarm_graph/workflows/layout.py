"""Places the boxes of a directed graph in rows, from top to bottom, and routes its edges.

This is Sugiyama's layered layout: edges that close a circle are set aside, every other edge leads downward,
the boxes of a row are sorted so that few edges cross, and each box moves as near to its neighbours as it can.
The same graph always gives the same layout.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

ROW_WIDTH = 560.0
"""Boxes that would make a row wider than this go into the next row."""
TOTAL_WIDTH = 1100.0
"""Parts that would make the drawing wider than this go below the others."""
ROW_GAP, BOX_GAP, LANE_GAP, MARGIN = 46.0, 18.0, 16.0, 12.0
"""Between rows, between boxes, beside the lane of an edge that leads upward, around the drawing."""
STUB = 13.0
"""How far an edge that leads upward leaves or reaches a box before it turns."""
SWEEPS, MOVES = 12, 100
"""How often rows are sorted, and how often boxes move toward their neighbours. More improves no drawing."""


class Point(NamedTuple):
    """A place in the drawing, from its upper left corner."""

    x: float
    y: float


class Size(NamedTuple):
    """The size of a box."""

    width: float
    height: float


class Edge(NamedTuple):
    """An edge, and the room that its label needs."""

    start: str
    end: str
    label_width: float = 0.0


class Route(NamedTuple):
    """The way of an edge.

    Attributes:
        points: The points that it passes.
        label: The middle of its label; of an edge that leads upward, the left end of the label.
        leads_up: Whether it leads upward, in right angles; otherwise it runs in curves.
    """

    points: list[Point]
    label: Point
    leads_up: bool


class Layout(NamedTuple):
    """Where everything is: the middles of the boxes, and the routes in the order of the edges."""

    boxes: dict[str, Point]
    routes: list[Route]
    size: Size


class Way(NamedTuple):
    """A place in a row where edges pass between boxes: all edges from one box, or all edges to one box."""

    box: str
    is_start: bool
    row: int


Item = str | Way
"""What a row holds: boxes by their names, and ways."""


def arrange(sizes: Mapping[str, Size], edges: Sequence[Edge]) -> Layout:
    """The layout of a graph. Parts that no edge connects stand side by side, or below each other.

    Args:
        sizes: The size of each box by its name; boxes that come first are placed first.
        edges: The edges; an edge may lead back to where it begins.
    """
    part_of = _parts(sizes, edges)
    boxes: dict[str, Point] = {}
    routes: dict[int, Route] = {}
    corner, lower, right = Point(0, 0), 0.0, 0.0
    for part in dict.fromkeys(part_of.values()):
        numbers = [number for number, edge in enumerate(edges) if part_of[edge.start] == part]
        own_sizes = {name: size for name, size in sizes.items() if part_of[name] == part}
        own = _arranged(own_sizes, [edges[number] for number in numbers])
        if corner.x and corner.x + own.size.width > TOTAL_WIDTH:
            corner = Point(0, lower)
        boxes |= {name: _moved(point, corner) for name, point in own.boxes.items()}
        routes |= {
            number: route._replace(
                points=[_moved(point, corner) for point in route.points], label=_moved(route.label, corner)
            )
            for number, route in zip(numbers, own.routes, strict=True)
        }
        lower = max(lower, corner.y + own.size.height)
        corner = Point(corner.x + own.size.width, corner.y)
        right = max(right, corner.x)
    in_order = {name: boxes[name] for name in sizes}
    return Layout(in_order, [routes[number] for number in range(len(edges))], Size(right, lower))


def _moved(point: Point, corner: Point) -> Point:
    return Point(point.x + corner.x, point.y + corner.y)


def _parts(names: Iterable[str], edges: Sequence[Edge]) -> dict[str, str]:
    """The first box of the part that each box belongs to. Boxes without edges make one part."""
    near: dict[str, list[str]] = defaultdict(list)
    for edge in edges:
        near[edge.start].append(edge.end)
        near[edge.end].append(edge.start)
    alone = next((name for name in names if not near[name]), "")
    part_of: dict[str, str] = {}
    for name in names:
        reached = [name]
        while reached:
            one = reached.pop()
            if one not in part_of:
                part_of[one] = name if near[name] else alone
                reached += near[one]
    return part_of


def _arranged(sizes: Mapping[str, Size], edges: Sequence[Edge]) -> Layout:
    """The layout of a graph of one part."""
    upward = _upward_edges(sizes, edges)
    downward = [edge for edge in edges if edge not in upward]
    row_of = _rows(sizes, downward, {edge.start for edge in upward} | {edge.end for edge in upward})
    paths = _paths(downward, row_of)
    rows = _sorted_rows(row_of, paths.values())
    xs = _horizontal(rows, [*paths.values()], sizes)
    return _Drawing(sizes, rows, xs).layout(edges, upward, paths)


def _upward_edges(names: Iterable[str], edges: Sequence[Edge]) -> set[Edge]:
    """The edges that close a circle, found by walking the graph from its first box."""
    leaving: dict[str, list[Edge]] = defaultdict(list)
    for edge in edges:
        leaving[edge.start].append(edge)
    upward: set[Edge] = set()
    left, on_path = set[str](), dict[str, int]()

    def walk(name: str) -> None:
        on_path[name] = 1
        for edge in leaving[name]:
            if edge.end in on_path:
                upward.add(edge)
            elif edge.end not in left:
                walk(edge.end)
        del on_path[name]
        left.add(name)

    for name in names:
        if name not in left:
            walk(name)
    return upward


def _rows(sizes: Mapping[str, Size], edges: Sequence[Edge], turning: set[str]) -> dict[str, int]:
    """The row of each box: below all boxes that lead to it, and in a row with room.

    Boxes where an edge turns upward come last in their row, on the side of the lanes.
    """
    before: dict[str, list[str]] = defaultdict(list)
    for edge in edges:
        before[edge.end].append(edge.start)
    filled: Counter[int] = Counter()
    row_of: dict[str, int] = {}
    waiting = sorted(sizes, key=lambda name: name in turning)
    while waiting:
        for name in [name for name in waiting if all(one in row_of for one in before[name])]:
            row = max((row_of[one] + 1 for one in before[name]), default=0)
            while filled[row] and filled[row] + sizes[name].width > ROW_WIDTH:
                row += 1
            filled[row] += int(sizes[name].width + BOX_GAP)
            row_of[name] = row
        waiting = [name for name in waiting if name not in row_of]
    return row_of


def _paths(edges: Sequence[Edge], row_of: Mapping[str, int]) -> dict[Edge, list[Item]]:
    """The items that each edge passes, from its start to its end."""
    leaving, entering = Counter(edge.start for edge in edges), Counter(edge.end for edge in edges)
    paths: dict[Edge, list[Item]] = {}
    for edge in edges:
        is_start = leaving[edge.start] >= entering[edge.end]
        shared = edge.start if is_start else edge.end
        between = range(row_of[edge.start] + 1, row_of[edge.end])
        paths[edge] = [edge.start, *(Way(shared, is_start, row) for row in between), edge.end]
    return paths


# --- the order in a row ----------------------------------------------------------------------------


def _sorted_rows(row_of: Mapping[str, int], paths: Iterable[list[Item]]) -> list[list[Item]]:
    """The items of each row, sorted so that few edges cross."""
    rows: list[list[Item]] = [[] for _ in range(max(row_of.values(), default=-1) + 1)]
    for name, row in row_of.items():
        rows[row].append(name)
    segments = _segments(paths)
    for item in dict.fromkeys(item for segment in segments for item in segment):
        if isinstance(item, Way):
            rows[item.row].append(item)
    best, fewest = rows, _crossings(rows, segments)
    for sweep in range(SWEEPS):
        rows = _swept(rows, segments, downward=sweep % 2 == 0)
        if (crossings := _crossings(rows, segments)) < fewest:
            best, fewest = rows, crossings
    return best


def _segments(paths: Iterable[list[Item]]) -> list[tuple[Item, Item]]:
    return list(dict.fromkeys(segment for path in paths for segment in pairwise(path)))


def _swept(rows: list[list[Item]], segments: list[tuple[Item, Item]], *, downward: bool) -> list[list[Item]]:
    """Sort each row by the middle of each item's neighbours in the row before."""
    neighbours: dict[Item, list[Item]] = defaultdict(list)
    for upper, lower in segments:
        neighbours[lower if downward else upper].append(upper if downward else lower)
    place: dict[Item, float] = {}
    result = []
    for row in rows if downward else reversed(rows):
        own = {item: number / max(len(row) - 1, 1) for number, item in enumerate(row)}
        middle = {
            item: _mean([place[one] for one in neighbours[item]]) if neighbours[item] else own[item]
            for item in row
        }
        row = sorted(row, key=middle.__getitem__)
        place |= {item: number / max(len(row) - 1, 1) for number, item in enumerate(row)}
        result.append(row)
    return result if downward else result[::-1]


def _crossings(rows: list[list[Item]], segments: list[tuple[Item, Item]]) -> int:
    place = {item: number for row in rows for number, item in enumerate(row)}
    row_of = {item: number for number, row in enumerate(rows) for item in row}
    by_row: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for upper, lower in segments:
        by_row[row_of[upper]].append((place[upper], place[lower]))
    return sum(
        (one[0] - other[0]) * (one[1] - other[1]) < 0
        for pairs in by_row.values()
        for number, one in enumerate(pairs)
        for other in pairs[:number]
    )


# --- across ----------------------------------------------------------------------------------------


def _horizontal(
    rows: list[list[Item]], paths: Sequence[list[Item]], sizes: Mapping[str, Size]
) -> dict[Item, float]:
    """The middle of each item: as close to the middle of its neighbours as the others in its row allow."""
    neighbours = _neighbours(paths)
    gaps = [_distances(row, sizes) for row in rows]
    xs = {
        item: x - offsets[-1] / 2
        for row, offsets in zip(rows, gaps, strict=True)
        for item, x in zip(row, offsets, strict=True)
    }
    for sweep in range(MOVES):
        for number in range(len(rows)) if sweep % 2 == 0 else reversed(range(len(rows))):
            row = rows[number]
            wanted = [_mean([xs[one] for one in neighbours[item] or row]) for item in row]
            xs |= zip(row, _spread(wanted, gaps[number]), strict=True)
    return _aligned(rows, xs, paths)


def _neighbours(paths: Iterable[list[Item]]) -> dict[Item, list[Item]]:
    """The items that each item wants to be near: boxes are near boxes, whatever their edges pass."""
    neighbours: dict[Item, list[Item]] = defaultdict(list)
    for path in paths:
        neighbours[path[0]].append(path[-1])
        neighbours[path[-1]].append(path[0])
        for before, way, after in zip(path, path[1:], path[2:], strict=False):
            neighbours[way] += [before, after]
    return neighbours


def _aligned(
    rows: list[list[Item]], xs: Mapping[Item, float], paths: Iterable[list[Item]]
) -> dict[Item, float]:
    """The places with each box that is alone in its row straight above the boxes that follow it."""
    following: dict[Item, list[Item]] = defaultdict(list)
    for path in paths:
        following[path[0]].append(path[-1])
    aligned = dict(xs)
    for row in reversed(rows):
        if len(row) == 1 and following[row[0]]:
            aligned[row[0]] = _mean([aligned[one] for one in following[row[0]]])
    return aligned


def _distances(row: list[Item], sizes: Mapping[str, Size]) -> list[float]:
    """The least distance of the middle of each item from that of the first one."""
    widths = [sizes[item].width if isinstance(item, str) else 0.0 for item in row]
    return list(accumulate(((one + other) / 2 + BOX_GAP for one, other in pairwise(widths)), initial=0.0))


def _spread(wanted: list[float], offsets: list[float]) -> list[float]:
    """The places nearest to the wanted ones (least squares) that keep the distances between the items.

    Less their offsets, the places may only grow: neighbours that would not are given their common mean.
    """
    blocks: list[list[float]] = []
    for place, offset in zip(wanted, offsets, strict=True):
        blocks.append([place - offset])
        while len(blocks) > 1 and _mean(blocks[-2]) > _mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    means = [_mean(block) for block in blocks for _ in block]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


# --- routes ----------------------------------------------------------------------------------------


class _Drawing:
    """Boxes and edges in the coordinates of the drawing."""

    def __init__(self, sizes: Mapping[str, Size], rows: list[list[Item]], xs: Mapping[Item, float]) -> None:
        self._sizes, self._rows = sizes, rows
        self._row_of = {item: number for number, row in enumerate(rows) for item in row}
        left = min((xs[item] - self._width(item) / 2 for item in xs), default=0.0)
        self._xs = {item: x - left + MARGIN for item, x in xs.items()}
        self._heights = [
            max((sizes[one].height for one in row if isinstance(one, str)), default=0) for row in rows
        ]
        tops = accumulate((height + ROW_GAP for height in self._heights), initial=MARGIN)
        self._middles = [top + height / 2 for top, height in zip(tops, self._heights, strict=False)]
        self._lanes: list[tuple[float, range]] = []

    def layout(self, edges: Sequence[Edge], upward: set[Edge], paths: Mapping[Edge, list[Item]]) -> Layout:
        """The finished layout; lanes are taken by the shortest edges first, so that lanes do not cross."""
        routes = {edge: self._downward(path) for edge, path in paths.items()}
        for edge in sorted(upward, key=self._rows_passed):
            routes[edge] = self._upward(edge)
        boxes = {name: self._point(name) for name in self._sizes}
        right = [x + self._width(item) / 2 for item, x in self._xs.items()]
        right += [lane for lane, _ in self._lanes]
        right += [routes[edge].label.x + edge.label_width for edge in upward]
        right += [routes[edge].label.x + edge.label_width / 2 for edge in paths]
        height = self._middles[-1] + self._heights[-1] / 2 + STUB if self._middles else 0.0
        return Layout(
            boxes, [routes[edge] for edge in edges], Size(max(right, default=0.0) + MARGIN, height + MARGIN)
        )

    def _width(self, item: Item) -> float:
        return self._sizes[item].width if isinstance(item, str) else 0.0

    def _point(self, item: Item) -> Point:
        return Point(self._xs[item], self._middles[self._row_of[item]])

    def _half_height(self, item: Item) -> float:
        """Of a box, or of the row that a way passes."""
        if isinstance(item, str):
            return self._sizes[item].height / 2
        return self._heights[item.row] / 2

    def _downward(self, path: list[Item]) -> Route:
        points = []
        for upper, lower in pairwise(path):
            start, end = self._point(upper), self._point(lower)
            points += [
                Point(start.x, start.y + self._half_height(upper)),
                Point(end.x, end.y - self._half_height(lower)),
            ]
        # The label stands where no other edge shares the way: near the end, or else near the start.
        first, last = (points[:2], points[-2:])
        way = next((item for item in path if isinstance(item, Way)), None)
        (start, end), share = (first, 0.4) if way and not way.is_start else (last, 0.6)
        label = Point(start.x + (end.x - start.x) * share, start.y + (end.y - start.y) * share)
        return Route(points, label, leads_up=False)

    def _rows_passed(self, edge: Edge) -> tuple[int, int]:
        first, last = self._row_of[edge.end], self._row_of[edge.start]
        return last - first, first

    def _upward(self, edge: Edge) -> Route:
        first, last = self._row_of[edge.end], self._row_of[edge.start]
        lane = self._free_lane(range(first, last + 1), edge.label_width)
        start, end = self._beside(edge.start, down=True), self._beside(edge.end, down=False)
        if edge.start == edge.end:
            start, end = [start[0]._replace(y=start[0].y + 6)], [end[0]._replace(y=end[0].y - 6)]
        points = [*start, Point(lane, start[-1].y), Point(lane, end[-1].y), *reversed(end)]
        return Route(points, Point(lane + 5, (start[-1].y + end[-1].y) / 2), leads_up=True)

    def _free_lane(self, rows: range, label_width: float) -> float:
        """The x of a lane to the right of all boxes in these rows and of the lanes beside them."""
        items = [item for number in rows for item in self._rows[number]]
        right = max(self._xs[item] + self._width(item) / 2 for item in items)
        taken = [x for x, other in self._lanes if other.start < rows.stop and rows.start < other.stop]
        lane = max([right, *taken]) + LANE_GAP
        self._lanes.append((lane + label_width, rows))
        return lane

    def _beside(self, name: str, *, down: bool) -> list[Point]:
        """The points at which an upward edge touches a box and turns: at its right side if that is free."""
        middle, size = self._point(name), self._sizes[name]
        if self._rows[self._row_of[name]][-1] == name:
            return [Point(middle.x + size.width / 2, middle.y)]
        x, sign = middle.x + size.width / 4, 1 if down else -1
        return [
            Point(x, middle.y + sign * size.height / 2),
            Point(x, middle.y + sign * (size.height / 2 + STUB)),
        ]
