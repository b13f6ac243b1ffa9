"""`swarm-graph database`: make the tables, copy sessions, resume them; no password is kept."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from memories import remember_in
from servers.canned import Canned
from servers.postgres import PostgresServer
from servers.web_page import page_in_process
from support import APPROVED, Crew, config

from swarm_graph import SwarmCoordinator, load_config
from swarm_graph.checkpoints.locks import lock_session
from swarm_graph.checkpoints.open_database import open_server
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.cli.main import swarm_graph
from swarm_graph.database_place import VARIABLE
from swarm_graph.errors import ModelError, SwarmError
from swarm_graph.mcp_server.status import session_list
from swarm_graph.sessions.history import find_moment, fork, moments
from swarm_graph.state import DATABASE

TASKS: list[dict[str, Any]] = [
    {"task_id": "A", "description": "Say one", "assigned_role": "architect"},
    {"task_id": "B", "description": "Say two", "assigned_role": "architect", "dependencies": ["A"]},
]
SECRET = "gehe!m"
Command = Callable[..., str]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command in the test's folder; returns what it prints, or raises its error."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str, place: str = "", **more: Any) -> str:
        monkeypatch.setenv(VARIABLE, place)
        done = CliRunner().invoke(swarm_graph, words, catch_exceptions=True, **more)
        if isinstance(done.exception, SwarmError):
            raise done.exception
        return done.output

    return run


def empty_database(server: PostgresServer, name: str) -> str:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.url(name)


def test_tables_are_made_once_and_only_in_an_empty_database(
    postgres_server: PostgresServer, command: Command
) -> None:
    url = empty_database(postgres_server, "fresh")
    with pytest.raises(SwarmError, match=r"holds no tables of swarm_graph; `swarm-graph database init`"):
        command("sessions", "list", place=url)
    with pytest.raises(SwarmError, match=r"holds no tables.*database init"):
        command("database", "upgrade", place=url)
    assert "made the tables" in command("database", "init", place=url)
    assert "has its tables already" in command("database", "init", place=url)
    assert "is of this version" in command("database", "upgrade", place=url)
    checks = command("doctor", "--database", "--repair", place=url)
    assert re.search(r"warn  repair: .* recovers by itself", checks)
    assert "ok    its tables: are of this version; sessions: 0" in checks
    assert "FAIL" not in checks
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO swarm_steps (name) VALUES ('of_tomorrow')")
    for words in (("sessions", "list"), ("database", "init"), ("database", "upgrade")):
        with pytest.raises(SwarmError, match=r"a newer swarm_graph wrote it \(it has of_tomorrow\)"):
            command(*words, place=url)

    other = empty_database(postgres_server, "of_others")
    with psycopg.connect(other) as connection:
        connection.execute("CREATE TABLE sessions (session TEXT)")
    with pytest.raises(SwarmError, match=r"tables of another program \('sessions'\); nothing was changed"):
        command("database", "init", place=other)
    with psycopg.connect(other) as connection:
        assert connection.execute("SELECT count(*) FROM pg_class WHERE relname = 'runs'").fetchone() == (0,)
    with pytest.raises(SwarmError, match=r"no PostgreSQL database is configured; name it as `database`"):
        command("database", "init")


def test_the_doctor_names_what_a_user_may_not_do(
    postgres_server: PostgresServer, postgres_url: str, command: Command
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE reader LOGIN")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
        checks = command("doctor", "--database", place=postgres_url)
        assert "'swarm' is a superuser" in checks
        assert "may create" not in checks
        connection.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    checks = command("doctor", "--database", place=postgres_url.replace("swarm@", "reader@"))
    assert "superuser" not in checks
    assert re.search(
        r"warn  schema: PUBLIC may create .* → REVOKE CREATE ON SCHEMA public FROM PUBLIC", checks
    )
    assert re.search(r"FAIL  rights: the user may not read and write artifacts, .* → GRANT SELECT", checks)
    postgres = empty_database(postgres_server, "without_rights").replace("swarm@", "reader@")
    with pytest.raises(SwarmError, match=r"permission denied for schema public; grant the user the right"):
        command("database", "init", place=postgres)


def sessions_of_all_kinds(folder: Path, server: Canned) -> Crew:
    """Fill a data folder: sessions in every phase, a fork, a task graph, memory. Returns the models."""
    crew = Crew({"reviewer": lambda _: ModelError("the reviewer is down") if down else APPROVED})
    down = False
    more: dict[str, Any] = {"data_dir": folder / ".swarm", "output_dir": folder / "out"}
    plain = SwarmCoordinator(config(), context=crew.context, **more)
    plain.run_workflow("Build a stack", session_id="done")
    paused = config(workflow={"pause_after": ["architect"]})
    SwarmCoordinator(paused, context=crew.context, **more).run_workflow("Build a heap", session_id="paused")
    down = True
    plain.run_workflow("Build a queue", session_id="failed")
    down = False
    graph = load_config({"model_config": {"single_model": server.entry}, "limits": {"calls": 1}})
    tasks = SwarmCoordinator(graph, **more)
    for task in TASKS:
        tasks.add_task(task)
    assert tasks.run_workflow("Count", "custom", session_id="graph")["phase"] == "over_budget"
    with open_checkpointer(folder / ".swarm" / DATABASE) as saver:
        parent = saver.catalogue.get("done")
        assert parent
        fork(saver, parent, find_moment(moments(saver, parent), "review_style"), "fork", {})
    remember_in(folder / ".swarm")
    return crew


def figures(command: Command, experiment: str, data_dir: str = ".swarm", place: str = "") -> dict[str, str]:
    """What commands say of all that was copied."""
    data = ("--data-dir", data_dir)
    said: dict[str, str] = {}
    for name in ("done", "paused", "failed", "graph", "fork"):
        for words in (("sessions", "show"), ("sessions", "history"), ("log",)):
            said[f"{words[-1]} {name}"] = command(*words, name, "--json", *data, place=place)
    said["list"] = command("sessions", "list", "--json", *data, place=place)
    said["experiment"] = command("eval", "--show", experiment, "--json", *data, place=place)
    said["experiments"] = command("eval", "--list", "--json", *data, place=place)
    said["memory"] = command("memory", "search", "pump", "--json", *data, place=place)
    command("sessions", "report", "r.html", "--session", "done", *data, place=place)
    said["report"] = Path("r.html").read_text()
    return said


@pytest.mark.slow
def test_sessions_copied_both_ways_are_the_same_and_go_on_without_asking_again(
    postgres_url: str, tmp_path: Path, command: Command
) -> None:
    back = str(tmp_path / "back" / DATABASE)
    with Canned(lambda *_: "one, two") as server:
        crew = sessions_of_all_kinds(tmp_path, server)
        command("eval", "smoke", "--simulate", "--cases", "1", "--output", "e")
        (row,) = json.loads(command("eval", "--list", "--json"))
        before = figures(command, row["experiment"])

        said = command("database", "copy", ".swarm", postgres_url)
        assert re.search(r"copied 8 sessions, 1 experiment and \d+ memories to postgresql://swarm@/", said)
        with pytest.raises(SwarmError, match=r"sessions that are in both.*nothing was copied"):
            command("database", "copy", ".swarm", postgres_url)
        with pytest.raises(SwarmError, match="same database"):
            command("database", "copy", postgres_url, postgres_url)
        assert figures(command, row["experiment"], place=postgres_url) == before
        command("database", "copy", postgres_url, back)
        assert figures(command, row["experiment"], str(Path(back).parent)) == before

        for number, place in enumerate((postgres_url, back)):
            asked, calls = len(crew.asked), len(server.calls)
            more: dict[str, Any] = {"database": place, "data_dir": tmp_path / ".swarm"}
            own = SwarmCoordinator(context=crew.context, **more)
            for name, decision in (("paused", "approve"), ("failed", None), ("fork", None)):
                assert own.resume(name, decision)["phase"] == "complete"
            reviewers = ["review_correctness", "review_performance", "review_style"]
            assert sorted(crew.asked[asked:]) == sorted(["coder", *3 * reviewers]), place
            graph = load_config({"model_config": {"single_model": server.entry}})
            assert SwarmCoordinator(graph, **more).resume("graph")["phase"] == "complete"
            assert len(server.calls) == calls + 1, f"place {number}: only B was left to ask"
        assert figures(command, row["experiment"]) == before, "the first place stays as it was"


def test_a_running_session_is_not_copied(postgres_url: str, tmp_path: Path, command: Command) -> None:
    more: dict[str, Any] = {"data_dir": tmp_path / ".swarm", "output_dir": tmp_path / "out"}
    one = SwarmCoordinator(config(), context=Crew().context, **more)
    one.run_workflow("Build it", "review_only", session_id="s")
    for source, target in ((tmp_path / ".swarm" / DATABASE, postgres_url), (postgres_url, "b.db")):
        with (
            open_checkpointer(source) as saver,
            lock_session(saver.catalogue, "s"),
            pytest.raises(SwarmError, match="still running: s; wait for the end"),
        ):
            command("database", "copy", str(source), target)
        command("database", "copy", str(source), target)


def test_pages_clients_and_commands_find_the_sessions_of_a_server_and_never_its_password(
    postgres_url: str, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server lets the user in without looking at the password."""
    url = postgres_url.replace("swarm@", f"swarm:{SECRET}@")
    monkeypatch.setenv(VARIABLE, url)
    monkeypatch.chdir(tmp_path)
    said = command("run", "Build it", "--simulate", "--workflow", "review_only", "--session", "s", place=url)
    for words in (("sessions", "list"), ("sessions", "show", "s"), ("log", "s"), ("doctor", "--database")):
        said += command(*words, place=url)
    assert [row["id"] for row in session_list(Path(".swarm"), 10, None)["sessions"]] == ["s"]
    with pytest.raises(SwarmError) as missing:
        command("sessions", "show", "t", place=url)
    said += str(missing.value)
    assert "no session 't' in 'postgresql://swarm@/" in str(missing.value)
    with page_in_process(tmp_path) as page:
        for path in ("/", "/sessions/s", "/doctor"):
            answer = page.get(path)
            assert answer.status == 200
            said += answer.text
        assert "Build it" in page.get("/").text
    assert not Path(".swarm", DATABASE).exists()
    kept = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    with open_server(postgres_url) as database, database.view() as cursor:
        tables = cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (table,) in tables:
            kept.append(repr(cursor.execute(f"SELECT {table}::text FROM {table}").fetchall()).encode())
    assert SECRET not in said
    assert not [text for text in kept if SECRET.encode() in text]
