"""The choice of a sandbox: the candidates in order, and the first that works on this machine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache

from swarm_graph.errors import SandboxError
from swarm_graph.sandbox.bare import UNSAFE, Bare
from swarm_graph.sandbox.bubblewrap import Bubblewrap
from swarm_graph.sandbox.container import Container
from swarm_graph.sandbox.interpreter import any_interpreter
from swarm_graph.sandbox.landlock import Landlock
from swarm_graph.sandbox.protocol import Sandbox
from swarm_graph.settings import Execution

log = logging.getLogger("swarm_graph")


def candidates(settings: Execution) -> list[Sandbox]:
    """The sandboxes that the settings allow, best first."""
    sandboxes: list[Sandbox] = [
        Bubblewrap(),
        Container("docker", settings.image),
        Container("podman", settings.image),
        Landlock(),
    ]
    if settings.sandbox != "auto":
        sandboxes = [sandbox for sandbox in sandboxes if sandbox.name == settings.sandbox]
    return [*sandboxes, *([Bare()] if settings.unsafe else [])]


def problems(settings: Execution) -> Iterator[tuple[Sandbox, str]]:
    """Each candidate with the reason why it cannot be used on this machine; empty if it can be used.

    Raises:
        ConfigError: `execution.python` cannot be run.
    """
    for sandbox in candidates(settings):
        yield sandbox, sandbox.problem(any_interpreter(settings.python))


def choose(settings: Execution) -> Sandbox:
    """The best sandbox that works on this machine; the answer is cached for the life of the process.

    Raises:
        SandboxError: None works; the message says why for each.
        ConfigError: `execution.python` cannot be run.
    """
    choice = _choose(settings.sandbox, settings.python, settings.image, settings.unsafe)
    if isinstance(choice, str):
        raise SandboxError(
            f"no sandbox can be used here ({choice}); install bubblewrap, or the package "
            "sandlock (`pip install sandlock`), or set execution.mode to off"
        )
    return choice


def sandbox_for_tests(settings: Execution) -> tuple[Sandbox | None, str]:
    """The sandbox for a test run, or None and the reason why no tests run.

    A run without isolation is logged as a warning.

    Raises:
        SandboxError: `settings.mode` is required and no sandbox works.
        ConfigError: `execution.python` cannot be run.
    """
    if settings.mode == "off":
        return None, "execution.mode is off"
    try:
        sandbox = choose(settings)
    except SandboxError as error:
        if settings.mode == "required":
            raise
        return None, str(error)
    if sandbox.name == UNSAFE:
        log.warning("the tests run WITHOUT a sandbox (execution.unsafe): they can do whatever you can")
    return sandbox, ""


@cache
def _choose(sandbox: str, python: str | None, image: str | None, unsafe: bool) -> Sandbox | str:
    """The sandbox, or the reasons why none works; `Execution` itself cannot be hashed."""
    settings = Execution.model_validate(
        {"sandbox": sandbox, "python": python, "image": image, "unsafe": unsafe}
    )
    reasons = []
    for candidate, problem in problems(settings):
        if not problem:
            return candidate
        reasons.append(f"{candidate.name}: {problem.partition(';')[0]}")
    return ", ".join(reasons)
