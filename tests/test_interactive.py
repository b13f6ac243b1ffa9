"""Menus, prompts and the conversation about a session, with a person's odd inputs on a real terminal."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import warm
from repositories import git, make_repository
from support import SIMULATED, dead_port, write_config
from terminal import Terminal

from swarm_graph.cli.chat import AnswerPrinter
from swarm_graph.events import Event
from swarm_graph.sessions.ids import find_session, open_catalogue

MENU = "Workflow [1]:"
CHAT = re.compile(r"(\d{8}_\d{6}_[0-9a-f]{4})>")
PLAIN, DRAWN = "dumb", "xterm-256color"
MANY = 10_000


def interactive(folder: Path, term: str = DRAWN, *, simulate: bool = True, **environment: str) -> Terminal:
    options = ["--simulate"] if simulate else []
    return Terminal(folder, "interactive", *options, term=term, **environment)


def state(folder: Path) -> dict[str, Any]:
    """The state JSON of the only session."""
    (path,) = folder.glob("swarm-output/*/swarm_state_*.json")
    return dict(json.loads(path.read_text()))


both = pytest.mark.parametrize("term", [PLAIN, DRAWN])


# --- the menu ------------------------------------------------------------------------------------


@both
def test_odd_answers_at_the_menu_are_one_line_and_the_menu_stays(term: str, tmp_path: Path) -> None:
    with interactive(tmp_path, term) as terminal:
        terminal.answer(MENU, "?\n")
        for odd, said in {
            "9": "'9' is not among 1, 2, 3, 4, 5, 6; ? helps, b goes back, q quits",
            "-1": "'-1' is not among",
            "grün ☃ 日本": "'grün ☃ 日本' is not among",
            "x" * 600: f"'{'x' * 40}' is not among",
            "st": "'st' is not among",
            "/nonsense": "'/nonsense' is not among",
            "b": "this is the first menu; q quits",
        }.items():
            terminal.answer(MENU, f"{odd}\n")
            terminal.expect(said)
        terminal.resize(10, 30)
        terminal.resize(50, 160)
        terminal.answer(MENU, "\x1b[A\x1b[D\x02\x01\n" if term == DRAWN else "\n")  # arrows; the default
        terminal.answer("ends it", "\n \n\nEND\n")
        terminal.expect("the request is empty")
        terminal.type("/help\n")
        terminal.expect("Type or paste the request, also many lines")
        terminal.type("/back\n")
        terminal.answer(MENU, "full\n")
        terminal.answer("What would you like to build?", "" if term == DRAWN else "/back\n")
        if term == DRAWN:
            terminal.expect("-----")
            terminal.wait_for_editor()
            terminal.type("half a request\x03")
        terminal.answer(MENU, "4\n")
        terminal.answer("Task file", "no.yaml\n")
        terminal.expect("no.yaml")
        terminal.answer(MENU, "custom\n")
        terminal.answer("Task file", "\n")
        terminal.answer("What is to be done", "Look\n")
        terminal.answer("Role [coder]:", "codr\n")
        terminal.expect("'codr' is not among architect, ")
        terminal.answer("Role [coder]:", "/back\n")
        terminal.answer(MENU, "5\n")
        terminal.expect("no sessions in '.swarm'")
        terminal.answer(MENU, "q\n")
        assert terminal.end() == 0
    assert "Traceback" not in terminal.seen
    assert not (tmp_path / ".swarm").exists()


@both
@pytest.mark.parametrize(("key", "code"), [("\x03", 130), ("\x04", 0)])
def test_ctrl_c_and_ctrl_d_leave_the_menu(term: str, key: str, code: int, tmp_path: Path) -> None:
    with interactive(tmp_path, term) as terminal:
        terminal.answer(MENU, key)
        assert terminal.end() == code
    after = terminal.seen.rpartition(MENU)[2].replace("^C", "").split()
    assert after == (["swarm-graph:", "interrupted"] if code else [])


def test_a_model_that_is_missing_or_away_is_said_before_the_first_question(tmp_path: Path) -> None:
    with interactive(tmp_path, PLAIN, simulate=False) as terminal:
        assert terminal.end() == 2
    assert "no model is configured; name one with --url URL" in terminal.seen
    assert "Select a workflow" not in terminal.seen
    url = f"http://127.0.0.1:{dead_port()}/v1"
    write_config(tmp_path, model_config={"single_model": {"url": url, "model": "m", "retries": 0}})
    with interactive(tmp_path, PLAIN, simulate=False) as terminal:
        assert "not reachable" in terminal.answer(MENU, "1\n")
        terminal.answer("ends it", "A queue\nEND\n")
        terminal.answer(">", "and more\n")
        terminal.expect("has not ended (failed); /resume goes on with it first")
        terminal.answer(">", "/resume\n")
        terminal.expect("(here: /resume)")
        terminal.answer(">", "?why\n")
        terminal.expect("cannot")
        terminal.answer(">", "/show\n")
        terminal.expect("failed in round 1")
        terminal.answer(">", "/quit\n")
        assert terminal.end() == 0


def test_a_workflow_of_one_s_own_is_in_the_menu(tmp_path: Path) -> None:
    write_config(tmp_path, workflows={"mine": "flows:mine"}, roles={"poet": "flows:poet"})
    (tmp_path / "flows.py").write_text(
        "from langgraph.graph import END, START\nfrom swarm_graph import Role\n"
        "poet = Role('poet', prompt='You are the poet.')\n\n"
        "def mine(graph):\n    graph.connect(START, graph.place('poet'))\n    graph.connect('poet', END)\n"
    )
    with interactive(tmp_path, PLAIN, simulate=False) as terminal:
        assert "  7. MINE      a workflow of yours\n  b back" in terminal.answer(MENU, "4\n")
        terminal.answer("Task file", "\n")
        terminal.answer("What is to be done", "Look\n")
        terminal.answer("Role [coder]:", "nobody\n")
        assert ", poet" in terminal.answer("Role [coder]:", "/back\n")
        terminal.answer(MENU, "mine\n")
        terminal.answer("ends it", "A queue\nEND\n")
        terminal.answer(">", "/quit\n")
        assert terminal.end() == 0
    assert [task["role"] for task in state(tmp_path)["completed_tasks"]] == ["poet"]


def test_a_repository_is_changed_from_the_menu(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "shop", {"shop.py": "x = 1\n"})
    with interactive(tmp_path, PLAIN) as terminal:
        terminal.answer(MENU, "6\n")
        terminal.answer("Repository [.]", "shop\n")
        terminal.answer("What is to be changed?", "Set x to two\nEND\n")
        terminal.expect("Branch swarm/")
        terminal.answer(">", "/quit\n")
        assert terminal.end() == 0
    assert git(repo, "branch", "--list", "swarm/*")


def test_without_a_terminal_it_is_refused(tmp_path: Path) -> None:
    done = warm.run("interactive", "--simulate", cwd=tmp_path, given=b"")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"swarm-graph: interactive needs a terminal; use `swarm-graph run REQUEST`\n"


# --- requests of many lines ----------------------------------------------------------------------


def test_a_paste_of_many_lines_is_one_text_and_one_line_on_the_terminal(tmp_path: Path) -> None:
    lines = [f"line {number} größer" for number in range(MANY)]
    lines[5:5] = ["END", "", "/quit", "\x1b]0;owned\x07 \x00 control"]
    with interactive(tmp_path) as terminal:
        terminal.answer(MENU, "1\n")
        terminal.expect("-----")
        terminal.wait_for_editor()
        before = len(terminal.raw)
        terminal.type("Build:\n\x1b[200~" + "\r".join(lines) + "\x1b[201~")
        terminal.expect(f"[paste 1: {len(lines)} lines")
        assert len(terminal.raw) - before < 4000
        terminal.type("\nEND\n")
        terminal.answer("/back leads to the menu", "/quit\n")
        assert terminal.end() == 0
    lines[8] = "]0;owned  control"
    assert state(tmp_path)["request"].split("\n") == ["Build:", *lines]


def test_many_lines_on_a_plain_terminal_and_no_colour(tmp_path: Path) -> None:
    lines = [f"line {number}" for number in range(MANY)]
    with interactive(tmp_path, PLAIN, NO_COLOR="1") as terminal:
        terminal.answer(MENU, "1\n")
        terminal.answer("-----", "\n".join([*lines, "", "END"]) + "\n")
        terminal.answer("/back leads to the menu", "\x04")
        assert terminal.end() == 0
    assert "\x1b" not in terminal.raw
    assert state(tmp_path)["request"].split("\n") == lines


# --- the conversation ----------------------------------------------------------------------------


def test_after_the_result_one_goes_on(tmp_path: Path) -> None:
    with interactive(tmp_path) as terminal:
        terminal.answer(MENU, "3\n")
        terminal.expect("Paste what is to be reviewed")
        terminal.expect("-----")
        terminal.wait_for_editor()
        terminal.type("x = 1\x1b\r")  # Alt-Enter
        terminal.expect("(review_only): ")
        terminal.answer("/back leads to the menu", "/help\n")
        terminal.expect("a question about the result")
        calls = counted_calls(tmp_path)
        terminal.type("?why not 2\n")
        terminal.expect("imulated")
        terminal.type("?\n")
        terminal.expect("the question is empty")
        assert counted_calls(tmp_path) == calls
        terminal.type("/files\n")
        terminal.expect("review_results.txt")
        terminal.type("/files review_results.txt\n")
        terminal.expect("Approved: ")
        terminal.type("/files ../../../etc/passwd\n")
        terminal.expect("no file '../../../etc/passwd' in this session")
        terminal.type("/nonsense\n")
        terminal.expect("unknown command '/nonsense'; /help lists them")
        terminal.type("/show\n")
        terminal.expect("(review_only): ")
        for word, said in {"files": "review_results.txt", "Help": "a question about the result"}.items():
            terminal.type(f"{word}\n")
            terminal.expect(said)
        assert counted_calls(tmp_path) == calls, "the name of a command is no follow-up"
        terminal.type("y = 2\n")
        terminal.expect("(review_only): ")
        assert state(tmp_path)["request"] == "y = 2"
        assert counted_calls(tmp_path) == 2 * calls
        terminal.expect(">")
        terminal.type("/paste\n")
        terminal.expect("ends it")
        terminal.wait_for_editor()
        terminal.type("z = 3\n\nw = 4\n\x04")
        terminal.expect("(review_only): ")
        assert state(tmp_path)["request"] == "z = 3\n\nw = 4"
        terminal.expect(">")
        terminal.type("/back\n")
        terminal.answer(MENU, "earlier\n")
        terminal.expect("1. 2")
        terminal.answer("Session (a number or an id) [1]:", "77\n")
        terminal.expect("no session '77'")
        terminal.answer(MENU, "5\n")
        terminal.answer("Session (a number or an id) [1]:", "\n")
        terminal.expect("(review_only): ")
        terminal.expect("/back leads to the menu")
        terminal.wait_for_editor()
        terminal.type("\x04")
        assert terminal.end() == 0
    assert counted_calls(tmp_path) == 3 * calls
    history = tmp_path / ".swarm" / "history"
    assert not history.exists(), "there was no data folder when it began"
    with interactive(tmp_path) as terminal:
        terminal.answer(MENU, "q\n")
        assert terminal.end() == 0
    assert history.stat().st_mode & 0o777 == 0o600


def counted_calls(folder: Path) -> int:
    with open_catalogue(folder / ".swarm") as catalogue:
        return sum(len(catalogue.calls(session.session)) for session in catalogue.sessions())


def test_a_pause_is_left_and_taken_up_again(tmp_path: Path) -> None:
    write_config(tmp_path, workflow={"pause_before": ["coder"], "max_iterations": 1})
    with interactive(tmp_path, PLAIN, simulate=False) as terminal:
        terminal.answer(MENU, "1\n")
        terminal.answer("-----", "A queue\nEND\n")
        terminal.answer("Waiting before coder (approve, edit, reject) [approve]: ", "\x03")
        terminal.expect("(here: /resume)")
        terminal.type("/resume\n")
        terminal.answer("Waiting before coder (approve, edit, reject)", "approve\n")
        terminal.expect("after round 1 of 1")
        terminal.answer(">", "/quit\n")
        assert terminal.end() == 0


# --- the terminal itself -------------------------------------------------------------------------


def slow_coder(folder: Path) -> None:
    entry = {"model": "s", "api_type": "simulated", "simulation": {"first_token_s": 60}}
    models = {"single_model": SIMULATED["model_config"]["single_model"], "multi_model": {"coder": entry}}
    write_config(folder, model_config={"mode": "multi", **models}, workflow={"grace_period": 0.1})


def test_a_closed_terminal_leaves_a_session_that_can_be_resumed(tmp_path: Path) -> None:
    with interactive(tmp_path) as terminal:
        terminal.expect(MENU)
        terminal.close()
        assert terminal.process.wait() in (-signal.SIGHUP, 0, 1)
    slow_coder(tmp_path)
    with interactive(tmp_path, simulate=False) as terminal:
        terminal.answer(MENU, "1\n")
        terminal.expect("-----")
        terminal.wait_for_editor()
        terminal.type("A queue\nEND\n")
        terminal.expect("coder")
        while not [*tmp_path.glob("swarm-output/*/notes.md")]:
            time.sleep(0.01)
        terminal.close()
        assert terminal.process.wait() == -signal.SIGHUP
    write_config(tmp_path)
    assert find_session(tmp_path / ".swarm", None).phase in ("running", "cancelled", "failed")
    done = warm.run("resume", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["phase"] == "complete"


def test_ctrl_c_stops_a_run_and_the_conversation_goes_on(tmp_path: Path) -> None:
    slow_coder(tmp_path)
    with interactive(tmp_path, PLAIN, simulate=False) as terminal:
        terminal.answer(MENU, "1\n")
        terminal.answer("-----", "A queue\nEND\n")
        terminal.expect("architect")
        terminal.type("\x03")
        terminal.expect("stopped; continue with `swarm-graph resume")
        terminal.answer(">", "?what is missing\n")
        terminal.expect("imulated")
        terminal.answer(">", "/quit\n")
        assert terminal.end() == 0


def test_a_job_that_is_stopped_and_continued_draws_its_prompt_again(tmp_path: Path) -> None:
    shell = ["setsid", "--ctty", "--wait", "bash", "--norc", "--noprofile", "-i"]
    ours, theirs = os.openpty()
    environment = {**warm.ENVIRONMENT, "TERM": DRAWN, "PS1": "shell: "}
    bash = subprocess.Popen(shell, cwd=tmp_path, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    unread = ""

    def expect(text: str) -> None:
        nonlocal unread
        while text not in unread:
            assert select.select([ours], [], [], 60)[0], f"{text!r} did not appear: {unread}"
            unread += os.read(ours, 1 << 16).decode(errors="replace")
        unread = unread.partition(text)[2]

    try:
        expect("shell: ")
        os.write(ours, f"{warm.PROGRAM} interactive --simulate\n".encode())
        expect(MENU)
        os.write(ours, b"ful\x1a")
        expect("Stopped")
        expect("shell: ")
        os.write(ours, b"fg\n")
        expect(f"{MENU} ful")
        os.write(ours, b"l\n")
        expect("What would you like to build?")
        expect("\x1b[?2004h")  # the editor runs
        os.write(ours, b"/quit\n")
        expect("shell: ")
        os.write(ours, b"exit $?\n")
        assert bash.wait(60) == 0
    finally:
        os.close(ours)  # the shell and its job hang up
        bash.wait(60)


# --- the menu of sessions ------------------------------------------------------------------------


def test_the_menu_of_sessions_knows_the_same_commands(tmp_path: Path) -> None:
    assert warm.run("run", "x", "--simulate", "--session", "s", cwd=tmp_path, given=b"").returncode == 0
    with Terminal(tmp_path, "sessions", term=DRAWN) as terminal:
        terminal.answer("What [1]:", "7\n")
        terminal.expect("'7' is not among")
        terminal.answer("What [1]:", "h\n")
        terminal.expect("output folders stay")
        terminal.answer("What [1]:", "2\n")
        terminal.answer("Session [s]:", "/back\n")
        terminal.answer("What [1]:", "2\n")
        terminal.answer("Session [s]:", "\x03")
        terminal.answer("What [1]:", "2\n")
        terminal.answer("Session [s]:", "\n")
        terminal.expect("Session s (standard, simulated): complete")
        terminal.answer("What [1]:", "3\n")
        terminal.answer("Sessions, separated by spaces:", "s\n")
        terminal.expect("name at least two sessions")
        terminal.answer("What [1]:", "6\n")
        terminal.answer("[30d]:", "soon\n")
        terminal.expect("the age 'soon' cannot be read")
        terminal.answer("What [1]:", "6\n")
        terminal.answer("[30d]:", "\n")
        terminal.answer("Do it [n]:", "\x04")
        assert terminal.end() == 0


# --- answers while they arrive -------------------------------------------------------------------


def test_thoughts_are_not_printed_and_a_repeated_call_begins_anew(
    capsys: pytest.CaptureFixture[str],
) -> None:
    printer = AnswerPrinter()
    for part in (None, "<th", "ink>hm", "m</think>\n\nBecause", " it \x1b[2Jis.", None, "Because."):
        call = {"attempt": 1, "repair": bool(printer.text), "model": "m", "server": "http://s"}
        event = Event("tokens", 0.0, "s", "q", data={"text": part}) if part else None
        printer.on_event(event or Event("call_started", 0.0, "s", "q", data=call))
    printer.end("Because.")
    said = capsys.readouterr()
    assert said.out == "Because it [2Jis.\nBecause.\n"
    again = "swarm-graph: asking m at http://s, its answer could not be used\n"
    assert said.err == f"swarm-graph: asking m at http://s\n{again}"
