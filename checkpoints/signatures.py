"""Signatures of sessions: they tell the sessions that a user began from those that a received file brings.

What is recorded of a session names servers, programs, folders and environment variables. It is used again
only if it is signed with the user's key, which lies outside of every database. A signature covers the
session's id, all its recorded settings and the place of the database, so it is of no use in another session,
in another database, or with other settings.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import stat
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.database import MEMORY
from swarm_graph.checkpoints.records import Session, json_object, signatures_from_text
from swarm_graph.checkpoints.secret_file import make_secret_file, secret_file_problem
from swarm_graph.errors import StorageError

KEY_BYTES = 32
_PURPOSE, _PURPOSE_OF_PLAN = "swarm_graph session 1", "swarm_graph experiment 1"

_SIGNED_HERE: set[str] = set()
"""What this process has signed: without a usable key it still knows its own sessions."""


class UnusableKey(Exception):
    """Internal: there is no key that can be used; the message says why. Callers go on without a key."""


def key_paths() -> list[Path]:
    """The files that may hold the user's key: one in the platform's folder for user data, and a spare one.

    The spare one is for home folders that cannot be written, as in a container, and for users without one.
    """
    folders = (_data_folder(), _spare_folder())
    return [folder / "key" for folder in folders if folder]


def _data_folder() -> Path | None:
    given = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_DATA_HOME", "")
    if given and Path(given).is_absolute():
        return Path(given) / "swarm-graph"
    try:
        home = Path.home() if os.environ.get("HOME") != "" else None  # Python takes "" for the root folder
    except RuntimeError:
        home = None
    if home is None or not home.is_absolute():
        return None
    folder = {"darwin": "Library/Application Support", "win32": "AppData/Local"}
    return home / folder.get(sys.platform, ".local/share") / "swarm-graph"


def _spare_folder() -> Path | None:
    """A private folder of the user among the temporary files that survive a restart; None if it cannot be."""
    if os.name == "nt":
        return None
    folder = Path(os.environ.get("TMPDIR") or "/var/tmp") / f"swarm-graph-{os.geteuid()}"
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return folder if folder.is_absolute() else None
    except OSError:
        return None
    is_private = stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o077
    return folder if is_private and status.st_uid == os.geteuid() else None


def is_own(catalogue: Catalogue, session: Session) -> bool:
    """Whether this user began a session, or has trusted it, and its recorded settings are still the same."""
    if str(catalogue.database.path) == MEMORY:
        return True
    return _are_signed(_texts(catalogue, session), catalogue.signatures(session.session), _key_or_none())


def own_sessions(catalogue: Catalogue, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The recorded settings of the sessions, of these, that are the user's own (`is_own`), by id.

    It looks at many sessions at once, so a session with a row that we would not write is simply none of them.
    """
    found: dict[str, dict[str, Any]] = {}
    places, key = catalogue.database.identities, _key_or_none()
    is_memory = str(catalogue.database.path) == MEMORY
    for id, config, config_file, output, simulated, folder, signatures in catalogue.signed_rows(ids):
        with suppress(StorageError, TypeError):
            settings = json_object(config)
            signed = [settings, config_file, output, bool(simulated), folder or ""]
            texts, by_key = _session_texts(places, id, signed), signatures_from_text(signatures)
            if is_memory or _are_signed(texts, by_key, key):
                found[id] = settings
    return found


def _are_equal(found: object, expected: str) -> bool:
    return hmac.compare_digest(str(found).encode(errors="replace"), expected.encode())


def sign(catalogue: Catalogue, session_id: str) -> None:
    """Sign a session as it is recorded now; the user's key is made on its first use.

    Without a usable key only this process knows the session as the user's.
    """
    session = catalogue.get(session_id)
    if session is None or str(catalogue.database.path) == MEMORY:
        return
    if signed := _signed(_texts(catalogue, session)):
        catalogue.put_signatures(session_id, *signed)


def sign_text(text: str) -> str:
    """The signature of a text with the user's key; empty if there is no usable key.

    Only this process knows such a text as the user's then.
    """
    signed = _signed([text])
    return signed.signatures[0] if signed else ""


def is_signed_text(text: str, signature: str) -> bool:
    """Whether this user has signed a text (`sign_text`)."""
    key = _key_or_none()
    return _are_signed([text], {_name(key): [signature]} if key else {}, key)


def sign_plan(catalogue: Catalogue, experiment: str, plan: Mapping[str, Any]) -> dict[str, list[str]]:
    """The signatures of an experiment's plan by the names of keys; empty without a usable key.

    Only this process knows such a plan as the user's then.
    """
    signed = _signed(_texts_of_plan(catalogue, experiment, plan))
    return {signed.key_name: signed.signatures} if signed else {}


def is_own_plan(
    catalogue: Catalogue, experiment: str, plan: Mapping[str, Any], signatures: Mapping[str, Sequence[str]]
) -> bool:
    """Whether this user has begun an experiment, and its plan is still the same."""
    return _are_signed(_texts_of_plan(catalogue, experiment, plan), signatures, _key_or_none())


