"""A damaged database: what the doctor reports, what a repair saves, and that sessions can then be resumed."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import warm
from click.testing import CliRunner
from support import CODE, REFUSED, Crew, config, thread

from swarm_graph import SwarmCoordinator
from swarm_graph.checkpoints.health import REPAIR, check_database
from swarm_graph.checkpoints.locks import lock_session
from swarm_graph.checkpoints.repair import repair_database
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.cli.setup import doctor
from swarm_graph.errors import InputError, SessionInUse, StorageError
from swarm_graph.workflows.build import build_graph

PAGE = 4096
NAMES = [f"s{number}" for number in range(6)]
BIG = CODE + "\n# " + "long " * 3000 + "\n```"
"""An answer whose row overflows its page."""


def coordinator(folder: Path, crew: Crew) -> SwarmCoordinator:
    return SwarmCoordinator(config(), data_dir=folder, output_dir=folder / "out", context=crew.context)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with six sessions: the last one failed at its coder, the others are complete."""
    folder = tmp_path_factory.mktemp("sound")
    for name in NAMES[:-1]:
        coordinator(folder, Crew({"coder": BIG})).run_workflow(f"Build {name}", "full", session_id=name)
    coordinator(folder, Crew({"coder": ValueError("broken")})).run_workflow("Build s5", session_id="s5")
    return folder


@pytest.fixture
def path(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(sound / "swarm.db", tmp_path))


def states(path: Path) -> dict[str, object]:
    """The state of every session that has a state; it must be readable."""
    with open_checkpointer(path) as saver:
        found = {
            known.session: saver.get_tuple(thread(known.session)) for known in saver.catalogue.sessions()
        }
    return {name: saved.checkpoint["channel_values"] for name, saved in found.items() if saved}


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def leaves(path: Path, name: str) -> list[int]:
    """The numbers of the leaf pages of a table or index, in the order of its rows."""
    with closing(sqlite3.connect(path)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)).fetchone()
    data = path.read_bytes()

    def below(number: int) -> Iterator[int]:
        page = data[(number - 1) * PAGE : number * PAGE]
        if page[0] in (10, 13):
            yield number
            return
        for cell in range(int.from_bytes(page[3:5])):
            at = int.from_bytes(page[12 + 2 * cell : 14 + 2 * cell])
            yield from below(int.from_bytes(page[at : at + 4]))
        yield from below(int.from_bytes(page[8:12]))

    return list(below(root))


def overwrite(path: Path, *pages: int, offset: int = 0, data: bytes = b"\xa5" * PAGE) -> None:
    with path.open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * PAGE + offset)
            file.write(data)


def counts(path: Path) -> dict[str, int]:
    langgraphs = ("checkpoints", "writes", "channel_values")
    tables = (
        *langgraphs,
        "sessions",
        "runs",
        "tasks",
        "calls",
        "artifacts",
        "test_runs",
        "sources",
        "experiments",
        "trials",
        "speeds",
        "tool_calls",
        "steps",
        "events",
        "texts",
    )
    with closing(sqlite3.connect(path)) as connection:
        return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}


def files(folder: Path) -> dict[str, bytes]:
    return {item.name: item.read_bytes() for item in folder.iterdir() if item.suffix != ".lock"}


# --- checking -------------------------------------------------------------------------------------


def test_a_sound_file_is_left_as_it_is(path: Path) -> None:
    before = files(path.parent)
    health = check_database(path)
    assert (health.sessions, health.problems) == (6, [])
    assert repair_database(path).original is None
    assert files(path.parent) == before


