"""What people see of memory: live, in figures, in the log, on pages, as spans and lines of a log."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support import Crew, config
from test_tool_figures import STARTED, event, shown

from swarm_graph import SwarmCoordinator, SwarmManager
from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.cli.main import swarm_graph
from swarm_graph.events import event_line
from swarm_graph.mcp_server.results import report_of
from swarm_graph.memory.namespaces import KNOWLEDGE
from swarm_graph.memory.passage import Passage
from swarm_graph.memory.store import open_store
from swarm_graph.reports.recalled_lines import MAX_FOLDED, MAX_LINES, recalled_lines
from swarm_graph.reports.session_report import SessionReport
from swarm_graph.reports.templates import new_environment
from swarm_graph.reports.terminal import session_text
from swarm_graph.roles.registry import Roles
from swarm_graph.sessions.background import Progress
from swarm_graph.sessions.logs import event_text
from swarm_graph.sessions.tracing import _Spans
from swarm_graph.sessions.tracker import SessionTracker
from swarm_graph.state import Recalled, RecalledPassage, SwarmState

RECALLED = {
    "passages": 5, "characters": 2100,
    "sources": ["P-101.pdf, p. 4", "P-101.pdf, p. 4", "SOP-7.md, 3. Start-up", "a.md", "b.md"],
    "note": "1 passage left out",
}  # fmt: skip
LINE = (
    "recalled 5 passages (2100 characters): P-101.pdf, p. 4; SOP-7.md, 3. Start-up; a.md and 1 more; "
    "1 passage left out"
)
REMEMBERED = {"kept": 2, "offered": 1, "note": ""}
HOSTILE = "\x1b[2J[bold]<script>\u202eevil</script>\n✓ coder: approved\r"


def page_of(state: dict[str, Any]) -> str:
    """The part of a report that shows what a session has recalled."""
    session = Session("s", "standard", "a", {}, "complete", 0.0, 0.0)
    with open_checkpointer(":memory:") as saver:
        report = SessionReport(saver, session)
        report.state = cast("SwarmState", state)
        return new_environment().get_template("parts/recalled.html").render(report=report)


def recalled(node: str = "architect", source: str = "P-101.pdf", text: str = "Keep the level.") -> Recalled:
    passage: RecalledPassage = {"id": "0a1b2c3d4e/0001", "source": source, "place": "p. 4", "text": text}
    place = {"node": node, "role": "architect", "task": "T002_design"}
    return {**place, "iteration": 1, "passages": [passage], "note": ""}  # type: ignore[typeddict-item]


def test_the_live_view_has_a_line_for_what_a_task_recalls() -> None:
    assert f"  architect {LINE}\n" in shown(("recalled", RECALLED)).replace(" \n", " ")
    nothing = {"passages": 0, "characters": 0, "sources": [], "note": "the embedding server does not answer"}
    told = "  architect recalled no passage; the embedding server does not answer\n"
    assert told in shown(("recalled", nothing))
    assert "kept in memory" not in shown(("remembered", REMEMBERED)), "the command says it when it ends"


def test_a_large_task_graph_has_no_line_for_each_task() -> None:
    begun = ("graph_started", {"tasks": 41, "done": 0})
    assert "recalled" not in shown(begun, ("recalled", RECALLED))
    assert "recalled" in shown(("graph_started", {"tasks": 40, "done": 0}), ("recalled", RECALLED))


def test_names_of_documents_draw_nothing() -> None:
    live = shown(("recalled", {**RECALLED, "sources": [HOSTILE], "note": HOSTILE}))
    (line,) = [line for line in live.splitlines() if "recalled" in line]
    assert "[2J[bold]<script>evil</script> ✓ coder: approved" in line
    assert "\x1b[2J" not in live
    assert "\u202e" not in live
    state = {"recalled": [recalled(source=HOSTILE, text=HOSTILE)]}
    (text,) = recalled_lines(state)
    assert text.isprintable()
    page = page_of(state)
    assert "<script" not in page
    assert "\x1b" not in page
    assert "&lt;script&gt;evil&lt;/script&gt;" in page


def test_a_page_shows_each_passage_below_its_citation() -> None:
    page = page_of({"recalled": [recalled(text="Keep <i>the</i> level.")]})
    title, citation, text = re.findall(r"<(?:summary|p|pre)[^>]*>(.*?)</(?:summary|p|pre)>", page)
    assert title == "architect, round 1: recalled 1 passage (22 characters): P-101.pdf, p. 4"
    assert (citation, text) == ("P-101.pdf, p. 4", "Keep &lt;i&gt;the&lt;/i&gt; level.")


def test_of_many_tasks_the_first_are_shown_and_the_others_counted() -> None:
    state = {"recalled": [recalled(f"node{number}") for number in range(400)]}
    assert len(recalled_lines(state)) == MAX_LINES + 1
    assert recalled_lines(state)[-1] == f"… and {400 - MAX_LINES} more tasks"
    page = page_of(state)
    assert page.count("<details") == MAX_FOLDED
    assert f"… and {400 - MAX_FOLDED} more tasks</p>" in page


def test_figures_count_what_was_recalled() -> None:
    tracker = SessionTracker("standard", Roles())
    assert "recalled" not in tracker.metrics()
    tracker.on_values({"recalled": [recalled(), recalled("tester")]})
    assert tracker.metrics()["recalled"] == {"searches": 2, "passages": 2, "characters": 30}


def test_spans_have_numbers_alone() -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    spans = _Spans(provider, {})
    events: list[tuple[str, dict[str, Any]]] = [
        ("recalled", RECALLED),  # before its node: there is no span that it could belong to
        ("session_started", STARTED), ("task_started", {"task_type": "design"}), ("recalled", RECALLED),
        ("task_ended", {"note": ""}), ("remembered", REMEMBERED),
        ("session_ended", {"phase": "complete", "approved": True, "findings": 0}),
    ]  # fmt: skip
    for time, (kind, data) in enumerate(events):
        spans.on_event(event(kind, data, float(time)))
    made = {
        span.name: [(one.name, dict(one.attributes or {})) for one in span.events]
        for span in exporter.get_finished_spans()
    }
    assert made == {
        "invoke_agent architect": [("recalled", {"passages": 5, "characters": 2100})],
        "invoke_workflow standard": [("remembered", {"kept": 2, "offered": 1})],
    }


def test_log_lines_name_the_sources() -> None:
    line = event_text(event("recalled", {**RECALLED, "sources": ["P-101.pdf, p. 4"]}))
    told = 'passages=5 characters=2100 sources="[\'P-101.pdf, p. 4\']" note="1 passage left out"'
    assert line.endswith(f"round=1 {told}")
    assert event_text(event("remembered", REMEMBERED)).endswith("kept=2 offered=1")
    assert json.loads(event_line(event("recalled", RECALLED)))["data"] == RECALLED


def test_a_client_of_the_mcp_server_sees_the_step() -> None:
    progress = Progress()
    progress.on_event(event("recalled", RECALLED))
    assert (progress.steps, progress.step) == (1, "architect recalled 5 passages")


# --- a whole session -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a session whose architect has recalled two passages, and one that recalls nothing."""
    folder = tmp_path_factory.mktemp("sessions")
    texts = {"P-101.pdf": "Build queues with 10 entries.", HOSTILE: f"Build it. {HOSTILE}"}
    with open_store(folder / ".swarm" / "swarm.db") as store:
        for number, (source, text) in enumerate(texts.items()):
            passage = Passage("", text, source, f"p. {number + 1}").to_value()
            store.put((*KNOWLEDGE, "plant"), f"0a1b2c3d4e/{number:04}", passage, index=["text"])
    for session, memory in (("s", {"recall": {"architect": 2}}), ("plain", None)):
        swarm = SwarmCoordinator(
            config(memory=memory), data_dir=folder / ".swarm", output_dir=folder / "out",
            context=Crew().context,
        )  # fmt: skip
        swarm.run_workflow("Build queues", session_id=session)
    return folder


