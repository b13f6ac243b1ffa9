"""`swarm-graph doctor`: checks config, servers, folders and the database; says how to mend each."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from swarm_graph.checkpoints.health import check_database
from swarm_graph.checkpoints.repair import repair_database
from swarm_graph.checkpoints.salvage import Repair
from swarm_graph.config import SwarmConfig
from swarm_graph.errors import ConfigError, StorageError
from swarm_graph.models.capacity import capacity, slots
from swarm_graph.models.keys import api_key, check_model
from swarm_graph.models.probe import ServerReport, inspect
from swarm_graph.prompts.template import replaced
from swarm_graph.sandbox.bare import UNSAFE
from swarm_graph.sandbox.choice import problems
from swarm_graph.sandbox.interpreter import interpreter
from swarm_graph.settings import WORKFLOWS, Execution, ModelEntry
from swarm_graph.state import AgentRole
from swarm_graph.workflows.build import build_graph

PROMPT_TOKENS = 4000
"""What a prompt of the later rounds usually needs beside the answer."""
PACKAGES = ("langgraph", "langchain-core", "langchain-openai", "langchain-ollama")
LOW_DISK_BYTES = 10**9


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `ok` None: a warning; `cure`: what to do about it."""

    name: str
    ok: bool | None
    text: str
    cure: str = ""


async def examine(config: SwarmConfig, *, data_dir: Path, output_dir: Path) -> list[Check]:
    """All checks, in the order in which a person would go through them. No model is asked anything."""
    assigned, missing = _assign(config)
    reports = await asyncio.gather(*(_inspect(entry, config.proxy) for entry, _ in assigned))
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    checks = [Check("python", True, f"{platform.python_version()}, {packages}"), *missing]
    for (entry, roles), report in zip(assigned, reports, strict=True):
        checks += [*_assignment(config, entry, roles), *_server(config, entry, roles, report)]
    checks += [*_prompts(config), *_execution(config.execution)]
    checks += [*_folder("data folder", data_dir), *_folder("output folder", output_dir)]
    return list(dict.fromkeys(checks))  # models of one server have much in common


def _prompts(config: SwarmConfig) -> Iterator[Check]:
    """Whether every workflow finds its prompts; which of ours are replaced."""
    try:
        for workflow in WORKFLOWS:
            build_graph(workflow, config=config)
        if config.prompts_dir:
            names = ", ".join(replaced(config.prompts_dir)) or "none of ours"
            yield Check("prompts", True, f"{config.prompts_dir} replaces or adds {names}")
    except ConfigError as error:
        yield _failed("prompts", str(error))


def _assign(config: SwarmConfig) -> tuple[list[tuple[ModelEntry, list[AgentRole]]], list[Check]]:
    """Each model that is asked with the roles that ask it, and the roles without one, by the reason."""
    found: list[tuple[ModelEntry, list[AgentRole]]] = []
    without: dict[str, list[str]] = {}
    for role in AgentRole:
        try:
            entry = config.model_for(role)
        except ConfigError as error:
            without.setdefault(str(error), []).append(str(role))
            continue
        known = next((roles for other, roles in found if other == entry), None)
        if known is None:
            found.append((entry, [role]))
        else:
            known.append(role)
    return found, [_failed(f"roles {', '.join(roles)}", reason) for reason, roles in without.items()]


def _failed(name: str, reason: str) -> Check:
    """A check that an error's line failed: what is wrong, then what to do."""
    text, _, cure = reason.partition("; ")
    return Check(name, False, text, cure)


def _assignment(config: SwarmConfig, entry: ModelEntry, roles: list[AgentRole]) -> Iterator[Check]:
    name = f"model {entry.label}"
    try:
        check_model(entry)
    except ConfigError as error:
        yield Check(name, False, str(error), "set it, or correct the config")
        return
    yield Check(name, True, f"at {entry.server}, asked by {', '.join(roles)}")
    parameters = [config.parameters_for(role) for role in roles]
    if entry.api_type == "openai" and any(p.num_ctx or p.keep_alive for p in parameters):
        text = "num_ctx and keep_alive have no effect: only Ollama knows them"
        yield Check(name, None, text, "start the server with its own context option")


