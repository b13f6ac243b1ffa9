"""Faults of the disk: one clear line, and what was finished is there when the disk is well again."""

from __future__ import annotations

import asyncio
import re
import resource
import shutil
import subprocess
from pathlib import Path

import pytest
import warm
from support import Crew, config, thread

from swarm_graph import SwarmCoordinator, build_graph, open_checkpointer
from swarm_graph.errors import StorageError
from swarm_graph.models.invented import Ask
from swarm_graph.state import SwarmState

RUN = ["run", "Create a queue", "--simulate", "--workflow", "full", "--session", "s"]


def swarm(*arguments: str, cwd: Path, largest_file: int | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the command; `largest_file`: the bytes at which the system refuses to let a file grow."""
    if largest_file is None:
        return warm.run(*arguments, cwd=cwd, text=True)
    limits = (largest_file, largest_file)
    return subprocess.run(
        [warm.PROGRAM, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits),
    )


@pytest.mark.slow
@pytest.mark.parametrize("largest_file", [40_000, 250_000])
def test_a_file_that_may_not_grow_is_one_line_and_the_rest_is_kept(largest_file: int, tmp_path: Path) -> None:
    failed = swarm(*RUN, cwd=tmp_path, largest_file=largest_file)
    assert failed.returncode == 1
    assert failed.stderr.startswith("swarm-graph: cannot use the database")
    assert failed.stderr.count("\n") == 1
    if "s" in swarm("sessions", "list", cwd=tmp_path).stdout.split():
        done = swarm("resume", "s", cwd=tmp_path)
    else:
        done = swarm(*RUN, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "(full): approved" in done.stdout


@pytest.mark.slow
def test_documents_added_before_the_disk_was_full_are_kept_and_counted(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"d{number:02}.md").write_text(f"Pump P-{number} draws vapour. " * 300)
    failed = swarm("memory", "add", "d*.md", cwd=tmp_path, largest_file=500_000)
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1
    (added,) = re.findall(r"; before that (\d+) added; the same command goes on\n$", failed.stderr)
    done = swarm("memory", "add", "d*.md", cwd=tmp_path)
    assert done.stdout.endswith(f"{added} unchanged, {12 - int(added)} added\n")


@pytest.mark.parametrize("in_loop", [False, True])
def test_a_full_database_loses_no_answer(in_loop: bool, tmp_path: Path) -> None:
    """The limit of pages is SQLite's own way to say that there is no room."""
    crew = Crew()
    with open_checkpointer(tmp_path / "swarm.db") as saver:
        graph = build_graph("full", config=config(), checkpointer=saver)
        given: SwarmState | None = {"request": "Create a queue"}
        failures = 0
        for room in range(2, 100, 3):
            saver.conn.execute(f"PRAGMA max_page_count = {room + 20}")
            before = len(saver.catalogue.calls("t"))
            asked = len(crew.asked)
            try:
                if in_loop:
                    state = asyncio.run(graph.ainvoke(given, thread(), context=crew.context))
                else:
                    state = graph.invoke(given, thread(), context=crew.context)
                break
            except StorageError as error:
                failures += 1
                told = str(error)
            given = None if saver.catalogue.get("t") else given
            kept = len(saver.catalogue.calls("t")) - before
            assert "the disk is full; free some space and resume" in told
            assert len(crew.asked) - asked - kept <= 3, "more was lost than the branches at work"
        assert state["phase"] == "complete"
        assert failures
        assert len(saver.catalogue.calls("t")) == 8


def test_an_output_folder_that_vanishes_is_made_again(tmp_path: Path) -> None:
    crew = Crew()
    swarm = SwarmCoordinator(
        config(), data_dir=tmp_path / ".swarm", output=tmp_path / "out", context=crew.context
    )
    swarm.on_event = lambda happened: (
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        if (happened.kind, happened.node) == ("task_started", "reviewer")
        else None
    )
    swarm.run_workflow("Create a queue", "full")
    whole = {path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*") if path.is_file()}
    shutil.rmtree(tmp_path / "out")
    swarm.on_event = None
    swarm.resume(swarm.session_id)
    again = {path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert whole == again
    assert Path("project/src/a.py") in whole


def test_a_file_in_the_way_of_a_folder_is_one_line_and_the_run_can_be_resumed(tmp_path: Path) -> None:
    def in_the_way(_: Ask) -> str:
        (tmp_path / "out" / "project").write_text("not a folder")
        return "The design."

    crew = Crew({"architect": in_the_way})
    swarm = SwarmCoordinator(
        config(), data_dir=tmp_path / ".swarm", output=tmp_path / "out", context=crew.context
    )
    with pytest.raises(
        StorageError, match=r"cannot write '.*project/src/a.py'.*finished work is in the database"
    ):
        swarm.run_workflow("Create a queue", "standard", session_id="s")
    (tmp_path / "out" / "project").unlink()
    asked = len(crew.asked)
    assert swarm.resume("s")["phase"] == "complete"
    assert "coder" not in crew.asked[asked:]
    assert (tmp_path / "out" / "project" / "src" / "a.py").is_file()