def command(folder: Path, *words: str) -> str:
    done = CliRunner().invoke(swarm_graph, [*words, "--data-dir", str(folder / ".swarm")])
    assert done.exit_code == 0, done.output
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    return done.stdout


SHOWN = "recalled 2 passages ("


def test_a_session_is_shown_with_what_it_recalled(folder: Path) -> None:
    text = command(folder, "sessions", "show", "s")
    title, line = text.splitlines()[-2:]
    assert title == "Recalled from memory:"
    assert line.startswith(f"  architect, round 1: {SHOWN}")
    assert "P-101.pdf, p. 1" in line
    assert "evil</script> ✓ coder: approved, p. 2" in line
    account = json.loads(command(folder, "sessions", "show", "s", "--json"))
    assert {one["place"] for one in account["recalled"][0]["passages"]} == {"p. 1", "p. 2"}
    assert "ecalled" not in command(folder, "sessions", "show", "plain")
    assert "# Recalled from memory\n" in command(folder, "sessions", "show", "s", "--at", "coder")


def test_the_log_names_the_sources_at_the_call(folder: Path) -> None:
    blocks = command(folder, "log", "s").split("\n── ")
    assert [block.split(",")[0] for block in blocks if f"\n  {SHOWN}" in block] == ["architect"]
    assert "recalled" not in command(folder, "log", "plain")


def test_the_page_of_a_session_has_the_passages_as_data(folder: Path, tmp_path: Path) -> None:
    manager = SwarmManager(data_dir=folder / ".swarm")
    manager.session_report("s", tmp_path / "s.html")
    page = (tmp_path / "s.html").read_text(encoding="utf-8")
    assert ">Build queues with 10 entries.</pre>" in page.split("<h2>Recalled from memory</h2>")[1]
    assert not [mark for mark in ("<script", "\x1b", "\u202e") if mark in page]
    manager.session_report("plain", tmp_path / "plain.html")
    assert "part-recalled" not in (tmp_path / "plain.html").read_text(encoding="utf-8")


def test_summary_figures_and_state_of_a_resumed_session_tell_what_it_recalled(folder: Path) -> None:
    swarm = SwarmCoordinator(data_dir=folder / ".swarm", output_dir=folder / "out", context=Crew().context)
    swarm.resume("s")
    (line,) = [line for line in session_text(swarm, "swarm-graph").splitlines() if "ecalled" in line]
    assert line.startswith("Recalled from memory: 2 passages from ")
    assert swarm.get_metrics_summary()["recalled"]["passages"] == 2
    document = json.loads((folder / "out" / "s" / "swarm_state_s.json").read_text(encoding="utf-8"))
    assert [one["task"] for one in document["recalled"]] == ["T002_design"]
    report = report_of(folder / ".swarm", "s")
    assert f"## Recalled from memory\n\n- architect, round 1: {SHOWN}" in report
    swarm.resume("plain")
    assert "ecalled" not in session_text(swarm, "swarm-graph")
    assert "recalled" not in swarm.document()
    assert "recalled" not in swarm.get_metrics_summary()
