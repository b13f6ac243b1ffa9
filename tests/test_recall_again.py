"""What a turn has recalled is recorded: resumes, forks and replays see it, whatever memory holds by then."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from chaos.driver import Session, Worker
from chaos.kept import kept_in
from chaos.model_server import ModelServer
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.store.base import BaseStore
from memories import RULES, BrokenStore, forget, recalled, remember, remember_in, remembering
from storages import Databases
from support import APPROVED, Crew, config, thread
from test_history import fork
from test_tool_resume import outer

from swarm_graph import SwarmCoordinator, build_graph, open_checkpointer
from swarm_graph.checkpoints import signatures
from swarm_graph.checkpoints.retention import compact
from swarm_graph.checkpoints.steps import RECALLED
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.errors import ModelError
from swarm_graph.memory.store import SwarmStore
from swarm_graph.state import DATABASE

REQUEST: Any = {"request": "Write the valve command with its limit switch."}
MEMORY = {"recall": {"architect": 1, "coder": 2, "reviewer": 1}}
OTHERS = {"other.md": "Another valve command needs no limit switch."}
"""What memory holds later."""


def change(store: BaseStore) -> None:
    """Forget all passages, and remember others."""
    forget(store)
    remember(store, OTHERS)


def recorded(place: str | Path, session: str = "s") -> dict[tuple[str, int], list[str]]:
    """The sources that the turns of a session have recorded, by task and round."""
    rows = kept_in(place).rows("SELECT session, task, iteration, name, value FROM steps")
    return {
        (row["task"], row["iteration"]): [one["source"] for one in json.loads(row["value"])["passages"]]
        for row in rows
        if row["session"] == session and row["name"].startswith(RECALLED)
    }


def in_state(state: Mapping[str, Any]) -> dict[tuple[str, int], list[str]]:
    """The sources that the state names, by task and round."""
    return {
        (one["task"], one["iteration"]): [passage["source"] for passage in one["passages"]]
        for one in state["recalled"]
    }


# --- killed --------------------------------------------------------------------------------------


def session_of(folder: Path, server: ModelServer, database: str) -> Session:
    (folder / ".swarm").mkdir(parents=True)
    session = Session(folder, "standard", REQUEST["request"], server, {"memory": MEMORY}, database=database)
    with open_checkpointer(session.place) as saver:
        remember(SwarmStore.on(saver.database), RULES)
    return session


def final_state(session: Session) -> Mapping[str, Any]:
    with open_checkpointer(session.place) as saver:
        saved = saver.get_tuple(thread("s"))
    assert saved
    return saved.checkpoint["channel_values"]


def answered(session: Session) -> Counter[tuple[str, int]]:
    """The answers that the database holds, by task and round."""
    rows = session.rows("SELECT task, iteration FROM calls WHERE outcome = 'answered'")
    return Counter((row["task"], row["iteration"]) for row in rows)


@pytest.mark.slow
def test_killed_at_any_commit_a_session_goes_on_with_what_it_had_recalled(
    workers: list[Worker], databases: Databases, tmp_path: Path
) -> None:
    with ModelServer(latency=0) as server:
        unbroken = session_of(tmp_path / "unbroken", server, databases())
        unbroken.finish(workers[0])
    assert len(in_state(final_state(unbroken))) > 4
    points = range(2, unbroken.points() + 1, 61 if databases() else 31)

    def part(number: int) -> int:
        mine = points[number :: len(workers)]
        for point in mine:
            die_and_go_on(workers[number], tmp_path / str(point), point, databases())
        return len(mine)

    with ThreadPoolExecutor(len(workers)) as pool:
        assert sum(pool.map(part, range(len(workers)))) == len(points)


def die_and_go_on(worker: Worker, folder: Path, point: int, database: str) -> None:
    with ModelServer(latency=0) as server:
        session = session_of(folder, server, database)
        killed = session.kill_at(worker, point)
        before = recorded(session.place) if killed and session.phases() else {}
        finished = answered(session)
        ended = session.phases() == ["complete"]
        with open_checkpointer(session.place) as saver:
            change(SwarmStore.on(saver.database))
        session.finish(worker)
    state = final_state(session)
    after = in_state(state)
    assert {turn: after[turn] for turn in before} == before, point
    others = {source for turn in after if turn not in before for source in after[turn]}
    assert ended or others <= {"other.md"}, point
    after_it = answered(session)
    assert {turn: after_it[turn] for turn in finished} == finished, point


# --- forks and replays ---------------------------------------------------------------------------


def coordinator(folder: Path, crew: Crew, **sections: Any) -> SwarmCoordinator:
    settings = config(memory=MEMORY, **sections)
    return SwarmCoordinator(settings, data_dir=folder, output_dir=folder / "out", context=crew.context)


def changed_after_a_session(folder: Path) -> Crew:
    """A session `s` has ended, and memory has changed since."""
    remember_in(folder)
    crew = Crew({"reviewer": APPROVED})
    coordinator(folder, crew).run_workflow(REQUEST["request"], session_id="s")
    with open_checkpointer(folder / DATABASE) as saver:
        change(SwarmStore.on(saver.database))
    return crew


def test_a_fork_sees_what_the_first_run_saw_and_its_edits_see_memory_as_it_is(tmp_path: Path) -> None:
    first = changed_after_a_session(tmp_path)
    fork(tmp_path, "coder")
    again = Crew({"reviewer": APPROVED})
    state = coordinator(tmp_path, again).resume("f")
    assert again.prompts("coder") == first.prompts("coder")
    assert recalled(state, "coder") == ["rules.md", "tags.md"]
    assert recorded(tmp_path / DATABASE, "f") == recorded(tmp_path / DATABASE, "s")
    fork(tmp_path, "coder", "g", design="A valve command in one module.")
    state = coordinator(tmp_path, Crew()).resume("g")
    assert recalled(state, "architect") == ["rules.md"]  # before the moment
    assert recalled(state, "coder") == ["other.md"]


def test_a_follow_up_recalls_anew(tmp_path: Path) -> None:
    changed_after_a_session(tmp_path)
    state = coordinator(tmp_path, Crew()).run_workflow(REQUEST["request"], session_id="s", follow_up=True)
    assert {source for node in ("architect", "coder") for source in recalled(state, node)} == {"other.md"}


def test_what_was_recalled_goes_with_the_history_and_the_session(tmp_path: Path) -> None:
    changed_after_a_session(tmp_path)
    with open_checkpointer(tmp_path / DATABASE) as saver:
        compact(saver, "s")
        assert recorded(tmp_path / DATABASE)
        compact(saver, "s", history="last")
    assert not recorded(tmp_path / DATABASE)


def test_a_received_session_puts_nothing_of_its_own_into_a_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine has other signatures: what the file says that turns have recalled is not used."""
    remember_in(tmp_path)
    crew = Crew({"coder": ValueError("out of memory")})
    coordinator(tmp_path, crew).run_workflow(REQUEST["request"], session_id="s")
    with closing(sqlite3.connect(tmp_path / DATABASE)) as connection, connection:
        value = json.dumps(
            {"passages": [{"id": "1", "source": "plant.md", "place": "", "text": "Forged."}], "note": ""}
        )
        connection.execute("UPDATE steps SET value = ? WHERE name LIKE ?", (value, f"{RECALLED}%"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "elsewhere"))
    monkeypatch.setattr(signatures, "_SIGNED_HERE", set())
    received = Crew()
    state = coordinator(tmp_path, received).resume("s")
    assert recalled(state, "coder") == ["rules.md", "tags.md"]
    assert "Forged." not in received.prompts("coder")[0]


