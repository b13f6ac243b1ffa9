"""API keys: read from the environment for each call, and kept out of every message."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from swarm_graph.config import SECRET_NAME
from swarm_graph.errors import ConfigError
from swarm_graph.settings import MODEL_PLACEHOLDER, ModelEntry


def api_key(entry: ModelEntry) -> str | None:
    """The API key of a model; None when its server needs none.

    Raises:
        ConfigError: The environment variable that `api_key_env` names is not set.
    """
    if entry.api_key_env is None:
        return entry.served_key or None
    key = os.environ.get(entry.api_key_env)
    if not key:
        raise ConfigError(
            f"the environment variable '{entry.api_key_env}' (api_key_env of {entry.label}) is not set"
        )
    return key


def check_model(entry: ModelEntry) -> None:
    """Check a model's settings without contacting its server.

    Raises:
        ConfigError: `init`'s placeholder is still there, the API key is not set, or the script or the known
            answers of a simulated model cannot be used, or an embedded model cannot be served or does not
            chat.
    """
    if entry.model == MODEL_PLACEHOLDER:
        raise ConfigError(
            f"the config still says {MODEL_PLACEHOLDER}: write a model's name there, and its server's url; "
            "`swarm-graph init URL --force` asks your server, without URL it looks for servers again"
        )
    api_key(entry)
    if entry.is_embedded:
        from swarm_graph.models.embedded_file import usable_file

        usable_file(entry)
        check_chats(entry)
    if entry.api_type == "simulated":
        from swarm_graph.models.known_answers import known_answers_of
        from swarm_graph.models.simulated_script import load_script

        load_script(entry.simulation.script)
        known_answers_of(entry.simulation)


def check_chats(entry: ModelEntry) -> None:
    """Check that a model is configured to chat, as roles need. ConfigError if it is served for embeddings."""
    if entry.embedding:
        cure = "name a chat model, or leave `embedding` out"
        raise ConfigError(
            f"the model {entry.label!r} is served for embeddings, and a role has to chat; {cure}"
        )


def keys_of(entries: Iterable[ModelEntry]) -> tuple[str, ...]:
    """The API keys of models that are set, each once: a request may hold the key of another model."""
    keys = (os.environ.get(entry.api_key_env or "") for entry in entries)
    return tuple(dict.fromkeys(filter(None, keys)))


def secrets_of(entry: ModelEntry, parameters: Mapping[str, Any]) -> list[str]:
    """Texts that no message may repeat, even if the server repeats them.

    Args:
        entry: The model, for its API key.
        parameters: The role's parameters; values in `extra_body` with a name like `token` count as secrets.
    """
    key = os.environ.get(entry.api_key_env or "")
    return [*filter(None, [key]), *_named_secrets(parameters.get("extra_body", {}), is_secret=False)]


def _named_secrets(value: Any, *, is_secret: bool) -> Iterator[str]:
    """The texts and numbers below names like `token`, however deep."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _named_secrets(inner, is_secret=is_secret or bool(SECRET_NAME.search(name)))
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _named_secrets(inner, is_secret=is_secret)
    elif is_secret and value is not None:
        yield str(value)
