"""Workflows are drawn offline, the same bytes every time."""

import struct
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from swarm_graph.errors import SwarmError
from swarm_graph.workflows.drawing import draw

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


def test_svg_shows_every_node_and_every_label_as_text() -> None:
    svg = ElementTree.fromstring(draw(MERMAID, "svg"))
    texts = {
        (text.text or "").strip("\N{NO-BREAK SPACE} ")
        for text in svg.iter("{http://www.w3.org/2000/svg}text")
    }
    assert texts == {"__start__", "coder", "verdict", "__end__", "revise", "approve"}


def test_png_has_twice_the_size_of_the_svg() -> None:
    svg = ElementTree.fromstring(draw(MERMAID, "svg"))
    natural = [float(number) for number in svg.attrib["viewBox"].split()[2:]]
    png = draw(MERMAID, "png")
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", png[16:24]) == pytest.approx([2 * side for side in natural], abs=2)


@pytest.mark.parametrize("format", ["svg", "png"])
def test_same_text_same_bytes(format: str) -> None:
    assert draw(MERMAID, format) == draw(MERMAID, format)  # type: ignore[arg-type]


def test_text_that_is_no_drawing_is_refused() -> None:
    with pytest.raises(SwarmError, match="not a Mermaid flowchart"):
        draw("no drawing", "svg")


def test_without_the_extra_the_message_names_it() -> None:
    script = """
import sys
sys.modules["mmdr"] = None
from swarm_graph.workflows.drawing import draw
from swarm_graph.errors import SwarmError
try:
    draw("graph TD; a --> b", "svg")
except SwarmError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "pip install 'swarm-graph[draw]'" in done.stdout
