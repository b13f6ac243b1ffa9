"""Session locks: one process, thread or coroutine at a time; the lock disappears with it, however it ends."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import warm
from click.testing import CliRunner
from support import SIMULATED, Crew, config, thread

from swarm_graph import SwarmCoordinator
from swarm_graph.checkpoints.locks import is_running, lock_session
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.cli.main import swarm_graph
from swarm_graph.errors import InputError, ModelError, SessionInUse, StorageError, UnfinishedSession
from swarm_graph.sessions.ids import find_session
from swarm_graph.state import SwarmState
from swarm_graph.workflows.build import build_graph
from swarm_graph.workflows.graph import SwarmGraph

REQUEST: SwarmState = {"request": "Build it"}
ENDLESS = {"model": "s", "api_type": "simulated", "simulation": {"first_token_s": 600}}
AT_THE_CODER = {
    "model_config": {"mode": "multi", **SIMULATED["model_config"], "multi_model": {"coder": ENDLESS}}
}
WORK = f"""
import sys
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.workflows.build import build_graph

with open_checkpointer(sys.argv[1]) as saver:
    graph = build_graph("standard", config={AT_THE_CODER!r}, checkpointer=saver)
    thread = {{"configurable": {{"thread_id": "t"}}}}
    for event in graph.stream({{"request": "Build it"}}, thread, stream_mode="custom"):
        if (event["swarm_event"], event["node"]) == ("call_started", "coder"):
            print("at work", flush=True)
