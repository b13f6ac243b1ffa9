"""A connection to PostgreSQL that is lost: no work is lost or done twice, nobody writes without a lock."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from servers.cutting_proxy import Cut, CuttingProxy
from servers.postgres import PostgresServer
from support import Crew, config, thread

from swarm_graph.checkpoints import postgres
from swarm_graph.checkpoints.locks import SessionLock, is_running, lock_session
from swarm_graph.checkpoints.postgres import PostgresDatabase
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.errors import SessionInUse, StorageError
from swarm_graph.workflows.build import build_graph

REQUEST: Any = {"request": "Build it"}


@pytest.fixture
def database(postgres_url: str, tmp_path: Path) -> Iterator[PostgresDatabase]:
    with PostgresDatabase(postgres_url, tmp_path) as opened:
        with opened.transaction() as cursor:
            cursor.execute("CREATE TABLE notes (text TEXT)")
        yield opened


def note(database: PostgresDatabase, text: str) -> str:
    with database.transaction() as cursor:
        cursor.execute("INSERT INTO notes VALUES (?)", (text,))
    return text


@contextmanager
def other(url: str) -> Iterator[psycopg.Connection[Any]]:
    """Another program's connection."""
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        yield connection


def notes(url: str) -> list[str]:
    with other(url) as connection:
        return [text for (text,) in connection.execute("SELECT text FROM notes")]


def end_all(url: str) -> None:
    """End the server's processes of all other connections to a database, and wait for that."""
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()"
    with other(url) as connection:
        connection.execute(f"SELECT pg_terminate_backend(pid, 10000) {others}")


# --- work is done once ---------------------------------------------------------------------------


