"""Checks of the configured models and their servers. No prompt is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from importlib.metadata import version
from typing import NamedTuple

from swarm_graph.config import SwarmConfig
from swarm_graph.errors import NO_MODEL_CURE, ConfigError, NoModel
from swarm_graph.models.capacity import server_capacity, slot_limit
from swarm_graph.models.embedded_file import (
    fit_text,
    gigabytes,
    machine_memory,
    needed_memory,
    usable_file,
    with_defaults,
)
from swarm_graph.models.keys import api_key, check_model
from swarm_graph.models.probe import ServerInfo, as_answered, inspect
from swarm_graph.roles.registry import Roles
from swarm_graph.settings import EMBEDDED, AgentParameters, ModelEntry
from swarm_graph.setup.checks import Check, failed_check

PROMPT_TOKENS = 4000
"""What a prompt of a later round usually needs beside the answer."""


class _Assignment(NamedTuple):
    entry: ModelEntry
    roles: list[str]
    """The roles that use this model."""


async def check_servers(config: SwarmConfig) -> list[Check]:
    """Checks of the roles without a model, and of every configured model and its server."""
    assignments, checks = _assignments(config)
    if config.models.choices and not (config.choices or config.model):
        roles = ", ".join(config.models.choices)
        text = f"any_of of {roles} has no effect: mode is single"
        checks.append(Check("model choice", None, text, 'set "mode": "multi" in model_config'))
    infos = await asyncio.gather(*(_server_info(entry, config.proxy) for entry, _ in assignments))
    for assignment, info in zip(assignments, infos, strict=True):
        if info is not None:
            assignment = assignment._replace(entry=as_answered(assignment.entry, info))
        checks += [*_check_settings(config, assignment), *_check_server(config, assignment, info)]
    return checks


def _assignments(config: SwarmConfig) -> tuple[list[_Assignment], list[Check]]:
    """Each model with the roles that use it, and a failed check per reason why roles have none."""
    assignments: list[_Assignment] = []
    unassigned: dict[str, list[str]] = {}
    for role in config.role_names:
        try:
            entries = config.models_for(role)
        except NoModel:
            return [], [Check("model", False, "no model is configured", NO_MODEL_CURE)]
        except ConfigError as error:
            unassigned.setdefault(str(error), []).append(str(role))
            continue
        for entry in entries:
            roles = next((roles for other, roles in assignments if other == entry), None)
            if roles is None:
                assignments.append(_Assignment(entry, [role]))
            else:
                roles.append(role)
    failed = [failed_check(f"roles {', '.join(roles)}", reason) for reason, roles in unassigned.items()]
    return assignments, failed


async def _server_info(entry: ModelEntry, proxy: str | None) -> ServerInfo | None:
    """What a model's server reports; None for a model without one, or whose server is not started."""
    if not entry.url:
        return None
    try:
        key = api_key(entry)
    except ConfigError:  # check_model reports it
        key = None
    return await inspect(entry.url, key=key, proxy=proxy)


def _check_settings(config: SwarmConfig, assignment: _Assignment) -> Iterator[Check]:
    entry, roles = assignment
    name = f"model {entry.label}"
    try:
        check_model(entry)
    except ConfigError as error:
        if entry.is_embedded:
            yield failed_check(name, str(error))
        else:
            yield Check(name, False, str(error), "set it, or correct the config")
        return
    yield Check(name, True, f"at {entry.server}, used by {', '.join(roles)}")
    parameters = _parameters(config, roles)
    if entry.api_type == "openai" and any(p.num_ctx or p.keep_alive for p in parameters):
        text = "num_ctx and keep_alive have no effect: only Ollama knows them"
        yield Check(name, None, text, "start the server with its own context option")


def _check_server(config: SwarmConfig, assignment: _Assignment, info: ServerInfo | None) -> Iterator[Check]:
    entry, roles = assignment
    name = f"server {entry.server}"
    if entry.is_embedded:
        yield from _check_file(config, assignment)
        return
    if info is None:
        text = f"{entry.label} is simulated: no server is contacted, every answer is invented"
        yield Check(name, True, text)
        return
    if not info.reachable:
        cure = "start it, or correct its url in the config"
        yield Check(name, False, f"not reachable: {info.error}", cure)
        return
    yield _check_kind(name, entry, info)
    if info.kind == "unknown" or (info.api_type, info.url) != (entry.api_type, entry.url):
        return  # what else it reports belongs to another API or address
    yield _check_model_name(name, entry, info)
    context = server_capacity(config, entry, info).context
    if context is not None:
        longest_answer = max(parameters.max_tokens or 0 for parameters in _parameters(config, roles))
        yield _check_context(name, context, longest_answer, info.kind)
    yield from _check_slots(config, name, entry, info)
    for model in info.loaded:
        yield Check(name, True, f"loaded: {model}")


