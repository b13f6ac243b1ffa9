"""What a session has outside of the database and its output folder, and loses when it is cleaned up."""

from __future__ import annotations

import shutil

from swarm_graph.checkpoints.database import MEMORY
from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.sessions.apply import remove_change
from swarm_graph.tools.mcp_log import log_folder


def remove_belongings(saver: SwarmSaver, session: Session) -> list[str]:
    """Remove the worktree and the branch of a session, and the logs of its MCP servers.

    Returns:
        Notes on what stays, and why.
    """
    if str(saver.path) != MEMORY:
        shutil.rmtree(log_folder(saver.database.folder, session.session), ignore_errors=True)
    return remove_change(saver, session)
