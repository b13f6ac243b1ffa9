"""What the operator of the MCP server allows its clients."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from swarm_graph.config import SwarmConfig
from swarm_graph.database_place import is_server, place_of, without_password
from swarm_graph.errors import ConfigError, InputError
from swarm_graph.state import DATA_DIR, OUTPUT_DIR, WORKFLOWS
from swarm_graph.text import printable

MAX_MESSAGE_BYTES = 2 << 20
"""Of a message from a client."""
WITH_REQUEST = tuple(name for name in WORKFLOWS if name != "custom")
"""The workflows that begin with a request; a task graph begins with its tasks."""


@dataclass(frozen=True)
class ServerSettings:
    """What the server works with and what its clients may do; no client can change any of it.

    Attributes:
        config: The configuration of every session.
        config_file: The file that it came from; empty if there is none.
        data_dir: The folder of the session database. Clients see all its sessions.
        output_dir: The folder in which each session gets a folder for its files.
        workflows: The workflows that clients may start.
        folder: The folder whose files clients may name as inputs; None: they may name no file.
        max_sessions: Sessions that run at once.
        allow_answers: Whether clients may answer pauses.
        read_only: Whether clients may only look.
    """

    config: SwarmConfig
    config_file: str = ""
    data_dir: Path = Path(DATA_DIR)
    output_dir: Path = Path(OUTPUT_DIR)
    workflows: tuple[str, ...] = WITH_REQUEST
    folder: Path | None = None
    max_sessions: int = 4
    allow_answers: bool = False
    read_only: bool = False

    @property
    def place(self) -> str | Path:
        """Where the sessions are kept: a file, or the URL of a server."""
        return place_of(self.data_dir, self.config.database)

    def __post_init__(self) -> None:
        """Raises ConfigError or InputError when nothing could work with them."""
        if not self.config.features.enable_checkpointing:
            raise ConfigError(
                "the MCP server needs features.enable_checkpointing: it keeps its sessions in the database"
            )
        if self.folder is not None and not self.folder.is_dir():
            raise InputError(f"--folder '{self.folder}' is no folder; name the one with the input files")

    def config_of(self, diff: str) -> SwarmConfig:
        """The configuration of a session that reviews a range of commits; without one, that of every session.

        Raises:
            InputError: There is no repository, or its range is not for the client to choose.
        """
        if not diff:
            return self.config
        if self.config.repo is None:
            raise InputError("`diff` needs a repository; whoever runs this server names one with --repo DIR")
        if self.config.repo.diff not in ("", diff):
            raise InputError(f"this server reviews the range {self.config.repo.diff!r}; leave `diff` out")
        return self.config.with_repo(self.config.repo.model_copy(update={"diff": diff}))

    def shown(self, text: str) -> str:
        """A text for clients: one line, without folders of this machine that the operator has not named."""
        text = " ".join(printable(text).split())
        for folder in (self.data_dir, self.output_dir):
            text = text.replace(str(folder.absolute()), str(folder))
        if is_server(self.place):
            text = text.replace(without_password(str(self.place)), "the database")
        return text.replace(f"{Path.cwd()}{os.sep}", "")


def allowed_workflows(config: SwarmConfig, chosen: tuple[str, ...]) -> tuple[str, ...]:
    """The workflows that clients may start: those chosen, or all that begin with a request.

    Raises:
        InputError: A chosen workflow does not exist, or is a task graph.
    """
    known = (*WITH_REQUEST, *config.workflows)
    for name in chosen:
        if name not in known:
            why = "takes tasks, not a request" if name in WORKFLOWS else "is unknown"
            raise InputError(f"the workflow '{name}' {why}; expected one of {', '.join(known)}")
    return chosen or known
