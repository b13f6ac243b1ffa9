"""Adopt a configuration: write its file over the one in use, and keep the old one beside it."""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

from swarm_graph.checkpoints.experiments import Experiment
from swarm_graph.config import resolve_paths
from swarm_graph.config_source import read_json5
from swarm_graph.errors import ConfigError, InputError, StorageError
from swarm_graph.experiments.ab_plan import side_again
from swarm_graph.experiments.ab_report import AbResult

Keys = tuple[str | int, ...]
"""The keys and indexes that lead to a value in a file."""


class Adopted(NamedTuple):
    """What adopting a configuration has written.

    Attributes:
        file: The file in use, which now says what the winner says.
        kept: Its earlier text, beside it; None if there was no file.
        changed: Whether anything was written: not if the file already said the same.
    """

    file: Path
    kept: Path | None
    changed: bool = True


def adopt(winner: Path, file: Path) -> Adopted:
    """Write a configuration over the one in use. Comments stay; relative paths still name the same files.

    The file is replaced as a whole or not at all. Its earlier text is kept as `NAME.before-DATE-TIME.json`
    beside it; nothing that was kept before is overwritten.

    Args:
        winner: The file of the configuration to adopt.
        file: The configuration in use; it may be missing.

    Raises:
        ConfigError: The winner cannot be read, or would not mean the same in the folder of the other file.
        StorageError: A file cannot be written; the configuration in use is as it was.
    """
    text = adopted_text(winner, file)
    try:
        target = Path(os.path.realpath(file))  # of a link the file that it names
        if os.path.lexists(target) and not target.is_file():
            raise StorageError(f"cannot adopt '{winner}': '{file}' is no file; name a file with --config")
        old = target.read_bytes() if target.exists() else None
        if old == text:
            return Adopted(file, None, changed=False)
        mode = stat.S_IMODE(target.stat().st_mode) if old is not None else None
        kept = _keep(file, old, mode) if old is not None else None
        _replace(target, text, mode)
    except OSError as error:
        raise StorageError(
            f"cannot write '{winner}' over '{file}': {error.strerror}; '{file}' is as it was"
        ) from error
    return Adopted(file, kept)


def adopt_winner(
    result: AbResult, experiment: Experiment, file: Path, given: str | Path | None, *, is_own: bool
) -> Adopted:
    """Write the winner of an A/B test over the configuration in use; see `adopt`.

    Args:
        result: The result.
        experiment: The test.
        file: The configuration in use.
        given: The winner's file, if it is not to be the recorded one.
        is_own: Whether this user has begun the test here. The file of somebody else's plan is not read.

    Raises:
        InputError: No difference is shown, the test has not ended or was simulated, or the winner has changed
            since the test began.
        ConfigError: The winner cannot be read, or would not mean the same there.
        StorageError: A file cannot be written.
    """
    if result.winner is None:
        why = "no difference is shown" if result.has_ended else "the test has no verdict yet"
        raise InputError(f"nothing is adopted: {why}")
    if experiment.plan.get("simulate"):
        raise InputError("nothing is adopted: every model was simulated, so the winner says nothing of yours")
    return adopt(Path(side_again(experiment, result.winner, given, is_own=is_own).file), file)


def adopted_text(winner: Path, file: Path) -> bytes:
    """The text of a configuration as another file has to say it: its relative paths count from there.

    Raises:
        ConfigError: It cannot be read, or it cannot be said there.
    """
    data = read_json5(winner)
    try:
        content = winner.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read the config '{winner}': {error.strerror}") from error
    meant = _meaning(data, winner)
    if _meaning(data, file) == meant:
        return content
    text = content.decode("utf-8-sig")
    for shorten in (True, False):
        moved = _moved(text, data, meant, file, shorten=shorten)
        if _meaning(_parsed(moved), file) == meant:
            return moved.encode()
    raise ConfigError(
        f"'{winner}' has relative paths that '{file}' cannot say; make them absolute, and adopt it then"
    )


