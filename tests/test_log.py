"""What calls were asked and what they answered: kept in the database; shown by `log`, Python and HTML."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sqlite3
import subprocess
import time
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import warm
from chaos.model_server import ModelServer
from click.testing import CliRunner, Result
from servers.canned import Canned
from servers.echo import echo_server
from servers.llama import Llama
from storages import ON_BOTH, opened, selected
from support import APPROVED, CODE, REFUSED, SIMULATED, Crew, config, thread, write_config
from test_schema import first_version, insert

from swarm_graph import Call, SwarmCoordinator, SwarmManager, build_graph
from swarm_graph.checkpoints import database_transcript, transcript
from swarm_graph.checkpoints.journal import Journal
from swarm_graph.checkpoints.transcript import NO_TEXTS, Message, Texts
from swarm_graph.cli.main import swarm_graph
from swarm_graph.errors import AnswerError, InputError, StorageError
from swarm_graph.events import Event
from swarm_graph.reports.call_log import search
from swarm_graph.state import Reply, WorkflowName
from swarm_graph.testing import Answer
from swarm_graph.text import printable

KEY = "sk-0123456789-very-secret"
PROSE = "I would rather not write code today."


def coordinator(folder: Path, crew: Crew, **sections: Any) -> SwarmCoordinator:
    return SwarmCoordinator(
        config(**sections), data_dir=folder, output_dir=folder / "out", context=crew.context
    )


def run(
    folder: Path, crew: Crew, session: str = "s", shape: WorkflowName = "standard", **sections: Any
) -> list[Call]:
    """The calls of a session."""
    swarm = coordinator(folder, crew, **sections)
    swarm.run_workflow("Build a queue", shape, session_id=session)
    return swarm.calls()


def log(folder: Path, *arguments: str, code: int = 0) -> Result:
    done = CliRunner().invoke(swarm_graph, ["log", *arguments, "--data-dir", str(folder)])
    if code == 2:
        assert isinstance(done.exception, InputError), done.output
    else:
        assert done.exit_code == code, (done.output, done.exception)
    return done


def logged(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(log(folder, *arguments, "--json").stdout)
    return found


def refused(folder: Path, *arguments: str) -> str:
    return str(log(folder, *arguments, code=2).exception)


# --- what is kept --------------------------------------------------------------------------------


@ON_BOTH
def test_every_call_is_kept_with_its_prompt_and_its_answer(tmp_path: Path) -> None:
    crew = Crew()
    calls = run(tmp_path, crew)
    assert [call.node for call in calls][:3] == ["clarifier", "architect", "coder"]
    assert len(calls) == len(crew.asks) == 6
    coder = calls[2]
    assert [message.role for message in coder.prompt] == ["system", "human"]
    assert "Build a queue" in coder.prompt[1].text
    assert coder.answer == CODE.replace("{round}", "1")
    assert (coder.outcome, coder.attempt, coder.repair, coder.problem) == ("answered", 1, False, "")
    assert coder.is_usable
    assert coder.parameters["model"]
    assert 0 < coder.started_at <= time.time()
    assert calls[3].schema
    assert coder.schema is None


@ON_BOTH
def test_an_answer_that_could_not_be_read_is_kept_with_the_reason_and_the_repair_question(
    tmp_path: Path,
) -> None:
    answers = iter([PROSE, CODE])
    calls = run(tmp_path, Crew({"coder": lambda _: next(answers)}))
    first, second = (call for call in calls if call.node == "coder")
    assert (first.answer, first.repair, first.outcome) == (PROSE, False, "answered")
    assert "no file" in first.problem
    assert not first.is_usable
    assert (second.answer, second.repair, second.problem) == (CODE.replace("{round}", "1"), True, "")
    assert second.prompt[:2] == first.prompt
    assert second.prompt[2] == Message("ai", PROSE)
    assert first.problem in second.prompt[3].text


@ON_BOTH
def test_answers_that_could_not_be_used_stay_when_their_session_failed(tmp_path: Path) -> None:
    calls = run(tmp_path, Crew({"coder": PROSE}))
    assert [call.answer for call in calls if call.node == "coder"] == [PROSE, PROSE]
    query = "SELECT answer FROM calls WHERE node = 'coder'"
    assert selected(tmp_path, query) == [(None,), (None,)], "a resume must ask again"
    assert len(logged(tmp_path, "s", "--failed")) == 2


def test_an_error_in_python_names_the_command_that_shows_the_answer(tmp_path: Path) -> None:
    with opened(tmp_path) as saver:
        graph = build_graph("standard", config=config(), checkpointer=saver)
        with pytest.raises(AnswerError) as failed:
            graph.invoke({"request": "Build it"}, thread("s"), context=Crew({"coder": PROSE}).context)
    assert failed.value.__notes__[0] == "`swarm-graph log s --node coder --last` shows the answer"


def test_a_mended_answer_is_kept_with_a_note(tmp_path: Path) -> None:
    text = f"{CODE}\n<think>Should I add"
    calls = run(tmp_path, Crew({"coder": text}))
    (coder,) = (call for call in calls if call.node == "coder")
    assert coder.note == "read up to a thought that never ends"
    assert coder.answer == text.replace("{round}", "1")


def test_what_arrived_before_a_call_failed_is_kept(tmp_path: Path) -> None:
    with ModelServer(malformed=1.0) as server:
        entry = {"url": server.url, "model": "m", "retries": 0}
        (tmp_path / "config.json").write_text(json.dumps({"model_config": {"single_model": entry}}))
        warm.run("run", "x = 1", "--workflow", "review_only", "--session", "s", cwd=tmp_path)
    calls = SwarmManager(data_dir=tmp_path / ".swarm").calls("s")
    assert calls
    assert all(call.prompt and call.answer for call in calls)


@ON_BOTH
def test_each_message_is_stored_once_a_session(tmp_path: Path) -> None:
    run(tmp_path, Crew({"reviewer": REFUSED}), workflow={"max_iterations": 3})
    texts = selected(tmp_path, "SELECT data FROM texts WHERE session = 's'")
    unpacked = [zlib.decompress(data) for (data,) in texts]
    assert len(unpacked) == len(set(unpacked))
    messages = [message for call in coordinator_calls(tmp_path) for message in call.prompt]
    assert len(unpacked) < len(messages)


def coordinator_calls(folder: Path, session: str = "s") -> list[Call]:
    return SwarmManager(data_dir=folder).calls(session)


@ON_BOTH
def test_tasks_of_a_graph_and_direct_calls_of_a_graph_are_kept_too(tmp_path: Path) -> None:
    swarm = coordinator(tmp_path, Crew({"documenter": "Done."}))
    swarm.add_task({"task_id": "paint", "description": "Paint it.", "assigned_role": "documenter"})
    swarm.run_workflow("", "custom", session_id="tasks")
    (call,) = swarm.calls()
    assert (call.node, call.role, call.task, call.answer) == ("paint", "documenter", "paint", "Done.")
    assert "Paint it." in call.prompt[-1].text
    with opened(tmp_path) as saver:
        graph = build_graph("review_only", config=config(), checkpointer=saver)
        graph.invoke({"request": "x = 1"}, thread("direct"), context=Crew().context)
    assert [call.answer for call in swarm.calls("direct")] == [APPROVED] * 4


@ON_BOTH
def test_without_keep_prompts_no_text_is_kept(tmp_path: Path) -> None:
    calls = run(tmp_path, Crew(), features={"keep_prompts": False}, ui={"events": False})
    assert len(calls) == 6
    assert not any(call.prompt or call.answer or call.parameters for call in calls)
    assert all("features.keep_prompts was false" in call.missing for call in calls)
    for table in ("events", "texts"):
        assert selected(tmp_path, f"SELECT count(*) FROM {table}") == [(0,)]
    assert "nothing was kept" in log(tmp_path).stdout


def test_a_very_long_text_is_shortened_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcript, "MAX_CHARACTERS", 400)
    calls = run(tmp_path, Crew({"architect": f"begin{'x' * 1000}end"}))
    answer = next(call.answer for call in calls if call.node == "architect")
    assert len(answer) < 460
    assert answer.startswith("begin")
    assert answer.endswith("end")
    assert "[… 608 characters are not kept …]" in answer


@ON_BOTH
def test_a_session_keeps_a_bounded_number_of_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_transcript, "MAX_SESSION_BYTES", 3000)
    calls = run(tmp_path, Crew())
    kept = [call for call in calls if call.prompt]
    assert 0 < len(kept) < len(calls)
    assert "not kept: the transcript of the session" in calls[-1].missing
    assert calls[-1].output_tokens, "the figures are there"


# --- secrets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["content", "thoughts", "broken"])
def test_a_key_that_a_server_repeats_is_not_in_the_log(place: str, tmp_path: Path) -> None:
    with echo_server() as server:
        entry = {"url": f"{server.url}/{place}/whole/v1", "model": "m", "api_key_env": "K", "retries": 0}
        body = {"auth_token": "short", "top_k": 3}
        settings = {
            "model_config": {"single_model": entry},
            "agent_parameters": {"reviewer": {"extra_body": body}},
        }
        (tmp_path / "config.json").write_text(json.dumps(settings))
        arguments = ("run", f"x = '{KEY}'", "--workflow", "review_only", "--session", "s")
        warm.run(*arguments, cwd=tmp_path, env={**os.environ, "K": KEY})
        assert KEY in server.said[0]
    calls = SwarmManager(data_dir=tmp_path / ".swarm").calls("s")
    everything = json.dumps([call.to_dict() for call in calls])
    assert KEY not in everything
    assert "auth_token" not in everything
    assert calls[0].parameters["extra_body"] == {"top_k": 3}
    assert "x = '***'" in calls[0].prompt[1].text
    said = {"thoughts": calls[0].thoughts, "content": calls[0].answer, "broken": calls[0].error}[place]
    assert "***" in said
    with closing(sqlite3.connect(tmp_path / ".swarm/swarm.db")) as connection:
        for table in ("events", "texts"):
            for (data,) in connection.execute(f"SELECT data FROM {table}"):
                assert KEY.encode() not in (data if data[:1] == b"{" else zlib.decompress(data))


def test_the_key_of_another_model_is_not_in_the_log_either(tmp_path: Path) -> None:
    others = {"api_key_env": "OTHER", "url": "http://127.0.0.1:9/v1", "model": "o"}
    with echo_server() as server:
        entry = {"url": f"{server.url}/content/whole/v1", "model": "m", "api_key_env": "K", "retries": 0}
        models = {"mode": "multi", "single_model": entry, "multi_model": {"coder": others}}
        (tmp_path / "config.json").write_text(json.dumps({"model_config": models}))
        arguments = ("run", f"x = '{KEY}'", "--workflow", "review_only", "--session", "s")
        warm.run(*arguments, cwd=tmp_path, env={**os.environ, "K": "another-key-0123", "OTHER": KEY})
        assert server.said
    calls = SwarmManager(data_dir=tmp_path / ".swarm").calls("s")
    assert KEY not in json.dumps([call.to_dict() for call in calls])
    assert "x = '***'" in calls[0].prompt[1].text


# --- a full disk ---------------------------------------------------------------------------------


@ON_BOTH
@pytest.mark.parametrize("room", [0, 1])
def test_an_answer_is_kept_when_there_is_no_room_for_what_people_read(room: int, tmp_path: Path) -> None:
    """`room` events fit: none, or only the begin of the call."""
    with opened(tmp_path) as saver:

        class Full(database_transcript.DatabaseTranscript):
            left = room

            def append(self, event: Event, call: int | None = None, texts: Texts = NO_TEXTS) -> int:
                if not self.left:
                    raise StorageError("the disk is full")
                self.left -= 1
                return super().append(event, call, texts)

        journal = Journal(saver.catalogue, "s", has_answers=True, transcript=Full(saver.catalogue.database))
        event = Event("call_started", 1.0, "s", "coder")

        async def call() -> Reply | None:
            begun = journal.begin_call(event, Texts)
            numbers = ("input_tokens", "output_tokens", "reasoning_tokens", "cut_tokens", "cost")
            row = {"task": "t", "iteration": 1, "outcome": "answered", **dict.fromkeys(numbers, 0)}
            row |= {"estimated": False, "repair": False}
            number = await journal.record_call(
                {**row, "node": "coder"}, "k", Reply("x = 1", False, 1, 1), event, Texts, begun
            )
            assert number is None
            await journal.record_reading(event, 1)
            return await journal.find_answer("t", 1, "k")

        found = asyncio.run(call())
        assert found
        assert found.text == "x = 1"
        assert len(saver.catalogue.calls("s")) == 1


# --- a real server, and a kill -------------------------------------------------------------------


def test_a_cut_off_answer_of_a_real_model_and_its_repair_question(llama: Llama, tmp_path: Path) -> None:
    settings = {
        "model_config": {"single_model": {"url": llama.url, "model": "tiny", "retries": 0}},
        "agent_parameters": {"clarifier": {"max_tokens": 12}},
    }
    (tmp_path / "config.json").write_text(json.dumps(settings))
    done = warm.run("run", "Build it", "--session", "s", cwd=tmp_path, text=True)
    assert done.returncode == 1
    command = re.search(r"`swarm-graph (log s --node clarifier --last)` shows the answer", done.stderr)
    assert command, done.stderr
    shown = warm.run(*command[1].split(), cwd=tmp_path, text=True)
    assert "── clarifier, round 1, repair question: cut off at its token limit" in shown.stdout
    assert "problem: the answer was cut off at its limit of 12 tokens" in shown.stdout
    first, second = SwarmManager(data_dir=tmp_path / ".swarm").calls("s")
    assert (first.outcome, first.repair, first.output_tokens) == ("truncated", False, 12)
    assert (second.outcome, second.repair) == ("truncated", True)
    raw = warm.run(*command[1].split(), "--raw", cwd=tmp_path)
    assert raw.stdout.decode() == second.answer
    assert second.answer


def test_a_killed_call_is_in_the_log_with_its_prompt(tmp_path: Path) -> None:
    with ModelServer(held=True) as server:
        entry = {"url": server.url, "model": "m", "retries": 0}
        (tmp_path / "config.json").write_text(json.dumps({"model_config": {"single_model": entry}}))
        arguments = ("run", "x = 1", "--workflow", "review_only", "--session", "s")
        process = warm.Process(*arguments, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while len(server.asked) < 4:
            assert process.poll() is None
            time.sleep(0.01)
        running, failed, absent = (
            warm.run("log", *options, cwd=tmp_path, text=True)
            for options in ((), ("--failed",), ("--role", "reviwer"))
        )
        process.kill()
        process.wait()
    assert running.stdout.count("no answer yet") == 4
    assert (failed.stdout, failed.stderr) == ("", "swarm-graph: session s: no call matches (4 in total)\n")
    assert "has no calls of the role 'reviwer'; did you mean 'reviewer'?" in absent.stderr
    killed = warm.run("log", cwd=tmp_path, text=True).stdout
    assert "Session s (review_only): interrupted, 4 calls" in killed
    assert killed.count("no end: its process was killed") == 4
    assert warm.run("log", "--failed", cwd=tmp_path, text=True).stdout == killed
    calls = SwarmManager(data_dir=tmp_path / ".swarm").calls("s")
    assert {call.outcome for call in calls} == {"open"}
    assert all("x = 1" in call.prompt[1].text for call in calls)


# --- the command ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An older session, and a newest one whose coder answers twice with prose in its first round."""
    folder = tmp_path_factory.mktemp("log")
    run(folder, Crew({"architect": "A heap is enough."}), "queue-1")
    answers = iter([PROSE, CODE, CODE])
    script: dict[str, Answer] = {
        "coder": lambda _: next(answers),
        "reviewer": lambda ask: REFUSED if ask.iteration == 1 else APPROVED,
        "architect": f"# The design\n{'A line that is too long for 80 columns. ' * 3}\nColor: \x1b[31mred",
    }
    run(folder, Crew(script), "queue-2")
    return folder


