"""How reports and pages look: the palette, the head, the graph's states, the timeline, tasks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest
from support import REFUSED, Crew, config

from swarm_graph import AgentRole, SwarmCoordinator, Task
from swarm_graph.checkpoints.records import Run
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.events import Event
from swarm_graph.reports.node_states import task_states, workflow_states
from swarm_graph.reports.session_report import PARTS, SessionReport, report_html
from swarm_graph.reports.task_list import first_rows, matching, task_rows
from swarm_graph.reports.templates import STYLE, new_environment
from swarm_graph.reports.time_split import Span, split_time, waits_for_person
from swarm_graph.reports.timeline import MAX_NODES, Timeline, Work, drawn_timeline
from swarm_graph.workflows.pauses import Pause

# --- the palette -------------------------------------------------------------------------------------

TEXTS = ("text", "muted", "link", "good", "bad", "warn", "running")
ON = (
    ("text", "page"), ("text", "soft"), ("muted", "page"), ("muted", "soft"), ("link", "page"),
    ("link", "soft"), ("good", "page"), ("good", "soft"), ("good", "good-soft"), ("bad", "page"),
    ("bad", "soft"), ("bad", "bad-soft"), ("warn", "page"), ("warn", "warn-soft"), ("running", "page"),
    ("running", "running-soft"), ("on-button", "button"), ("text", "good-soft"), ("text", "bad-soft"),
    ("text", "warn-soft"), ("text", "running-soft"),
)  # fmt: skip
"""Which text stands on which background."""


def palette() -> dict[str, tuple[str, str]]:
    """The colors of the style sheet by name: light, dark."""
    found = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", STYLE.read_text())
    return {name: (light, dark) for name, light, dark in found}


def luminance(color: str) -> float:
    """The relative luminance of a color, as WCAG 2 defines it."""
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_the_formula_of_contrast_is_that_of_wcag() -> None:
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_texts_can_be_read_on_their_backgrounds(mode: int) -> None:
    colors = palette()
    roles = [name for name in colors if name.startswith("role-")]
    on_boxes = [(text, role) for text in ("text", "muted", "good") for role in roles]
    poor = {
        pair: round(contrast(colors[pair[0]][mode], colors[pair[1]][mode]), 2) for pair in [*ON, *on_boxes]
    }
    assert {pair: value for pair, value in poor.items() if value < 4.5} == {}
    assert len(roles) == 10


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_bars_and_lines_can_be_told_from_the_page(mode: int) -> None:
    colors = palette()
    names = [name for name in colors if name.startswith("bar-") and name not in ("bar-queue", "bar-in")]
    poor = {name: contrast(colors[name][mode], colors["page"][mode]) for name in [*names, "edge"]}
    assert {name: value for name, value in poor.items() if value < 3} == {}


def test_every_color_is_in_the_palette() -> None:
    rules = re.sub(
        r"--[\w-]+: light-dark\([^)]*\)", "", re.sub(r"/\*.*?\*/", "", STYLE.read_text(), flags=re.S)
    )
    alone = re.sub(r"light-dark\([^)]*\)", "", rules)
    assert re.findall(r"#[0-9a-f]{3,8}\b", alone) == []


# --- all kinds of sessions -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwarmSaver]:
    """A database with a session of each kind."""
    folder = tmp_path_factory.mktemp("kinds")

    def swarm(answers: dict[str, Any] | None = None, **settings: Any) -> SwarmCoordinator:
        context = Crew(answers or {}).context
        return SwarmCoordinator(
            config(**settings), data_dir=folder / ".swarm", output_dir=folder / "out", context=context
        )

    again = {"reviewer": lambda ask: REFUSED if ask.iteration == 1 else '{"findings": [], "approved": true}'}
    swarm(again, workflow={"max_iterations": 2}).run_workflow("Build it", "full", session_id="rounds")
    swarm(workflow={"pause_before": ["coder"]}).run_workflow("Build it", session_id="paused")
    swarm(limits={"calls": 2}).run_workflow("Build it " * 100, session_id="over")
    graph = swarm()
    graph.add_task(Task("T1", "t", "d", AgentRole.DOCUMENTER))
    graph.add_task(Task("T2", "t", "d", AgentRole.CODER, dependencies=["T1"]))
    graph.run_workflow("", "custom", session_id="tasks")
    parts = {"plan": "Two parts.", "tasks": [
        {"task_id": name, "description": "d", "assigned_role": "documenter"} for name in ("a", "b")
    ]}  # fmt: skip
    split = swarm({"architect": json.dumps(parts)})
    split.add_task(Task("T1", "t", "d", AgentRole.ARCHITECT, expands=True))
    split.add_task(Task("T2", "t", "d", AgentRole.DOCUMENTER, dependencies=["T1"]))
    split.run_workflow("", "custom", session_id="split")
    many = swarm()
    for number in range(MAX_NODES + 5):
        many.add_task(Task(f"T{number}", "t", "d", AgentRole.DOCUMENTER))
    many.run_workflow("", "custom", session_id="many")
    with open_checkpointer(folder / ".swarm" / "swarm.db") as saver:
        yield saver


def report(saver: SwarmSaver, session: str) -> SessionReport:
    row = saver.catalogue.get(session)
    assert row is not None
    return SessionReport(saver, row)


class _Forbidden(HTMLParser):
    """What the content security policy of the page refuses, and what a file that needs no network lacks."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag in ("script", "link", "img", "iframe", "object", "form"):
            self.found.append(tag)
        self.found += [f"{tag} {name}" for name in names if name in ("style", "src")]
        self.found += [
            f"{tag} {name}" for name, value in attrs if name == "href" and (value or "")[:1] != "#"
        ]
        self.found += [f"{tag} {name}" for name in names if name.startswith("on")]


