"""`swarm-graph doctor`: checks of config, servers, prompts, sandbox and folders, each with a cure."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from swarm_graph.config import SwarmConfig
from swarm_graph.database_place import is_server, place_of
from swarm_graph.errors import ConfigError, SwarmError
from swarm_graph.prompts.template import replaced
from swarm_graph.sandbox.bare import UNSAFE
from swarm_graph.sandbox.choice import problems
from swarm_graph.sandbox.interpreter import interpreter
from swarm_graph.sandbox.protocol import Sandbox
from swarm_graph.settings import Execution
from swarm_graph.setup.checks import Check, failed_check
from swarm_graph.setup.database_checks import examine_database
from swarm_graph.setup.server_checks import check_servers
from swarm_graph.state import DOCUMENT
from swarm_graph.workflows.build import new_builder, with_declared_kind

PACKAGES = ("langgraph", "langchain-core", "langchain-openai", "langchain-ollama")
"""Packages with a version that explains most problems."""
LOW_DISK_BYTES = 10**9


async def examine(
    config: SwarmConfig, *, data_dir: Path, output_dir: Path, servers: list[Check] | None = None
) -> list[Check]:
    """All checks, in the order in which a person would do them. No prompt is sent, no file stays.

    An embedding model gets two sentences of ours: only its vectors tell whether it can be used.

    Args:
        config: The loaded configuration.
        data_dir: The folder of the session database.
        output_dir: The folder of the sessions' files.
        servers: The checks of models and servers, if they are known already.
    """
    checks = [
        _check_python(),
        *(await check_servers(config) if servers is None else servers),
        *_check_prompts(config),
        *await _check_tools(config),
        *await _check_memory(config, data_dir),
        *_check_repository(config),
        *_check_execution(config.execution),
        *_check_server(config, data_dir),
        _check_folder("data folder", data_dir),
        _check_folder("output folder", output_dir),
    ]
    return list(dict.fromkeys(checks))  # two models on one server yield some checks twice


def _check_python() -> Check:
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return Check("python", True, f"{platform.python_version()}, {packages}")


def _check_prompts(config: SwarmConfig) -> Iterator[Check]:
    """Whether every workflow finds its roles and prompts, and which shipped prompts are replaced."""
    try:
        for workflow in config.workflow_names:
            if workflow != "custom" or not config.workflow.pauses:  # a task graph has no pauses
                new_builder(workflow, config).build(workflow)
        for what, own in (("own roles", config.roles), ("own workflows", config.workflows)):
            if own:
                yield Check(what, True, ", ".join(own))
        if config.prompts_dir:
            names = ", ".join(replaced(config.prompts_dir)) or "none of ours"
            kind = with_declared_kind(config).workflow.kind
            makes = "; its sessions make a document" if kind == DOCUMENT else ""
            yield Check("prompts", True, f"{config.prompts_dir} replaces or adds {names}{makes}")
    except ConfigError as error:
        yield failed_check("prompts", str(error))


async def _check_tools(config: SwarmConfig) -> list[Check]:
    """Whether the MCP servers start, and have the tools that roles are given."""
    if not (config.tools or config.mcp_servers):
        return []
    from swarm_graph.setup.tool_checks import check_tools  # most configurations have no tools

    return await check_tools(config)


async def _check_memory(config: SwarmConfig, data_dir: Path) -> list[Check]:
    """Whether there is something to recall, and the embedding model makes vectors."""
    if not config.memory:
        return []
    from swarm_graph.setup.memory_checks import check_content, check_memory  # most configurations have none

    return [*await check_content(config.memory, data_dir), *await check_memory(config)]


def _check_server(config: SwarmConfig, data_dir: Path) -> list[Check]:
    """Whether the server with the sessions can be used; no check of a file."""
    place = place_of(data_dir, config.database)
    return examine_database(place, data_dir) if is_server(place) else []


def _check_repository(config: SwarmConfig) -> Iterator[Check]:
    """Whether the configured repository is there, and has its base."""
    if config.repo is None:
        return
    from swarm_graph.workflows.repository import resolve  # most configurations need no git

    try:
        found = resolve(config.repo)
    except SwarmError as error:
        yield failed_check("repository", str(error))
        return
    yield Check("repository", True, f"{found['path']}, at {found['base'][:12]} ({found['start']})")


def _check_execution(settings: Execution) -> Iterator[Check]:
    """The Python and the sandbox for the generated tests, and what each usable sandbox lacks."""
    name = "generated tests"
    if settings.mode == "off":
        yield Check(name, None, "are not run (execution.mode is off)", 'set "mode": "auto" in execution')
        return
    try:
        python = interpreter(settings.python)
        sandboxes = list(problems(settings))
    except ConfigError as error:
        yield failed_check(name, str(error))
        return
    yield Check(name, True, f"run by Python {python.version} at {python.path}")
    usable = [sandbox for sandbox, problem in sandboxes if not problem]
    if usable:
        yield from _usable_sandboxes(usable)
        return
    for sandbox, problem in sandboxes:
        reason, _, cure = problem.partition("; ")
        yield Check(f"sandbox {sandbox.name}", None, reason, cure)
    cure = "install bubblewrap, or `pip install sandlock`"
    yield Check(name, False if settings.mode == "required" else None, "no sandbox: they are not run", cure)


def _usable_sandboxes(sandboxes: list[Sandbox]) -> Iterator[Check]:
    """The first sandbox is the one that runs use."""
    for sandbox in sandboxes:
        use = "is used" if sandbox is sandboxes[0] else "could be used"
        ok = None if sandbox.name == UNSAFE else True
        yield Check(f"sandbox {sandbox.name}", ok, f"{use}; it lacks: {'; '.join(sandbox.lacks)}")


def _check_folder(name: str, folder: Path) -> Check:
    """Whether a folder, or the parent in which it would be created, can be written and has space."""
    existing = next(parent for parent in (folder, *folder.absolute().parents) if os.path.lexists(parent))
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        text = f"{folder}: cannot write in {existing}: {error.strerror}"
        return Check(name, False, text, "name another folder")
    free = shutil.disk_usage(existing).free
    low = free < LOW_DISK_BYTES
    cure = "free some space, or name a folder on another disk" if low else ""
    return Check(name, None if low else True, f"{folder} can be written, {free / 1e9:.1f} GB free", cure)
