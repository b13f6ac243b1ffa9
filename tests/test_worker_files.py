"""Files and commits on their way through the database: nothing is lost, mixed up or written elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from repositories import commit_files, git, make_repository
from support import write_config

from swarm_graph import SwarmCoordinator
from swarm_graph.checkpoints.places import received_file
from swarm_graph.checkpoints.postgres import PostgresDatabase
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.config import SwarmConfig
from swarm_graph.errors import InputError, RepositoryError
from swarm_graph.repository.git import Git
from swarm_graph.sessions.fingerprints import hash_of
from swarm_graph.sessions.history import fork, moments
from swarm_graph.state import Repository
from swarm_graph.workers import files
from swarm_graph.workers.files import InputFile, ReceivedFiles, ReceivedRepository
from swarm_graph.workers.queue import read_queue
from swarm_graph.workers.submit import submit
from swarm_graph.workflows.commit import SEND_COMMITS


def test_a_file_arrives_as_the_session_recorded_it_or_not_at_all(postgres_url: str, tmp_path: Path) -> None:
    here, name = tmp_path / "moved.txt", "/plant/docs/a.txt"
    here.write_bytes(b"old" * files.PIECE_BYTES)
    received = ReceivedFiles(tmp_path / "own", "s", 1)
    copy = received_file(received.folder, name)
    with PostgresDatabase(postgres_url, tmp_path) as database:
        files.send_files(database, "s", [InputFile(name, str(here), hash_of(str(here)))])
        received.receive(database, [name, "/plant/missing.txt"], {name: hash_of(str(here))})
        assert copy.read_bytes() == here.read_bytes()
        here.write_text("new")  # a follow-up with the same path: another run, which reads the new one
        files.send_files(database, "s", [InputFile(name, str(here), hash_of(str(here)))])
        second = ReceivedFiles(tmp_path / "own", "s", 2)
        second.receive(database, [name], {name: hash_of(str(here))})
        assert received_file(second.folder, name).read_text() == "new"
        third = ReceivedFiles(tmp_path / "own", "s", 3)
        with pytest.raises(InputError, match="not the one that session 's' began with"):
            third.receive(database, [name], {name: "0" * 64})
        assert not received_file(third.folder, name).exists()


@pytest.mark.parametrize("name", ["/a/../../../etc/passwd", "..", "//etc/passwd", "a\0b", "C:\\x", "/"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    found = received_file(tmp_path, name)
    assert found.is_relative_to(tmp_path)
    assert ".." not in found.parts
    assert not found.is_file()


@pytest.mark.parametrize("name", ["", ".", "..", "a/../..", "\ud800", "a" * 300])
def test_what_a_worker_removes_of_a_session_is_of_no_other(tmp_path: Path, name: str) -> None:
    other = ReceivedFiles(tmp_path, "s", 1).folder, ReceivedRepository(tmp_path, "s").output
    other[1].mkdir(parents=True)
    path: Any = f"../{name}"
    for received in (ReceivedFiles(tmp_path, name, 1), ReceivedFiles(tmp_path, name, path)):
        assert received.folder.is_dir()
        received.remove()
        assert not received.folder.exists()
    repository = ReceivedRepository(tmp_path, name)
    repository.output.mkdir(parents=True)
    repository.remove()
    assert not repository.output.exists()
    assert all(folder.is_dir() for folder in other)


def test_files_that_are_too_large_are_refused(tmp_path: Path) -> None:
    large = [tmp_path / f"{number}" for number in range(9)]
    for path in large:
        with path.open("wb") as file:
            file.truncate(files.MAX_FILE_BYTES)
    files.check_sizes(map(str, large[:8]))
    with pytest.raises(InputError, match="submit it in parts"):
        files.check_sizes(map(str, large))
    with large[0].open("wb") as file:
        file.truncate(files.MAX_FILE_BYTES + 1)
    with pytest.raises(InputError, match="split it"):
        files.check_sizes([str(large[0])])


def test_a_worker_removes_what_a_killed_one_has_left_and_not_what_a_running_one_has(tmp_path: Path) -> None:
    with files.own_folder(tmp_path) as running:
        (running / "x").write_text("in use")
        left = running.with_name("killed")
        left.mkdir()
        left.with_name("killed.lock").touch()
        with files.own_folder(tmp_path) as own:
            assert own != running
        assert (running / "x").exists()
        assert not left.exists()
    assert not [*running.parent.iterdir()]


def test_commits_reach_a_worker_from_a_shallow_clone(postgres_url: str, tmp_path: Path) -> None:
    origin = make_repository(tmp_path / "origin", {"a": "1"})
    commit_files(origin, {"a": "2"}, "Second")
    project = tmp_path / "project"
    git(tmp_path, "clone", "--quiet", "--depth", "1", origin.as_uri(), str(project))
    base = git(project, "rev-parse", "HEAD")
    made = commit_files(project, {"a": "3"}, "Third\n\nSwarm-Session: s")
    repo: Repository = {
        "path": str(project), "start": "HEAD", "base": base, "branch": "swarm/s",
        "only": [], "read_only": [], "compared_with": "",
    }  # fmt: skip
    state: dict[str, Any] = {"repo": repo, "commits": [made]}
    with PostgresDatabase(postgres_url, tmp_path) as database:
        files.send_repository(database, "s", repo)
        with pytest.raises(RepositoryError, match="the database has no commit"):
            ReceivedRepository(tmp_path / "one", "s").receive(database, state)
        files.send_commits(database, "s", repo, made)
        received = ReceivedRepository(tmp_path / "two", "s")
        received.receive(database, state)
    assert Git(received.repository).text("log", "--format=%H", "swarm/s").split() == [made, base]


def test_a_commit_is_sent_before_a_checkpoint_names_it(tmp_path: Path) -> None:
    project = make_repository(tmp_path / "project", {"src/a.py": "x = 1\n"})
    sent, fails = list[str](), True

    def send(_saver: Any, _repo: Repository, commit: str) -> None:
        sent.append(commit)
        if fails:
            raise RepositoryError("the database is gone")

    coordinator = SwarmCoordinator(SwarmConfig().simulated(), data_dir=tmp_path / "data", repo=project)
    token = SEND_COMMITS.set(send)
    try:
        with pytest.raises(RepositoryError, match="is gone"):
            coordinator.run_workflow("Add a function", session_id="s")
        fails = False
        assert not coordinator.state.get("commits")
        state = coordinator.resume("s")
    finally:
        SEND_COMMITS.reset(token)
    assert sent[0] == sent[1]  # made again, byte for byte
    assert state["commits"] == sent[1:]
    assert not (tmp_path / "data" / "worktrees").exists()


def test_a_submit_that_was_killed_before_the_job_is_shown_and_done_again(
    postgres_url: str, tmp_path: Path
) -> None:
    config = write_config(tmp_path)
    coordinator = SwarmCoordinator(config, data_dir=tmp_path, database=postgres_url)
    coordinator.leaves_to_workers = True
    coordinator.run_workflow("x", session_id="s")
    with PostgresDatabase(postgres_url, tmp_path) as database:
        assert read_queue(database).without_job == ["s"]
        coordinator.resume("s")
        submit(database, "s", coordinator.config, 0)
        queue = read_queue(database)
    assert queue.without_job == []
    assert [job.session for job in queue.jobs] == ["s"]


def test_the_files_of_a_fork_travel_although_one_of_them_is_a_prompt_too(
    postgres_url: str, tmp_path: Path
) -> None:
    document, prompt = tmp_path / "d.txt", tmp_path / "p.md"
    document.write_text("valve V-1")
    prompt.write_text("\nName the valves of $files\n\n")
    task = {
        "task_id": "a",
        "assigned_role": "documenter",
        "prompt": str(prompt),
        "files": [str(document), str(prompt)],
    }
    coordinator = SwarmCoordinator(SwarmConfig().simulated(), data_dir=tmp_path, database=postgres_url)
    coordinator.add_task(task)
    coordinator.run_workflow("The plant", "custom", session_id="s")
    with open_checkpointer(postgres_url, data_dir=tmp_path) as saver:
        parent = saver.catalogue.get("s")
        assert parent
        fork(saver, parent, moments(saver, parent)[0], "fork", {})
    with PostgresDatabase(postgres_url, tmp_path) as database:
        submit(database, "fork", coordinator.config, 0)
        assert files.names_of(database, "fork", "file") == sorted([str(document), str(prompt)])
