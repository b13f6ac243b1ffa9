"""Workflows and task graphs are drawn offline, the same bytes every time."""

from __future__ import annotations

import random
import re
import struct
import subprocess
import sys
from collections.abc import Mapping
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from support import config

from swarm_graph.cli.main import swarm_graph
from swarm_graph.errors import InputError, SwarmError
from swarm_graph.state import Workflow
from swarm_graph.tasks.dependencies import checked_graph
from swarm_graph.tasks.spec import TaskSpec, task_specs
from swarm_graph.workflows.build import build_graph
from swarm_graph.workflows.drawing import draw_png, tasks_svg
from swarm_graph.workflows.layout import TOTAL_WIDTH, Edge, Layout, Size, arrange

SVG = "{http://www.w3.org/2000/svg}"
PAUSES = {"pause_before": ["coder", "documenter"], "pause_after": ["coder", "reviewer"]}
PAUSES |= {"reviewers": ["correctness", "performance", "style", "general", "security"]}
BOX = Size(80, 30)
MERMAID = """---
config:
  flowchart:
    curve: linear
---
graph TD;
	__start__([<p>__start__</p>]):::first
	coder(coder)
	verdict(verdict<hr/><small><em>defer = True</em></small>)
	__end__([<p>__end__</p>]):::last
	__start__ --> coder;
	coder --> verdict;
	verdict -. &nbsp;revise&nbsp; .-> coder;
	verdict -. &nbsp;approve&nbsp; .-> __end__;
	classDef default fill:#f2f0ff,line-height:1.2
	classDef first fill-opacity:0
	classDef last fill:#bfb6fc
"""


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def texts(svg: str) -> set[str]:
    return {"".join(text.itertext()) for text in parsed(svg).iter(f"{SVG}text")}


def chain(*names: str) -> list[Edge]:
    return [Edge(start, end) for start, end in pairwise(names)]


def arranged(edges: list[Edge], *alone: str) -> Layout:
    names = dict.fromkeys([*(name for edge in edges for name in edge[:2]), *alone])
    return arrange(dict.fromkeys(names, BOX), edges)


def check_apart(layout: Layout, sizes: Mapping[str, Size]) -> None:
    """Boxes lie inside the drawing and do not touch; edges begin and end at their boxes."""
    for name, middle in layout.boxes.items():
        assert 0 < middle.x - sizes[name].width / 2 < middle.x + sizes[name].width / 2 < layout.size.width
        assert 0 < middle.y - sizes[name].height / 2 < middle.y + sizes[name].height / 2 < layout.size.height
    for one, other in combinations(layout.boxes, 2):
        across = abs(layout.boxes[one].x - layout.boxes[other].x)
        down = abs(layout.boxes[one].y - layout.boxes[other].y)
        assert across > (sizes[one].width + sizes[other].width) / 2 or down >= BOX.height, (one, other)


# --- the layout --------------------------------------------------------------------------------------


def test_a_chain_is_a_straight_line() -> None:
    layout = arranged(chain("a", "b", "c"))
    assert len({middle.x for middle in layout.boxes.values()}) == 1
    assert [route.leads_up for route in layout.routes] == [False, False]


def test_an_edge_that_closes_a_circle_runs_beside_the_boxes_that_it_passes() -> None:
    layout = arranged(chain("a", "b", "c", "d", "b"))
    *down, up = layout.routes
    assert (up.leads_up, any(route.leads_up for route in down)) == (True, False)
    right = max(middle.x for middle in layout.boxes.values()) + BOX.width / 2
    assert max(point.x for point in up.points) > right
    assert up.points[0].y == layout.boxes["d"].y
    assert up.points[-1].y == layout.boxes["b"].y


def test_an_edge_to_itself_is_drawn() -> None:
    (loop,) = arranged([Edge("a", "a", 30)]).routes
    assert loop.leads_up
    assert len(loop.points) == 4


def test_a_wide_row_is_wrapped_and_its_edges_share_their_way() -> None:
    names = [f"n{number}" for number in range(20)]
    layout = arranged([edge for name in names for edge in chain("from", name, "to")])
    assert layout.size.width < 700
    assert len({layout.boxes[name].y for name in names}) == 4
    check_apart(layout, dict.fromkeys(layout.boxes, BOX))


def test_a_box_without_edges_stays_near_the_others() -> None:
    layout = arranged(chain("a", "b"), "alone")
    check_apart(layout, dict.fromkeys(layout.boxes, BOX))
    assert layout.size.width < 4 * BOX.width


