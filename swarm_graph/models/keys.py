"""API keys: read from the environment for a call, and never shown."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from swarm_graph.config import SECRET
from swarm_graph.errors import ConfigError
from swarm_graph.settings import YOUR_MODEL, ModelEntry


def api_key(entry: ModelEntry) -> str | None:
    """The key from the variable that `api_key_env` names. ConfigError when it is not set."""
    if entry.api_key_env is None:
        return None
    key = os.environ.get(entry.api_key_env)
    if not key:
        raise ConfigError(
            f"the environment variable '{entry.api_key_env}' (api_key_env of {entry.label}) is not set"
        )
    return key


def check_model(entry: ModelEntry) -> None:
    """ConfigError when a model has no name yet, its key is not set, or its script cannot be read.

    Asks no server.
    """
    if entry.model == YOUR_MODEL:
        raise ConfigError(
            f"the config still says {YOUR_MODEL}: write a model's name there, and its server's url; "
            "`swarm-graph init --force` looks for servers again"
        )
    api_key(entry)
    if entry.api_type == "simulated":
        from swarm_graph.models.simulated_script import load_script

        load_script(entry.simulation.script)


def secrets_of(entry: ModelEntry, parameters: Mapping[str, Any]) -> list[str]:
    """What no message may repeat, even where a server does."""
    key = os.environ.get(entry.api_key_env or "")
    own = parameters.get("extra_body", {})
    return [*filter(None, [key]), *(str(own[name]) for name in own if SECRET.search(name))]
