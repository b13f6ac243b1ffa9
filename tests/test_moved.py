"""Projects that were moved or copied, and prompts, inputs and task files that were edited."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import sqlite_utils
import warm
from support import SIMULATED, Crew, config, thread, write_config
from terminal import Terminal
from test_cli import swarm

from swarm_graph.checkpoints.places import Places
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.errors import InputError, ModelError
from swarm_graph.models.invented import Ask
from swarm_graph.sessions.coordinator import SwarmCoordinator
from swarm_graph.workflows.build import build_graph

COUNT = 12
BATCH = ["batch", "docs/*.txt", "--prompt", "extract.md", "--session", "lao"]
LAST = f"lao_{COUNT}"


def project(folder: Path, **sections: Any) -> Path:
    """A project with documents, a prompt and a configuration. Its models take a moment for each answer."""
    slow = {**SIMULATED["model_config"]["single_model"], "slots": 1, "simulation": {"first_token_s": 0.2}}
    (folder / "docs").mkdir(parents=True)
    for number in range(1, COUNT + 1):
        (folder / "docs" / f"lao_{number}.txt").write_text(f"Procedure {number}")
    (folder / "extract.md").write_text("Extract the title.\n---\n$files")
    write_config(folder, model_config={"single_model": slow}, **sections)
    return folder


def killed(folder: Path, *arguments: str, session: str = "lao", finished: int = 3) -> set[str]:
    """Run a command and kill it by SIGKILL once some tasks have finished; returns their ids."""
    results = folder / "swarm-output" / session / "results"
    process = warm.Process(*arguments, cwd=folder, stdout=subprocess.DEVNULL)
    while len([*results.glob("*")]) < finished:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return done_tasks(folder, session)


def done_tasks(folder: Path, session: str = "lao") -> set[str]:
    account = json.loads(swarm("sessions", "show", session, "--json", cwd=folder).stdout)
    return {task["task_id"] for task in account["tasks"] if task["status"] == "COMPLETED"}


def asked(folder: Path, session: str = "lao") -> list[str]:
    """The tasks whose questions were answered by a model, in order."""
    query = "SELECT task FROM calls WHERE session = ? AND outcome = 'answered' ORDER BY rowid"
    with closing(sqlite3.connect(folder / ".swarm" / "swarm.db")) as database:
        return [task for (task,) in database.execute(query, [session])]


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in files}


def rows(folder: Path, session: str = "lao") -> list[dict[str, Any]]:
    text = (folder / "swarm-output" / session / "results.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


# --- a project that moved ------------------------------------------------------------------------


def renamed(old: Path, new: Path) -> None:
    new.parent.mkdir(parents=True, exist_ok=True)
    old.rename(new)


def copied(old: Path, new: Path) -> None:
    shutil.copytree(old, new)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "to"), [(renamed, "other"), (copied, "deeper/below/plant"), (renamed, "plant/inside")]
)
def test_a_killed_batch_goes_on_where_its_project_is_now(how: Any, to: str, tmp_path: Path) -> None:
    old, new = project(tmp_path / "plant"), tmp_path / to
    if to == "plant/inside":
        old = project(tmp_path / "before" / "plant")
    kept = killed(old, *BATCH)
    assert kept
    before = asked(old)
    how(old, new)
    original = digests(old) if old.exists() else None
    done = swarm("resume", cwd=new)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    assert not kept & set(asked(new)[len(before) :])
    assert [row["files"] for row in rows(new)] == [
        str(new / "docs" / f"lao_{number}.txt") for number in range(1, COUNT + 1)
    ]
    assert len([*(new / "swarm-output/lao/results").glob("*.md")]) == COUNT
    assert original == (digests(old) if old.exists() else None)
    listed = json.loads(swarm("sessions", "show", "lao", "--json", cwd=new).stdout)
    assert listed["output"] == str(new / "swarm-output" / "lao")


@pytest.mark.slow
def test_a_project_moves_twice_and_is_followed_up(tmp_path: Path) -> None:
    first = project(tmp_path / "a")
    killed(first, *BATCH)
    renamed(first, tmp_path / "b" / "c")
    killed(tmp_path / "b" / "c", "resume", "lao", finished=6)
    renamed(tmp_path / "b" / "c", tmp_path / "d")
    assert swarm("resume", "lao", cwd=tmp_path / "d").returncode == 0
    assert len(asked(tmp_path / "d")) <= COUNT + 2  # a question in flight at each kill
    (tmp_path / "d" / "tasks.yaml").write_text(
        "- {task_id: more, assigned_role: documenter, prompt: extract.md, files: [docs/lao_1.txt]}"
    )
    more = swarm("run", "--tasks", "tasks.yaml", "--session", "lao", "--follow-up", cwd=tmp_path / "d")
    assert more.returncode == 0, more.stderr
    renamed(tmp_path / "d", tmp_path / "e")
    assert swarm("resume", "lao", cwd=tmp_path / "e").returncode == 0
    assert rows(tmp_path / "e")[0]["files"] == str(tmp_path / "e" / "docs" / "lao_1.txt")
    assert {path.name for path in tmp_path.iterdir()} == {"b", "e"}


def test_the_files_of_a_moved_session_are_its_own(tmp_path: Path) -> None:
    crew = Crew({"coder": "```python path=src/gone.py\nx = 1\n```"})
    old, new = tmp_path / "old", tmp_path / "new"
    coordinator = SwarmCoordinator(config(), data_dir=old / "data", output=old / "out", context=crew.context)
    coordinator.run_workflow("Build it", session_id="s")
    renamed(old, new)
    crew.script["coder"] = "```python path=src/kept.py\nx = 1\n```\n\ndelete: src/gone.py"
    moved = SwarmCoordinator(config(), data_dir=new / "data", output=new / "out", context=crew.context)
    moved.run_workflow("Rename it", session_id="s", follow_up=True)
    assert (new / "out" / "project" / "src" / "kept.py").is_file()
    assert not old.exists()


def test_prompts_of_a_moved_project_are_found_without_its_config_file(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    (old / "prompts").mkdir(parents=True)
    (old / "prompts" / "coder.md").write_text("You are the plant's own coder.")
    write_config(old, prompts_dir="prompts", workflow={"pause_before": ["coder"], "max_iterations": 1})
    assert swarm("run", "Build it", "--session", "s", cwd=old).returncode == 3
    (old / "config.json").unlink()
    renamed(old, new)
    done = swarm("resume", "s", "--approve", "--json", cwd=new)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    assert (new / "swarm-output" / "s" / "notes.md").is_file()


def test_a_fork_of_a_moved_session_moves_again(tmp_path: Path) -> None:
    old, new = project(tmp_path / "old"), tmp_path / "new"
    assert swarm(*BATCH, cwd=old).returncode == 0
    renamed(old, new)
    forked = swarm("sessions", "fork", "lao", "--from", "tasks", "--session", "f", "--no-run", cwd=new)
    assert forked.returncode == 0, forked.stderr
    renamed(new, tmp_path / "newest")
    done = swarm("resume", "f", cwd=tmp_path / "newest")
    assert done.returncode == 0, done.stderr
    assert len(rows(tmp_path / "newest", "f")) == COUNT


def test_a_graph_of_a_moved_database_finds_its_files(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    (old / "a.txt").write_text("The pump")
    left = [1]

    def answer(_: Ask) -> str | Exception:
        return ValueError("broken") if left and left.pop() else "Done."

    crew = Crew({"a": answer})
    task = {"task_id": "a", "assigned_role": "documenter", "files": [str(old / "a.txt")]}
    given: Any = {"tasks": [task]}
    with open_checkpointer(old / "swarm.db") as saver, pytest.raises(ModelError):
        build_graph("custom", config=config(), checkpointer=saver).invoke(
            given, thread(), context=crew.context
        )
    renamed(old, new)
    with open_checkpointer(new / "swarm.db") as saver:
        graph = build_graph("custom", config=config(), checkpointer=saver)
        assert graph.invoke(None, thread(), context=crew.context)["phase"] == "complete"
    assert "The pump" in crew.prompts("a")[-1]


@pytest.mark.parametrize(
    ("then", "now", "recorded", "present"),
    [
        ("/p/.swarm", "/q/.swarm", "/p/docs/a", "/q/docs/a"),
        ("/p/.swarm", "/x/p/.swarm", "/p/docs/a", "/x/p/docs/a"),
        ("/p/state/db", "/q/state/db", "/p/docs/a", "/q/docs/a"),
        ("/p", "/q", "/p/docs/a", "/q/docs/a"),
        ("/p/.swarm", "/p/.swarm", "/p/docs/a", "/p/docs/a"),
        ("/p/.swarm", "/q/.swarm", "/share/a", "/share/a"),
        ("/p/.swarm", "/q/.swarm", "/pp/a", "/pp/a"),
        ("", "/q/.swarm", "/p/docs/a", "/p/docs/a"),
    ],
)
def test_where_a_recorded_path_lies_now(then: str, now: str, recorded: str, present: str) -> None:
    places = Places(then, now)
    assert places.present(recorded) == present
    assert places.recorded(present) == recorded


def test_what_was_not_moved_along_is_found_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "a" / "docs").mkdir(parents=True)
    places = Places(str(tmp_path / "a" / ".swarm"), str(tmp_path / "b" / ".swarm"))
    assert places.present(str(tmp_path / "a" / "docs")) == str(tmp_path / "a" / "docs")
    assert places.present(str(tmp_path / "a" / "out")) == str(tmp_path / "b" / "out")


def test_a_session_that_an_older_version_recorded_is_resumed(tmp_path: Path) -> None:
    folder = project(tmp_path / "plant")
    kept = killed(folder, *BATCH)
    database = sqlite_utils.Database(folder / ".swarm" / "swarm.db")
    database.table("sources").drop()
    database.table("_sqlite_migrations").delete_where("name = 'sources'")
    database.close()
    before = len(asked(folder))
    done = swarm("resume", "lao", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert not kept & set(asked(folder)[before:])


# --- inputs that lie elsewhere -------------------------------------------------------------------


def outside(tmp_path: Path) -> tuple[Path, Path]:
    """A batch that was killed, and its documents, which lie in subfolders of another folder."""
    folder, documents = project(tmp_path / "plant"), tmp_path / "archive"
    for number in range(1, COUNT + 1):
        (documents / str(number % 2)).mkdir(parents=True, exist_ok=True)
        name = f"lao_{number}.txt"
        (folder / "docs" / name).rename(documents / str(number % 2) / name)
    killed(folder, "batch", str(documents / "*" / "*.txt"), *BATCH[2:])
    return folder, documents


@pytest.mark.slow
@pytest.mark.parametrize("flat", [False, True])
def test_inputs_says_where_the_documents_lie_now(flat: bool, tmp_path: Path) -> None:
    folder, documents = outside(tmp_path)
    moved = tmp_path / "nas" / "scans"
    renamed(documents, moved)
    if flat:
        for path in [*moved.glob("*/*.txt")]:
            path.rename(moved / path.name)
    refused = swarm("resume", "lao", "--inputs", str(tmp_path / "nowhere"), cwd=folder)
    assert (refused.returncode, refused.stderr.count(b"\n")) == (2, 1)
    assert b"is not a folder; --inputs (in Python inputs) names the folder" in refused.stderr
    empty = tmp_path / "empty"
    empty.mkdir()
    lacking = swarm("resume", "lao", "--inputs", str(empty), cwd=folder)
    assert (lacking.returncode, lacking.stderr.count(b"\n")) == (2, 1)
    assert re.search(rb"lacks \d+ input files? of unfinished tasks: 'lao_", lacking.stderr)
    killed(folder, "resume", "lao", "--inputs", str(moved), finished=6)
    done = swarm("resume", "lao", cwd=folder)  # it is remembered
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    place = moved if flat else moved / "1"
    assert rows(folder)[-1]["files"] == str(place / "lao_11.txt")


# --- edited prompts ------------------------------------------------------------------------------


def test_an_edited_prompt_of_a_batch_is_a_decision(tmp_path: Path) -> None:
    folder = project(tmp_path / "plant")
    kept = killed(folder, *BATCH)
    (folder / "extract.md").write_text("Extract the title and the date.\n---\n$files")
    before = digests(folder / "swarm-output")
    refused = swarm("resume", "lao", cwd=folder)
    assert (refused.returncode, refused.stderr.count(b"\n")) == (2, 1)
    said = refused.stderr.decode()
    for part in (f"'{folder / 'extract.md'}'", f"{len(kept)} finished tasks", "--as-before", "--anew"):
        assert part in said
    assert digests(folder / "swarm-output") == before
    both = swarm("resume", "lao", "--as-before", "--anew", cwd=folder)
    assert b"are two answers; give one" in both.stderr
    assert asked(folder).count(LAST) == 0


@pytest.mark.parametrize("gone", [False, True])
def test_as_before_goes_on_with_the_recorded_prompt(gone: bool, tmp_path: Path) -> None:
    crew, folder = stopped_tasks(tmp_path)
    (folder / "extract.md").write_text("Now another one.\n---\n$files")
    if gone:
        (folder / "extract.md").unlink()
    with pytest.raises(InputError, match=r"extract\.md"):
        coordinator(folder, crew).resume("s")
    assert len(crew.asks) == 2
    state = coordinator(folder, crew).resume("s", as_before=True)
    assert state["phase"] == "complete"
    assert crew.asked == ["a", "b", "b", "c"]
    assert all("The first prompt" in ask.prompt for ask in crew.asks)


def test_anew_asks_again_what_depended_on_the_prompt(tmp_path: Path) -> None:
    crew, folder = stopped_tasks(tmp_path)
    (folder / "extract.md").write_text("The second prompt\n---\n$files")
    state = coordinator(folder, crew).resume("s", anew=True)
    assert state["phase"] == "complete"
    assert sorted(crew.asked[2:]) == ["a", "b", "c"]
    assert "The second prompt" in crew.prompts("a")[-1]
    assert "The second prompt" in crew.prompts("b")[-1]
    coordinator(folder, crew).resume("s")  # nothing is edited any more
    assert len(crew.asks) == 5


def coordinator(folder: Path, crew: Crew, **sections: Any) -> SwarmCoordinator:
    return SwarmCoordinator(
        config(**sections), data_dir=folder / "data", output_dir=folder / "out", context=crew.context
    )


def stopped_tasks(folder: Path) -> tuple[Crew, Path]:
    """A session with a finished task (a), a failed one (b), and one that has not started (c)."""
    (folder / "extract.md").write_text("The first prompt\n---\n$files")
    for name in "ab":
        (folder / f"{name}.txt").write_text(f"Document {name}")
    left = [1]

    def answer(_: Ask) -> str | Exception:
        return ValueError("broken") if left and left.pop() else "Done."

    crew = Crew({"a": "Done.", "b": answer, "c": "Done."})
    running = coordinator(folder, crew, workflow={"enable_parallel": False})
    for name in "ab":
        running.add_task(
            {
                "task_id": name,
                "assigned_role": "documenter",
                "prompt": str(folder / "extract.md"),
                "files": [str(folder / f"{name}.txt")],
            }
        )
    running.add_task(
        {"task_id": "c", "assigned_role": "documenter", "prompt": str(folder / "extract.md"),
         "dependencies": ["b"]}
    )  # fmt: skip
    assert running.run_workflow("", "custom", session_id="s")["phase"] == "failed"
    assert crew.asked == ["a", "b"]
    return crew, folder


def test_a_prompt_on_which_nothing_rests_is_used_as_it_is_now(tmp_path: Path) -> None:
    folder = project(tmp_path / "plant")
    (folder / "extract.md").write_text("Extract $nothing_of_this.\n---\n$files")
    script = folder / "script.md"
    script.write_text("")
    (folder / "extract.md").write_text("A typo\n---\n$files")
    dead = {"url": "http://127.0.0.1:9/v1", "model": "m", "retries": 0}
    write_config(folder, model_config={"single_model": dead})
    assert swarm(*BATCH, cwd=folder).returncode == 1
    (folder / "extract.md").write_text("No typo\n---\n$files")
    write_config(folder)
    done = swarm("resume", "lao", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert b"note: edited since the session began, and used as it is now: '" in done.stderr
    assert b"extract.md'" in done.stderr


def test_an_edited_prompt_of_a_role(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    own = tmp_path / "prompts" / "coder.md"
    own.write_text("You are the first coder.")
    left = [1]

    def answer(_: Ask) -> str | Exception:
        return ValueError("broken") if left and left.pop() else '{"findings": [], "approved": true}'

    crew = Crew({"review_style": answer})
    settings = {"prompts_dir": str(tmp_path / "prompts")}
    assert coordinator(tmp_path, crew, **settings).run_workflow("x", session_id="s")["phase"] == "failed"
    (tmp_path / "prompts" / "review_style.md").write_text("Look at the style.")
    own.write_text("You are the second coder.")
    with pytest.raises(InputError, match=r"coder.md.*--anew") as error:
        coordinator(tmp_path, crew, **settings).resume("s")
    assert "review_style.md" not in str(error.value)  # it has not answered yet
    asks = len(crew.asks)
    state = coordinator(tmp_path, crew, **settings).resume("s", anew=True)
    assert state["approved"]
    assert crew.asked[asks] == "coder"  # clarifier and architect have answered
    assert "You are the second coder." in crew.prompts("coder")[-1]
    assert state["iteration"] == 1
    assert len(state["reviews"]) == 3


def test_anew_in_a_follow_up_starts_from_what_was_there_before_it(tmp_path: Path) -> None:
    crew = Crew()
    (tmp_path / "prompts").mkdir()
    own = tmp_path / "prompts" / "coder.md"
    own.write_text("You are the first coder.")
    settings = {"prompts_dir": str(tmp_path / "prompts")}
    coordinator(tmp_path, crew, **settings).run_workflow("x", session_id="s")
    crew.script["coder"] = "```python path=src/a.py\nx = 'wrong'\n```"
    crew.script["review_style"] = ValueError("broken")
    coordinator(tmp_path, crew, **settings).run_workflow("More", session_id="s", follow_up=True)
    own.write_text("You are the second coder.")
    crew.script["coder"] = "```python path=src/a.py\nx = 'right'\n```"
    crew.script.pop("review_style")
    asks = len(crew.asks)
    state = coordinator(tmp_path, crew, **settings).resume("s", anew=True)
    assert crew.asked[asks] == "coder"
    assert "'wrong'" not in crew.prompts("coder")[-1]
    assert "x = 1" in crew.prompts("coder")[-1]
    assert state["code"] == {"src/a.py": "x = 'right'\n"}
    assert state["request"] == "More"


def test_as_before_holds_across_the_pauses_of_a_run(tmp_path: Path) -> None:
    crew = Crew()
    (tmp_path / "prompts").mkdir()
    own = tmp_path / "prompts" / "clarifier.md"
    own.write_text("You are the first clarifier.")
    settings = {
        "prompts_dir": str(tmp_path / "prompts"),
        "workflow": {"pause_before": ["architect", "coder"]},
    }
    coordinator(tmp_path, crew, **settings).run_workflow("x", session_id="s")
    own.write_text("You are the second clarifier.")
    again = coordinator(tmp_path, crew, **settings)
    with pytest.raises(InputError, match="exclude each other"):
        again.resume("s", "approve", anew=True)
    assert again.resume("s", "approve", as_before=True)["phase"] == "paused"
    assert again.resume("s", "approve")["approved"]


# --- edited inputs and task files ----------------------------------------------------------------


def test_an_edited_document(tmp_path: Path) -> None:
    crew, folder = stopped_tasks(tmp_path)
    (folder / "b.txt").write_text("Document b, mended")  # its task failed: no finished work rests on it
    edits = coordinator(folder, crew).edits(session_of(folder))
    assert (edits.question, "b.txt" in edits.note) == ("", True)
    (folder / "a.txt").write_text("Document a, revision 2")
    with pytest.raises(InputError, match=r"a\.txt.*1 finished task") as error:
        coordinator(folder, crew).resume("s")
    assert "b.txt" not in str(error.value)
    assert coordinator(folder, crew).resume("s", as_before=True)["phase"] == "complete"
    assert crew.asked == ["a", "b", "b", "c"]
    assert "Document b, mended" in crew.prompts("b")[-1]


def test_anew_reads_an_edited_document_again(tmp_path: Path) -> None:
    crew, folder = stopped_tasks(tmp_path)
    (folder / "a.txt").write_text("Document a, revision 2")
    assert coordinator(folder, crew).resume("s", anew=True)["phase"] == "complete"
    assert sorted(crew.asked[2:]) == ["a", "b", "c"]
    assert "revision 2" in crew.prompts("a")[-1]


def session_of(folder: Path, name: str = "s") -> Any:
    with open_checkpointer(folder / "data" / "swarm.db") as saver:
        return saver.catalogue.get(name)


TASKS = """\
request: A plant
tasks:
  - {task_id: a, assigned_role: documenter, description: One, prompt: extract.md, files: [docs/lao_1.txt]}
  - {task_id: b, assigned_role: documenter, description: Two, prompt: extract.md, files: [docs/lao_2.txt]}
  - {task_id: c, assigned_role: documenter, description: Three, dependencies: [a, b]}
  - {task_id: d, assigned_role: documenter, description: Four, dependencies: [c]}