def test_the_newest_session_is_shown_in_80_columns_without_control_characters(folder: Path) -> None:
    shown = log(folder).stdout
    assert shown.startswith(
        "Session queue-2 (standard): complete, 11 calls\n\n── clarifier, round 1: answered\n"
    )
    assert max(map(len, shown.splitlines())) <= 80
    assert "\x1b" not in shown
    assert "    Color: [31mred" in shown
    assert "── coder, round 1: answered, could not be used" in shown
    assert "── coder, round 1, repair question: answered" in shown
    assert "── coder, round 2: answered" in shown
    assert re.search(r"    … \d+ lines more", shown)
    assert shown.endswith("\nShortened; --full shows everything, --raw prints the answers alone.\n")


def test_a_full_log_hides_nothing(folder: Path) -> None:
    shown = log(folder, "--full").stdout
    assert "Shortened" not in shown
    for call in coordinator_calls(folder, "queue-2"):
        for line in (line for message in call.prompt for line in message.text.split("\n")):
            assert f"    {printable(line)}" in shown


@pytest.mark.parametrize(
    ("options", "nodes"),
    [
        (["queue-1", "--role", "reviewer"], ["review_correctness", "review_performance", "review_style"]),
        (["--node", "coder"], ["coder"] * 3),
        (["--task", "T003_code", "--last"], ["coder"]),
        (["--failed"], ["coder"]),
        (["--role", "architect", "--failed"], []),
    ],
)
def test_calls_are_selected(options: list[str], nodes: list[str], folder: Path) -> None:
    assert sorted(call["node"] for call in logged(folder, *options)) == sorted(nodes)