SESSIONS = ("rounds", "paused", "over", "tasks", "many")


@pytest.mark.parametrize("session", SESSIONS)
def test_a_report_has_no_script_no_style_attribute_and_no_reference(saver: SwarmSaver, session: str) -> None:
    page = report_html(report(saver, session))
    parser = _Forbidden()
    parser.feed(page)
    assert parser.found == []
    assert len(parser.ids) == len({*parser.ids})
    assert page.count("<style>") == 1, "the drawing brings none of its own"
    assert "@import" not in page
    assert "url(" not in page


@pytest.mark.parametrize("session", SESSIONS)
def test_every_part_of_every_kind_of_session_can_be_shown_alone(saver: SwarmSaver, session: str) -> None:
    environment = new_environment()
    for name in (name for name in PARTS if report(saver, session).has(name)):
        part = environment.get_template(f"parts/{name}.html").render(
            report=report(saver, session), parts=PARTS
        )
        assert re.search("<h[12]", part), name


def test_the_head_says_how_a_session_stands(saver: SwarmSaver) -> None:
    stopped = report_html(report(saver, "over"))
    assert '<span class="badge bad">over budget</span>' in stopped
    assert "<summary>The request, 900 characters</summary>" in stopped
    assert "swarm-graph resume over" in stopped
    assert "model calls</dt><dd>2 of 2" in stopped
    assert "Its last run ended early: " in stopped
    header = report(saver, "paused").header
    assert header.phase == "paused"
    assert "Waits for a person before coder." in report_html(report(saver, "paused"))
    assert "person" in {share.purpose for share in header.times}
    assert sum(share.percent for share in header.times) == pytest.approx(100)
    assert report(saver, "rounds").header.command == ""


def test_the_drawing_has_the_state_of_each_node(saver: SwarmSaver) -> None:
    assert report(saver, "rounds").graph.states["optimizer"] == "done"
    waiting = report(saver, "paused").graph
    assert waiting.states["before_coder"] == "paused"
    assert (waiting.states["architect"], waiting.states["coder"]) == ("done", "waiting")
    assert 'data-node="before_coder" data-state="paused"' in waiting.svg
    tasks = report(saver, "tasks").graph
    assert set(tasks.states.values()) == {"done"}
    assert 'data-node="T2"' in tasks.svg
    many = report(saver, "many")
    assert not many.graph.svg
    assert many.task_counts == {"done": MAX_NODES + 5}
    assert f"{MAX_NODES + 5} tasks are too many for a drawing" in report_html(many)


def test_a_task_is_drawn_below_the_tasks_that_it_waits_for(saver: SwarmSaver) -> None:
    svg = report(saver, "split").graph.svg
    assert set(report(saver, "split").graph.states) == {"T1", "T1.a", "T1.b", "T2"}
    height = {
        name: float(re.search(f'data-node="{name}".*?<rect[^>]* y="([^"]+)"', svg, re.S)[1])  # type: ignore[index]
        for name in ("T1", "T1.a", "T1.b", "T2")
    }
    assert height["T1"] < height["T1.a"] == height["T1.b"] < height["T2"]


# --- the states of nodes -------------------------------------------------------------------------------

NODES = ("architect", "coder", "before_tester", "tester", "run_tests", "verdict", "debugger")


def events(*kinds: str) -> list[Event]:
    """Events as in `coder task_started 2`: node, kind, round."""
    parts = [kind.split() for kind in kinds]
    return [Event(kind, 0.0, "s", node, iteration=int(number)) for node, kind, number in parts]  # type: ignore[arg-type]