class _Signed(NamedTuple):
    key_name: str
    signatures: list[str]


def _signed(texts: Sequence[str]) -> _Signed | None:
    """The signatures of texts; None if there is no usable key."""
    _SIGNED_HERE.update(texts)
    try:
        key = _own_key()
    except (UnusableKey, OSError):
        return None
    return _Signed(_name(key), [_sign(key, text) for text in texts])


def _are_signed(texts: Sequence[str], signatures: Mapping[str, Sequence[str]], key: bytes | None) -> bool:
    """Whether this user has signed one of the texts.

    Args:
        texts: One for each place of the database.
        signatures: Their signatures by the name of a key.
        key: The user's key; without one only what this process has signed counts.
    """
    if any(text in _SIGNED_HERE for text in texts):
        return True
    if key is None:
        return False
    pairs = zip(signatures.get(_name(key), []), texts, strict=False)
    return any(_are_equal(found, _sign(key, text)) for found, text in pairs)


def _key_or_none() -> bytes | None:
    try:
        return _find_key()
    except (UnusableKey, OSError):
        return None


def _texts_of_plan(catalogue: Catalogue, experiment: str, plan: Mapping[str, Any]) -> list[str]:
    encoded = json.dumps(plan, sort_keys=True)
    return [
        json.dumps([_PURPOSE_OF_PLAN, place, experiment, encoded]) for place in catalogue.database.identities
    ]


def key_problem() -> str:
    """Why the user has no usable key; empty if there is one, or none yet."""
    try:
        _find_key()
    except FileNotFoundError as error:
        can_be_made = any(_can_be_made(path) for path in key_paths())
        return (
            "" if can_be_made else f"your key '{error.filename}' cannot be made: its folder cannot be written"
        )
    except OSError as error:
        return f"your key '{error.filename}' cannot be read: {error.strerror}"
    except UnusableKey as error:
        return str(error)
    return ""


def _can_be_made(path: Path) -> bool:
    existing = next(folder for folder in path.parents if folder.exists())
    return os.access(existing, os.W_OK)


def _texts(catalogue: Catalogue, session: Session) -> list[str]:
    """What is signed: a text for each place of the database. JSON keeps the parts apart.

    Paths are signed as they are recorded, with the folder that they count from, so that a project can move.
    """
    recorded, folder = catalogue.as_recorded(session), catalogue.places(session.session).then
    settings = [recorded.config, recorded.config_file, recorded.output, recorded.simulated, folder]
    return _session_texts(catalogue.database.identities, session.session, settings)


def _session_texts(places: Sequence[str], session_id: str, settings: Sequence[Any]) -> list[str]:
    encoded = json.dumps(settings, sort_keys=True)  # once: a configuration is the longest part by far
    return [f"{json.dumps([_PURPOSE, place, session_id])[:-1]}, {encoded}]" for place in places]


def _sign(key: bytes, text: str) -> str:
    return hmac.digest(key, text.encode(), "sha256").hex()


def _name(key: bytes) -> str:
    """A name for a key that does not reveal it: several users may sign the sessions of one database."""
    return _sign(key, "name")[:16]


def _own_key() -> bytes:
    """The user's key, made if there is none.

    Raises:
        UnusableKey: It cannot be used; a warning says how to get a new one.
        OSError: It cannot be made anywhere.
    """
    try:
        return _find_key()
    except OSError:
        return _first(key_paths(), _made_key)
    except UnusableKey as error:
        warnings.warn(f"sessions are not signed: {error}", stacklevel=2)
        raise


def _find_key() -> bytes:
    """The user's key.

    Raises:
        UnusableKey: It cannot be used.
        OSError: There is none, or it cannot be read.
    """
    return _first(key_paths(), _read_key)


def _first(paths: list[Path], key_of: Callable[[Path], bytes]) -> bytes:
    """The key of the first path that has one. Raises the error of the first path if none has."""
    problems: list[OSError] = []
    for path in paths:
        try:
            return key_of(path)
        except OSError as error:
            problems.append(error)
    raise (
        problems[0] if problems else UnusableKey("there is no folder for your key; set XDG_DATA_HOME to one")
    )


def _read_key(path: Path) -> bytes:
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    if path.is_symlink():
        raise UnusableKey(f"your key '{path}' is a link; remove it, and the next run makes a new key")
    with os.fdopen(os.open(path, flags | getattr(os, "O_BINARY", 0)), "rb") as file:
        if problem := secret_file_problem(os.fstat(file.fileno())):
            raise UnusableKey(f"your key '{path}' {problem}; remove it, and the next run makes a new key")
        key = file.read(KEY_BYTES + 1)
    if len(key) != KEY_BYTES:
        raise UnusableKey(f"your key '{path}' is damaged; remove it, and the next run makes a new key")
    return key


def _made_key(path: Path) -> bytes:
    make_secret_file(path, secrets.token_bytes(KEY_BYTES))
    return _read_key(path)