def test_what_only_the_wal_holds_is_seen_and_left_there(path: Path, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    killed.mkdir()
    with open_checkpointer(path) as saver:
        with saver.transaction() as cursor:
            cursor.execute("DELETE FROM sessions WHERE session = 's0'")
            cursor.execute("DELETE FROM checkpoints WHERE thread_id = 's0'")
        for item in path.parent.glob("swarm.db*"):  # as a killed process leaves them
            shutil.copy(item, killed)
    before = files(killed)
    assert len(before["swarm.db-wal"]) > 0
    health = check_database(killed / "swarm.db")
    assert health.sessions == 5
    assert [problem.text for problem in health.problems] == ["23 rows of channel_values belong to no session"]
    after = files(killed)
    assert {name: after[name] for name in ("swarm.db", "swarm.db-wal")} == {
        name: before[name] for name in ("swarm.db", "swarm.db-wal")
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"my notes\n", "it is not a SQLite database"),
        (b"my notes\n" * 2000, "it is not a SQLite database"),
        (None, "no database"),
    ],
)
def test_what_is_no_database_is_never_touched(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "swarm.db"
    if content is not None:
        path.write_bytes(content)
    before = files(tmp_path)
    for look in (check_database, repair_database):
        with pytest.raises(StorageError, match=reason) as caught:
            look(path)
        assert str(path) in str(caught.value)
    assert files(tmp_path) == before


@pytest.mark.parametrize("damaged", [False, True])
def test_a_newer_file_is_refused(path: Path, damaged: bool) -> None:
    execute(
        path,
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) "
        "VALUES ('swarm_graph', 'later', '')",
    )
    if damaged:
        overwrite(path, leaves(path, "calls")[1])
    before = files(path.parent)
    with pytest.raises(StorageError, match=f"'{path}': a newer swarm_graph wrote it .it has later"):
        repair_database(path)
    assert files(path.parent) == before


