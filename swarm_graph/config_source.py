"""Sources of a configuration, file and environment, and its problems as messages of one line."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from swarm_graph.errors import ConfigError

if TYPE_CHECKING:  # where the sessions are is looked up without it
    from pydantic import ValidationError

TEXT_VARIABLES = (
    "SWARM_PROMPTS_DIR", "SWARM_CODE_DIR", "SWARM_PROXY", "SWARM_URL", "SWARM_MODEL", "SWARM_API_TYPE",
    "SWARM_API_KEY_ENV", "SWARM_DATABASE",
)  # fmt: skip
"""Environment variables of settings outside of any group; their values are text, never JSON."""


class Layer(NamedTuple):
    """One source of settings. The layers of a configuration are ordered: a later one wins."""

    name: str
    """For messages: the file's path, "the environment", …"""
    data: dict[str, Any]
    """In the file's shape."""


class Problem(NamedTuple):
    """What pydantic found wrong with one value."""

    path: tuple[str, ...]
    """The keys that lead to the value."""
    message: str


def origin(path: tuple[str, ...], layers: Sequence[Layer]) -> str:
    """The name of the layer that a value comes from: the last one that sets the key.

    The first layer's name for a key that no layer sets, such as a required one.
    """
    return next((layer.name for layer in reversed(layers) if _sets(layer.data, path)), layers[0].name)


def _sets(data: Any, path: tuple[str, ...]) -> bool:
    if not path or not isinstance(data, Mapping):
        return data is not None and not isinstance(data, Mapping)
    return path[0] in data and _sets(data[path[0]], path[1:])


def one_line(message: str) -> str:
    """A message on one line: newlines and control characters of keys and values are escaped."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in message)


def changed_keys(old: Any, new: Any, path: tuple[str, ...] = ()) -> list[str]:
    """The dotted paths of the values in which two nested dicts differ."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return [] if old == new else [".".join(path)]
    keys = dict.fromkeys([*old, *new])
    return [name for key in keys for name in changed_keys(old.get(key), new.get(key), (*path, key))]


def read_source(source: str | Path | Mapping[str, Any] | None, environ: Mapping[str, str]) -> Layer:
    """The lowest layer: a dict as it is, or the config file; empty when there is no file.

    Raises:
        ConfigError: The file cannot be read, or is not a JSON object.
    """
    if isinstance(source, Mapping):
        return Layer("config", dict(source))
    path = source_path(source, environ)
    if path and re.match(r"https?:/", str(path)):  # not repeated: it could hold a key
        raise ConfigError(
            "the config is a URL, and a file is expected; a server needs its model beside it: "
            '{"url": "…", "model": "NAME"} in Python, --url and --model on the command line'
        )
    return Layer(str(path), read_json5(path)) if path else Layer("config", {})


def source_path(source: str | Path | None, environ: Mapping[str, str]) -> Path | None:
    """The config file: the given one, else the one in SWARM_CONFIG, else ./config.json if it exists.

    Raises:
        ConfigError: The source is neither a path nor a text.
    """
    if source is not None and not isinstance(source, (str, Path)):
        raise ConfigError(f"expected a config file, a dict or a SwarmConfig, found {type(source).__name__}")
    if source is None:
        source = environ.get("SWARM_CONFIG") or ("config.json" if Path("config.json").is_file() else None)
    return Path(source) if source else None


def read_json5(path: Path) -> dict[str, Any]:
    """The object in a JSON file that may have `//` comments and trailing commas.

    Raises:
        ConfigError: The file cannot be read, is not JSON (the message names the line), holds a key twice,
            or holds no object.
    """
    import json5

    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(
            one_line(f"cannot read the config '{path}': {reason}; `swarm-graph init` writes one")
        ) from error
    try:
        data = json5.loads(text, allow_duplicate_keys=False)
    except RecursionError as error:
        raise ConfigError(f"{path}: not valid JSON: it is nested too deep") from error
    except ValueError as error:
        reason = str(error).replace("<string>:", "line ")
        raise ConfigError(one_line(f"{path}: not valid JSON: {reason}")) from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected an object {{...}}, found {type(data).__name__}")
    return data


