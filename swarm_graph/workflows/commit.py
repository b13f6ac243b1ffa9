"""The nodes `commit` and `commit_last`: they commit the files of a round to the branch. They ask no model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

from langchain_core.runnables import Runnable, RunnableConfig

from swarm_graph import aio
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.roles.bindings import Bindings
from swarm_graph.roles.emitter import Origin
from swarm_graph.roles.run import current_run, node_emitter
from swarm_graph.state import ChangeState, Repository, changed_texts, end_phase, verdict_word
from swarm_graph.text import format_count
from swarm_graph.workflows.verdict import is_done

COMMIT = "commit"
"""The node after the verdict of each round."""
COMMIT_LAST = "commit_last"
"""The node that commits what was written after the last verdict."""
SEND_COMMITS: ContextVar[Callable[[Any, Repository, str], None] | None] = ContextVar(
    "SEND_COMMITS", default=None
)
"""Sends the session's commits up to a new one to the others, through the database of a saver; of a worker."""


class Commit(NamedTuple):
    """A commit as events and reports show it.

    Attributes:
        commit: Its id.
        files: The number of files that it changes.
        added: Lines.
        deleted: Lines.
        note: The files that are not in the worktree, and why; usually empty.
    """

    commit: str
    files: int
    added: int
    deleted: int
    note: str = ""


class CommitNode(Runnable[ChangeState, dict[str, Any]]):
    """Commits the files of the state, unless the last commit already has them.

    Attributes:
        name: The name of the node.
    """

    name: str

    def __init__(self, bindings: Bindings, name: str, *, last_round: int = 0, ends: bool = False) -> None:
        """Set up the node.

        Args:
            bindings: The configuration of the graph.
            name: The name of the node.
            last_round: For the node after the verdict: how many rounds there are at the most.
            ends: Whether the workflow is complete after this node, for the node after the verdict after the
                last round.
        """
        self.name, self._config, self._last_round, self._ends = name, bindings.config, last_round, ends

    def invoke(self, input: ChangeState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:
        return aio.run(self._run(input, config or {}))

    async def ainvoke(
        self, input: ChangeState, config: RunnableConfig | None = None, **_: Any
    ) -> dict[str, Any]:
        return await self._run(input, config or {})

    async def _run(self, state: ChangeState, config: RunnableConfig) -> dict[str, Any]:
        run = current_run(self._config)
        session = str(config["configurable"].get("thread_id", ""))
        iteration = max(state.get("iteration", 0), 1)
        emit = node_emitter(Origin(session, self.name, iteration=iteration))
        update: dict[str, Any] = {}
        async with run.branch():
            folder = _worktree(run.saver, state["repo"]["branch"])
            name = session or state["repo"]["branch"].partition("/")[2]
            about = "Documentation: " if self.name == COMMIT_LAST else ""
            if made := await asyncio.to_thread(commit_state, state, name, folder, about):
                if send := SEND_COMMITS.get():  # before a checkpoint names it
                    await asyncio.to_thread(send, run.saver, state["repo"], made.commit)
                update["commits"] = [*state.get("commits", []), made.commit]
                emit("committed", branch=state["repo"]["branch"], **made._asdict())
        if self._ends and (not self._last_round or is_done(state, self._last_round)):
            update["phase"] = end_phase(state)
        return update


def _worktree(saver: object, branch: str) -> Path | None:
    """The worktree of a session in the data folder; None with another checkpointer, and at a worker."""
    from swarm_graph.repository.worktree import worktree_folder

    if not isinstance(saver, SwarmSaver) or str(saver.path) == ":memory:" or SEND_COMMITS.get():
        return None
    return worktree_folder(saver.database.folder.absolute(), branch)


def commit_state(state: ChangeState, session: str, worktree: Path | None, about: str = "") -> Commit | None:
    """Commit the files of a state to its branch, and bring the worktree there.

    The same state gives the same commit: its date comes from the state.

    Args:
        state: The state.
        session: The session.
        worktree: The folder of the worktree; None if it has none.
        about: What the subject of the commit begins with, before the request.

    Returns:
        The commit; None if the files are those of the last commit.
    """
    from swarm_graph.repository.commits import commit
    from swarm_graph.repository.worktree import open_worktree

    repo = state["repo"]
    parent = [repo["base"], *state.get("commits", [])][-1]
    made = commit(
        repo,
        session,
        parent=parent,
        written=changed_texts(state),
        deleted=state.get("deleted", []),
        message=_message(state, session, about),
        date=commit_date(state),
    )
    notes = open_worktree(repo, session, worktree) if worktree else []
    return None if made == parent else commit_figures(repo, parent, made)._replace(note="; ".join(notes))


def commit_date(state: ChangeState) -> float:
    """The end of the session's latest task, in seconds since the epoch."""
    return max((task["completed_at"] for task in state.get("tasks", {}).values()), default=0.0)


def _message(state: ChangeState, session: str, about: str) -> str:
    """The request as the subject, and the session, round and verdict as trailers."""
    from swarm_graph.repository.commits import message

    findings = len(state.get("findings", []))
    verdict = verdict_word(state.get("approved"), "complete") or "none"
    with_findings = f"{verdict}, {format_count(findings, 'finding')}" if findings else verdict
    return message(
        f"{about}{state.get('request', '')}",
        session=session,
        verdict=with_findings,
        round=max(state.get("iteration", 0), 1),
    )


def commit_figures(repo: Repository, parent: str, commit: str) -> Commit:
    """The numbers of files and lines between two commits, as `changes.stat` has them.

    A binary file counts as a file without lines, and a renamed one as one file.
    """
    from swarm_graph.repository.git import Git  # other kinds need no git

    listed = Git(repo["path"]).text("diff-tree", "-r", "-M", "--numstat", parent, commit).split("\n")
    counts = [line.split("\t")[:2] for line in listed if line]
    added, deleted = (
        sum(int(count) for count in column if count != "-") for column in zip(*counts, strict=True)
    )
    return Commit(commit, len(counts), added, deleted)