FIRST_ROUND = events(
    "s session_started 0", "architect task_started 1", "architect task_ended 1", "coder task_started 1",
    "coder task_ended 1", "tester task_ended 1", "run_tests tests_started 1", "run_tests tests_ended 1",
    "verdict verdict 1", "debugger task_ended 1",
)  # fmt: skip


def test_a_new_round_opens_the_nodes_that_run_again() -> None:
    found = workflow_states(NODES, [*FIRST_ROUND, *events("coder task_started 2")], ran=(), phase="running")
    assert found == {
        "architect": "done", "coder": "running", "before_tester": "waiting", "tester": "waiting",
        "run_tests": "waiting", "verdict": "waiting", "debugger": "waiting",
    }  # fmt: skip


def test_a_pause_that_is_a_node_is_done_once_a_person_has_answered_it() -> None:
    answered = Event("pause_answered", 0.0, "s", "tester", iteration=1, data={"place": "before tester"})
    found = workflow_states(NODES, [*FIRST_ROUND[:5], answered, *FIRST_ROUND[5:]], ran=(), phase="complete")
    assert found["before_tester"] == "done"


def test_nothing_runs_in_a_session_that_no_process_works_on() -> None:
    killed = [*FIRST_ROUND, *events("coder task_started 2")]
    assert workflow_states(NODES, killed, ran=(), phase="interrupted")["coder"] == "waiting"
    resumed = [*killed, *events("s session_started 0")]
    assert workflow_states(NODES, resumed, ran=(), phase="running")["coder"] == "waiting"


def test_what_a_finished_session_did_not_need_is_skipped() -> None:
    found = workflow_states(NODES, FIRST_ROUND[:-1], ran=(), phase="complete")
    assert (found["debugger"], found["before_tester"], found["coder"]) == ("skipped", "skipped", "done")
    failed = workflow_states(NODES, [*FIRST_ROUND, *events("coder task_failed 2")], ran=(), phase="failed")
    assert failed["coder"] == "failed"


def test_without_events_the_checkpoint_tells_what_ran() -> None:
    found = workflow_states(NODES, (), ran={"architect", "coder"}, phase="paused", pauses=[pause()])
    assert (found["coder"], found["before_tester"], found["tester"]) == ("done", "paused", "waiting")


def pause() -> Pause:
    return Pause("before", "tester", "tester", 1, "", [], None)


def test_a_task_that_the_catalogue_knows_has_its_state_before_the_checkpoint() -> None:
    records = [{"task_id": "a", "status": "PENDING"}, {"task_id": "a", "status": "COMPLETED"}]
    started = Event("task_started", 0.0, "s", "b", task="b")
    assert task_states("abc", records, [started], phase="running") == {
        "a": "done",
        "b": "running",
        "c": "waiting",
    }
    assert task_states("b", (), [started], phase="interrupted") == {"b": "waiting"}
    killed = [Event("task_started", 0.0, "s", name, task=name) for name in "ab"]
    resumed = [*killed, Event("session_started", 0.0, "s", "")]
    assert task_states("ab", records, resumed, phase="running") == {"a": "done", "b": "waiting"}


# --- time ------------------------------------------------------------------------------------------------


def test_no_second_counts_twice() -> None:
    spans = {
        "models": [Span(0, 4), Span(2, 6)],
        "tests": [Span(5, 9)],
        "tools": [Span(9, 10)],
        "queues": [Span(0, 3), Span(10, 12)],
        "person": [Span(20, 50)],
    }
    assert split_time(spans, [Span(0, 20)]) == {
        "models": 6, "tests": 3, "tools": 1, "queues": 2, "other": 8, "person": 30,
    }  # fmt: skip
    assert split_time({"models": [Span(0, 5)]}, [Span(0, 2), Span(4, 5)]) == {"models": 3}


def run_of(phase: str, begin: float, end: float | None) -> Run:
    return Run(1, "s", "resume", None, "", None, 1, "host", phase, "", begin, end)


def test_a_person_is_waited_for_from_a_pause_to_the_next_run() -> None:
    runs = [run_of("paused", 0, 10), run_of("failed", 40, 50), run_of("paused", 60, 70)]
    assert waits_for_person(runs, 100) == [Span(10, 40), Span(70, 100)]


def work(begin: float, end: float, node: str = "coder", look: str = "answered") -> Work:
    return Work(Span(begin, end), None, node, "coder", look, f"call of {node}", 1, "answered")


def positions(line: Timeline) -> list[float]:
    return [bar.x for lane in line.lanes for bar in lane.bars]


