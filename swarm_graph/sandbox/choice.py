"""Running what a model wrote, away from the machine: the sandboxes, and which of them can be used here."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from swarm_graph.errors import SandboxError
from swarm_graph.sandbox.bare import Bare
from swarm_graph.sandbox.bubblewrap import Bubblewrap
from swarm_graph.sandbox.container import Container
from swarm_graph.sandbox.interpreter import interpreter
from swarm_graph.sandbox.landlock import Landlock
from swarm_graph.sandbox.protocol import Sandbox
from swarm_graph.settings import Execution


def candidates(settings: Execution) -> list[Sandbox]:
    """The sandboxes that the settings allow, the best one first."""
    known: list[Sandbox] = [
        Bubblewrap(),
        Container("docker", settings.image),
        Container("podman", settings.image),
        Landlock(),
    ]
    if settings.sandbox != "auto":
        known = [sandbox for sandbox in known if sandbox.name == settings.sandbox]
    return [*known, *([Bare()] if settings.unsafe else [])]


def problems(settings: Execution) -> Iterator[tuple[Sandbox, str]]:
    """Each sandbox with the reason why it cannot be used here; it is empty for one that can."""
    for sandbox in candidates(settings):
        yield sandbox, sandbox.problem(interpreter(settings.python))


def choose(settings: Execution) -> Sandbox:
    """The best sandbox that can be used here. SandboxError says why each cannot.

    What was found once holds for the life of the process.
    """
    found = _choose(settings.sandbox, settings.python, settings.image, settings.unsafe)
    if isinstance(found, str):
        raise SandboxError(
            f"no sandbox can be used here ({found}); install bubblewrap, or `pip install "
            "'swarm-graph[sandbox]'`, or set execution.mode to off"
        )
    return found


@cache
def _choose(sandbox: str, python: str | None, image: str | None, unsafe: bool) -> Sandbox | str:
    settings = Execution.model_validate(
        {"sandbox": sandbox, "python": python, "image": image, "unsafe": unsafe}
    )
    reasons = []
    for candidate, problem in problems(settings):
        if not problem:
            return candidate
        reasons.append(f"{candidate.name}: {problem.partition(';')[0]}")
    return ", ".join(reasons)