def from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Settings from environment variables: SWARM_WORKFLOW__MAX_ITERATIONS=2 sets workflow.max_iterations.

    A value that is JSON is decoded (2, true, ["style"]), any other is text. Variables without `__` are not
    settings (SWARM_CONFIG, for example), except TEXT_VARIABLES.
    """
    data: dict[str, Any] = {}
    for name, text in environ.items():
        path = name.removeprefix("SWARM_").lower().split("__")
        if not name.startswith("SWARM_") or (len(path) == 1 and name not in TEXT_VARIABLES):
            continue
        try:
            value = text if name in TEXT_VARIABLES else json.loads(text)
        except (ValueError, RecursionError):
            value = text
        for key in reversed(path[1:]):
            value = {key: value}
        data = merged(data, {path[0]: value})
    return data


def merged(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Two nested dicts as one; where both set a value, the upper one wins. Lists are replaced as a whole."""
    result = dict(lower)
    for key, value in upper.items():
        old = result.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[key] = merged(old, value) if both else value  # type: ignore[arg-type]
    return result


_UNION_MEMBER = re.compile(
    r"(?:bool|str|int|\[key\]|[a-z]+(?:-[a-z]+)?-entry|(?:list|dict|literal|constrained-\w+|function-\w+).*)"
)
"""What pydantic adds to the path of an error to name the member of a union that it tried."""


_MAY_HOLD_SECRETS = ("api_key_env", "token_env", "args", "database")


def first_problem(error: ValidationError) -> Problem:
    """The problem with the longest path, which says most; the message counts the others.

    A union has one error for each of its members: their messages are joined with "or".
    """
    errors: dict[tuple[str, ...], list[Any]] = {}
    for one in error.errors(include_url=False):
        keys = (str(key) for key in one["loc"])
        path = tuple(key for key in keys if not _UNION_MEMBER.fullmatch(key))
        errors.setdefault(path, []).append(one)
    path = max(errors, key=len)
    messages = dict.fromkeys(
        re.sub("valid dictionary.*", "valid object", one["msg"].removeprefix("Value error, "))
        for one in errors[path]
    )
    message = ", or ".join(message[:1].lower() + message[1:] for message in messages)
    value = errors[path][0]["input"]
    # A key in the place of a variable's name, or in a URL, must not reach a terminal or a log.
    is_url = path[-1:] in (("url",), ("proxy",), ("otlp_endpoint",))
    may_hold_secret = path[-1:] in [(name,) for name in _MAY_HOLD_SECRETS] or "env" in path
    may_be_secret = may_hold_secret or bool(set("@?#;%" if is_url else "@") & set(str(value)))
    quoted = "" if isinstance(value, dict) or may_be_secret else f"{_shortened(value)} is not allowed: "
    others = sum(path[: len(other)] != other for other in errors)
    return Problem(path, f"{quoted}{message}" + (f" (and {others} more)" if others else ""))


def _shortened(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def unknown_name(what: str, name: str, known: Iterable[object]) -> str:
    """The message about a name that is not known, with the one that it most likely means, or all of them.

    Args:
        what: What it names, as in `role`.
        name: The name, as a person wrote it.
        known: The valid names.
    """
    names = [str(one) for one in known]
    meant = closest_match(name, names)
    hint = f"did you mean {meant!r}?" if meant else f"known {what}s: {', '.join(names)}"
    return f"unknown {what} {name!r}; {hint}"


def closest_match(name: str, names: Iterable[object]) -> str | None:
    """The valid name that a misspelled or shortened one most likely means, for "did you mean"; or None.

    Args:
        name: As a person wrote it; case and punctuation do not matter.
        names: The valid names.
    """
    valid = {str(one).lower(): str(one) for one in names}
    letters = _letters(name)
    begun = [one for one in valid if len(letters) > 3 and _letters(one).startswith(letters)]
    near = [*difflib.get_close_matches(name.lower(), valid, n=1, cutoff=0.8), *begun]
    return valid[near[0]] if near else None


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())
