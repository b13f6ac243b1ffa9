"""The suites: bundled ones by name, a folder of cases, and published data sets by path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from swarm_graph.errors import InputError
from swarm_graph.suites.case import Suite

BUNDLED = ("smoke", "humaneval", "reviews")
SHA256 = "#sha256="
"""Stands between a path and the sha256 of its data."""
PUBLISHED = ("mbpp", "classeval", "polyglot")


def load_suite(name: str, *, sha256: str = "") -> Suite:
    """The cases of a suite.

    Args:
        name: `smoke`, `humaneval`, `reviews`; the path of a folder of cases; or `mbpp:PATH`,
            `classeval:PATH`, `polyglot:PATH`. `#sha256=HEX` may follow a path.
        sha256: What the data must hash to, as `Suite.source` names it; only for a path. Empty for any.

    Raises:
        InputError: There is no such suite, or its data cannot be used.
        ConfigError: `humaneval` needs the extra `eval`.
    """
    name, _, digest = name.partition(SHA256)
    sha256 = sha256 or digest
    form, separator, path = name.partition(":")
    if separator and form in PUBLISHED:
        return _published(form)(Path(path), sha256)
    if name in BUNDLED:
        if sha256:
            raise InputError(f"the suite '{name}' takes no sha256; only a path does")
        return _bundled(name)()
    if not Path(name).is_dir():
        forms = ", ".join(f"{form}:PATH" for form in PUBLISHED)
        raise InputError(
            f"there is no suite '{name}'; expected {', '.join(BUNDLED)}, a folder of cases, {forms}"
        )
    from swarm_graph.suites.case_folder import load_folder

    return load_folder(Path(name), sha256=sha256)


def _bundled(name: str) -> Callable[[], Suite]:
    if name == "smoke":
        from swarm_graph.suites.case_folder import load_smoke

        return load_smoke
    if name == "humaneval":
        from swarm_graph.suites.humaneval import load_humaneval

        return load_humaneval
    from swarm_graph.suites.reviews import load_reviews

    return load_reviews


def _published(form: str) -> Callable[[Path, str], Suite]:
    if form == "mbpp":
        from swarm_graph.suites.mbpp import load_mbpp

        return load_mbpp
    if form == "classeval":
        from swarm_graph.suites.classeval import load_classeval

        return load_classeval
    from swarm_graph.suites.polyglot import load_polyglot

    return load_polyglot
