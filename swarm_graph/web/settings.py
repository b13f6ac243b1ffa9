"""What the operator of the page allows; no browser can change any of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from swarm_graph.config import SwarmConfig
from swarm_graph.database_place import place_of
from swarm_graph.errors import ConfigError, InputError
from swarm_graph.state import DATA_DIR, OUTPUT_DIR
from swarm_graph.web.origins import NO_ORIGINS, Origins


@dataclass(frozen=True)
class PageSettings:
    """What the page works with and what its users may do.

    Attributes:
        configs: The configurations that a run can be started with, by the name of their file; the first is
            the default. An empty name stands for a configuration without a file.
        data_dir: The folder of the session database.
        output_dir: The folder in which each session gets a folder for its files.
        folder: The folder whose files a request can name; None: a request can name no file.
        repositories: The repositories that a run can change, the first is the default.
        max_sessions: Sessions that run at once in this process.
        read_only: Whether users may only look.
        origins: The addresses under which the page may be called.
    """

    configs: Mapping[str, SwarmConfig]
    data_dir: Path = Path(DATA_DIR)
    output_dir: Path = Path(OUTPUT_DIR)
    folder: Path | None = None
    repositories: tuple[Path, ...] = ()
    max_sessions: int = 4
    read_only: bool = False
    origins: Origins = NO_ORIGINS

    @cached_property
    def place(self) -> str | Path:
        """Where the sessions are kept: a file, or the URL of a server."""
        return place_of(self.data_dir, next(iter(self.configs.values())).database)

    def __post_init__(self) -> None:
        """Raises ConfigError or InputError when nothing could work with them."""
        if not all(config.features.enable_checkpointing for config in self.configs.values()):
            raise ConfigError(
                "the page needs features.enable_checkpointing: it shows what the database holds"
            )
        if self.folder is not None and not self.folder.is_dir():
            raise InputError(f"--folder '{self.folder}' is no folder; name the one with the input files")
