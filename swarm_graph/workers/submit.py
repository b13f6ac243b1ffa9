"""Submit a session: its files and its job go into the database, and any worker takes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from procrastinate.exceptions import AlreadyEnqueued
from procrastinate.jobs import Job

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.postgres import PostgresDatabase
from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.saver import open_checkpointer, saver_of
from swarm_graph.checkpoints.signatures import is_own
from swarm_graph.config import SwarmConfig
from swarm_graph.errors import InputError
from swarm_graph.repository.git import Git
from swarm_graph.repository.worktree import open_worktree, worktree_folder
from swarm_graph.sessions.apply import state_of
from swarm_graph.sessions.coordinator import SwarmCoordinator
from swarm_graph.settings import RepositorySettings
from swarm_graph.state import CHANGE, QUEUED, has_ended
from swarm_graph.tasks.spec import task_specs
from swarm_graph.workers.app import SESSIONS, defer, queue_name
from swarm_graph.workers.files import (
    InputFile,
    check_sizes,
    has_commit,
    receive_commits,
    send_commits,
    send_files,
    send_repository,
)
from swarm_graph.workers.session_order import signed_order
from swarm_graph.workflows.build import new_builder
from swarm_graph.workflows.repository import find_again


async def submit_work(
    coordinator: SwarmCoordinator, work: Callable[[SwarmCoordinator], Awaitable[object]], priority: int = 0
) -> None:
    """Record what a coordinator is told to do, and leave it to the workers.

    Args:
        coordinator: A coordinator on a PostgreSQL database.
        work: Begins, resumes or answers a session on it.
        priority: Larger ones run first.

    Raises:
        SwarmError: The work is refused, or the session waits already.
    """
    check_sizes(coordinator.added_files)
    coordinator.leaves_to_workers = True
    await work(coordinator)
    await asyncio.to_thread(_submit, coordinator, priority)


def _submit(coordinator: SwarmCoordinator, priority: int) -> None:
    with PostgresDatabase(str(coordinator.database), coordinator.data_dir) as database:
        submit(database, coordinator.session_id, coordinator.config, priority)


def submit(database: PostgresDatabase, session_id: str, config: SwarmConfig, priority: int) -> None:
    """Send the files of a recorded session, and put its job into the queue.

    Args:
        database: The database.
        session_id: The session.
        config: What it was recorded with.
        priority: Larger ones run first.

    Raises:
        InputError: The session has ended, waits already, or its files are too large.
        RepositoryError: Git failed.
    """
    catalogue = Catalogue(database)
    session = catalogue.get(session_id)
    if session is None or has_ended(session.phase):
        raise InputError(f"session '{session_id}' has ended; there is nothing left to do")
    request = catalogue.request(session_id) or {}
    state: Mapping[str, Any] = state_of(saver_of(database), session_id)
    send_files(database, session_id, _files(catalogue, session_id, request, state))
    if repo := state.get("repo") or request.get("repo"):
        send_repository(database, session_id, repo)
        _send_commits(database, session, state, config.repo)
    name = f"session {session_id}"
    job = Job(
        queue=queue_name(SESSIONS, _models(session, config)),
        priority=priority,
        lock=name,
        queueing_lock=name,
        task_name=SESSIONS,
        task_kwargs=signed_order(catalogue, session_id),
    )
    try:
        with database.transaction() as cursor:
            cursor.execute("DELETE FROM procrastinate_jobs WHERE lock = ? AND status = 'failed'", (name,))
            query = "UPDATE sessions SET phase = ? WHERE session = ? AND phase != 'running'"
            cursor.execute(query, (QUEUED, session_id))
            defer(database, [job])
    except AlreadyEnqueued as error:
        raise InputError(
            f"session '{session_id}' waits in the queue already; `swarm-graph queue` shows it"
        ) from error


def _send_commits(
    database: PostgresDatabase, session: Session, state: Mapping[str, Any], here: RepositorySettings | None
) -> None:
    """Send the commits of a session that were made on this machine; those of workers are there already."""
    commits = state.get("commits")
    if not commits:
        return
    try:
        repo = find_again(state["repo"], session.session, here, is_own=is_own(Catalogue(database), session))
        if has_commit(Git(repo["path"]), commits[-1]):
            send_commits(database, session.session, repo, commits[-1])
    except InputError:
        return  # the repository is on another machine


def fetch_commits(
    place: str | Path, data_dir: Path, session: Session, here: RepositorySettings | None
) -> None:
    """Take the commits that workers have made for a session into the repository on this machine.

    Args:
        place: The database.
        data_dir: The data folder.
        session: The session.
        here: The repository; None for the one that the session recorded.

    Raises:
        InputError: It is not there, or lacks the commit at which the session began.
    """
    if session.kind != CHANGE:
        return
    with open_checkpointer(place, data_dir=data_dir) as saver:
        state = state_of(saver, session.session)
        if commits := state.get("commits"):
            found = find_again(state["repo"], session.session, here, is_own=is_own(saver.catalogue, session))
            receive_commits(saver.database, session.session, found, commits[-1])
            worktree = worktree_folder(data_dir.absolute(), found["branch"])
            if worktree.exists():  # of a run on this machine
                open_worktree(found, session.session, worktree)


def _files(
    catalogue: Catalogue, session_id: str, request: Mapping[str, Any], state: Mapping[str, Any]
) -> list[InputFile]:
    """The files that the tasks of a session read.

    The texts of prompts are in the session already. A fork has no request: its state has the tasks.
    """
    places = catalogue.places(session_id)
    sources = catalogue.sources(session_id)
    recorded = {source.name: source.sha256 for source in sources if source.kind == "input"}
    records = state.get("tasks", {}).values()
    tasks = (
        request["tasks"]
        if request.get("tasks")
        else [record["spec"] for record in records if "spec" in record]
    )
    names = [name for spec in task_specs(tasks) for name in spec.files]
    return [InputFile(name, places.input_file(name), recorded.get(name, "")) for name in dict.fromkeys(names)]


def _models(session: Session, config: SwarmConfig) -> set[str]:
    """The entries of `multi_model` that a session may ask."""
    if config.models.mode != "multi" or config.is_simulated:
        return set()
    if session.workflow == "custom":  # its tasks ask them, and are jobs of their own
        return set()
    wanted = [
        entry for role in {*new_builder(session.workflow, config).roles} for entry in config.models_for(role)
    ]
    return {name for name, entry in config.models.named.items() if entry in wanted}