def _check_file(config: SwarmConfig, assignment: _Assignment) -> Iterator[Check]:
    """What is known of an embedded model without starting its server."""
    entry, roles = assignment
    try:
        header, context_size = usable_file(entry), with_defaults(config, entry).num_ctx or 0
    except ConfigError:  # `_check_settings` reports it
        return
    name = f"file {entry.name}"
    kind = " ".join(filter(None, [header.architecture, header.size_label]))
    context = f"trained for {header.context} tokens" if header.context else "its context is unknown"
    served = f"served by xllamacpp {version('xllamacpp')}, which starts with the first call"
    yield Check(name, True, f"{kind}, {gigabytes(header.size)}, {context}; {served}")
    fits = needed_memory(header, entry) <= machine_memory().available
    cure = "" if fits else "close other programs, name a smaller file, or lower num_ctx or slots"
    yield Check(name, True if fits else None, fit_text(header, entry), cure)
    longest_answer = max(parameters.max_tokens or 0 for parameters in _parameters(config, roles))
    yield _check_context(name, context_size, longest_answer, entry.api_type)


def _parameters(config: SwarmConfig, roles: list[str]) -> list[AgentParameters]:
    """The sampling parameters of roles; without its own defaults for a role that cannot be loaded."""
    try:
        return [Roles(config).parameters(role) for role in roles]
    except ConfigError:  # the check of the prompts reports it
        return [config.parameters_for(role) for role in roles]


def _check_kind(name: str, entry: ModelEntry, info: ServerInfo) -> Check:
    """Whether the server is of the configured type and answers at the configured URL."""
    cure = f'set "api_type": "{info.api_type}" and "url": "{info.url}"'
    if info.key_refused:
        key_cure = "set api_key_env to the name of the environment variable that holds its key"
        return Check(name, False, info.error, key_cure)
    if info.kind == "unknown":
        at_v1 = entry.api_type == "ollama" or entry.url.endswith("/v1")
        url_cure = f'set "url": "{entry.server}/v1", if this is the model server\'s port'
        return Check(name, False, info.error, "is this the model server's port?" if at_v1 else url_cure)
    if info.kind == "ollama" and entry.api_type == "openai":
        text = "this is Ollama, configured as openai: it would truncate long prompts silently"
        return Check(name, False, text, cure)
    if info.api_type != entry.api_type:
        return Check(name, False, f"this is not Ollama but {info.kind}", cure)
    if info.url != entry.url:
        return Check(name, False, f"it does not answer at {entry.url}", f'set "url": "{info.url}"')
    return Check(name, True, " ".join(filter(None, [info.kind, info.version])))


def _check_model_name(name: str, entry: ModelEntry, info: ServerInfo) -> Check:
    if {entry.model, f"{entry.model}:latest"} & set(info.models):
        return Check(name, True, f"has the model {entry.model}")
    models = ", ".join(info.models) or "none"
    if info.kind == "llama.cpp":
        text = f"serves {models} whatever model is asked for ({entry.model})"
        return Check(name, None, text, "correct its name")
    cure = f"ollama pull {entry.model}" if info.kind == "ollama" else "load it, or name one that is there"
    return Check(name, False, f"does not have the model {entry.model}; it has {models}", cure)


def _check_context(name: str, context: int, answer: int, kind: str) -> Check:
    """Whether a context has room for a prompt and the longest answer; all in tokens."""
    needed = answer + PROMPT_TOKENS
    if context >= needed:
        return Check(name, True, f"context of {context} tokens")
    cures = {
        "ollama": f"set num_ctx to {needed} or more in agent_parameters",
        "llama.cpp": "start it with a larger -c",
        EMBEDDED: f"set num_ctx to {needed} or more, if the model was trained for as many",
    }
    cure = cures.get(kind, "give the model a larger context") + ", or lower max_tokens"
    text = f"context of {context} tokens; the longest answer ({answer}) and its prompt need about {needed}"
    if context < PROMPT_TOKENS:
        return Check(name, False, f"{text}: answers of the first round will be cut off", cure)
    return Check(name, None, text, cure)


def _check_slots(config: SwarmConfig, name: str, entry: ModelEntry, info: ServerInfo) -> Iterator[Check]:
    limit = slot_limit(config, entry, info)
    if info.slots is not None and limit > info.slots:
        text = f"{info.slots} slots, but up to {limit} calls at once are sent"
        yield Check(name, None, text, f'set "slots": {info.slots} for this model, or leave it out')
    elif info.slots is not None:
        yield Check(name, True, f"{info.slots} slots, up to {limit} calls at once")
        if info.kind == "llama.cpp" and limit > 1 and not entry.slot_per_session:
            text = "each slot has a cache of its own: calls at once evaluate again what their prompts share"
            yield Check(name, True, f'{text} (`doctor --measure` tells whether "slot_per_session" is faster)')
    elif info.kind == "ollama" and not entry.slots:
        text = f"it does not report how many calls it takes at once; up to {limit} are sent"
        yield Check(name, True, f"{text} (`doctor --measure` finds out, `slots` sets it)")