def test_raw_answers_are_exact(folder: Path) -> None:
    calls = {call.node: call for call in coordinator_calls(folder, "queue-2")}
    assert log(folder, "--node", "architect", "--raw").stdout == calls["architect"].answer
    assert "\x1b" in calls["architect"].answer
    assert log(folder, "--node", "coder", "--raw").stdout.splitlines() == [
        PROSE, *CODE.replace("{round}", "1").splitlines(), *CODE.replace("{round}", "2").splitlines(),
    ]  # fmt: skip


def test_a_search_names_session_node_and_line(folder: Path) -> None:
    lines = log(folder, "--grep", "rather NOT").stdout.splitlines()
    assert f"queue-2  coder, round 1  answer:1: {PROSE}" in lines
    assert not log(folder, "--grep", "heap").stdout
    everywhere = log(folder, "--grep", "heap is", "--all").stdout
    assert "queue-1  architect, round 1  answer:1: A heap is enough." in everywhere
    found = logged(folder, "--grep", r"^x = \d", "--role", "coder")
    assert {(row["part"], row["line"], row["text"]) for row in found} >= {("answer", 2, "x = 1")}


def test_a_search_for_what_is_no_regular_expression_takes_it_as_a_text(folder: Path) -> None:
    done = log(folder, "--grep", "(half")
    assert "is no regular expression" in done.stderr
    assert "nothing in session queue-2 matches '(half'" in done.stderr


