"""The live view: attempts, rounds, resumed sessions, streamed text, and a terminal that changes."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support import REFUSED, TESTS, Crew, config, write_config

from swarm_graph import SwarmCoordinator
from swarm_graph.events import Event
from swarm_graph.reports.live import MAX_RUNNING_NODES, MAX_TASK_LINES, Progress, SessionView
from swarm_graph.reports.running_node import _rate
from swarm_graph.reports.streamed import StreamedText

STARTED = {
    "workflow": "full",
    "nodes": [
        "clarifier", "coder", "before_tester", "tester", "verdict", "run_tests", "debugger", "documenter",
        "complete",
    ],
    "max_iterations": 3,
    "usual_seconds": 75.0,
    "seconds_before": 40.0,
    "done": [],
    "resumed": False,
}  # fmt: skip


def event(kind: str, data: dict[str, Any]) -> Event:
    node = data.pop("node", "tasks")
    return Event(
        kind,  # type: ignore[arg-type]
        0.0,
        "s",
        node,
        task=node,
        iteration=data.pop("round", 1),
        data={"output_tokens": 1, **data},
    )


def shown(events: list[tuple[str, dict[str, Any]]], width: int = 100, height: int = 25) -> str:
    """The text that the live view of a terminal prints for some events."""
    screen = Console(
        file=io.StringIO(),
        force_terminal=True,
        width=width,
        height=height,
        color_system=None,
        legacy_windows=False,
    )
    view = SessionView()
    for kind, data in events:
        if (line := view.on_event(event(kind, dict(data)))) is not None:
            screen.print(line)
    screen.print(view)
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def test_a_split_task_shows_its_part() -> None:
    part = {"node": "SOP-028", "part": 2, "parts": 5, "place": "p. 4-7"}
    events = [*asked("SOP-028"), ("part_started", part), ("call_started", {"node": "SOP-028"})]
    assert "SOP-028, part 2 of 5 (p. 4-7): 0 s" in shown(events)
    joining = [*events, ("part_started", {**part, "part": 0, "place": ""})]
    assert "SOP-028, joins 5 parts: 0 s" in shown(joining)


def asked(node: str, **data: Any) -> list[tuple[str, dict[str, Any]]]:
    """A node that has begun, and whose first call has."""
    return [("task_started", {"node": node}), ("call_started", {"node": node, **data})]


def ran(node: str, round_: int = 1) -> list[tuple[str, dict[str, Any]]]:
    data = {"node": node, "round": round_}
    if node == "verdict":
        return [("verdict", {**data, "approved": False, "findings": 1, "exit_code": None})]
    return [("task_started", data), ("task_ended", {**data, "note": ""})]


@pytest.mark.parametrize("tasks", [3, MAX_TASK_LINES + 1])
def test_tasks_are_counted_and_failures_named(tasks: int) -> None:
    text = shown([
        ("graph_started", {"tasks": tasks, "done": 0}),
        ("task_started", {"node": "a"}), ("task_ended", {"node": "a", "kept": False}),
        ("task_started", {"node": "b"}), ("task_failed", {"node": "b", "error": "b: no\x1b[2J file"}),
        ("task_skipped", {"node": "c"}), ("task_added", {"node": "d"}), ("task_started", {"node": "d"}),
    ])  # fmt: skip
    assert ("✓ a" in text) is (tasks <= MAX_TASK_LINES)
    assert "✗ b: 0 s; no[2J file\n" in text
    assert f"\n3 of {tasks + 1} tasks, 1 failed, 1 skipped" in text, "below the bar"
    assert "left" in text
    assert " d: 0 s, waits for its turn" in text
    assert "round" not in text


def test_many_running_tasks_keep_to_the_height_of_the_terminal() -> None:
    begun = [one for number in range(30) for one in asked(f"t{number}")]
    written = [("tokens", {"node": f"t{number}", "text": "word\n" * 50}) for number in range(30)]
    for height in (6, 10, 24, 60):
        text = shown([("graph_started", {"tasks": 30, "done": 0}), *begun, *written], width=80, height=height)
        assert text.count("\n") < height
        assert re.search(r"… and \d+ more running", text)
        assert text.endswith("0 of 30 tasks\n")
        assert 1 <= len(re.findall(r" t\d+: ", text)) <= MAX_RUNNING_NODES


def test_seconds_tokens_and_rate_are_those_of_the_attempt() -> None:
    failed = {
        "node": "coder",
        "output_tokens": 0,
        "cut_tokens": 5,
        "error": "coder: m at u cut the answer\n off",
    }
    answered = {"node": "coder", "output_tokens": 141, "error": None}
    events = [*asked("coder"), ("tokens", {"node": "coder", "output_tokens": 9})]
    assert re.search(r" coder: 0 s, 9 tokens, [\d.]+/s\n", shown(events))
    events += [("call_ended", failed)]
    assert "coder: 0 s, failed, is asked again (m at u cut the answer off)" in shown(events)
    events += [("call_started", {"node": "coder", "repair": False})]
    assert "coder, attempt 2: 0 s, waits for the first token" in shown(events)
    events += [("call_ended", answered), ("call_started", {"node": "coder", "repair": True})]
    events += [("tokens", {"node": "coder", "output_tokens": 1})]
    assert re.search(r" coder, attempt 3, repair: 0 s, 1 token, [\d.]+/s\n", shown(events))
    ended = shown(
        [*events, ("call_ended", {**answered, "output_tokens": 25}), ("task_ended", {"node": "coder"})]
    )
    assert ended == "✓ coder: 0 s, 171 tokens in 3 attempts\n"


def test_a_server_that_loads_its_model_is_waited_for_in_one_attempt() -> None:
    loading = {
        "node": "coder",
        "output_tokens": 0,
        "error": "coder: m at u is still loading the model after 9 s; x",
    }
    again: list[tuple[str, dict[str, Any]]] = [("call_ended", loading), ("call_started", {"node": "coder"})]
    events = [*asked("coder"), *again * 3]
    assert " coder: 0 s, loading model\n" in shown(events)


def test_a_slow_rate_is_not_shown_as_none() -> None:
    assert [_rate(number) for number in (0.27, 9.94, 12.4)] == ["0.3/s", "9.9/s", "12/s"]


def test_a_simulated_model_has_no_rate() -> None:
    written = ("tokens", {"node": "coder", "output_tokens": 9})
    assert " coder: 0 s, 9 tokens\n" in shown([*asked("coder", server="simulated"), written])


def test_a_new_round_begins_with_open_nodes() -> None:
    first = [one for node in ("clarifier", "coder", "tester") for one in ran(node)]
    tests = ("tests_ended", {"node": "run_tests", "outcome": "failed", "exit_code": 1})
    text = shown([("session_started", STARTED), *first, tests, *ran("verdict"), *ran("debugger")])
    assert "✓ clarifier  ✓ coder  ✓ tester  ✓ run_tests  ✓ verdict  ✓ debugger  ○ documenter\n" in text
    assert "0:00:40, round 1 of 3, usually 0:01:15" in text
    again = ("task_started", {"node": "coder", "round": 2})
    text = shown([("session_started", STARTED), *first, tests, *ran("verdict"), *ran("debugger"), again])
    assert "✓ clarifier  ● coder  ○ tester  ○ run_tests  ○ verdict  ○ debugger  ○ documenter\n" in text
    assert "round 2 of 3" in text


def test_a_resumed_view_ticks_what_ran_in_its_round_and_ends_without_open_nodes() -> None:
    resumed = ("session_started", {**STARTED, "done": ["clarifier", "coder", "verdict"]})
    text = shown([resumed, ("task_started", {"node": "documenter", "round": 2})])
    assert "✓ clarifier  ✓ coder  ○ tester  ○ run_tests  ✓ verdict  ○ debugger  ● documenter\n" in text
    ended = ("session_ended", {"phase": "complete"})
    text = shown([resumed, *ran("documenter", 2), ended])
    assert "✓ clarifier  ✓ coder  ✓ verdict  ✓ documenter\n" in text
    paused = shown([resumed, ("session_ended", {"phase": "paused"})])
    assert "○ documenter" in paused, "it comes when somebody resumes"


def test_nodes_fill_as_many_rows_as_they_need() -> None:
    text = shown([("session_started", STARTED)], width=40)
    assert "○ clarifier  ○ coder  ○ tester\n○ run_tests  ○ verdict  ○ debugger\n○ documenter\n" in text


def test_what_is_written_reads_as_text() -> None:
    answer = (
        "The queue has one lock. " * 6
        + "\n\n```python path=src/a.py\ndef put(self):\n    return 1\n```\nDone\x1b[2J"
    )
    text = shown([*asked("coder"), ("tokens", {"node": "coder", "text": answer[:150]}),
                  ("tokens", {"node": "coder", "text": answer[150:]})], width=60)  # fmt: skip
    assert "  The queue has one lock. The queue has one lock. The queue\n" in text, "wrapped at words"
    assert "\n  ```python path=src/a.py\n  def put(self):\n      return 1\n  ```\n  Done[2J\n" in text
    assert max(map(len, text.splitlines())) <= 60


def test_only_the_newest_rows_are_shown() -> None:
    lines = "".join(f"line {number}\n" for number in range(100))
    text = shown([*asked("coder"), ("tokens", {"node": "coder", "text": lines})])
    assert "line 99" in text
    assert "line 50" not in text


def test_code_has_colours_and_thoughts_are_dim() -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=80, color_system="standard")
    view = SessionView()
    for kind, data in [*asked("coder"), ("tokens", {"node": "coder", "thoughts": "Hm, a lock"})]:
        view.on_event(event(kind, dict(data)))
    screen.print(view)
    view.on_event(event("tokens", {"node": "coder", "text": "```python\ndef put(self):\n    return 1\n"}))
    screen.print(view)
    assert isinstance(screen.file, io.StringIO)
    thinking, writing = screen.file.getvalue().split("lock", 1)
    assert "coder: thinks, 0 s" in thinking
    assert re.search(r"\x1b\[2;3mHm, a ", thinking)
    assert re.search(r"\x1b\[94;49mdef\x1b\[0m", writing)


def test_unfinished_code_is_not_marked_as_wrong() -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=80, color_system="standard")
    for text in ('{"approved": tru', '```python\nname = "unfin', "```json\n{'a': $"):
        written = StreamedText()
        written.add(text)
        for row in written.rows(screen, 80, 5):
            screen.print(row)
    assert isinstance(screen.file, io.StringIO)
    colours = re.findall(r"\x1b\[([\d;]+)m", screen.file.getvalue())
    assert colours
    assert not [colour for colour in colours if "4" in colour.split(";")], "nothing is underlined"


@pytest.mark.parametrize(("width", "columns"), [(80, 1), (110, 2), (160, 3)])
def test_answers_stand_side_by_side_as_the_width_allows(width: int, columns: int) -> None:
    names = ["review_a", "review_b", "review_c", "review_d"]
    begun = [one for name in names for one in asked(name)]
    written = [("tokens", {"node": name, "text": f"text of {name}"}) for name in names]
    text = shown([*begun, *written], width=width)
    first, second, *rest = text.splitlines()
    assert [name in first for name in names] == [number < columns for number in range(4)]
    assert [f"text of {name}" in second for name in names] == [number < columns for number in range(4)]
    assert len(rest) == 4 - columns, "the others have a line each"


def test_a_narrower_terminal_is_cleared_of_the_frame_that_it_broke() -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=100, height=30)
    progress = Progress(screen)
    with progress:
        progress.on_event(event("session_started", dict(STARTED)))
        progress.say("one")
        screen.width = 40
        assert isinstance(screen.file, io.StringIO)
        screen.file.truncate(0)
        progress.say("two")
        drawn = screen.file.getvalue()
    # The frame had a row of 78 cells and a short one; at 40 cells they are three rows.
    assert drawn.split("two")[0].count("\x1b[1A") == 2


def test_session_started_names_what_ran_in_the_present_round(tmp_path: Path) -> None:
    crew = Crew({"reviewer": REFUSED})
    crew.script["tester"] = lambda ask: ValueError("broken") if ask.iteration == 2 else TESTS
    heard: list[Event] = []

    def worker() -> SwarmCoordinator:
        settings = config(workflow={"max_iterations": 2, "pause_before": ["documenter"]})
        return SwarmCoordinator(
            settings,
            data_dir=tmp_path / ".swarm",
            output_dir=tmp_path / "out",
            context=crew.context,
            on_event=heard.append,
        )

    assert worker().run_workflow("Build it", "full", session_id="s")["phase"] == "failed"
    assert heard[-1].data["pauses"] == []
    heard.clear()
    crew.script["tester"] = TESTS
    assert worker().resume("s")["phase"] == "paused"
    assert heard[0].data["done"] == ["clarifier", "architect", "coder", "reviewer", "security"]
    assert heard[-1].data["pauses"] == ["before documenter"]
    heard.clear()
    worker().resume("s", "approve")
    done = heard[0].data["done"]
    assert {"coder", "tester", "verdict", "optimizer"} <= {*done}
    assert not {"debugger", "documenter"} & {*done}, "the debugger ran in round 1 only"


class Terminal:
    """A terminal, and what a program has written to it."""

    def __init__(self) -> None:
        self.ours, self.theirs = os.openpty()
        self.seen = b""
        self._grown = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            while part := os.read(self.ours, 4096):
                with self._grown:
                    self.seen += part
                    self._grown.notify_all()
        except OSError:  # how a terminal ends on Linux
            pass

    def wait_for(self, text: bytes, times: int = 1) -> None:
        with self._grown:
            assert self._grown.wait_for(lambda: self.seen.count(text) >= times, 60), self.seen


def test_ctrl_z_gives_the_terminal_back_and_fg_draws_again(tmp_path: Path) -> None:
    slow = {"model": "m", "api_type": "simulated", "simulation": {"first_token_s": 3}}
    write_config(tmp_path, model_config={"single_model": slow})
    terminal = Terminal()
    process = subprocess.Popen(
        [sys.executable, "-m", "swarm_graph", "run", "x", "--workflow", "review_only"],
        cwd=tmp_path,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=terminal.theirs,
        process_group=0,
    )
    os.close(terminal.theirs)
    hidden, visible = b"\x1b[?25l", b"\x1b[?25h"
    terminal.wait_for(b"review_correctness:")
    process.send_signal(signal.SIGTSTP)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    terminal.wait_for(visible)
    assert terminal.seen.endswith(b"\x1b[2K"), "the view is erased, nothing is drawn after it"
    process.send_signal(signal.SIGCONT)
    terminal.wait_for(hidden, 2)
    assert process.wait() == 0
    terminal.wait_for(visible, 2)