"""


@pytest.fixture
def saver(place: str | Path, tmp_path: Path) -> Iterator[SwarmSaver]:
    with open_checkpointer(place, data_dir=tmp_path) as opened:
        yield opened


@pytest.fixture
def file_saver(tmp_path: Path) -> Iterator[SwarmSaver]:
    with open_checkpointer(tmp_path / "swarm.db") as opened:
        yield opened


def standard(saver: SwarmSaver) -> SwarmGraph:
    return build_graph("standard", config=config(), checkpointer=saver)


def coordinator(folder: Path, crew: Crew | None = None) -> SwarmCoordinator:
    context = crew.context if crew else None
    return SwarmCoordinator(config(), data_dir=folder, output_dir=folder / "out", context=context)


@contextmanager
def at_work(graph: SwarmGraph, name: str = "t", crew: Crew | None = None) -> Iterator[Iterator[Any]]:
    """A session that waits after its first node until the caller reads on."""
    parts = cast("Generator[Any]", graph.stream(REQUEST, thread(name), context=(crew or Crew()).context))
    with closing(parts):
        next(parts)
        yield parts


def recorded(saver: SwarmSaver) -> list[Any]:
    """Everything that the catalogue holds about the session `t`."""
    catalogue = saver.catalogue
    return [catalogue.get("t"), catalogue.runs("t"), catalogue.tasks("t"), catalogue.calls("t")]


def locks(saver: SwarmSaver) -> list[str]:
    """The files of locks beside a database, or their rows in it."""
    database = saver.database
    if database.is_file:
        return [path.name for path in database.folder.iterdir() if path.suffix == ".lock"]
    with database.view() as cursor:
        return [str(key) for (key,) in cursor.execute("SELECT key FROM held_locks")]


def owner(process: int | None = None) -> str:
    """The message of a refusal, which names the owner."""
    who = f"process {process or os.getpid()} on {re.escape(platform.node())}"
    return (
        rf"^session 't' is in use: {who}, since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d; wait for it to end[^\n]*$"
    )


# --- who is refused ------------------------------------------------------------------------------

Work = Callable[[SwarmGraph, Path], Any]
WAYS: dict[str, Work] = {
    "invoke a request": lambda graph, _: graph.invoke(REQUEST, thread()),
    "invoke None": lambda graph, _: graph.invoke(None, thread()),
    "stream": lambda graph, _: next(graph.stream(None, thread())),
    "ainvoke a request": lambda graph, _: asyncio.run(graph.ainvoke(REQUEST, thread())),
    "ainvoke None": lambda graph, _: asyncio.run(graph.ainvoke(None, thread())),
    "a coordinator's resume": lambda _, folder: coordinator(folder).resume("t"),
    "update_state": lambda graph, _: graph.update_state(thread(), {"design": "Mine."}),
    "aupdate_state": lambda graph, _: asyncio.run(graph.aupdate_state(thread(), {"design": "Mine."})),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_session_at_work_is_refused_to_others_and_goes_on(
    way: str, saver: SwarmSaver, tmp_path: Path
) -> None:
    crew, graph = Crew(), standard(saver)
    with at_work(graph, crew=crew) as parts:
        before = recorded(saver)
        with pytest.raises(SessionInUse, match=owner()):
            WAYS[way](graph, tmp_path)
        assert recorded(saver) == before
        for _ in parts:
            pass
    assert len(crew.asks) == 6
    saved = graph.get_state(thread()).values
    assert (saved["phase"], saved["design"]) == ("complete", "One file.")
    assert locks(saver) == []


@pytest.mark.parametrize("way", ["invoke None", "ainvoke None", "a coordinator's resume"])
def test_another_thread_is_refused(way: str, saver: SwarmSaver, tmp_path: Path) -> None:
    graph = standard(saver)
    with at_work(graph), ThreadPoolExecutor(1) as pool, pytest.raises(SessionInUse, match=owner()):
        pool.submit(WAYS[way], graph, tmp_path).result()


def test_another_event_loop_is_refused(saver: SwarmSaver) -> None:
    graph, refused = standard(saver), threading.Event()

    async def work(begun: threading.Event) -> None:
        async for _ in graph.astream(REQUEST, thread(), context=Crew().context):
            begun.set()
            await asyncio.to_thread(refused.wait, 30)

    begun = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(asyncio.run, work(begun))
        assert begun.wait(30)
        try:
            with pytest.raises(SessionInUse, match=owner()):
                asyncio.run(graph.ainvoke(None, thread()))
        finally:
            refused.set()
        first.result()
    assert graph.get_state(thread()).values["phase"] == "complete"


def test_of_two_tasks_in_one_event_loop_one_is_refused(saver: SwarmSaver) -> None:
    crew, graph = Crew(), standard(saver)

    async def both() -> list[Any]:
        two = (graph.ainvoke(REQUEST, thread(), context=crew.context) for _ in range(2))
        return [*await asyncio.gather(*two, return_exceptions=True)]

    results = asyncio.run(both())
    assert [type(result) for result in results if isinstance(result, Exception)] == [SessionInUse]
    assert len(crew.asks) == 6


def test_sessions_of_other_names_are_free(saver: SwarmSaver) -> None:
    graph = standard(saver)
    with at_work(graph, "a/b"):
        for other in ("a_b", "a%2Fb", "a", "b"):
            assert graph.invoke(REQUEST, thread(other), context=Crew().context)["phase"] == "complete"


def test_the_same_name_in_another_database_is_free(file_saver: SwarmSaver, tmp_path: Path) -> None:
    with open_checkpointer(tmp_path / "other.db") as other, lock_session(file_saver.catalogue, "t"):
        graph = standard(other)
        assert graph.invoke(REQUEST, thread(), context=Crew().context)["phase"] == "complete"


def test_a_refused_resume_writes_no_files_of_the_session_at_work(saver: SwarmSaver, tmp_path: Path) -> None:
    with at_work(standard(saver)):
        with pytest.raises(SessionInUse):
            coordinator(tmp_path).resume("t")
        assert not list((tmp_path / "out").rglob("*.*"))


def test_the_holder_of_a_lock_without_a_run_is_not_mistaken_for_an_earlier_run(
    saver: SwarmSaver,
) -> None:
    graph = standard(saver)
    graph.invoke(REQUEST, thread(), context=Crew().context)
    with lock_session(saver.catalogue, "t"), pytest.raises(SessionInUse) as refused:
        graph.invoke(None, thread())
    assert "since" not in str(refused.value)


def test_a_session_is_at_work_wherever_the_process_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with open_checkpointer("swarm.db") as saver, lock_session(saver.catalogue, "t"):
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert is_running(saver.catalogue, "t")


def test_a_session_is_at_work_by_every_name_of_its_database(file_saver: SwarmSaver, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.db"
    link.symlink_to(tmp_path / "swarm.db")
    with lock_session(file_saver.catalogue, "t"), open_checkpointer(link) as linked:
        assert is_running(linked.catalogue, "t")


# --- other processes -----------------------------------------------------------------------------


@pytest.mark.slow
def test_another_process_is_refused_until_it_is_killed(
    saver: SwarmSaver, place: str | Path, tmp_path: Path
) -> None:
    graph, crew = standard(saver), Crew()
    command = [sys.executable, "-c", WORK, str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "at work\n"
            assert is_running(saver.catalogue, "t")
            before = recorded(saver)
            for work in WAYS.values():
                with pytest.raises(SessionInUse, match=owner(process.pid)):
                    work(graph, tmp_path)
            with pytest.raises(InputError, match="no unfinished session"):
                find_session(tmp_path, None)
            assert recorded(saver) == before
        finally:
            process.send_signal(signal.SIGKILL)
    while is_running(saver.catalogue, "t"):  # a server notices after the operating system
        pass
    swarm = coordinator(tmp_path, crew)
    assert swarm.resume()["phase"] == "complete"
    assert swarm.session_id == "t"
    assert crew.asked[0] == "coder"
    assert len(crew.asks) == 4
    assert locks(saver) == []


def test_the_command_line_says_in_one_line_who_is_at_work(saver: SwarmSaver, tmp_path: Path) -> None:
    arguments = ["resume", "t", "--data-dir", "."]
    with at_work(standard(saver)):
        done = warm.run(*arguments, cwd=tmp_path, text=True, env={**os.environ})
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(f"swarm-graph: {owner()[1:-1]}\n", done.stderr)


def test_a_list_tells_sessions_at_work_from_interrupted_ones(saver: SwarmSaver, tmp_path: Path) -> None:
    def phase() -> str:
        done = CliRunner().invoke(swarm_graph, ["sessions", "list", "--data-dir", str(tmp_path)])
        return re.split(r"  +", done.stdout.splitlines()[1])[2]

    with at_work(standard(saver)):
        assert phase() == "running"
    assert phase() == "cancelled"
    with saver.transaction() as cursor:  # as a kill leaves it
        cursor.execute("UPDATE sessions SET phase = 'running'")
    assert phase() == "interrupted"


# --- how a lock goes -----------------------------------------------------------------------------


def fails(graph: SwarmGraph) -> None:
    with pytest.raises(ModelError):
        graph.invoke(REQUEST, thread(), context=Crew({"coder": ValueError("broken")}).context)


def fails_in_a_loop(graph: SwarmGraph) -> None:
    with pytest.raises(ModelError):
        asyncio.run(graph.ainvoke(REQUEST, thread(), context=Crew({"coder": ValueError("no")}).context))


def breaks_off(graph: SwarmGraph) -> None:
    for _ in graph.stream(REQUEST, thread(), context=Crew().context):
        break


def fails_while_reading(graph: SwarmGraph) -> None:
    def read() -> None:
        for _ in graph.stream(REQUEST, thread(), context=Crew().context):
            raise LookupError

    with pytest.raises(LookupError):
        read()


def breaks_off_in_a_loop(graph: SwarmGraph) -> None:
    async def work() -> None:
        async for _ in graph.astream(REQUEST, thread(), context=Crew().context):
            break

    asyncio.run(work())


def is_cancelled(graph: SwarmGraph) -> None:
    slow = build_graph("standard", config=AT_THE_CODER, checkpointer=graph.checkpointer)  # type: ignore[arg-type]

    async def at_the_coder(begun: asyncio.Event) -> None:
        async for event in slow.astream(REQUEST, thread(), stream_mode="custom"):
            if (event["swarm_event"], event["node"]) == ("call_started", "coder"):
                begun.set()

    async def work() -> None:
        begun = asyncio.Event()
        task = asyncio.ensure_future(at_the_coder(begun))
        await asyncio.wait_for(begun.wait(), 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())


ENDS: dict[str, tuple[Callable[[SwarmGraph], None], str]] = {
    "an exception": (fails, "failed"),
    "an exception in an event loop": (fails_in_a_loop, "failed"),
    "a consumer that breaks off": (breaks_off, "cancelled"),
    "a consumer that fails": (fails_while_reading, "cancelled"),
    "a consumer that breaks off in an event loop": (breaks_off_in_a_loop, "cancelled"),
    "a task that is cancelled": (is_cancelled, "cancelled"),
}


@pytest.mark.parametrize("end", ENDS)
def test_the_lock_goes_with(end: str, saver: SwarmSaver) -> None:
    act, phase = ENDS[end]
    graph = standard(saver)
    act(graph)
    assert locks(saver) == []
    assert not is_running(saver.catalogue, "t")
    run = saver.catalogue.runs("t")[-1]
    assert run.phase == phase
    assert run.ended_at is not None
    assert graph.invoke(None, thread(), context=Crew().context)["phase"] == "complete"


def test_a_refused_request_leaves_no_lock(saver: SwarmSaver) -> None:
    graph = standard(saver)
    with pytest.raises(InputError, match="no session"):
        graph.invoke(None, thread())
    with pytest.raises(InputError, match="request is empty"):
        graph.invoke({}, thread())
    fails(graph)
    with pytest.raises(UnfinishedSession):
        graph.invoke(REQUEST, thread())
    assert locks(saver) == []


def test_no_lock_is_left_after_normal_ends(saver: SwarmSaver, tmp_path: Path) -> None:
    graph, crew = standard(saver), Crew()
    graph.invoke(REQUEST, thread(), context=crew.context)
    graph.invoke(REQUEST, thread(), context=crew.context)
    graph.invoke(None, thread())
    asyncio.run(graph.ainvoke(REQUEST, thread(), context=crew.context))
    graph.update_state(thread(), {"design": "Mine."})
    coordinator(tmp_path, crew).run_workflow("Build it", session_id="s")
    coordinator(tmp_path, crew).run_workflow("More", session_id="s", follow_up=True)
    assert locks(saver) == []


def test_a_lock_can_be_had_again_and_state_changed_after_a_run(saver: SwarmSaver) -> None:
    graph = standard(saver)
    breaks_off(graph)
    graph.update_state(thread(), {"design": "Mine."})
    assert asyncio.run(graph.aupdate_state(thread(), {"diagnosis": "Yours."}))
    assert graph.get_state(thread()).values["design"] == "Mine."


def test_a_lock_file_of_a_killed_process_is_no_obstacle(file_saver: SwarmSaver, tmp_path: Path) -> None:
    (tmp_path / "swarm.db-t.lock").touch()
    assert not is_running(file_saver.catalogue, "t")
    assert standard(file_saver).invoke(REQUEST, thread(), context=Crew().context)["phase"] == "complete"
    assert locks(file_saver) == []


@pytest.mark.parametrize(
    "name", ["a/b", "../../etc/passwd", "..", "x" * 300, "Straße 日本 🐝" * 9, "a b\n*?"]
)
def test_sessions_with_odd_names_are_locked_in_the_database_s_folder(
    name: str, saver: SwarmSaver, tmp_path: Path
) -> None:
    graph = standard(saver)
    with at_work(graph, name):
        (lock,) = locks(saver)
        if saver.database.is_file:
            assert lock.startswith("swarm.db-")
            assert stat.S_IMODE((tmp_path / lock).stat().st_mode) == 0o600
        assert is_running(saver.catalogue, name)
        assert not is_running(saver.catalogue, f"{name}x")
        with pytest.raises(
            SessionInUse, match=f"^session '{re.escape(name)}' is in use: process {os.getpid()} "
        ):
            graph.invoke(None, thread(name))
    assert graph.invoke(None, thread(name), context=Crew().context)["phase"] == "complete"
    assert locks(saver) == []


def test_too_many_open_files_are_not_blamed_on_the_folder(file_saver: SwarmSaver) -> None:
    resource: Any = pytest.importorskip("resource", reason="Windows has no limit of open files")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with (
            pytest.raises(
                StorageError, match=r"Too many open files; run fewer sessions at once, or raise `ulim"
            ),
            lock_session(file_saver.catalogue, "s"),
        ):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_long_names_that_begin_alike_have_locks_of_their_own(saver: SwarmSaver) -> None:
    with lock_session(saver.catalogue, "x" * 300 + "a"):
        assert not is_running(saver.catalogue, "x" * 300 + "b")


def test_a_database_in_memory_needs_no_lock() -> None:
    with open_checkpointer(":memory:") as saver:
        graph = standard(saver)
        assert graph.invoke(REQUEST, thread(), context=Crew().context)["phase"] == "complete"
        assert not is_running(saver.catalogue, "t")


def test_never_two_hold_a_lock_that_comes_and_goes(saver: SwarmSaver) -> None:
    """Each release removes the lock's file; no process may be left with a lock on a removed file."""
    holders, most, had = 0, 0, 0

    def work() -> None:
        nonlocal holders, most, had
        left = 25
        while left:
            try:
                with lock_session(saver.catalogue, "t"):
                    holders += 1
                    most = max(most, holders)
                    time.sleep(0.001)
                    had, left = had + 1, left - 1
                    holders -= 1
            except SessionInUse:
                pass

    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(work) for _ in range(6)]:
            done.result()
    assert (most, had) == (1, 150)
    assert locks(saver) == []