def test_a_long_line_is_shown_around_what_was_found() -> None:
    call = Call("s", "coder", answer=f"{'a' * 500} needle {'b' * 500}")
    (found,) = search(re.compile("needle"), [call])
    assert "needle" in str(found)
    assert len(str(found)) < 220


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["queue-3"], "no session 'queue-3' in .*; did you mean 'queue-2'?"),
        (["zzz"], "no session 'zzz' in .*; `swarm-graph sessions list` shows all"),
        (["--role", "codr"], "session 'queue-2' has no calls of the role 'codr'; did you mean 'coder'?"),
        (
            ["--node", "x"],
            "session 'queue-2' has no calls of the node 'x'; it has: clarifier, architect, coder",
        ),
        (["--grep", "x", "--role", "codr"], "no calls of the role 'codr'; did you mean 'coder'?"),
        (["--all"], "--all goes with --grep TEXT"),
        (["--raw", "--json"], "--raw prints answers alone; leave --json out"),
        (["--grep", "x", "--last"], "--last shows one call"),
        (["--grep", ""], "--grep '' would find every line"),
    ],
)
def test_a_wrong_name_or_option_is_one_clear_line(arguments: list[str], message: str, folder: Path) -> None:
    said = refused(folder, *arguments)
    assert re.search(message.replace("?", r"\?"), said), said
    assert "\n" not in said