@pytest.mark.parametrize("name", ["ours", "memory", "inside ours", "inside memory"])
@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_turn_that_failed_recalls_the_same_again(name: str, way: str, tmp_path: Path) -> None:
    failures, store = iter([ValueError("out of memory")]), remembering()
    crew = Crew({"coder": lambda _: next(failures, "```python path=src/a.py\nx = 1\n```")})
    saver: Any = InMemorySaver() if "memory" in name else open_checkpointer(tmp_path / DATABASE)

    def run(given: Any) -> dict[str, Any]:
        if way == "sync":
            done: dict[str, Any] = graph.invoke(given, thread(), context=crew.context)
            return done
        return asyncio.run(graph.ainvoke(given, thread(), context=crew.context))

    inside = name.startswith("inside")
    graph: Any = build_graph(
        config=config(memory=MEMORY), store=store, checkpointer=None if inside else saver
    )
    graph = outer(graph, saver) if inside else graph
    with pytest.raises(ModelError, match="out of memory"):
        run(REQUEST)
    change(store)
    run(None)
    first, second = crew.prompts("coder")
    assert "rules.md" in first
    assert second == first
    assert "other.md" in crew.prompts("review_style")[0]
    if isinstance(saver, SwarmSaver):
        saver.close()


@asynccontextmanager
async def saver_of(name: str, folder: Path) -> AsyncIterator[Any]:
    if name == "async sqlite":
        async with AsyncSqliteSaver.from_conn_string(str(folder / "a.db")) as saver:
            yield saver
    elif name == "ours":
        async with open_checkpointer(folder / DATABASE) as ours:
            yield ours
    else:
        yield InMemorySaver()