async def _inspect(entry: ModelEntry, proxy: str | None) -> ServerReport | None:
    if entry.api_type == "simulated":
        return None
    try:
        key = api_key(entry)
    except ConfigError:
        key = None
    return await inspect(entry.url, key=key, proxy=proxy)


def _server(
    config: SwarmConfig, entry: ModelEntry, roles: list[AgentRole], report: ServerReport | None
) -> Iterator[Check]:
    name = f"server {entry.server}"
    if report is None:
        yield Check(name, True, f"{entry.label} is simulated: nothing is asked, every answer is invented")
        return
    if not report.reachable:
        yield Check(
            name, False, f"not reachable: {report.error}", "start it, or correct its url in the config"
        )
        return
    yield from _kind(name, entry, report)
    if report.kind == "unknown" or (report.api_type, report.url) != (entry.api_type, entry.url):
        return
    yield _model(name, entry, report)
    yield from _context(config, name, entry, roles, report)
    yield from _slots(config, name, entry, report)
    for model in report.loaded:
        yield Check(name, True, f"loaded: {model}")


def _slots(config: SwarmConfig, name: str, entry: ModelEntry, report: ServerReport) -> Iterator[Check]:
    sent = slots(config, entry, report)
    if report.slots is not None and sent > report.slots:
        text = f"{report.slots} slots, but up to {sent} calls at once are sent"
        yield Check(name, None, text, f'set "slots": {report.slots} for this model, or leave it out')
    elif report.slots is not None:
        yield Check(name, True, f"{report.slots} slots, up to {sent} calls at once")
    elif report.kind == "ollama" and not entry.slots:
        text = f"it does not say how many calls it takes at once; it gets {sent}"
        yield Check(name, True, f"{text} (`doctor --measure` finds out, `slots` sets it)")


def _kind(name: str, entry: ModelEntry, report: ServerReport) -> Iterator[Check]:
    right = f'"api_type": "{report.api_type}" and "url": "{report.url}"'
    if report.key_refused:
        cure = "set api_key_env to the name of the environment variable that holds its key"
        yield Check(name, False, report.error, cure)
    elif report.kind == "unknown":
        cure = f'set "url": "{entry.server}/v1", if this is the model server\'s port'
        at_v1 = entry.api_type == "ollama" or entry.url.endswith("/v1")
        yield Check(name, False, report.error, "is this the model server's port?" if at_v1 else cure)
    elif report.kind == "ollama" and entry.api_type == "openai":
        text = "this is Ollama, configured as openai: it would cut long prompts silently"
        yield Check(name, False, text, f"set {right}")
    elif report.api_type != entry.api_type:
        yield Check(name, False, f"this is not Ollama but {report.kind}", f"set {right}")
    elif report.url != entry.url:
        yield Check(name, False, f"{entry.url} is not where it answers", f'set "url": "{report.url}"')
    else:
        yield Check(name, True, " ".join(filter(None, [report.kind, report.version])))


def _model(name: str, entry: ModelEntry, report: ServerReport) -> Check:
    names = {entry.model, f"{entry.model}:latest"}
    if names & set(report.models):
        return Check(name, True, f"has the model {entry.model}")
    has = ", ".join(report.models) or "none"
    if report.kind == "llama.cpp":
        return Check(
            name, None, f"serves {has} whatever model is asked for ({entry.model})", "correct its name"
        )
    cure = f"ollama pull {entry.model}" if report.kind == "ollama" else "load it, or name one that is there"
    return Check(name, False, f"does not have the model {entry.model}; it has {has}", cure)


def _context(
    config: SwarmConfig, name: str, entry: ModelEntry, roles: list[AgentRole], report: ServerReport
) -> Iterator[Check]:
    context = capacity(config, entry, report).context
    if context is not None:
        longest = max(config.parameters_for(role).max_tokens or 0 for role in roles)
        yield _room(name, context, longest, report)


def _room(name: str, context: int, answer: int, report: ServerReport) -> Check:
    """Whether a context has room for a prompt and the answer."""
    needed = answer + PROMPT_TOKENS
    if context >= needed:
        return Check(name, True, f"context of {context} tokens")
    option = {
        "ollama": f"set num_ctx to {needed} or more in agent_parameters",
        "llama.cpp": "start it with a larger -c",
    }
    cure = option.get(report.kind, "give the model a larger context") + ", or lower max_tokens"
    text = f"context of {context} tokens; the longest answer ({answer}) and its prompt need about {needed}"
    return Check(name, None, text, cure)