def _meaning(data: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """The settings of a file with the paths that they mean."""
    settings = deepcopy(dict(data))
    resolve_paths(file, settings)
    return settings


def _parsed(text: str) -> dict[str, Any]:
    import json5

    data: dict[str, Any] = json5.loads(text)
    return data


def _moved(text: str, data: Mapping[str, Any], meant: Mapping[str, Any], file: Path, *, shorten: bool) -> str:
    """A text whose paths are replaced: by paths from the other file's folder, or by absolute ones."""
    spans = dict(_strings(text))  # a command counts from its own `cwd`, so its path is always absolute
    there = _meaning(data, file)
    edits = [
        (spans[keys], _path_from(file, value, shorten=shorten and keys[-1] != "command"))
        for keys, value in _leaves(meant)
        if keys in spans and _value_at(there, keys) != value
    ]
    for (start, end), path in sorted(edits, reverse=True):
        text = f"{text[:start]}{json.dumps(path, ensure_ascii=False)}{text[end:]}"
    if "code_dir" in meant and "code_dir" not in data:  # the default is the folder of the file
        brace = next(start for word, start, _ in _words(text) if word == "{")
        path = json.dumps(_path_from(file, meant["code_dir"], shorten=shorten), ensure_ascii=False)
        text = f'{text[: brace + 1]}\n  "code_dir": {path},{text[brace + 1 :]}'
    return text


def _path_from(file: Path, path: str, *, shorten: bool) -> str:
    folder = file.absolute().parent
    return str(Path(path).relative_to(folder)) if shorten and Path(path).is_relative_to(folder) else path


def _leaves(value: Any, keys: Keys = ()) -> Iterator[tuple[Keys, str]]:
    """Every text in nested settings, with the keys that lead to it."""
    if isinstance(value, str):
        yield keys, value
        return
    parts: Sequence[tuple[str | int, Any]] = ()
    if isinstance(value, Mapping):
        parts = list(value.items())
    elif isinstance(value, list):
        parts = list(enumerate(value))
    for key, part in parts:
        yield from _leaves(part, (*keys, key))


def _value_at(value: Any, keys: Keys) -> Any:
    for key in keys:
        value = value[key]
    return value


# --- the text of a file ---------------------------------------------------------------------------


_WORD = re.compile(
    r"""(?://[^\n\r]*|/\*.*?\*/|\s)+ | (?P<word> "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' | [{}\[\]:,]"""
    r"""| [^\s{}\[\]:,"'/]+ )""",
    re.DOTALL | re.VERBOSE,
)
"""A comment or space, or a word of JSON5."""


def _words(text: str) -> Iterator[tuple[str, int, int]]:
    """The words of a JSON5 text without comments, each with its place."""
    for found in _WORD.finditer(text):
        if word := found["word"]:
            yield word, found.start("word"), found.end("word")


def _strings(text: str) -> Iterator[tuple[Keys, tuple[int, int]]]:
    """The keys and the place of each text value in valid JSON5."""
    keys: list[str | int] = []  # one for each open bracket
    expects_key: list[bool] = []  # whether each open bracket is an object that has no key yet
    for word, start, end in _words(text):
        is_text = word[0] in "\"'"
        if word in "{[":
            keys.append(0)
            expects_key.append(word == "{")
        elif word in "}]":
            keys.pop()
            expects_key.pop()
        elif word == ":":
            expects_key[-1] = False
        elif word == ",":
            last = keys[-1]
            if isinstance(last, str):
                expects_key[-1] = True
            else:
                keys[-1] = last + 1
        elif expects_key and expects_key[-1]:
            keys[-1] = _parsed_text(word) if is_text else word
        elif is_text:
            yield tuple(keys), (start, end)


def _parsed_text(word: str) -> str:
    import json5

    return str(json5.loads(word))


# --- files ----------------------------------------------------------------------------------------


def _keep(file: Path, content: bytes, mode: int | None) -> Path:
    """Write a copy beside a file under a name that is free; returns its path."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for attempt in range(1, 1000):
        again = f"-{attempt}" if attempt > 1 else ""
        kept = file.with_name(f"{file.stem}.before-{stamp}{again}{file.suffix}")
        with suppress(FileExistsError):
            _write_new(kept, content, mode)
            return kept
    raise FileExistsError(17, "too many files of this second are kept", str(file))


def _replace(target: Path, content: bytes, mode: int | None) -> None:
    """Replace a file through a new one beside it; after a crash there is the old one or the new one."""
    new = target.with_name(f".{target.name}.{os.getpid()}.new")
    new.unlink(missing_ok=True)  # left by a process that was killed here
    try:
        _write_new(new, content, mode)
        new.replace(target)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # some file systems have no folders to synchronize
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _write_new(file: Path, content: bytes, mode: int | None) -> None:
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else mode)
    with os.fdopen(handle, "wb") as opened:
        if mode is not None:
            file.chmod(mode)  # the umask has narrowed it
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