def test_a_long_gap_is_cut_and_marked() -> None:
    line = drawn_timeline([work(0, 100), work(100_000, 100_100)])
    assert len(line.gaps) == 1
    first, second = line.lanes[0].bars
    assert (first.x, round(second.x + second.width, 6)) == (0, 100)
    assert first.width == pytest.approx(second.width)
    assert first.width > 45


def test_a_short_call_beside_a_long_test_run_keeps_a_bar_that_can_be_seen() -> None:
    line = drawn_timeline([work(0, 0.01), work(1, 4000, "run_tests", "passed")])
    assert [lane.bars[0].is_thin for lane in line.lanes] == [True, False]
    assert [label.text for label in line.labels] == ["0 s", "20 min", "40 min", "1 h"]
    assert line.worked_s == 4000
    assert all(one.x < other.x for one, other in pairwise(line.labels))


def test_many_nodes_share_a_row_for_each_role_and_no_work_is_left_out() -> None:
    line = drawn_timeline([work(number, number + 1, f"T{number}") for number in range(5000)])
    assert line.by_role
    assert [lane.name for lane in line.lanes] == ["coder"]
    assert len(line.lanes[0].bars) <= 1000
    assert line.lanes[0].bars[0].title == "5,000 times: answered"
    assert (len(line.work), line.left_out) == (300, 4700)


# --- tasks -------------------------------------------------------------------------------------------------


def test_tasks_are_found_by_state_and_by_words() -> None:
    ended = [
        {"task_id": "b", "status": "FAILED", "role": "coder", "error": "No Route", "created_at": 1.0,
         "completed_at": 3.5},
    ]  # fmt: skip
    records: list[Any] = [
        {"task_id": "a", "status": "COMPLETED", "role": "tester"},
        {"task_id": "b", "status": "PENDING"},
    ]
    rows = task_rows(records, ended, {})
    assert [(row.task, row.state, row.seconds) for row in rows] == [("a", "done", None), ("b", "failed", 2.5)]
    assert [row.task for row in matching(rows, state="failed")] == ["b"]
    assert [row.task for row in matching(rows, words="no route")] == ["b"]
    assert matching(rows, state="done", words="route") == []


def test_a_row_of_a_task_is_text() -> None:
    rows = task_rows([], [{"task_id": "<i>", "status": "FAILED", "role": "", "error": "<script>"}], {})
    html = new_environment().get_template("parts/task_rows.html").render(rows=rows)
    assert "&lt;i&gt;" in html
    assert "<script" not in html


def test_the_style_sheet_holds_for_a_saved_file(saver: SwarmSaver) -> None:
    page = report_html(report(saver, "rounds"))
    for needed in ("prefers-reduced-motion", "@media print", ":focus-visible", "color-scheme: light dark"):
        assert needed in page


# --- what a strict reader looks for ------------------------------------------------------------------------


class _Headings(HTMLParser):
    """The levels of the headings of a page, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.levels: list[int] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if re.fullmatch("h[1-6]", tag):
            self.levels.append(int(tag[1]))


@pytest.mark.parametrize("session", SESSIONS)
def test_no_level_of_headings_is_left_out(saver: SwarmSaver, session: str) -> None:
    parser = _Headings()
    parser.feed(report_html(report(saver, session)))
    assert parser.levels[0] == 1
    assert [pair for pair in pairwise(parser.levels) if pair[1] > pair[0] + 1] == []


def test_tests_that_did_not_run_have_not_failed(saver: SwarmSaver) -> None:
    line = report(saver, "rounds").timeline
    lane = next(lane for lane in line.lanes if lane.name == "run_tests")
    assert {bar.look for bar in lane.bars} == {"not-run"}
    assert "failed" not in line.looks
    assert ".bar-not-run" in STYLE.read_text()


def test_work_that_took_no_time_is_drawn() -> None:
    line = drawn_timeline([work(0, 0), work(5, 10)])
    assert all(bar.width > 0 for bar in line.lanes[0].bars)


def test_of_too_many_tasks_those_that_failed_stand_first() -> None:
    ended = [
        {"task_id": f"T{n}", "status": "FAILED" if n in (7, 900) else "COMPLETED", "role": ""}
        for n in range(1000)
    ]
    rows = task_rows([], ended, {})
    assert [row.task for row in first_rows(rows)[:3]] == ["T7", "T900", "T0"]
    assert [row.task for row in first_rows(rows[:10])] == [row.task for row in rows[:10]]


def test_a_review_of_a_repository_changes_nothing(saver: SwarmSaver) -> None:
    row = saver.catalogue.get("rounds")
    assert row is not None
    change = replace(row, config={"workflow": {"kind": "change"}})
    assert SessionReport(saver, change).header.kind == "changes a repository"
    review = replace(change, workflow="review_only")
    assert SessionReport(saver, review).header.kind == "reviews a repository"
