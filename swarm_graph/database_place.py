"""Where the sessions are kept: a file in the data folder, or a PostgreSQL database that a setting names.

Nothing here connects, and no message holds a password.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from swarm_graph.config_source import one_line, read_json5, source_path
from swarm_graph.errors import ConfigError, InputError
from swarm_graph.state import DATABASE

SETTING, VARIABLE = "database", "SWARM_DATABASE"
POSTGRES = ("postgresql://", "postgres://")
"""How the URLs of PostgreSQL begin."""
EXAMPLE = "postgresql://swarm@db-server/swarm"
NO_PASSWORD = (
    "expected no password in the URL; put it into ~/.pgpass or the variable PGPASSWORD, "
    f"or the whole URL into {VARIABLE}"
)
_SHOWN = ("host", "port", "dbname", "user", "sslmode", "service")
"""The parameters of a URL that messages repeat; any other may hold a secret."""
_HOST = r"(?:\[[^\]@/?]*\]|[^@/?:,\[\]]*)(?::\d*)?"
_URL = re.compile(
    r"(?P<scheme>postgres(?:ql)?://)(?:(?P<user>[^:@/]*)(?::(?P<password>[^/]*))?@)?"
    rf"(?P<hosts>{_HOST}(?:,{_HOST})*)(?P<path>/[^?@]*)?(?:\?(?P<query>.*))?"
)
_named: list[str] = []
"""The config file that the command in progress names, last."""


class _Url(NamedTuple):
    start: str
    """Scheme, user, hosts and database."""
    password: str
    parameters: list[tuple[str, str]]


def is_server(place: str | Path) -> bool:
    """Whether a place is the URL of a server, not a file."""
    return str(place).startswith(POSTGRES)


def validated_database(url: str) -> str:
    """The same URL, checked; empty for the file in the data folder.

    Raises:
        ValueError: It is none of PostgreSQL. The message does not repeat it: it could hold a password.
    """
    if url and _parsed(url) is None:
        raise ValueError(f"expected a URL such as {EXAMPLE}; in a password / is written %2F, @ %40 and : %3A")
    return url


def has_password(url: str) -> bool:
    """Whether a valid URL holds a password."""
    parsed = _parsed(url)
    return bool(parsed and (parsed.password or any("password" in name for name, _ in parsed.parameters)))


def without_password(url: str) -> str:
    """A URL for messages and lists: without its password, and without parameters that could hold one."""
    parsed = _parsed(url)
    if parsed is None:
        return f"{url.partition('://')[0]}://…" if is_server(url) else "…"
    shown = "&".join(f"{name}={value}" for name, value in parsed.parameters if name in _SHOWN)
    return f"{parsed.start}?{shown}" if shown else parsed.start


def _parsed(url: str) -> _Url | None:
    found = _URL.fullmatch(url)
    if found is None:
        return None
    user = f"{found['user']}@" if found["user"] is not None else ""
    start = f"{found['scheme']}{user}{found['hosts']}{found['path'] or ''}"
    pairs = [pair.partition("=") for pair in (found["query"] or "").split("&") if pair]
    parameters = [(unquote(name).lower(), value) for name, _, value in pairs]
    return _Url(start, found["password"] or "", parameters)


def place_of(data_dir: str | Path, database: str | Path | None = "") -> str | Path:
    """Where the sessions of a data folder are kept.

    Args:
        data_dir: The folder on this machine.
        database: The place, if it is known, such as the URL in a configuration. Empty: what the variable
            SWARM_DATABASE says, or else the config file of the command, or the one that `load_config` reads
            by default.

    Returns:
        The URL of a PostgreSQL database, or a file in the data folder, which may not exist yet.

    Raises:
        ConfigError: The variable, or the file, names no database that can be used.
    """
    return database or _configured(_named[-1:]) or Path(data_dir) / DATABASE


def database_variable(data_dir: str | Path, database: str | Path = "") -> str:
    """What stands before a command of a shell that would not look at a server by itself; or nothing.

    Args:
        data_dir: The data folder.
        database: The place, or empty for the usual one (see `place_of`).
    """
    place = place_of(data_dir, database)
    if not is_server(place) or place == _configured():
        return ""
    return f"{VARIABLE}={shlex.quote(without_password(str(place)))} "


def is_there(place: str | Path) -> bool:
    """Whether a place is the URL of a server, or a file that exists.

    Raises:
        InputError: Its folder cannot be read.
    """
    try:
        return is_server(place) or Path(place).is_file()
    except OSError as error:
        raise InputError(f"cannot use the data folder '{Path(place).parent}': {error.strerror}") from error


def place_mark(place: str | Path) -> int:
    """What tells the file that lies at a place from another one; 0 if none does. Of a server always 1."""
    if is_server(place):
        return 1
    try:
        return Path(place).stat().st_ino
    except OSError:
        return 0


def place_name(data_dir: str | Path, place: str | Path) -> str:
    """What messages call a place: the data folder, or the URL without a password."""
    return without_password(str(place)) if is_server(place) else str(data_dir)


@contextmanager
def config_named(file: str) -> Iterator[None]:
    """Let a config file that a command names say where the sessions are, in place of the default one."""
    _named.append(file)
    try:
        yield
    finally:
        _named.remove(file)


def refuse_password(name: str, settings: Mapping[str, object]) -> None:
    """Refuse settings whose database has a password: they are kept, and read by others.

    Args:
        name: Where they come from, for the message.
        settings: In the shape of a config file.

    Raises:
        ConfigError: It has one.
    """
    if has_password(str(settings.get(SETTING) or "")):
        raise ConfigError(one_line(f"{name}: {SETTING}: {NO_PASSWORD}"))


def _configured(named: Sequence[str] = ()) -> str:
    """The URL that the environment names, or the config file that a command names, or the default one."""
    if VARIABLE in os.environ:
        return _checked("the environment", os.environ[VARIABLE])
    file = Path(named[0]) if named else source_path(None, os.environ)
    if file is None:
        return ""
    try:
        status = file.stat()
    except OSError:  # whatever needs the file says that it is not there
        return ""
    return _in_file(file.absolute(), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _in_file(file: Path, _modified: int, _size: int) -> str:
    """The database that a config file names. Most name none: then it is not parsed."""
    try:
        if SETTING not in file.read_text(encoding="utf-8-sig"):
            return ""
    except (OSError, ValueError):
        return ""
    settings = read_json5(file)
    refuse_password(str(file), settings)
    return _checked(str(file), settings.get(SETTING) or "")


def _checked(source: str, url: object) -> str:
    try:
        return validated_database(str(url))
    except ValueError as error:
        raise ConfigError(one_line(f"{source}: {SETTING}: {error}")) from None
