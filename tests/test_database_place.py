"""Where sessions are kept: who decides it, and that a password goes nowhere."""

from __future__ import annotations

import json
import socket
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from click import Context
from click.testing import CliRunner
from support import SIMULATED, write_config

from swarm_graph import SwarmCoordinator, load_config
from swarm_graph.checkpoints.records import Session
from swarm_graph.cli.completion import complete_values
from swarm_graph.cli.main import swarm_graph
from swarm_graph.database_place import VARIABLE, config_named, has_password, place_of, without_password
from swarm_graph.errors import ConfigError
from swarm_graph.sessions.resume import resume_config
from swarm_graph.sessions.trust import GROUPS, foreign_settings
from swarm_graph.state import DATABASE

URL = "postgresql://swarm@db/swarm"
SECRET = "gehe!m"


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (VARIABLE, "SWARM_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def test_the_place_comes_from_the_argument_the_environment_the_config_or_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert place_of("data") == Path("data") / DATABASE
    write_config(tmp_path, database=URL)
    other = tmp_path / "other.json"
    other.write_text('{// a comment\n"database": "postgres://other/x",}')
    assert place_of("data") == URL
    with config_named(str(other)):
        assert place_of("data") == "postgres://other/x"
    monkeypatch.setenv("SWARM_CONFIG", str(other))
    assert place_of("data") == "postgres://other/x"
    monkeypatch.setenv(VARIABLE, f"postgresql://me:{SECRET}@env/x")
    assert place_of("data") == f"postgresql://me:{SECRET}@env/x" == load_config(other).database
    assert place_of("data", URL) == URL
    monkeypatch.setenv(VARIABLE, "")
    assert place_of("data") == Path("data") / DATABASE
    coordinator = SwarmCoordinator({**SIMULATED, "database": URL}, data_dir="data")
    assert coordinator.database == Path("data") / DATABASE, "the variable wins, as for every setting"


def test_a_config_that_is_changed_names_another_place_at_once(tmp_path: Path) -> None:
    write_config(tmp_path, database=URL)
    assert place_of("data") == URL
    write_config(tmp_path)
    assert place_of("data") == Path("data") / DATABASE


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{SECRET}@db/x",
        f"postgresql://me@db/x?password={SECRET}",
        f"postgresql://me@db/x?sslmode=require&sslpassword={SECRET}",
        f"postgresql://me@db/x?%70assword={SECRET}",
        f"postgresql://me:a?b{SECRET}@db:5432/x?connect_timeout=3",
        f"postgresql://me:a@b{SECRET}@db/x",
    ],
)
def test_a_password_in_a_config_is_refused_and_shown_nowhere(url: str, tmp_path: Path) -> None:
    assert has_password(url)
    assert SECRET not in without_password(url)
    file = write_config(tmp_path, database=url)
    sources = (lambda: load_config(file), lambda: load_config({"database": url}), lambda: place_of("data"))
    for read in sources:
        with pytest.raises(
            ConfigError, match=r"database: expected no password in the URL; put it into"
        ) as refused:
            read()
        assert SECRET not in str(refused.value)
    with pytest.raises(ConfigError, match="command line"):
        load_config({}, overrides={"database": url})


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:pa/{SECRET}@db/x",
        f"host=db password={SECRET}",
        f"mysql://me:{SECRET}@db/x",
        f"postgresql+psycopg://me:{SECRET}@db/x",
        f"postgresql://db:{SECRET}/x",
    ],
)
def test_what_is_no_url_of_postgresql_is_refused_without_repeating_it(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_config(tmp_path, database=url)
    with pytest.raises(ConfigError, match=r"database: expected a URL such as postgresql://") as refused:
        load_config(file)
    assert SECRET not in str(refused.value)
    file.unlink()
    monkeypatch.setenv(VARIABLE, url)
    for command in (["sessions", "list"], ["database", "init"], ["run", "x", "--simulate"]):
        error = CliRunner().invoke(swarm_graph, command).exception
        assert isinstance(error, ConfigError)
        assert SECRET not in str(error)


def test_urls_are_shown_with_what_tells_them_apart() -> None:
    shown = without_password(
        f"postgresql://me:{SECRET}@a:1,[::1]:2/x?host=/tmp/s&sslmode=require&options=-c%20x"
    )
    assert shown == "postgresql://me@a:1,[::1]:2/x?host=/tmp/s&sslmode=require"
    assert not has_password("postgresql://postgres:@/x?host=/tmp/s")


def test_a_configuration_neither_records_nor_prints_its_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f"postgresql://me:{SECRET}@db/x")
    config = load_config({**SIMULATED})
    assert config.database == f"postgresql://me:{SECRET}@db/x"
    told = (repr(config), str(config), json.dumps(config.redacted()), config.model_dump_json())
    assert not [text for text in told if "db/x" in text]
    again = load_config(config, overrides={"workflow": {"max_iterations": 2}}, environ={})
    assert again.database == config.database


def test_what_a_session_recorded_of_a_database_is_no_setting() -> None:
    """A received session may say what it wants: it is read where it was found."""
    saved = {"model_config": SIMULATED["model_config"], "database": URL}
    session = Session("s", "standard", "Make it", saved, "running", time.time(), time.time())
    for trusted in (True, False):
        assert resume_config(session, trusted=trusted).config.database is None
    assert not foreign_settings(saved, load_config(), GROUPS - {"model_config"})


def test_without_the_extra_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, URL)
    monkeypatch.setitem(sys.modules, "swarm_graph.checkpoints.postgres", None)
    commands = ("sessions list", "database init", "run x --simulate")
    of_workers = ("submit run x --simulate", "queue", "worker")
    for command in map(str.split, (*commands, *of_workers)):
        done = CliRunner().invoke(swarm_graph, command)
        assert "needs the extra distributed; pip install 'swarm-graph[distributed]'" in str(done.exception)
    done = CliRunner().invoke(swarm_graph, ["doctor", "--database"])
    assert done.exit_code == 1
    assert "FAIL  database: a PostgreSQL database needs the extra distributed → pip install" in done.output


def test_a_completion_asks_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.setblocking(False)
        monkeypatch.setenv(VARIABLE, f"postgresql://me@127.0.0.1:{listener.getsockname()[1]}/x")
        resume = swarm_graph.commands["resume"]
        complete_values(resume)
        session = next(option for option in resume.params if option.name == "session")
        assert session.shell_complete(Context(resume), "") == []
        with pytest.raises(BlockingIOError):
            listener.accept()
