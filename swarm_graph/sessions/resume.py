"""The configuration that a session is resumed with, decided in one place."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from swarm_graph.checkpoints.records import Session
from swarm_graph.config import SwarmConfig, changed_settings, config_path, load_config


class ResumeConfig(NamedTuple):
    """A configuration to resume with.

    Attributes:
        config: The configuration, with the graph settings that the session began with.
        origin: The file to record as its origin; empty when there is none.
        changed: The dotted paths of the settings that differ from those the session began with.
    """

    config: SwarmConfig
    origin: str
    changed: list[str]


def resume_config(
    session: Session,
    source: SwarmConfig | str | Path | None = None,
    *,
    prompts_dir: str | None = None,
    simulate: bool = False,
) -> ResumeConfig:
    """The configuration to resume a session with.

    Args:
        session: The session, as the catalogue has it.
        source: A configuration or its file. None: the file that the session began with, as it is today, or if
            that is gone the configuration that was recorded.
        prompts_dir: A folder of prompts, or a pack, in place of the configured one.
        simulate: Whether every model is simulated.

    Raises:
        ConfigError: The file cannot be used.
    """
    origin = config_path(source) if source is not None else session.config_file
    chosen: Any = source
    if chosen is None:
        began_with = Path(session.config_file)
        chosen = began_with if session.config_file and began_with.is_file() else session.config
    config = load_config(chosen)
    if prompts_dir:
        config = config.model_copy(update={"prompts_dir": prompts_dir})
    if simulate:
        config = config.simulated()
    config = config.with_graph_of(session.config)
    return ResumeConfig(config, origin, changed_settings(session.config, config.redacted()))
