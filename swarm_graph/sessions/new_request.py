"""The checks of a new request against the session of its id."""

from __future__ import annotations

from shlex import quote

from swarm_graph.checkpoints.records import Session
from swarm_graph.config import SwarmConfig
from swarm_graph.errors import KIND_WITH_REPOSITORY, NEEDS_REPOSITORY, InputError, UnfinishedSession
from swarm_graph.state import CHANGE, KINDS, Kind, has_ended


def check_new_request(session_id: str, session: Session | None, *, follow_up: bool) -> None:
    """Check that a new request fits the session of its id.

    Args:
        session_id: The id.
        session: The session in the catalogue; None if there is none.
        follow_up: Whether the request is a follow-up of the session.

    Raises:
        InputError: The session exists, or for a follow-up does not exist.
        UnfinishedSession: A follow-up of a session that has not ended.
    """
    resume = f"`swarm-graph resume {quote(session_id)}`"
    if session and not follow_up:
        ended = has_ended(session.phase)
        cure = (
            "follow it up with `run --follow-up` (in Python follow_up=True)"
            if ended
            else f"resume it with {resume}"
        )
        raise InputError(
            f"session '{session_id}' exists ({session.phase}); {cure}, or use another session id"
        )
    if follow_up and not session:
        raise InputError(
            f"no session '{session_id}' to follow up; leave out --follow-up (in Python follow_up) to start it"
        )
    if session and not has_ended(session.phase):
        raise UnfinishedSession(
            f"session '{session_id}' has not ended ({session.phase}); "
            f"resume it with {resume} before a follow-up"
        )


def check_repository(config: SwarmConfig, *, followed: bool) -> None:
    """Raises InputError for a new session that changes a repository and names none."""
    if config.workflow.kind == CHANGE and config.repo is None and not followed:
        raise InputError(NEEDS_REPOSITORY)


def with_kind_of_request(config: SwarmConfig, kind: Kind | None, followed: Session | None) -> SwarmConfig:
    """The configuration of a new request, with what it makes.

    Args:
        config: The configuration.
        kind: What the caller says; None leaves it to the configuration.
        followed: The session that the request follows up, which makes the same as before.

    Raises:
        InputError: The kind is unknown, or the session that it follows up, or the repository, makes something
            else.
    """
    if kind is not None and kind not in KINDS:
        raise InputError(f"unknown kind '{kind}'; known kinds: {', '.join(KINDS)}")
    if followed is None:
        if config.repo and kind not in (None, CHANGE):
            raise InputError(f"{KIND_WITH_REPOSITORY}, and the kind given is '{kind}'; leave one out")
        return config.with_kind(kind) if kind else config
    made = followed.kind
    if kind and kind != made:
        raise InputError(
            f"session '{followed.session}' has the kind '{made}', and a follow-up cannot have the kind "
            f"'{kind}'; leave the kind out, or begin another session"
        )
    return config.with_kind(made) if config.prompts_dir or config.workflow.kind != made else config
