"""One model for all roles, named at the top of a configuration by `url` and `model`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from swarm_graph.settings import AUTO, EMBEDDED, absolute_file, validated_url

SHORTHAND = ("url", "model", "api_type", "api_key_env")
"""The keys at the top of a configuration that stand for a `model_config` with one model."""

EXAMPLE_URL = "http://127.0.0.1:1234/v1"
_OF_SERVER = ("timeout", "idle_timeout", "retries", "slots", "api_key_env")
"""What a new model takes over from a configured one on the same server."""
_ENDPOINT = re.compile(r"/(chat/completions|completions|models|api/(chat|generate|tags))$")
_EVERY_ADDRESS = ("0.0.0.0", "::")
"""Where a server says it listens when it listens everywhere; calls go to this machine."""


def typed_url(text: str) -> str:
    """A server's URL as a person types it: the scheme may be missing, a port alone is one of this machine.

    Raises:
        ValueError: It is no URL, or could hold a key. The message does not repeat it in that case.
    """
    typed, text = text, text.strip()
    if re.match(r":?\d{1,5}(/|$)", text):
        text = f"127.0.0.1:{text.lstrip(':')}"
    if "://" not in text:
        text = f"http://{_bracketed(text)}"
    may_hold_key = set("@?#;%") & set(text)
    try:
        if re.match(r"https?://https?:", text):
            raise ValueError(f"expected a URL such as {EXAMPLE_URL}")
        parts = urlsplit(validated_url(text, EXAMPLE_URL))
    except ValueError as error:
        raise ValueError(str(error) if may_hold_key else f"{typed!r}: {error}") from error
    path = _ENDPOINT.sub("", parts.path.rstrip("/")).rstrip("/")
    return parts._replace(path=path, netloc=_reachable(parts)).geturl()


def _bracketed(text: str) -> str:
    """The text, in brackets if it is an IPv6 address."""
    try:
        return f"[{text}]" if ip_address(text).version == 6 else text
    except ValueError:
        return text


def _reachable(parts: SplitResult) -> str:
    if parts.hostname not in _EVERY_ADDRESS:
        return parts.netloc
    return "127.0.0.1" if parts.port is None else f"127.0.0.1:{parts.port}"


def same_server(one: str, other: str) -> bool:
    """Whether two URLs have one scheme, host and port. A path does not matter."""
    first, second = urlsplit(one), urlsplit(other)
    return (first.scheme, first.netloc.lower()) == (second.scheme, second.netloc.lower())


def one_model(models: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """A `model_config` with one model for all roles.

    A model that is configured on the same server leaves its key, timeouts and slots; the same model also its
    prices. An entry of multi_model is taken as it is, fallbacks included. Without a server, a name that
    ends in .gguf is a file.

    Args:
        models: The `model_config` that it replaces, in the file's shape and not checked.
        given: The values of SHORTHAND keys; at least one.

    Raises:
        ValueError: A value is no text, or model or server is missing; the message begins with the key.
    """
    for key, value in given.items():
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{key}: expected text, as in {EXAMPLE_URL if key == 'url' else 'NAME'!r}")
    models = models if isinstance(models, Mapping) else {}
    more = {key: value for key, value in given.items() if key not in ("url", "model")}
    entries, named = list(_entries(models)), models.get("multi_model")
    if "url" not in given and isinstance(named, Mapping) and given.get("model") in named:
        entry = named[given["model"]]
        if isinstance(entry, Mapping) and "any_of" in entry:
            raise ValueError(f"model: {given['model']!r} is a choice of several models; name one of them")
        return {**models, "mode": "single", "single_model": {**entry, **more}}
    if given.get("api_type") == "simulated" and "model" in given:
        return {"mode": "single", "single_model": given}
    if _is_file(given, has_server=bool(entries)):
        return {"mode": "single", "single_model": _embedded(models, given)}
    url = _url(entries, given)
    model = given.get("model") or _only_model(entries)
    entry = {**_kept(entries, url, model), **more, "model": model}
    if "api_type" in given:
        entry["url"] = url
    return {"mode": "single", "single_model": entry}


def names_file(model: str) -> bool:
    """Whether a model's name is that of a GGUF file."""
    return model.lower().endswith(".gguf")


def _is_file(given: Mapping[str, Any], *, has_server: bool) -> bool:
    """Whether the values mean a GGUF file to serve. A configured server may have a model of such a name."""
    if "api_type" in given or "url" in given:
        return given.get("api_type") == EMBEDDED and "model" in given
    name = given.get("model", "")
    return names_file(name) and (not has_server or Path(absolute_file(name)).is_file())


def _embedded(models: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The model that serves a file; a configured one of the same file leaves its settings."""
    new = {**given, "model": absolute_file(given["model"]), "api_type": EMBEDDED}
    for entry in _all_entries(models):
        if entry.get("api_type") == EMBEDDED and absolute_file(str(entry.get("model"))) == new["model"]:
            return {key: value for key, value in entry.items() if key != "fallbacks"} | new
    return new


def _entries(models: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The configured models that have a server."""
    return (entry for entry in _all_entries(models) if isinstance(entry.get("url"), str) and entry["url"])


def _all_entries(models: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    named = models.get("multi_model")
    for entry in (models.get("single_model"), *(named.values() if isinstance(named, Mapping) else ())):
        if isinstance(entry, Mapping):
            yield entry


def _url(entries: list[Mapping[str, Any]], given: Mapping[str, Any]) -> str:
    """The given URL, else the only one that is configured."""
    if "url" in given:
        try:
            return typed_url(given["url"])
        except ValueError as error:
            raise ValueError(f"url: {error}") from error
    if "model" not in given:
        raise ValueError(f"{next(iter(given))}: needs a url and a model beside it")
    urls = list(dict.fromkeys(entry["url"] for entry in entries))
    if not urls:
        raise ValueError(f"model: {given['model']!r} needs a url beside it: the address of its server")
    if len(urls) > 1:
        raise ValueError(f"model: {given['model']!r} needs a url beside it, such as one of {', '.join(urls)}")
    return str(urls[0])


def _only_model(entries: list[Mapping[str, Any]]) -> Any:
    """The name of the only model that is configured."""
    names = list(dict.fromkeys(entry.get("model") for entry in entries))
    if len(names) != 1:
        raise ValueError("url: needs a model beside it: its name on the server")
    return names[0]


def _kept(entries: list[Mapping[str, Any]], url: str, model: str) -> dict[str, Any]:
    """The settings of the new model, as far as those of its server are configured."""
    there = [entry for entry in entries if same_server(entry["url"], url)]
    if same := next((entry for entry in there if entry.get("model") == model), None):
        return {key: value for key, value in same.items() if key != "fallbacks"}
    if not there:
        return {"url": url, "api_type": AUTO}
    kept = {key: there[0][key] for key in _OF_SERVER if key in there[0]}
    return {**kept, "url": there[0]["url"], "api_type": there[0].get("api_type", "openai")}