def _execution(settings: Execution) -> Iterator[Check]:
    """Which sandbox the generated tests run in, and what each that can be used lacks."""
    name = "generated tests"
    if settings.mode == "off":
        yield Check(name, None, "are not run (execution.mode is off)", 'set "mode": "auto" in execution')
        return
    try:
        python = interpreter(settings.python)
        tried = list(problems(settings))
    except ConfigError as error:
        yield _failed(name, str(error))
        return
    usable = [sandbox for sandbox, problem in tried if not problem]
    yield Check(name, True, f"run by Python {python.version} at {python.path}")
    for sandbox in usable:
        said = (
            f"{'is used' if sandbox is usable[0] else 'could be used'}; it lacks: {'; '.join(sandbox.lacks)}"
        )
        yield Check(f"sandbox {sandbox.name}", None if sandbox.name == UNSAFE else True, said)
    if usable:
        return
    for sandbox, problem in tried:
        reason, _, cure = problem.partition("; ")
        yield Check(f"sandbox {sandbox.name}", None, reason, cure)
    cure = "install bubblewrap, or `pip install 'swarm-graph[sandbox]'`"
    yield Check(name, False if settings.mode == "required" else None, "no sandbox: they are not run", cure)


def _folder(name: str, folder: Path) -> Iterator[Check]:
    existing = next(parent for parent in (folder, *folder.absolute().parents) if os.path.lexists(parent))
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        yield Check(
            name, False, f"{folder}: cannot write in {existing}: {error.strerror}", "name another folder"
        )
        return
    free = shutil.disk_usage(existing).free
    low = free < LOW_DISK_BYTES
    cure = "make room, or name a folder on another disk" if low else ""
    yield Check(name, None if low else True, f"{folder} can be written, {free / 1e9:.1f} GB free", cure)


def examine_database(path: Path, *, repair: bool = False) -> list[Check]:
    """Whether the sessions of a database can be read; with `repair`, what was saved comes first.

    Raises SessionInUse when it is to be repaired while a session is at work.
    """
    checks: list[Check] = []
    try:
        if repair:
            checks += _repaired(repair_database(path))
        health = check_database(path)
    except StorageError as error:
        return [*checks, _failed("database", str(error))]
    for problem in health.problems:
        checks.append(Check("database", False if problem.serious else None, problem.text, problem.cure))
    if not health.problems:
        checks.append(Check("database", True, f"'{path}' is sound, sessions: {health.sessions}"))
    return checks


def _repaired(done: Repair) -> Iterator[Check]:
    if done.copy is None:
        return
    text = "rebuilt from what could be read" if done.rebuilt else "mended"
    yield Check("repair", True, f"{text}; as it was, it is kept in '{done.copy}'")
    if done.leftovers:
        yield Check("repair", True, f"removed {done.leftovers} rows that belonged to no session")
    for table, rows in done.kept.items():
        lost = done.lost.get(table, 0)
        if lost != 0:
            yield Check("repair", None, f"{table}: kept {rows} rows, lost {lost or 'an unknown number'}")
    for session in done.lost_sessions:
        yield Check("repair", None, f"session {session!r} is lost", "its output folder, if it has one, stays")
    for session in done.set_back:
        cure = f"`swarm-graph resume {session}` goes on from what is left"
        yield Check("repair", None, f"session {session!r} lost its last checkpoints", cure)


def checks_text(checks: list[Check]) -> str:
    """The checks as lines for people."""
    marks = {True: "ok  ", None: "warn", False: "FAIL"}
    lines = []
    for check in checks:
        cure = f" → {check.cure}" if check.cure else ""
        lines.append(f"{marks[check.ok]}  {check.name}: {check.text}{cure}")
    failed = sum(check.ok is False for check in checks)
    lines.append(
        f"{failed} of {len(checks)} checks failed" if failed else "everything that is needed is there"
    )
    return "\n".join(lines) + "\n"
