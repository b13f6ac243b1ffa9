"""Keeping a database small: what a cleanup removes, what it compacts, and what it never touches."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner, Result
from storages import ON_BOTH, opened, selected
from support import APPROVED, REFUSED, Crew, config, thread

from swarm_graph import SwarmCoordinator
from swarm_graph.checkpoints.catalogue import TABLES
from swarm_graph.checkpoints.retention import clean_up
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.cli.main import swarm_graph
from swarm_graph.cli.sessions import seconds
from swarm_graph.errors import InputError
from swarm_graph.models.invented import Ask
from swarm_graph.sessions.history import Moment, moments
from swarm_graph.sessions.ids import find_session
from swarm_graph.workflows.build import build_graph

DAY = 86400
LANGGRAPH_TABLES = ("checkpoints", "writes", "channel_values")
WORD = "A long line of a design that is in every checkpoint. "


def in_two_rounds(ask: Ask) -> str:
    return APPROVED if ask.iteration == 2 else REFUSED


def coordinator(folder: Path, crew: Crew, **sections: Any) -> SwarmCoordinator:
    return SwarmCoordinator(
        config(**sections), data_dir=folder, output_dir=folder / "out", context=crew.context
    )


def ended(folder: Path, session: str, days: float = 0) -> None:
    """A session that was approved in its second round, some days ago."""
    crew = Crew({"reviewer": in_two_rounds, "architect": WORD * 200})
    assert coordinator(folder, crew).run_workflow("Build it", session_id=session)["phase"] == "complete"
    aged(folder, session, days)


def failed(folder: Path, session: str, days: float = 0) -> None:
    """A session with a failed reviewer."""
    crew = Crew({"review_style": ValueError("broken")})
    assert coordinator(folder, crew).run_workflow("Build it", session_id=session)["phase"] == "failed"
    aged(folder, session, days)


def paused(folder: Path, session: str, days: float = 0) -> SwarmCoordinator:
    swarm = coordinator(folder, Crew(), workflow={"pause_before": ["coder"]})
    assert swarm.run_workflow("Build it", session_id=session)["phase"] == "paused"
    aged(folder, session, days)
    return swarm


def aged(folder: Path, session: str, days: float) -> None:
    then = time.time() - days * DAY
    selected(folder, "UPDATE sessions SET updated_at = ? WHERE session = ?", (then, session))


def cli(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(swarm_graph, ["sessions", *arguments, "--data-dir", str(folder)])


def cleanup(folder: Path, *arguments: str) -> dict[str, Any]:
    done = cli(folder, "cleanup", *arguments, "--json")
    assert done.exception is None, done.exception
    return cast("dict[str, Any]", json.loads(done.stdout))


def names(folder: Path) -> set[str]:
    return {row["session"] for row in json.loads(cli(folder, "list", "--json").stdout)}


def kept(folder: Path, session: str) -> dict[str, list[Any]]:
    """Every row of a session, byte for byte, in any order."""
    with opened(folder) as saver, saver.transaction() as cursor:
        found = {
            table: cursor.execute(f"SELECT * FROM {table} WHERE {key} = ?", (session,)).fetchall()
            for key, tables in (("session", TABLES), ("thread_id", LANGGRAPH_TABLES))
            for table in tables
        }
    return {table: rows for table, rows in found.items() if rows}


def past(folder: Path, session: str) -> list[Moment]:
    known = find_session(folder, session)
    with opened(folder) as saver:
        return moments(saver, known)


# --- what is removed -----------------------------------------------------------------------------


def test_without_an_age_nothing_is_removed(tmp_path: Path) -> None:
    ended(tmp_path, "old", days=9999)
    done = cleanup(tmp_path, "--keep", "0", "--unfinished")
    assert (done["removed"], done["compacted"]) == ([], ["old"])
    assert names(tmp_path) == {"old"}


def test_ended_sessions_older_than_an_age_are_removed(tmp_path: Path) -> None:
    for name, days in {"a": 31, "b": 29.9, "c": 30.1}.items():
        ended(tmp_path, name, days)
    done = cleanup(tmp_path, "--older-than", "30d", "--keep", "0")
    assert (done["removed"], done["compacted"], done["at_work"]) == (["c", "a"], ["b"], [])
    assert names(tmp_path) == {"b"}


@ON_BOTH
def test_a_removed_session_leaves_no_row_and_all_its_files(tmp_path: Path) -> None:
    ended(tmp_path, "old", days=9)
    ended(tmp_path, "new")
    cleanup(tmp_path, "--history", "all")  # what the second cleanup would do to `new` is done
    other = kept(tmp_path, "new")
    assert cleanup(tmp_path, "--older-than", "1w", "--keep", "0")["removed"] == ["old"]
    assert kept(tmp_path, "old") == {}
    assert kept(tmp_path, "new") == other
    assert (tmp_path / "out/old/project/src/a.py").read_text() == "x = 2\n"


def test_a_removed_session_s_name_can_be_used_anew(tmp_path: Path) -> None:
    ended(tmp_path, "s", days=9)
    cleanup(tmp_path, "--older-than", "1d", "--keep", "0")
    crew = Crew()
    state = coordinator(tmp_path, crew).run_workflow("Another", session_id="s")
    assert (state["request"], len(crew.asks)) == ("Another", 6)
    assert "Build it" not in crew.prompts("clarifier")[0]


def test_the_newest_stay_whatever_their_age(tmp_path: Path) -> None:
    for days in range(1, 13):
        coordinator(tmp_path, Crew()).run_workflow("x", "review_only", session_id=f"d{days}")
        aged(tmp_path, f"d{days}", days)
    assert cleanup(tmp_path, "--older-than", "1h")["removed"] == ["d11", "d12"]
    assert cleanup(tmp_path, "--older-than", "1h", "--keep", "8")["removed"] == ["d9", "d10"]
    assert names(tmp_path) == {f"d{days}" for days in range(1, 9)}


def test_unfinished_sessions_stay_unless_they_are_named(tmp_path: Path) -> None:
    failed(tmp_path, "f", days=40)
    paused(tmp_path, "p", days=41)
    ended(tmp_path, "e", days=42)
    done = cleanup(tmp_path, "--older-than", "30d", "--keep", "0")
    assert (done["removed"], done["compacted"]) == (["e"], [])
    done = cleanup(tmp_path, "--older-than", "30d", "--keep", "0", "--unfinished")
    assert done["removed"] == ["f", "p"]
    assert names(tmp_path) == set()


def test_a_dry_run_says_the_same_and_does_nothing(tmp_path: Path) -> None:
    ended(tmp_path, "old", days=9)
    failed(tmp_path, "f", days=9)
    ended(tmp_path, "new")
    arguments = ["--older-than", "1d", "--keep", "0", "--history", "last"]
    before = {name: kept(tmp_path, name) for name in ("old", "f", "new")}
    length = (tmp_path / "swarm.db").stat().st_size
    dry = cleanup(tmp_path, *arguments, "--dry-run")
    assert {name: kept(tmp_path, name) for name in before} == before
    assert (tmp_path / "swarm.db").stat().st_size == length
    assert dry["bytes_after"] == dry["bytes_before"]
    done = cleanup(tmp_path, *arguments)
    for key in ("removed", "compacted", "at_work"):
        assert dry[key] == done[key]
    assert done["removed"] == ["old"]


def test_a_cleanup_says_in_words_what_it_did(tmp_path: Path) -> None:
    ended(tmp_path, "old", days=9)
    ended(tmp_path, "new")
    arguments = ["cleanup", "--older-than", "1d", "--keep", "0"]
    would = cli(tmp_path, *arguments, "--dry-run").stdout.splitlines()
    assert would[:2] == ["would be removed: old", "would be compacted: 1"]
    assert " before" not in would[2]
    done = cli(tmp_path, *arguments).stdout.splitlines()
    assert done[:2] == ["removed: old", "compacted: 1"]
    assert done[2].startswith("database: ")
    assert cli(tmp_path, *arguments).stdout.splitlines()[0] == "removed: none"


@ON_BOTH
def test_sessions_of_the_graph_itself_are_listed_and_cleaned(tmp_path: Path) -> None:
    crew = Crew()
    with opened(tmp_path) as saver:
        graph = build_graph("standard", config=config(), checkpointer=saver)
        for name in ("a/b", "other"):
            graph.invoke({"request": "Build it"}, thread(name), context=crew.context)
    assert names(tmp_path) == {"a/b", "other"}
    aged(tmp_path, "a/b", days=9)
    done = cleanup(tmp_path, "--older-than", "1d", "--keep", "0")
    assert (done["removed"], done["compacted"]) == (["a/b"], ["other"])
    assert kept(tmp_path, "a/b") == {}
    with opened(tmp_path) as saver:
        graph = build_graph("standard", config=config(), checkpointer=saver)
        assert graph.get_state(thread("a/b")).values == {}
        with pytest.raises(InputError, match="no session 'a/b' to resume"):
            graph.invoke(None, thread("a/b"))


@ON_BOTH
def test_sessions_at_work_are_left_alone(tmp_path: Path) -> None:
    ended(tmp_path, "old", days=9)
    ended(tmp_path, "busy", days=9)
    with opened(tmp_path) as saver:
        graph = build_graph("standard", config=config(), checkpointer=saver)
        parts: Any = graph.stream({"request": "More"}, thread("busy"), context=Crew().context)
        with closing(parts):
            next(parts)
            aged(tmp_path, "busy", days=9)
            arguments = ["--older-than", "1d", "--keep", "0", "--unfinished", "--history", "last"]
            done = cleanup(tmp_path, *arguments)
            assert (done["removed"], done["compacted"], done["at_work"]) == (["old"], [], ["busy"])
            assert "left alone, still running: busy" in cli(tmp_path, "cleanup").stdout
            for _ in parts:
                pass
        state = graph.get_state(thread("busy")).values
    assert (state["request"], state["phase"]) == ("More", "complete")
    assert [len(moment.next) for moment in past(tmp_path, "busy")].count(0) == 2
    assert not list(tmp_path.glob("*.lock"))


# --- what is compacted ---------------------------------------------------------------------------


@ON_BOTH
def test_a_compacted_session_can_be_looked_back_at_resumed_and_followed_up(tmp_path: Path) -> None:
    ended(tmp_path, "s")
    looks = [["list"], ["show", "s"], ["history", "s"], ["show", "s", "--at", "coder:1"]]
    before = [cli(tmp_path, *look).stdout for look in looks]
    found = past(tmp_path, "s")
    cleanup(tmp_path)
    assert [cli(tmp_path, *look).stdout for look in looks] == before
    assert past(tmp_path, "s") == found
    assert len(found) == 9
    assert "writes" not in kept(tmp_path, "s")
    crew = Crew()
    assert coordinator(tmp_path, crew).resume("s") == found[-1].state
    assert crew.asks == []
    state = coordinator(tmp_path, crew).run_workflow("More", session_id="s", follow_up=True)
    assert (state["request"], state["iteration"], len(crew.asks)) == ("More", 1, 6)
    assert "x = 2" in crew.prompts("coder")[0]


@ON_BOTH
def test_a_compacted_session_can_be_forked(tmp_path: Path) -> None:
    ended(tmp_path, "s")
    cleanup(tmp_path)
    assert cli(tmp_path, "fork", "s", "--from", "coder:1", "--session", "f", "--no-run").exception is None
    crew = Crew()
    assert coordinator(tmp_path, crew).resume("f")["phase"] == "complete"
    assert len(crew.asks) == 4


@ON_BOTH
def test_with_the_last_checkpoint_alone_it_can_be_shown_and_followed_up(tmp_path: Path) -> None:
    ended(tmp_path, "s")
    shown, last = cli(tmp_path, "show", "s").stdout, past(tmp_path, "s")[-1]
    cleanup(tmp_path, "--history", "last")
    assert cli(tmp_path, "show", "s").stdout == shown
    (only,) = past(tmp_path, "s")
    assert (only.checkpoint, only.state, only.next) == (last.checkpoint, last.state, ())
    rows = kept(tmp_path, "s")
    assert len(rows["checkpoints"]) == 1
    assert len({row[2] for row in rows["channel_values"]}) == len(rows["channel_values"])
    assert "no checkpoint 'coder'" in str(cli(tmp_path, "show", "s", "--at", "coder").exception)
    crew = Crew()
    assert coordinator(tmp_path, crew).resume("s") == last.state
    state = coordinator(tmp_path, crew).run_workflow("More", session_id="s", follow_up=True)
    assert (state["request"], state["phase"], len(crew.asks)) == ("More", "complete", 6)
    assert "x = 2" in crew.prompts("coder")[0]
    assert WORD in crew.prompts("architect")[0]
    assert (tmp_path / "out/s/project/src/a.py").read_text() == "x = 1\n"


def test_a_session_that_did_not_converge_is_compacted_too(tmp_path: Path) -> None:
    crew = Crew({"reviewer": REFUSED})
    swarm = coordinator(tmp_path, crew, workflow={"max_iterations": 1})
    phase = swarm.run_workflow("Build it", session_id="s")["phase"]
    assert cleanup(tmp_path, "--history", "last")["compacted"] == ["s"]
    assert (past(tmp_path, "s")[0].state["phase"], len(past(tmp_path, "s"))) == (phase, 1)


@ON_BOTH
def test_unfinished_sessions_are_not_compacted(tmp_path: Path) -> None:
    failed(tmp_path, "f")
    waiting = paused(tmp_path, "p")
    before = kept(tmp_path, "f"), kept(tmp_path, "p")
    assert cleanup(tmp_path, "--history", "last")["compacted"] == []
    assert (kept(tmp_path, "f"), kept(tmp_path, "p")) == before
    crew = Crew()
    assert coordinator(tmp_path, crew).resume("f")["phase"] == "complete"
    assert crew.asked == ["review_style"]
    assert waiting.resume("p")["phase"] == "paused"
    assert waiting.resume("p", "approve")["phase"] == "complete"


def test_the_file_shrinks_with_every_deletion(tmp_path: Path) -> None:
    for number in range(4):
        ended(tmp_path, f"s{number}", days=9)
    path, sizes = tmp_path / "swarm.db", []
    for arguments in ([], ["--history", "last"], ["--older-than", "1d", "--keep", "0"]):
        done = cleanup(tmp_path, *arguments)
        assert done["bytes_after"] < done["bytes_before"]
        sizes.append(path.stat().st_size)
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA freelist_count").fetchone() == (0,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_compacting_again_changes_nothing(tmp_path: Path) -> None:
    ended(tmp_path, "s")
    for history in ("all", "last"):
        cleanup(tmp_path, "--history", history)
        rows = kept(tmp_path, "s")
        assert cleanup(tmp_path, "--history", history)["compacted"] == ["s"]
        assert kept(tmp_path, "s") == rows


def test_a_session_whose_checkpoints_langgraph_deleted_does_not_stop_a_cleanup(tmp_path: Path) -> None:
    ended(tmp_path, "s")
    ended(tmp_path, "t", days=9)
    with opened(tmp_path) as saver:
        saver.delete_thread("s")
        saver.delete_thread("t")
        done = clean_up(saver, older_than_s=DAY, keep=0, history="last")
    assert (done.removed, done.compacted) == (["t"], ["s"])


def test_a_database_in_memory_can_be_cleaned() -> None:
    with open_checkpointer(":memory:") as saver:
        graph = build_graph("standard", config=config(), checkpointer=saver)
        graph.invoke({"request": "Build it"}, thread("s"), context=Crew().context)
        done = clean_up(saver, older_than_s=None, keep=0, history="last")
        assert done.compacted == ["s"]
        assert saver.database.size() == done.bytes_after == 0
        assert len(list(saver.list(thread("s")))) == 1
        assert clean_up(saver, older_than_s=-1, keep=0).removed == ["s"]


# --- wrong input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        ("90s", 90),
        ("5m", 300),
        ("12h", 43200),
        ("30d", 30 * DAY),
        ("8w", 56 * DAY),
        ("0.5h", 1800),
        ("0s", 0),
    ],
)
def test_ages(age: str, expected: float) -> None:
    assert seconds(age) == expected
    assert seconds(f" {age} ") == expected


@pytest.mark.parametrize("age", ["30", "d", "x", "-1d", "1y", "1e3d", "nan", "1d2h", "30D", "1,5d", " ", ""])
def test_an_age_that_cannot_be_read_is_refused_in_one_line(age: str, tmp_path: Path) -> None:
    ended(tmp_path, "s", days=9)
    rows = kept(tmp_path, "s")
    refused = cli(tmp_path, "cleanup", "--keep", "0", "--older-than", age).exception
    assert isinstance(refused, InputError)
    expected = f"the age '{age}' cannot be read; expected a number with s, m, h, d or w, as in 30d"
    assert str(refused) == expected
    assert kept(tmp_path, "s") == rows


@pytest.mark.parametrize("arguments", [["--keep", "-1"], ["--keep", "x"], ["--history", "none"]])
def test_other_options_that_cannot_be_read_are_refused(arguments: list[str], tmp_path: Path) -> None:
    ended(tmp_path, "s", days=9)
    rows = kept(tmp_path, "s")
    done = cli(tmp_path, "cleanup", "--older-than", "1d", *arguments)
    assert done.exit_code == 2
    assert "Invalid value for" in done.stderr
    assert kept(tmp_path, "s") == rows


def test_a_folder_without_sessions_is_not_cleaned(tmp_path: Path) -> None:
    refused = cli(tmp_path, "cleanup").exception
    assert isinstance(refused, InputError)
    assert str(refused).startswith("no sessions in ")
    assert not list(tmp_path.iterdir())