def test_python_reads_past_sessions_too(folder: Path) -> None:
    swarm = SwarmCoordinator(SIMULATED, data_dir=folder)
    assert [call.session for call in swarm.calls("queue-1")] == ["queue-1"] * 6
    assert swarm.calls()[0].session == "queue-2", "the one that was worked on last"
    assert re.fullmatch(r"Call\('\w+', round 1, attempt 1: answered, .* s\)", repr(swarm.calls()[0]))
    with pytest.raises(InputError, match="no session 'gone'"):
        swarm.calls("gone")
    assert json.dumps([call.to_dict() for call in swarm.calls("queue-1")])


def test_the_page_of_a_session_folds_its_calls(folder: Path, tmp_path: Path) -> None:
    SwarmManager(data_dir=folder).session_report("queue-2", tmp_path / "new.html")
    page = (tmp_path / "new.html").read_text(encoding="utf-8")
    section = page.partition("<h2>Calls</h2>")[2]
    assert len(re.findall(r'<details id="call-\d+">\n<summary>coder, round ', section)) == 3
    assert f"<pre>{PROSE}</pre>" in section
    assert section.count("You are the coder.") == 2, "a repeated message is shown once"
    assert section.count(">system: as above</p>") >= 2
    assert "<script" not in page
    assert "\x1b" not in page
    assert "white-space: pre-wrap" in page