LOSSES: dict[str, Callable[[PostgresServer, str], None]] = {
    "the server's process is ended": lambda _, url: end_all(url),
    "the server is restarted": lambda server, _: server.restart("fast"),
    "the server crashes": lambda server, _: server.restart("immediate"),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_connection_that_is_lost_between_transactions_is_not_noticed(
    loss: str, database: PostgresDatabase, postgres_server: PostgresServer, postgres_url: str
) -> None:
    assert database.try_lock("mine")
    LOSSES[loss](postgres_server, postgres_url)
    note(database, "sync")
    LOSSES[loss](postgres_server, postgres_url)
    assert asyncio.run(database.run(note, database, "async")) == "async"
    LOSSES[loss](postgres_server, postgres_url)
    with database.view() as cursor:
        assert cursor.execute("SELECT text FROM notes").fetchall() == [("sync",), ("async",)]
    database.check_lock("mine")
    with PostgresDatabase(postgres_url) as another:
        assert not another.try_lock("mine")


@pytest.mark.parametrize("loss", LOSSES)
def test_work_in_which_the_connection_is_lost_is_done_again(
    loss: str, database: PostgresDatabase, postgres_server: PostgresServer, postgres_url: str
) -> None:
    left = [loss] * 3

    def two(name: str) -> None:
        with database.transaction():
            note(database, f"{name} 1")
            if left:
                LOSSES[left.pop()](postgres_server, postgres_url)
            note(database, f"{name} 2")

    async def at_once() -> None:
        await asyncio.gather(*(database.run_soon(two, name) for name in "ab"))

    asyncio.run(at_once())
    left.append(loss)
    database.do(two, "c")
    assert not left
    assert notes(postgres_url) == [f"{name} {number}" for name in "abc" for number in (1, 2)]
    left.append(loss)
    with pytest.raises(StorageError, match=r"^[^\n]*check the server[^\n]*$"):
        two("d")
    assert len(notes(postgres_url)) == 6
    two("e")


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_commit_that_is_cut_off_is_done_once(
    cut: Cut, postgres_server: PostgresServer, postgres_url: str
) -> None:
    name = postgres_url.partition("?")[0].rpartition("/")[2]
    with (
        CuttingProxy(postgres_server.data / ".s.PGSQL.5432") as proxy,
        PostgresDatabase(postgres_server.tcp_url(name, proxy.port)) as far,
    ):
        works: list[Callable[[], object]] = [
            lambda: asyncio.run(far.run(note, far, "a")),
            lambda: far.do(note, far, "b"),
        ]
        for work in works:
            proxy.cut = cut
            work()
        proxy.cut = cut
        if cut == "after":
            note(far, "c")
        else:
            with pytest.raises(StorageError):
                note(far, "c")
        assert proxy.cuts == 3
    assert notes(postgres_url) == (["a", "b", "c"] if cut == "after" else ["a", "b"])


def test_a_crash_that_gives_the_number_of_a_transaction_to_another_one_commits_nothing(
    database: PostgresDatabase, postgres_server: PostgresServer, postgres_url: str
) -> None:
    """The log of a crashed server knows nothing of a transaction whose rows it has not received."""

    def crashes() -> None:
        with database.transaction() as cursor:
            (number,) = cursor.execute("SELECT pg_current_xact_id()::text").fetchone()
            postgres_server.restart("immediate")
            with other(postgres_url) as connection:
                for _ in range(20):
                    connection.execute("INSERT INTO notes VALUES ('of another program')")
                found = connection.execute("SELECT pg_xact_status(%s::xid8)", (number,)).fetchone()
            assert found == ("committed",), "it has the number"

    with pytest.raises(StorageError):
        crashes()
    assert len(notes(postgres_url)) == 20


def test_a_server_that_stays_away_is_waited_for_only_once(
    database: PostgresDatabase, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "RECONNECT_S", 0.3)
    postgres_server.stop()
    try:
        for _ in range(2):
            with pytest.raises(StorageError, match=r"^cannot use the database 'postgresql://[^\n]*resume$"):
                asyncio.run(database.run(note, database, "a"))
    finally:
        postgres_server.start()
    assert note(database, "b") == "b"


def test_work_that_always_ends_its_connection_fails_at_last(
    database: PostgresDatabase, postgres_url: str
) -> None:
    times = 0

    def deadly() -> None:
        nonlocal times
        times += 1
        with database.transaction():
            end_all(postgres_url)
            note(database, "never")

    with pytest.raises(StorageError):
        asyncio.run(database.run(deadly))
    assert times <= 2 * postgres.MAX_ATTEMPTS
    assert note(database, "a") == "a"


def test_a_failed_statement_that_is_ignored_commits_nothing(
    database: PostgresDatabase, postgres_url: str
) -> None:
    def ignores() -> None:
        with database.transaction() as cursor:
            note(database, "a")
            with pytest.raises(psycopg.Error):
                cursor.execute("SELECT * FROM nowhere")

    with pytest.raises(StorageError, match="a statement failed"):
        ignores()
    assert notes(postgres_url) == []


# --- locks ---------------------------------------------------------------------------------------


def test_a_lock_that_somebody_else_has_had_is_lost(
    database: PostgresDatabase, postgres_url: str, tmp_path: Path
) -> None:
    """Also if they have given it back meanwhile. Only who takes it again may write."""
    with PostgresDatabase(postgres_url, tmp_path) as rescuer:
        for gives_back in (True, False):
            assert database.try_lock("taken")
            assert database.try_lock("kept")
            end_all(postgres_url)
            assert rescuer.try_lock("taken")
            if gives_back:
                rescuer.unlock("taken")
            note(database, "a")
            database.check_lock("kept")
            for _ in range(2):
                with pytest.raises(SessionInUse, match="taken over"):
                    database.check_lock("taken")
                database.unlock("taken")
            rescuer.unlock("taken")
            database.unlock("kept")
    assert database.try_lock("taken")
    database.check_lock("taken")
    assert database.locked_among(["taken", "kept", "none"]) == {"taken"}


def test_a_look_takes_no_lock_from_a_session_that_connects_anew(postgres_url: str, tmp_path: Path) -> None:
    with open_checkpointer(postgres_url, data_dir=tmp_path) as saver, lock_session(saver.catalogue, "s"):
        end_all(postgres_url)
        with open_checkpointer(postgres_url, data_dir=tmp_path) as looking:
            assert not is_running(looking.catalogue, "s")
            saver.put_writes(
                {"configurable": {"thread_id": "s", "checkpoint_ns": "", "checkpoint_id": "1"}}, [], "t"
            )
            assert is_running(looking.catalogue, "s")
            with pytest.raises(SessionInUse):
                SessionLock(looking.catalogue, "s").acquire()
        assert not saver.database.rollbacks


# --- a stopped process ---------------------------------------------------------------------------

STOPPED = """
import asyncio, sys
from pathlib import Path
from support import Crew, config, thread
from test_task_graph import given, task
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.workflows.build import build_graph

url, folder, way = sys.argv[1:]
given = {"request": "Build it"} if way != "tasks" else given([task("a"), task("b", "a"), task("c")])

def waits(ask):
    print("at work", flush=True)
    sys.stdin.readline()
    return "I am late."

crew = Crew({"coder": waits, "a": waits})
with open_checkpointer(url, data_dir=folder) as saver:
    graph = build_graph("standard" if way != "tasks" else "custom", config=config(), checkpointer=saver)
    try:
        if way == "invoke":
            graph.invoke(given, thread(), context=crew.context)
        else:
            asyncio.run(graph.ainvoke(given, thread(), context=crew.context))
    except Exception as error:
        print(f"{type(error).__name__}: {error}", flush=True)
"""


def everything(url: str) -> dict[str, list[Any]]:
    """Every row of every table."""
    with other(url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        rows = {
            name: connection.execute(f'SELECT row::text FROM "{name}" AS row').fetchall()
            for (name,) in tables
        }
    return {name: sorted(map(str, found)) for name, found in rows.items()}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["invoke", "ainvoke", "tasks"])
def test_a_stopped_process_whose_session_was_taken_over_writes_nothing(
    way: str, postgres_url: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", STOPPED, postgres_url, str(tmp_path), way]
    workflow: Any = "custom" if way == "tasks" else "standard"
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent,
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "at work\n"
            process.send_signal(signal.SIGSTOP)
            end_all(postgres_url)
            with open_checkpointer(postgres_url, data_dir=tmp_path) as saver:
                graph = build_graph(workflow, config=config(), checkpointer=saver)
                assert graph.invoke(None, thread(), context=Crew().context)["phase"] == "complete"
            before = everything(postgres_url)
            process.send_signal(signal.SIGCONT)
            output, errors = process.communicate("\n" * 3)
        finally:
            process.kill()
    assert everything(postgres_url) == before
    assert errors == ""
    assert output.splitlines()[-1].startswith("SessionInUse: the connection to the database was lost")
    assert "at work" not in output
