"""Where a configuration comes from, file and environment, and how its problems are told in one line."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from swarm_graph.errors import ConfigError

ENVIRONMENT_TEXTS = ("SWARM_PROMPTS_DIR", "SWARM_PROXY")


def origin(path: tuple[str, ...], layers: list[tuple[str, dict[str, Any]]]) -> str:
    """The last of the layers that sets a key: that is where its value comes from."""
    return next((name for name, layer in reversed(layers) if _sets(layer, path)), layers[0][0])


def _sets(layer: Any, path: tuple[str, ...]) -> bool:
    if not path or not isinstance(layer, Mapping):
        return layer is not None and not isinstance(layer, Mapping)
    return path[0] in layer and _sets(layer[path[0]], path[1:])


def one_line(text: str) -> str:
    """A message on one line, whatever a key or a value holds."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def changed_keys(old: Any, new: Any, path: tuple[str, ...] = ()) -> list[str]:
    """The dotted paths of the settings in which two configurations, as plain data, differ."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return [] if old == new else [".".join(path)]
    keys = dict.fromkeys([*old, *new])
    return [name for key in keys for name in changed_keys(old.get(key), new.get(key), (*path, key))]


def read_source(
    source: str | Path | Mapping[str, Any] | None, environ: Mapping[str, str]
) -> tuple[dict[str, Any], str]:
    if isinstance(source, Mapping):
        return dict(source), "config"
    path = source_path(source, environ)
    return (read_json5(path), str(path)) if path else ({}, "config")


def source_path(source: str | Path | None, environ: Mapping[str, str]) -> Path | None:
    """The config file that is read: the given one, else `SWARM_CONFIG`, else ./config.json if it is there."""
    if source is None:
        source = environ.get("SWARM_CONFIG") or ("config.json" if Path("config.json").is_file() else None)
    return Path(source) if source else None


def read_json5(path: Path) -> dict[str, Any]:
    """A JSON file with comments and trailing commas; ConfigError names the line that is wrong."""
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
    """SWARM_WORKFLOW__MAX_ITERATIONS=2 as {"workflow": {"max_iterations": 2}}."""
    data: dict[str, Any] = {}
    for name, text in environ.items():
        path = name.removeprefix("SWARM_").lower().split("__")
        if not name.startswith("SWARM_") or (len(path) == 1 and name not in ENVIRONMENT_TEXTS):
            continue
        try:
            value = text if name in ENVIRONMENT_TEXTS else json.loads(text)
        except (ValueError, RecursionError):
            value = text
        for key in reversed(path[1:]):
            value = {key: value}
        data = merged(data, {path[0]: value})
    return data


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[key] = merged(old, value) if both else value  # type: ignore[arg-type]
    return result


_ALTERNATIVE = re.compile(r"(?:bool|str|int|\[key\]|(?:list|dict|literal|constrained-\w+|function-\w+).*)")
"""What pydantic puts into a path to say which alternative of a type it tried."""


def first_problem(error: ValidationError) -> tuple[tuple[str, ...], str]:
    """The most specific problem: its path, and what is wrong there."""
    problems: dict[tuple[str, ...], list[Any]] = {}
    for problem in error.errors(include_url=False):
        parts = (str(part) for part in problem["loc"])
        path = tuple(part for part in parts if not _ALTERNATIVE.fullmatch(part))
        problems.setdefault(path, []).append(problem)
    path = max(problems, key=len)
    messages = dict.fromkeys(
        re.sub("valid dictionary.*", "valid object", problem["msg"].removeprefix("Value error, "))
        for problem in problems[path]
    )
    message = ", or ".join(message[:1].lower() + message[1:] for message in messages)
    value = problems[path][0]["input"]
    secret = path[-1:] == ("api_key_env",) or "@" in str(value)
    shown = "" if isinstance(value, dict) or secret else f"{_shortened(value)} is not allowed: "
    others = sum(not _within(path, other) for other in problems)
    return path, f"{shown}{message}" + (f" (and {others} more)" if others else "")


def _within(path: tuple[str, ...], other: tuple[str, ...]) -> bool:
    return path[: len(other)] == other


def _shortened(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def near(name: str, known: list[Any]) -> str | None:
    """The known word that a name is a misspelling or the beginning of."""
    words = [str(item) for item in known]
    plain = re.sub(r"[\W_]", "", name.lower())
    begun = [word for word in words if len(plain) > 3 and word.replace("_", "").startswith(plain)]
    return next(iter([*difflib.get_close_matches(name.lower(), words, n=1, cutoff=0.8), *begun]), None)
