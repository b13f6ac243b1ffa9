"""Whose session is it? What a received database says of servers, programs and files is data, no setting."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.decisions import forget_decisions
from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.signatures import is_own, key_problem, sign
from swarm_graph.config import SwarmConfig, load_config, saved_values, settings_of_any
from swarm_graph.errors import InputError, UntrustedSession
from swarm_graph.sessions.ids import open_catalogue
from swarm_graph.shorthand import SHORTHAND
from swarm_graph.text import printable

GROUPS = frozenset(
    field.alias or name for name, field in SwarmConfig.model_fields.items() if not field.exclude
)
"""The groups of settings, and those outside of any group, as a file names them, that sessions record."""

SERVERS = frozenset({"model_config", "proxy", *SHORTHAND})
"""Those that say which servers are asked."""

MAX_NAMED = 5
MAX_VALUE_CHARACTERS = 100
_GRAVE = (
    "unsafe",
    "command",
    "args",
    "env",
    "cwd",
    "python",
    "vector_store",
    "folders",
    "readable",
    "image",
    "sandbox",
    "mode",
    "url",
    "token_env",
    "api_key_env",
    "proxy",
    "script",
    "answers",
    "allow",
    "approve",
    "tools",
    "remember",
)
"""The settings that a person must see, the gravest first: programs and what they are given, code that is
loaded, then servers and keys, then files, then what models may do, or leave behind, without a person."""


CODE = ("roles", "workflows", "code_dir")
"""The settings that name code of this program itself: they are graver than all others."""


class RecordedSetting(NamedTuple):
    """A setting that a session recorded, and that is not used unless the user trusts the session."""

    path: str
    value: Any

    def text(self, max_characters: int | None = None) -> str:
        """The setting as one line; its value may be cut."""
        value = json.dumps(self.value, ensure_ascii=False)
        cut = "…" if max_characters is not None and len(value) > max_characters else ""
        return " ".join(printable(f"{self.path} = {value[:max_characters]}{cut}").split())

    @property
    def rank(self) -> int:
        """Its place among the others: the lowest for the gravest."""
        if self.path.partition(".")[0] in CODE:
            return -1
        # Names that people choose may follow: mcp_servers.NAME.env.VARIABLE.
        names = [name for name in self.path.split(".") if name in _GRAVE]
        return min(map(_GRAVE.index, names), default=len(_GRAVE))


def is_trusted(data_dir: Path, session: Session, database: str | Path = "") -> bool:
    """Whether the user began a session, or has trusted it, and its recorded settings are still the same."""
    with open_catalogue(data_dir, database) as catalogue:
        return is_own(catalogue, session)


def foreign_sessions(catalogue: Catalogue, ids: Iterable[str]) -> set[str]:
    """Of some ids, those of sessions that the user has neither begun nor trusted, or that are gone."""
    sessions = {id: catalogue.get(id) for id in {*ids}}
    return {id for id, session in sessions.items() if not (session and is_own(catalogue, session))}


def trust(data_dir: Path, session: Session, database: str | Path = "") -> Session:
    """Make a session the user's own, with the settings that it recorded; returns it as it is then.

    The config file that it names is forgotten: the user agreed to the settings, not to that file. So are the
    approvals of tools: nobody has asked the user about them.

    Args:
        data_dir: The data folder.
        session: The session as the user has seen it.
        database: Where it is kept; empty for the usual place (see `place_of`).

    Raises:
        InputError: It has changed since.
    """
    with open_catalogue(data_dir, database) as catalogue, catalogue.database.transaction():
        known = catalogue.get(session.session)
        if known is None or _recorded(known) != _recorded(session):
            raise InputError(f"session '{session.session}' has changed meanwhile; look at it again")
        if not is_own(catalogue, known):
            catalogue.forget_config_file(session.session)
            forget_decisions(catalogue, session.session)
            sign(catalogue, session.session)
        return catalogue.get(session.session) or session


def _recorded(session: Session) -> tuple[Any, ...]:
    return session.config, session.config_file, session.output, session.simulated


def refuse_foreign_settings(session: Session, config: SwarmConfig, uses: Collection[str]) -> None:
    """Refuse a session of somebody else that recorded other settings than those it would run with.

    Args:
        session: The session; the user neither began nor trusted it.
        config: What it would run with.
        uses: The groups of settings that matter.

    Raises:
        UntrustedSession: It recorded others; the error lists them, the gravest first.
    """
    if settings := foreign_settings(session.config, config, uses):
        lines = [setting.text() for setting in settings] + _output(session)
        raise UntrustedSession(_refusal(session, settings), lines)


def recorded_settings(session: Session) -> list[str]:
    """What a session recorded and is used once it is trusted, a line each, the gravest first."""
    harmless = load_config(settings_of_any(session.config))
    settings = foreign_settings(session.config, harmless, GROUPS)
    return [setting.text() for setting in settings] + _output(session)


def foreign_settings(
    saved: dict[str, Any], config: SwarmConfig, uses: Collection[str]
) -> list[RecordedSetting]:
    """The recorded settings that differ from the effective ones, without those of any session."""
    harmless = dict(saved_values(settings_of_any(saved)))
    effective = dict(saved_values(config.model_dump(mode="json", by_alias=True)))
    found = [
        RecordedSetting(path, value)
        for path, value in saved_values(saved)
        if path.partition(".")[0] in uses
        and path not in harmless
        and (path not in effective or effective[path] != value)
    ]
    return sorted(found, key=lambda setting: setting.rank)


def _output(session: Session) -> list[str]:
    return [RecordedSetting("the folder of its files", session.output).text()] if session.output else []


def _refusal(session: Session, settings: list[RecordedSetting]) -> str:
    named = ", ".join(setting.text(MAX_VALUE_CHARACTERS) for setting in settings[:MAX_NAMED])
    more = f" and {len(settings) - MAX_NAMED} more" if len(settings) > MAX_NAMED else ""
    file = f" (it began with {session.config_file!r})" if session.config_file else ""
    problem = f"; {key_problem()}" if key_problem() else ""
    return printable(
        f"session '{session.session}' was not started by you on this machine, so its recorded settings are "
        f"not used: {named}{more}; give your own with --config FILE{file}, or accept them with "
        f"--trust-session (in Python trust_session=True){problem}"
    )