def test_parts_that_no_edge_connects_stand_side_by_side_as_far_as_there_is_room() -> None:
    layout = arranged([edge for number in range(40) for edge in chain(f"a{number}", f"b{number}")])
    check_apart(layout, dict.fromkeys(layout.boxes, BOX))
    assert layout.boxes["a0"].y == layout.boxes["a1"].y < layout.boxes["a39"].y
    assert layout.size.width <= TOTAL_WIDTH
    assert all(route.points[0].x == route.points[-1].x for route in layout.routes), "a part moves as a whole"


def test_an_empty_graph_has_a_drawing() -> None:
    assert arranged([]).boxes == {}


@pytest.mark.parametrize("seed", range(8))
def test_boxes_of_any_graph_are_apart(seed: int) -> None:
    chosen = random.Random(seed)
    names = [f"n{number}" for number in range(chosen.randint(2, 40))]
    sizes = {name: Size(chosen.choice([40, 90, 190]), BOX.height) for name in names}
    edges = [Edge(chosen.choice(names), chosen.choice(names), 20) for _ in range(len(names) * 2)]
    layout = arrange(sizes, edges)
    check_apart(layout, sizes)
    assert len(layout.routes) == len(edges)
    assert layout == arrange(sizes, edges)


# --- workflows and task graphs -----------------------------------------------------------------------


@pytest.mark.parametrize("workflow", ["standard", "full", "review_only", "custom"])
def test_a_workflow_shows_every_node_and_every_label(workflow: Workflow) -> None:
    graph = build_graph(workflow, config=config(workflow=PAUSES if workflow == "full" else {}))
    drawn, shape = graph.svg(), graph.get_graph()
    nodes = {name.strip("_") if name.startswith("__") else name for name in shape.nodes}
    assert texts(drawn) == nodes | {str(edge.data) for edge in shape.edges if edge.data}
    assert drawn == build_graph(workflow, config=graph.bindings.config).svg()
    assert not re.search(r"https?://(?!www.w3.org/2000/svg)", drawn)


def test_the_bytes_do_not_depend_on_the_hash_seed() -> None:
    script = "from swarm_graph import build_graph; print(build_graph('full', config={}).svg())"
    drawings = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "12"
    }
    assert len(drawings) == 1


def tasks(*specs: Mapping[str, Any]) -> dict[str, TaskSpec]:
    return checked_graph(task_specs([{"assigned_role": "coder", **spec} for spec in specs]))


def test_a_task_shows_its_role_and_a_condition_its_beginning() -> None:
    when = "first.result != 'something long enough to be cut'"
    graph = tasks({"task_id": "first"}, {"task_id": "second", "dependencies": ["first"], "when": when})
    drawn = tasks_svg(graph, "Two tasks")
    assert texts(drawn) >= {"first", "second", "coder"}
    assert f"{when[:23]}…{when}" in texts(drawn), "the tooltip has the whole condition"


def test_too_many_tasks_are_refused() -> None:
    with pytest.raises(InputError, match="301 tasks are too many for a drawing; expected at most 300"):
        tasks_svg(tasks(*({"task_id": f"t{number}"} for number in range(301))), "Many")


def test_names_are_text_and_nothing_else() -> None:
    graph = tasks({"task_id": "a"}, {"task_id": "b", "dependencies": ["a"], "when": "a.result == '<b>&\"'"})
    drawn = tasks_svg(graph, "<script>")
    assert "<script>" not in drawn
    assert "a.result == '<b>&\"'" in texts(drawn)


def test_the_command_draws_an_svg_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "mmdr", None)
    done = CliRunner().invoke(swarm_graph, ["graph", "--workflow", "full", "--output", "full.svg"])
    assert done.exit_code == 0, done.output
    assert texts((tmp_path / "full.svg").read_text()) >= {"coder", "revise"}
    refused = CliRunner().invoke(swarm_graph, ["graph", "--format", "png"])
    assert "`pip install mmdr`; an SVG needs no package" in str(refused.exception)


# --- PNG ---------------------------------------------------------------------------------------------


def test_png_is_made_of_mermaid_text_and_is_the_same_every_time() -> None:
    png = draw_png(MERMAID)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert min(struct.unpack(">II", png[16:24])) > 100
    assert png == draw_png(MERMAID)


def test_text_that_is_no_drawing_is_refused() -> None:
    with pytest.raises(SwarmError, match="not a Mermaid flowchart"):
        draw_png("no drawing")
