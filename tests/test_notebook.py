"""Notebooks: a graph, a running session, a session and its figures as HTML, without network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient
from support import Crew, config

from swarm_graph import NotebookProgress, SwarmCoordinator, SwarmManager, build_graph
from swarm_graph.events import Event

pytestmark = [
    pytest.mark.usefixtures("jupyter"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
HOSTILE = '{"approved": false, "findings": [{"severity": "major", "location": "a.py:1", "problem": "%s"}]}'


@pytest.fixture
def published() -> Iterator[list[dict[str, Any]]]:
    """The outputs of a cell, updates included."""
    shell = InteractiveShell.instance()
    shell.kernel = object()  # type: ignore[attr-defined]
    kept, shell.display_pub = shell.display_pub, CapturingDisplayPublisher()  # type: ignore[no-untyped-call]
    yield shell.display_pub.outputs
    shell.display_pub = kept
    InteractiveShell.clear_instance()


def run(folder: Path, session: str, **options: Any) -> SwarmCoordinator:
    crew = Crew({"reviewer": HOSTILE % "<script>alert(1)</script>"})
    coordinator = SwarmCoordinator(
        config(workflow={"max_iterations": 1}),
        data_dir=folder / ".swarm",
        output_dir=folder / "out",
        context=crew.context,
        **options,
    )
    coordinator.run_workflow("Build it", session_id=session)
    return coordinator


def test_a_cell_shows_a_running_session(tmp_path: Path, published: list[dict[str, Any]]) -> None:
    run(tmp_path, "one", on_event=NotebookProgress())
    first, *updates = published
    assert not first["transient"].get("update")
    assert updates
    assert {one["transient"]["display_id"] for one in published} == {first["transient"]["display_id"]}
    last = updates[-1]["data"]["text/html"]
    assert "coder" in last
    assert "round 1: changes wanted" in last
    assert "#000000" not in last, "text has the colour of the notebook's theme"


def test_each_run_has_an_output_of_its_own(tmp_path: Path, published: list[dict[str, Any]]) -> None:
    settings = config(workflow={"pause_before": ["documenter"]})
    coordinator = SwarmCoordinator(
        settings,
        data_dir=tmp_path / ".swarm",
        output_dir=tmp_path / "out",
        context=Crew().context,
        on_event=NotebookProgress(),
    )
    coordinator.run_workflow("Build it", "full", session_id="one")
    until_pause = published[-1]["data"]["text/html"]
    assert "paused: waits for a person before documenter" in until_pause
    assert "✓ optimizer" in until_pause
    assert "✓ documenter" not in until_pause
    shown_before = len(published)
    coordinator.resume(decision="approve")
    ids = [one["transient"]["display_id"] for one in published]
    assert len({*ids[:shown_before]}) == len({*ids[shown_before:]}) == 1
    assert ids[0] != ids[-1], "the output of the first run stays as it was"
    last = published[-1]["data"]["text/html"]
    assert "complete, approved" in last
    assert "✓ documenter" in last
    assert "○" not in last


def test_nothing_is_displayed_outside_of_a_notebook(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, "one", on_event=NotebookProgress())
    assert capsys.readouterr().out == ""


def test_a_cell_shows_a_running_graph_from_its_custom_stream(published: list[dict[str, Any]]) -> None:
    graph = build_graph("standard", config=config())
    progress = NotebookProgress()
    for part in graph.stream({"request": "Build it"}, context=Crew().context, stream_mode="custom"):
        progress(part)
    progress({"somebody": "else's"})
    assert "round 1: approved" in published[-1]["data"]["text/html"]


def test_a_graph_draws_itself_offline() -> None:
    graph = build_graph("full", config=config())
    bundle = graph._repr_mimebundle_()
    assert bundle["image/svg+xml"].startswith("<svg")
    assert set(bundle) == {"text/plain", "image/svg+xml"}


def test_sessions_and_figures_are_tables_of_text(tmp_path: Path) -> None:
    shown = run(tmp_path, "one")
    run(tmp_path, "two")
    manager = SwarmManager(tmp_path / "out", data_dir=tmp_path / ".swarm")
    page = shown._repr_html_()
    assert "Session one (standard): complete, not approved" in page
    assert "src/a.py</td>" in page
    assert "&lt;script&gt;alert(1)" in page
    for made in (manager.analyze_session("one"), manager.compare_sessions("one", "two")):
        assert re.search("<(dt|th scope=.row.)>rounds</", made._repr_html_())
    overview = manager.generate_report(tmp_path / "report.txt")._repr_html_()
    assert "Swarm report" in overview
    assert overview.startswith('<div class="swarm-graph"><style>.swarm-graph {'), (
        "rules reach only the output"
    )
    assert ":root" not in overview
    assert "<script" not in page + overview


def test_a_cell_shows_what_was_recalled_and_remembered_as_text(published: list[dict[str, Any]]) -> None:
    progress = NotebookProgress()
    ended = {"workflow": "standard", "phase": "complete", "approved": True}
    recalled = {"passages": 1, "characters": 9, "sources": ["<b>x</b>[bold].md, p. 1"], "note": ""}
    progress(Event("recalled", 0.0, "s", "architect", data=recalled))
    progress(Event("remembered", 0.0, "s", "", data={"kept": 2, "offered": 1, "note": ""}))
    progress(Event("session_ended", 0.0, "s", "", data=ended))
    last = published[-1]["data"]["text/html"]
    assert "architect recalled 1 passage (9 characters): &lt;b&gt;x&lt;/b&gt;[bold].md, p. 1" in last
    assert "2 kept in memory; 1 offered for memory" in last
    assert "<b>" not in last


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of the kernel's own sockets
def test_in_a_real_kernel(tmp_path: Path) -> None:
    code = [
        "from swarm_graph import NotebookProgress, SwarmCoordinator, build_graph",
        'settings = {"model_config": {"single_model": {"model": "m", "api_type": "simulated"}}, '
        '"execution": {"mode": "off"}}',
        'build_graph("standard", config=settings)',
        "coordinator = SwarmCoordinator(settings, on_event=NotebookProgress())\n"
        'coordinator.run_workflow("Build it", session_id="s");',
        "coordinator",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in code])  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    graph, watched, shown = (cell.outputs[0]["data"] for cell in notebook.cells[2:])
    # Mermaid text would make an exported page load a program from the network.
    assert set(graph) == {"text/plain", "image/svg+xml"}
    assert "round 1: " in watched["text/html"]
    assert "Simulated: no model was asked" in shown["text/html"]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_error_of_ours_is_one_line_in_a_real_kernel_and_can_be_seen_whole(tmp_path: Path) -> None:
    code = [
        "from swarm_graph import SwarmCoordinator, load_config",
        "SwarmCoordinator().run_workflow('Build it')",
        "try:\n    load_config('no.json')\nexcept Exception as error:\n"
        "    raise RuntimeError('mine') from error",
        "try:\n    {}['key']\nexcept KeyError:\n    load_config('no.json')",
        "%xmode Verbose\n%tb",
        "load_config('no.json')",
        "SwarmCoordinator()",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in code])  # type: ignore[no-untyped-call]
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=120, allow_errors=True, resources=resources).execute()
    _, ours, foreign, unrelated, _, verbose, unused = ("".join(_shown(cell)) for cell in notebook.cells)
    assert ours.startswith("NoModel: no model is configured")
    assert "\n" not in ours
    assert "RuntimeError" in foreign
    assert "direct cause" in foreign
    assert "KeyError" in unrelated, "what our error would hide"
    assert "read_source" in verbose
    assert verbose.count("\n") > 20
    assert "No session yet" in unused


def _shown(cell: Any) -> Iterator[str]:
    for output in cell.outputs:
        yield from output.get("traceback", ())
        yield from output.get("data", {}).values()
