"""The log: a line per event, to a file as text or as JSON, answers only at DEBUG, secrets never."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import Crew, config, write_config
from test_cli import swarm

from swarm_graph import SwarmCoordinator
from swarm_graph.events import Event
from swarm_graph.sessions.logs import event_text, log, log_to_file


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    handlers, level = list(log.handlers), log.level
    yield
    for handler in set(log.handlers) - set(handlers):
        handler.close()
    log.handlers[:] = handlers
    log.setLevel(level)


def run(folder: Path, crew: Crew) -> None:
    coordinator = SwarmCoordinator(
        config(features={"enable_checkpointing": False}), output=folder / "out", context=crew.context
    )
    coordinator.run_workflow("Build it", session_id="s")


def test_a_line_names_session_task_and_round() -> None:
    data = {"attempt": 1, "seconds": 1.23456, "error": "no\n space", "record": {"result": "secret"}}
    line = event_text(Event("call_ended", 0.0, "s", "coder", "coder", "T003_code", 2, data))
    assert line == (
        'call_ended session=s node=coder task=T003_code round=2 attempt=1 seconds=1.235 error="no space"'
    )


def test_a_file_has_a_line_per_event_and_no_answer(tmp_path: Path) -> None:
    log_to_file(tmp_path / "swarm.log")
    run(tmp_path, Crew())
    lines = (tmp_path / "swarm.log").read_text().splitlines()
    assert " INFO session_started session=s workflow=standard" in lines[0]
    assert " INFO session_ended session=s workflow=standard phase=complete approved=True" in lines[-1]
    assert sum(" call_ended " in line for line in lines) == 6
    assert "One file." not in "\n".join(lines)


def test_json_lines_and_answers_at_debug(tmp_path: Path) -> None:
    log_to_file(tmp_path / "swarm.jsonl")
    log.setLevel(logging.DEBUG)
    run(tmp_path, Crew())
    lines = [json.loads(line) for line in (tmp_path / "swarm.jsonl").read_text().splitlines()]
    assert next(line["event"] for line in lines if "event" in line) == "session_started"
    messages = [line["message"] for line in lines if "message" in line]
    assert any("architect is answered: One file." in message for message in messages)
    assert any("coder asks: " in message and "Build it" in message for message in messages)


def test_a_key_that_a_prompt_repeats_is_not_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OWN_KEY", "sk-very-secret")
    entry = {"model": "s", "api_type": "simulated", "api_key_env": "OWN_KEY"}
    settings = config(model_config={"single_model": entry}, features={"enable_checkpointing": False})
    with caplog.at_level(logging.DEBUG, "swarm_graph"):
        SwarmCoordinator(settings, output=tmp_path / "out").run_workflow("my sk-very-secret", "review_only")
    assert "my ***" in caplog.text
    assert "sk-very-secret" not in caplog.text


def test_the_command_s_log_file(tmp_path: Path) -> None:
    write_config(tmp_path, workflow={"verbose_logging": True})
    done = swarm("run", "x", "--workflow", "review_only", "--log-file", "l.jsonl", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr.count(b" INFO ") == len((tmp_path / "l.jsonl").read_text().splitlines())
    wrong = swarm("run", "x", "--simulate", "--log-file", "no/such/l.log", cwd=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, b"")
    assert (
        wrong.stderr == b"swarm-graph: cannot write the log file 'no/such/l.log': No such file or directory\n"
    )


def test_a_full_disk_stops_nothing(tmp_path: Path) -> None:
    log_to_file("/dev/full")
    run(tmp_path, Crew())