"""


@pytest.mark.slow
def test_an_edited_task_file(tmp_path: Path) -> None:
    folder = project(tmp_path / "plant")
    (folder / "extract.md").write_text("Say: $description\n---\n$files")
    (folder / "tasks.yaml").write_text(TASKS)
    killed(folder, "run", "--tasks", "tasks.yaml", "--session", "s", session="s", finished=2)
    edited = TASKS.replace("Two", "Second").replace("task_id: d", "task_id: e")
    (folder / "tasks.yaml").write_text(edited)
    refused = swarm("resume", "s", cwd=folder)
    assert (refused.returncode, refused.stderr.count(b"\n")) == (2, 1)
    assert f"'{folder / 'tasks.yaml'}'".encode() in refused.stderr
    shutil.copytree(folder, tmp_path / "copy")
    before = len(asked(folder, "s"))
    done = swarm("resume", "s", "--as-before", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert [row["task_id"] for row in rows(folder, "s")] == ["a", "b", "c", "d"]
    assert "b" not in asked(folder, "s")[before:]
    done = swarm("resume", "s", "--anew", cwd=tmp_path / "copy")
    assert done.returncode == 0, done.stderr
    assert [row["task_id"] for row in rows(tmp_path / "copy", "s")] == ["a", "b", "c", "e"]
    again = asked(tmp_path / "copy", "s")[before:]
    assert "b" in again
    assert "a" not in again


@pytest.mark.slow
def test_the_rows_of_an_edited_table_need_a_new_batch(tmp_path: Path) -> None:
    folder = project(tmp_path / "plant")
    (folder / "extract.md").write_text("Extract.\n---\n$tag")
    (folder / "rows.csv").write_text("tag\n" + "".join(f"P-{number}\n" for number in range(20)))
    killed(folder, "batch", "rows.csv", *BATCH[2:])
    with (folder / "rows.csv").open("a") as table:
        table.write("P-20\n")
    refused = swarm("resume", "lao", cwd=folder)
    assert refused.returncode == 2
    assert (
        b"rows.csv'; resume lao with --as-before (in Python as_before=True) to go on with what was "
        b"recorded, or begin a new batch" in (refused.stderr)
    )
    anew = swarm("resume", "lao", "--anew", cwd=folder)
    assert anew.returncode == 2
    assert b"begin a new batch" in anew.stderr
    assert swarm("resume", "lao", "--as-before", cwd=folder).returncode == 0
    assert len(rows(folder)) == 20


@pytest.mark.slow
def test_an_edited_prompt_is_noticed_in_a_project_that_moved(tmp_path: Path) -> None:
    folder = project(tmp_path / "plant")
    kept = killed(folder, *BATCH)
    renamed(folder, tmp_path / "other")
    (tmp_path / "other" / "extract.md").write_text("Extract the date.\n---\n$files")
    refused = swarm("resume", "lao", cwd=tmp_path / "other")
    assert refused.returncode == 2
    assert f"'{tmp_path / 'other' / 'extract.md'}'".encode() in refused.stderr
    before = len(asked(tmp_path / "other"))
    kept_again = killed(tmp_path / "other", "resume", "lao", "--anew", finished=len(kept) + 2)
    assert kept_again  # the kill in the middle of the new attempt leaves no old result behind
    done = swarm("resume", "lao", cwd=tmp_path / "other")
    assert done.returncode == 0, done.stderr
    assert kept <= set(asked(tmp_path / "other")[before:])
    assert len(rows(tmp_path / "other")) == COUNT


@pytest.mark.slow
@pytest.mark.parametrize("answer", ["as-before", "anew", "stop"])
def test_a_person_at_a_terminal_is_asked(answer: str, tmp_path: Path) -> None:
    folder = project(tmp_path / "plant")
    kept = killed(folder, *BATCH)
    (folder / "extract.md").write_text("Extract the date.\n---\n$files")
    before = len(asked(folder))
    with Terminal(folder, "resume", "lao") as terminal:
        terminal.answer("Go on as before, ask anew, or stop (as-before, anew, stop) [stop]: ", f"{answer}\n")
        assert terminal.end() == (130 if answer == "stop" else 0), terminal.seen
    again = set(asked(folder)[before:])
    assert bool(again & kept) == (answer == "anew")
    assert (LAST in again) == (answer != "stop")


def test_a_pipe_in_the_place_of_a_document_does_not_stop_a_resume(tmp_path: Path) -> None:
    crew, folder = stopped_tasks(tmp_path)
    (folder / "a.txt").unlink()
    os.mkfifo(folder / "a.txt")
    assert coordinator(folder, crew).resume("s")["phase"] == "complete"
    assert crew.asked == ["a", "b", "b", "c"]