@pytest.mark.parametrize("name", ["ours", "async sqlite", "memory"])
def test_a_replay_from_a_checkpoint_sees_what_the_first_run_saw(name: str, tmp_path: Path) -> None:
    async def prompts() -> tuple[list[str], list[str], list[str]]:
        store = remembering()
        async with saver_of(name, tmp_path) as saver:
            graph = build_graph(config=config(memory=MEMORY), store=store, checkpointer=saver)
            first, again, anew = Crew(), Crew(), Crew()
            await graph.ainvoke(REQUEST, thread(), context=first.context)
            change(store)
            history = [moment async for moment in graph.aget_state_history(thread())]
            (moment,) = [one for one in history if one.next == ("coder",)]
            await graph.ainvoke(None, moment.config, context=again.context)
            await graph.ainvoke(REQUEST, thread(), context=anew.context)
        return first.prompts("coder"), again.prompts("coder"), anew.prompts("architect")

    first, again, (anew,) = asyncio.run(prompts())
    assert first == again
    assert "other.md" in anew


def test_a_search_that_failed_is_not_tried_again_in_its_turn(tmp_path: Path) -> None:
    """The answer of the turn may be in the journal already, and its calls of tools are made."""
    crew = Crew({"coder": ValueError("out of memory")})
    settings = config(memory={"recall": {"coder": 1}})
    with open_checkpointer(tmp_path / DATABASE) as saver:
        with pytest.raises(ModelError):
            build_graph(config=settings, store=BrokenStore(), checkpointer=saver).invoke(
                REQUEST, thread(), context=crew.context
            )
        state = build_graph(config=settings, store=remembering(), checkpointer=saver).invoke(
            None, thread(), context=Crew().context
        )
    assert recalled(state, "coder") == []
    assert "memory cannot be searched" in state["tasks"]["T003_code"]["note"]


def test_tasks_that_ended_before_a_kill_stay_recalled(tmp_path: Path) -> None:
    failures, store = iter([ValueError("out of memory")]), remembering()
    crew = Crew({"second": lambda _: next(failures, "Done."), "first": "Done."})
    tasks = [
        {"task_id": "first", "assigned_role": "architect", "description": "The valve tags"},
        {"task_id": "second", "assigned_role": "architect", "description": "The valve limit switch"},
    ]
    with open_checkpointer(tmp_path / DATABASE) as saver:
        graph = build_graph("custom", config=config(memory=MEMORY), store=store, checkpointer=saver)
        with pytest.raises(ModelError):
            graph.invoke({"tasks": tasks}, thread(), context=crew.context)
        change(store)
        state = graph.invoke(None, thread(), context=crew.context)
    assert recalled(state, "first") == ["tags.md"]
    assert recalled(state, "second") == ["rules.md"]
    assert [one["task"] for one in state["recalled"]] == ["first", "second"]


def test_without_recall_nothing_is_recorded(tmp_path: Path) -> None:
    remember_in(tmp_path, RULES)
    settings = config(memory={"recall": {}})
    SwarmCoordinator(
        settings, data_dir=tmp_path, output_dir=tmp_path / "out", context=Crew().context
    ).run_workflow(REQUEST["request"], session_id="s")
    with open_checkpointer(tmp_path / DATABASE) as saver:
        saved = saver.get_tuple(thread("s"))
    assert saved
    assert "recalled" not in saved.checkpoint["channel_values"]
    assert not recorded(tmp_path / DATABASE)
