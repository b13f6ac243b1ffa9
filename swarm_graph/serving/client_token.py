"""The token that clients of the HTTP server present: from a variable, or kept in a file of the user."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from swarm_graph.checkpoints.secret_file import make_secret_file, secret_file_problem
from swarm_graph.checkpoints.signatures import key_paths
from swarm_graph.errors import ConfigError

MIN_CHARACTERS = 16
FILE = "mcp-token"


def token_of_variable(name: str) -> str:
    """The token in an environment variable.

    Raises:
        ConfigError: It is not set, too short, or cannot stand in a header.
    """
    token = os.environ.get(name, "")
    if not token:
        raise ConfigError(f"the environment variable {name} is not set; put the token into it")
    if len(token) < MIN_CHARACTERS:
        raise ConfigError(f"the token in {name} is too short; use {MIN_CHARACTERS} characters or more")
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise ConfigError(f"the token in {name} holds spaces or other characters that no header may hold")
    return token


def token_file() -> Path:
    """The file of the user's token, beside the key that signs the user's sessions.

    Raises:
        ConfigError: There is no folder for it.
    """
    paths = key_paths()
    if not paths:
        raise ConfigError("there is no folder for the token; set XDG_DATA_HOME, or use --token-env NAME")
    return paths[0].with_name(FILE)


def own_token() -> str:
    """The user's token; the first call makes it and keeps it in `token_file()`, which only the user can read.

    Raises:
        ConfigError: The file cannot be made, or is not the user's secret.
    """
    path = token_file()
    try:
        if not os.path.lexists(path):
            make_secret_file(path, f"{secrets.token_urlsafe(32)}\n".encode())
        return _read(path)
    except OSError as error:
        raise ConfigError(
            f"cannot keep the token in '{path}': {error.strerror}; use --token-env NAME"
        ) from error


def _read(path: Path) -> str:
    """The token in the file. Raises ConfigError if others can read it, or it holds none."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(handle, encoding="utf-8", errors="replace") as file:
        problem = secret_file_problem(os.fstat(file.fileno()))
        token = "" if problem else file.read(1000).strip()
    if len(token) < MIN_CHARACTERS:
        raise ConfigError(
            f"the token in '{path}' is no secret of yours: it {problem or 'is too short'}; "
            "remove the file, and a new token is made"
        )
    return token