# --- failures, cleanup, other databases ----------------------------------------------------------


def test_a_failure_names_the_command_that_shows_the_answer(tmp_path: Path) -> None:
    with Canned(lambda _system, _user: PROSE) as server:
        settings = {"model_config": {"single_model": server.entry}}
        (tmp_path / "config.json").write_text(json.dumps(settings))
        done = warm.run("run", "Build it", "--session", "s", cwd=tmp_path, text=True)
    assert done.returncode == 1
    assert "`swarm-graph log s --node coder --last` shows the answer; `swarm-graph resume s`" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_summary_names_the_command_that_shows_an_answer_that_was_not_readable(tmp_path: Path) -> None:
    with Canned(lambda _system, _user: PROSE) as server:
        settings = {"model_config": {"single_model": server.entry}}
        (tmp_path / "config.json").write_text(json.dumps(settings))
        done = warm.run(
            "run", "x = 1", "--workflow", "review_only", "--session", "s", cwd=tmp_path, text=True
        )
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"Not readable: an answer of review_\w+, .*; `swarm-graph log s --node review_\w+ --last` shows it",
        done.stdout,
    )


def cleanup(folder: Path, *arguments: str) -> dict[str, Any]:
    words = ["sessions", "cleanup", *arguments, "--json", "--data-dir", str(folder)]
    done = CliRunner().invoke(swarm_graph, words)
    assert done.exception is None, done.exception
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_cleanup_of_calls_removes_the_texts_and_keeps_the_sessions(tmp_path: Path) -> None:
    for session in ("a", "b"):
        run(tmp_path, Crew(), session)
    assert cleanup(tmp_path, "--calls", "--keep", "10")["forgotten"] == []
    assert cleanup(tmp_path, "--calls", "--keep", "1", "--dry-run")["forgotten"] == ["a"]
    assert coordinator_calls(tmp_path, "a")[0].prompt
    assert cleanup(tmp_path, "--calls", "--keep", "1")["forgotten"] == ["a"]
    assert not any(call.prompt or call.answer for call in coordinator_calls(tmp_path, "a"))
    assert coordinator_calls(tmp_path, "b")[0].prompt
    assert cleanup(tmp_path, "--calls", "--keep", "0", "--older-than", "1d")["forgotten"] == []
    assert cleanup(tmp_path, "--calls", "--older-than", "0s")["forgotten"] == []
    assert "b" in cleanup(tmp_path, "--calls")["forgotten"]
    assert not coordinator_calls(tmp_path, "b")[0].prompt


def test_a_removed_session_takes_its_texts_along(tmp_path: Path) -> None:
    run(tmp_path, Crew(), "a")
    assert cleanup(tmp_path, "--older-than", "0s", "--keep", "0")["removed"] == ["a"]
    for table in ("events", "texts"):
        assert selected(tmp_path, f"SELECT count(*) FROM {table}") == [(0,)]


def test_ids_of_events_are_never_used_again(tmp_path: Path) -> None:
    """A reader that comes back with the last id that it saw misses nothing."""
    run(tmp_path, Crew(), "a")
    with closing(sqlite3.connect(tmp_path / "swarm.db")) as connection:
        (last,) = connection.execute("SELECT max(id) FROM events").fetchone()
    cleanup(tmp_path, "--calls", "--keep", "0")
    run(tmp_path, Crew(), "b")
    with closing(sqlite3.connect(tmp_path / "swarm.db")) as connection:
        assert connection.execute("SELECT min(id) FROM events").fetchone() == (last + 1,)


def test_calls_of_an_older_database_are_shown_without_texts(tmp_path: Path) -> None:
    first_version(tmp_path / "swarm.db")
    (call,) = coordinator_calls(tmp_path)
    assert (call.node, call.outcome, call.error, call.input_tokens) == ("coder", "failed", "out of memory", 7)
    assert "an older version ran the session" in call.missing
    shown = log(tmp_path).stdout
    assert "── coder, round 1: failed" in shown
    assert "error: out of memory" in shown