def test_to_open_a_database_again_drops_no_lock_of_sqlite(file_saver: SwarmSaver, tmp_path: Path) -> None:
    """Without its locks, another process that closes the file would delete the WAL, and damage the file."""
    file = tmp_path / "swarm.db"
    with open_checkpointer(file):
        pass
    read = f"import sqlite3; c = sqlite3.connect({str(file)!r}); c.execute('SELECT * FROM runs'); c.close()"
    subprocess.run([sys.executable, "-c", read], check=True)
    assert file.with_name("swarm.db-wal").exists()
    assert standard(file_saver).invoke(REQUEST, thread(), context=Crew().context)["phase"] == "complete"


def test_a_first_request_is_no_follow_up_of_a_session_that_another_process_began(saver: SwarmSaver) -> None:
    crew = Crew()
    graph = build_graph("standard", config=config(), checkpointer=saver)
    first = replace(graph.prepare(REQUEST, crew.context), is_first=True)
    graph.invoke(cast("Any", first), thread(), context=crew.context)
    asked = len(crew.asked)
    with pytest.raises(InputError, match="begun by somebody else"):
        graph.invoke(cast("Any", first), thread(), context=crew.context)
    assert len(crew.asked) == asked
    kept = saver.catalogue.get("t")
    assert kept
    assert kept.phase == "complete"
