"""`swarm-graph init`: a commented config for the servers that were found."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swarm_graph.config import DEFAULT_PARAMETERS
from swarm_graph.errors import InputError, StorageError
from swarm_graph.models.probe import ServerReport
from swarm_graph.sessions.output import write_file
from swarm_graph.settings import YOUR_MODEL
from swarm_graph.state import AgentRole

PRESETS: dict[str, dict[str, Any]] = {
    "minimal": {"enable_parallel": False, "max_parallel_agents": 1},
    "optimal": {"enable_parallel": True, "max_parallel_agents": 4},
    "high-performance": {"enable_parallel": True, "max_parallel_agents": 8},
}
"""The seed's hardware: a laptop with 6-8 GB of VRAM, a server with 16-24 GB, one with 32-48 GB."""

REVIEW_ROLES = (AgentRole.REVIEWER, AgentRole.SECURITY)
OLLAMA_NUM_CTX = 16384
NOT_FOUND = (
    "// No server was found: put the address and the model's name of yours here. `swarm-graph doctor` checks."
)
PLACEHOLDER = {"url": "http://localhost:1234/v1", "model": YOUR_MODEL, "api_type": "openai"}
OLLAMA_PLACEHOLDER = {"url": "http://localhost:11434", "model": YOUR_MODEL, "api_type": "ollama"}


def config_text(reports: Sequence[ServerReport], preset: str) -> str:
    """A config file with comments, in the seed's shape, for these servers and this hardware."""
    offered = [(report, model) for report in reports for model in report.models]
    entries = _entries(offered or [(report, YOUR_MODEL) for report in reports[:1]])
    single = next(iter(entries.values()), PLACEHOLDER)
    multi = {role: entry for role, entry in entries.items() if entry != single}
    found = [f"// Found: {r.kind} at {r.url} with {', '.join(r.models) or 'no model'}" for r in reports]
    lines = [
        "// Written by `swarm-graph init`. Comments and trailing commas are fine here.",
        *(found or [NOT_FOUND]),
        "{",
        '  "model_config": {',
        *_mode(multi),
        f'    "single_model": {_inline(single)},',
        *([] if reports else [f'    // or, with Ollama: "single_model": {_inline(OLLAMA_PLACEHOLDER)},']),
        '    "multi_model": {',
        *(f'      "{role}": {_inline(entry)},' for role, entry in multi.items()),
        "    },",
        "  },",
        '  "agent_parameters": {  // lower temperature: more deterministic; max_tokens: the longest answer',
        *(f'    "{role}": {_inline(_parameters(role, entries or {role: single}))},' for role in AgentRole),
        "  },",
        f'  "workflow": {{  // preset {preset}',
        '    "max_iterations": 3,  // rounds of coding and reviewing',
        *(f'    "{key}": {json.dumps(value)},' for key, value in PRESETS[preset].items()),
        '    "verbose_logging": false,',
        "  },",
        '  "features": {"enable_checkpointing": true},',
        "}",
    ]
    return "\n".join(lines) + "\n"


def keep_existing(path: Path, *, force: bool) -> None:
    """InputError when the file exists and `force` is not given."""
    if os.path.lexists(path) and not force:
        raise InputError(f"'{path}' exists; --force replaces it, or name another file")


def write_config(path: Path, text: str, *, force: bool) -> None:
    """Writes the config whole or not at all. InputError when it cannot, or may not replace what is there."""
    keep_existing(path, force=force)
    try:
        write_file(path.parent, path.name, text)
    except StorageError as error:
        reason = getattr(error.__cause__, "strerror", None) or "that is no file's name"
        raise InputError(f"cannot write '{path}': {reason}; name another file") from error


def _mode(multi: dict[AgentRole, Any]) -> list[str]:
    if multi:
        return ['    "mode": "multi",  // per role; the single model is for the rest ("single": for all)']
    return ['    "mode": "single",  // one model for all roles ("multi": per role, entries in multi_model)']


def _entries(offered: list[tuple[ServerReport, str]]) -> dict[AgentRole, dict[str, Any]]:
    """A model per role: one for code where a name says so, another for reviews for the sake of diversity."""
    if not offered:
        return {}
    coder = next((pair for pair in offered if "code" in pair[1].lower()), offered[0])
    other = next((pair for pair in offered if pair[1] != coder[1]), coder)
    return {role: _entry(*(other if role in REVIEW_ROLES else coder)) for role in AgentRole}


def _entry(report: ServerReport, model: str) -> dict[str, Any]:
    slots = {"slots": report.slots} if report.slots else {}
    return {"url": report.url, "model": model, "api_type": report.api_type, "timeout": 7200, **slots}


def _parameters(role: AgentRole, entries: dict[AgentRole, dict[str, Any]]) -> dict[str, Any]:
    defaults = DEFAULT_PARAMETERS[role]
    context = {"num_ctx": OLLAMA_NUM_CTX} if entries[role]["api_type"] == "ollama" else {}
    return {"temperature": defaults.temperature, "max_tokens": defaults.max_tokens, **context}


def _inline(value: dict[str, Any]) -> str:
    return json.dumps(value)