# --- repairing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["checkpoints", "channel_values", "calls", "tasks"])
def test_rows_around_damaged_pages_are_kept(path: Path, table: str) -> None:
    before, rows = states(path), counts(path)
    pages = leaves(path, table)
    overwrite(path, *{pages[len(pages) // 3], pages[-1]})
    damaged = path.read_bytes()
    [problem] = check_database(path).problems
    assert problem.text.startswith(f"'{path}' is damaged: ")
    done = repair_database(path)
    assert done.rebuilt
    assert not [problem for problem in check_database(path).problems if problem.serious]
    assert done.original is not None
    assert done.original.read_bytes()[PAGE:] == damaged[PAGE:]
    assert sorted(done.lost_rows) == [table]
    assert done.kept_rows[table] + (done.lost_rows[table] or 0) == rows[table]
    assert {name: count for name, count in done.kept_rows.items() if name != table}.items() <= rows.items()
    after = states(path)
    assert len(after) >= 3
    untouched = {*after} - {
        *done.rolled_back,
        "s5",
    }  # of one that has not ended nobody can say how far it was
    assert {name: after[name] for name in untouched} == {name: before[name] for name in untouched}
    for name in NAMES:
        swarm = coordinator(path.parent, Crew())
        assert swarm.resume(name)["phase"] == "complete"
    assert check_database(path).problems == []


@pytest.mark.parametrize("index", ["sqlite_autoindex_checkpoints_1", "sqlite_autoindex_sessions_1"])
@pytest.mark.parametrize("way", ["forgetful", "unreadable"])
def test_a_damaged_index_costs_no_row(path: Path, index: str, way: str) -> None:
    before, rows = states(path), counts(path)
    page = leaves(path, index)[-1]
    if way == "forgetful":
        overwrite(path, page, offset=3, data=b"\0\0")  # a leaf without cells
    else:
        overwrite(path, page)
    done = repair_database(path)
    assert done.rebuilt == (way == "unreadable")
    assert (done.lost_rows, done.lost_sessions, done.rolled_back) == ({}, [], [])
    assert (states(path), counts(path)) == (before, rows)
    assert check_database(path).problems == []


def test_a_torn_file_is_saved_up_to_the_tear(path: Path) -> None:
    before = states(path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size * 4 // 5)
    assert check_database(path).problems[0].text.startswith(f"'{path}' is damaged: ")
    done = repair_database(path)
    after = states(path)
    whole = ("s0", "s1", "s2")
    assert {name: after[name] for name in whole} == {name: before[name] for name in whole}
    assert not [problem for problem in check_database(path).problems if problem.serious]
    for name in done.sessions:
        assert coordinator(path.parent, Crew()).resume(name)["phase"] == "complete"


def test_a_file_of_which_nothing_is_left_is_not_replaced(path: Path) -> None:
    overwrite(path, *range(2, path.stat().st_size // PAGE + 1))
    before = files(path.parent)
    with pytest.raises(StorageError, match=r"nothing in .* can be read; it is unchanged; move it away"):
        repair_database(path)
    assert files(path.parent) == before


def test_a_checkpoint_that_cannot_be_decoded_gives_way_to_the_one_before(path: Path) -> None:
    before = states(path)
    execute(
        path,
        "UPDATE checkpoints SET checkpoint = x'c1c1' WHERE thread_id = 's5' AND checkpoint_id = "
        "(SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = 's5')",
    )
    [problem] = check_database(path).problems
    assert problem.text.startswith("the last checkpoint of session 's5' cannot be read: ")
    assert (problem.cure, problem.serious) == (REPAIR, True)
    done = repair_database(path)
    assert (done.rebuilt, done.rolled_back, done.lost_rows) == (False, ["s5"], {})
    after = states(path)
    assert {name: after[name] for name in NAMES[:-1]} == {name: before[name] for name in NAMES[:-1]}
    crew = Crew()
    assert coordinator(path.parent, crew).resume("s5")["phase"] == "complete"
    assert "clarifier" not in crew.asked


def test_a_lost_value_of_the_state_is_noticed(path: Path) -> None:
    code = "channel_values WHERE thread_id = 's1' AND channel = 'code'"
    execute(path, f"DELETE FROM {code} AND version = (SELECT max(version) FROM {code})")
    [problem] = check_database(path).problems
    assert problem.text == "the last checkpoint of session 's1' cannot be read: it lacks code"
    assert repair_database(path).rolled_back == ["s1"]
    with open_checkpointer(path) as saver:
        assert [known.session for known in saver.catalogue.unfinished()] == ["s5", "s1"]
    crew = Crew()
    assert coordinator(path.parent, crew).resume("s1")["phase"] == "complete"
    assert crew.asked[0] == "coder"


def test_a_damaged_text_costs_its_row_only(path: Path) -> None:
    rows = counts(path)
    execute(
        path, "UPDATE artifacts SET path = CAST(x'ff' AS TEXT) WHERE session = 's1' AND path = 'notes.md'"
    )
    assert "Could not decode to UTF-8" in check_database(path).problems[0].text
    assert repair_database(path).lost_rows == {"artifacts": 1}
    assert counts(path) == {**rows, "artifacts": rows["artifacts"] - 1}
    assert check_database(path).problems == []


def test_a_damaged_configuration_is_emptied(path: Path) -> None:
    before = states(path)
    execute(path, "UPDATE sessions SET config = '{\x01' WHERE session = 's1'", "UPDATE runs SET input = '['")
    assert [problem.text for problem in check_database(path).problems] == [
        "1 rows of sessions have a damaged config",
        "6 rows of runs have a damaged input",
    ]
    repair_database(path)
    assert check_database(path).problems == []
    assert states(path) == before


def test_leftovers_go_and_sessions_without_checkpoints_are_named(path: Path) -> None:
    before = states(path)
    execute(path, "DELETE FROM checkpoints WHERE thread_id IN ('s1', 's5')", "DELETE FROM runs WHERE id = 2")
    problems = check_database(path).problems
    assert [problem.text for problem in problems if problem.cure == REPAIR] == [
        f"{count} rows of {table} belong to no session" for table, count in leftovers(path).items()
    ]
    lost = "`swarm-graph sessions show s1` shows what is left of it"
    assert [(p.text, p.cure) for p in problems if p.cure != REPAIR] == [
        ("session 's1' (complete) has no checkpoint", lost)
    ]
    expected = sum(leftovers(path).values())
    assert repair_database(path).orphan_rows == expected > 0
    assert states(path) == {name: before[name] for name in ("s0", "s2", "s3", "s4")}
    assert [problem.cure for problem in check_database(path).problems] == [lost]
    assert repair_database(path).original is None  # it can do no more


def leftovers(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as connection:
        found = {
            table: connection.execute(
                f"SELECT count(*) FROM {table} WHERE thread_id IN ('s1', 's5')"
            ).fetchone()[0]
            for table in ("writes", "channel_values")
        }
    return {table: count for table, count in found.items() if count}


def test_other_graphs_sessions_are_kept(path: Path) -> None:
    with open_checkpointer(path) as saver:
        graph = build_graph("standard", config=config(), checkpointer=saver)
        graph.invoke({"request": "Build it"}, thread("own"), context=Crew({"reviewer": REFUSED}).context)
        state = graph.get_state(thread("own")).values
    overwrite(path, leaves(path, "calls")[0])
    assert "own" in repair_database(path).sessions
    with open_checkpointer(path) as saver:
        again = build_graph("standard", config=config(), checkpointer=saver)
        assert again.get_state(thread("own")).values == state


def test_no_repair_while_a_session_is_at_work(path: Path) -> None:
    overwrite(path, leaves(path, "sessions")[0])
    before = files(path.parent)
    with (
        open_checkpointer(path) as saver,
        lock_session(saver.catalogue, "any one"),
        pytest.raises(SessionInUse, match="session 'any one' is in use; wait for it to end"),
    ):
        repair_database(path)
    assert files(path.parent) == before


# --- the command ---------------------------------------------------------------------------------


def said(path: Path, *options: str) -> tuple[int, list[str]]:
    result = CliRunner().invoke(doctor, ["--database", "--data-dir", str(path.parent), *options])
    return result.exit_code, result.output.splitlines()


def test_the_command_says_what_is_wrong_and_what_was_saved(path: Path) -> None:
    assert said(path) == (
        0,
        [f"ok    database: '{path}' is sound, sessions: 6", "no check failed"],
    )
    overwrite(path, leaves(path, "calls")[1])
    code, lines = said(path)
    assert (code, lines[-1]) == (1, "1 of 1 checks failed")
    assert lines[0].startswith(f"FAIL  database: '{path}' is damaged: ")
    assert lines[0].endswith(f" → {REPAIR}")
    code, lines = said(path, "--repair")
    assert code == 0
    assert lines[0].startswith(
        f"ok    repair: rebuilt from the rows that can be read; the original is kept as '{path}.d"
    )
    assert lines[1].startswith("warn  repair: calls: kept ")
    assert lines[2:-1] == said(path)[1][:-1]


@pytest.mark.parametrize("options", [[], ["--repair"]])
def test_a_missing_database_is_a_failed_check(tmp_path: Path, options: list[str]) -> None:
    code, lines = said(tmp_path / "swarm.db", "--json", *options)
    [check] = json.loads("\n".join(lines))
    assert (code, check["ok"], check["text"]) == (1, False, f"no database '{tmp_path / 'swarm.db'}'")
    assert "--data-dir" in check["cure"]
    assert list(tmp_path.iterdir()) == []


def test_repair_needs_database() -> None:
    with pytest.raises(InputError, match="--repair needs --database"):
        CliRunner().invoke(doctor, ["--repair"], catch_exceptions=False)


def test_the_program_asks_for_no_config(path: Path) -> None:
    (path.parent / "config.json").write_text("{")
    ended = warm.run("doctor", "--database", "--data-dir", ".", cwd=path.parent, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("ok    database: 'swarm.db' is sound, sessions: 6\n")