FORGED = (
    b"no zlib",
    zlib.compress(b"no json"),
    zlib.compress(b"[1]"),
    zlib.compress(b'{"data": {}, "prompt": [["system", 9999999]]}'),
    zlib.compress(b'{"data": {}, "prompt": 7}'),
    zlib.compress(b'{"data": {}, "parameters": {}}'),
    zlib.compress(b'{"data": {}, "parameters": 99999999999999999999}'),
    zlib.compress(b'{"data": {}, "answer": [1]}'),
    zlib.compress(b'{"data": {}, "tool_calls": "[1]"}'),
    zlib.compress(json.dumps({"data": {}, "prompt": [["human", 1]] * 20_000}).encode()),
    zlib.compress(b'{"data": 7}'),
    zlib.compress(b" " * 40_000_000 + b"{}"),
)


def test_texts_that_somebody_changed_are_named_and_do_no_harm(tmp_path: Path) -> None:
    run(tmp_path, Crew())
    for data in FORGED:
        with closing(sqlite3.connect(tmp_path / "swarm.db")) as connection, connection:
            connection.execute("UPDATE events SET data = ? WHERE kind = 'call_started'", (data,))
        assert log(tmp_path).stdout.count("what was kept cannot be read") == 6, data[:40]


def test_a_text_that_many_messages_name_is_unpacked_once(tmp_path: Path) -> None:
    run(tmp_path, Crew())
    text = zlib.compress(json.dumps("a" * 20_000_000).encode())
    with closing(sqlite3.connect(tmp_path / "swarm.db")) as connection, connection:
        connection.execute("UPDATE texts SET data = ? WHERE id = 1", (text,))
        data = zlib.compress(json.dumps({"data": {}, "prompt": [["human", 1]] * 1_000}).encode())
        connection.execute("UPDATE events SET data = ? WHERE kind = 'call_started'", (data,))
    assert log(tmp_path).stdout.count("what was kept cannot be read") == 6


def test_the_events_of_a_call_are_those_of_no_other(tmp_path: Path) -> None:
    run(tmp_path, Crew())
    with closing(sqlite3.connect(tmp_path / "swarm.db")) as connection, connection:
        connection.execute("UPDATE calls SET call = (SELECT min(call) FROM calls)")
    with_texts = [call for call in logged(tmp_path) if call["outcome"] == "answered" and not call["missing"]]
    assert len(with_texts) == 1


def test_a_column_that_somebody_changed_is_one_clear_line(tmp_path: Path) -> None:
    run(tmp_path, Crew())
    with closing(sqlite3.connect(tmp_path / "swarm.db")) as connection, connection:
        connection.execute("UPDATE calls SET outcome = 'fine'")
    done = CliRunner().invoke(swarm_graph, ["log", "--data-dir", str(tmp_path)])
    assert "a wrong value in the column 'outcome' of a call" in str(done.exception)


def test_a_session_without_calls_says_so(tmp_path: Path) -> None:
    path = first_version(tmp_path / "swarm.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM calls")
        connection.commit()
        insert(connection, "calls", {"session": "other", "node": "coder"})
    done = log(tmp_path)
    assert "session s: no call matches (0 in total)" in done.stderr


def test_a_resume_adds_to_the_log(tmp_path: Path) -> None:
    crew = Crew({"coder": PROSE})
    run(tmp_path, crew)
    crew.script["coder"] = CODE
    swarm = coordinator(tmp_path, crew)
    assert swarm.resume("s")["phase"] == "complete"
    coders = [call for call in swarm.calls() if call.node == "coder"]
    assert [call.answer for call in coders] == [PROSE, PROSE, CODE.replace("{round}", "1")]


def test_keep_prompts_is_a_setting_in_the_file(tmp_path: Path) -> None:
    write_config(tmp_path, features={"keep_prompts": False})
    done = warm.run("run", "x = 1", "--workflow", "review_only", cwd=tmp_path)
    assert done.returncode == 0
    shown = warm.run("log", "--json", cwd=tmp_path, text=True)
    assert all(call["missing"] and not call["prompt"] for call in json.loads(shown.stdout))


@pytest.mark.parametrize("size", [0, 1, 4_000, 4_096, 8_000, 9_000, 20_000, 40_000, 200_000])
def test_a_smaller_window_packs_a_text_as_well_as_the_full_one(size: int) -> None:
    text = " ".join(str(number * number % 9973) for number in range(size // 4))[:size]
    packed = database_transcript._packed(text)
    assert json.loads(zlib.decompress(packed)) == text
    assert len(packed) <= 1.02 * len(zlib.compress(json.dumps(text).encode())) + 8
