"""The configuration: the seed's JSON with `//` comments, checked as a whole before anything runs.

Precedence: command line, environment (`SWARM_WORKFLOW__MAX_ITERATIONS=2`), file, defaults.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import Field, ValidationError, field_validator

from swarm_graph.config_source import (
    changed_keys,
    first_problem,
    from_environment,
    merged,
    near,
    one_line,
    origin,
    read_source,
    source_path,
)
from swarm_graph.errors import ConfigError
from swarm_graph.settings import (
    PACKS,
    AgentParameters,
    Execution,
    Features,
    ModelEntry,
    Models,
    SessionLimits,
    Settings,
    WorkflowSettings,
    checked_url,
)
from swarm_graph.state import AgentRole


class SwarmConfig(Settings):
    """Everything a run is told besides its request. `models` is `model_config` in the file."""

    models: Models = Field(default=Models(), alias="model_config")
    agent_parameters: dict[AgentRole, AgentParameters] = Field({}, description="Per role.")
    workflow: WorkflowSettings = WorkflowSettings()
    limits: SessionLimits = SessionLimits()
    execution: Execution = Execution()
    features: Features = Features()
    prompts_dir: str | None = Field(
        None, description="A folder, or pack (process-safety), whose files replace prompts of their names."
    )
    proxy: str | None = Field(
        None, description="The HTTP proxy for model servers; the environment's is not used."
    )

    @field_validator("proxy")
    @classmethod
    def _http_proxy(cls, url: str | None) -> str | None:
        return checked_url(url, "http://localhost:3128") or None if url else None

    @field_validator("agent_parameters", mode="before")
    @classmethod
    def _known_roles(cls, value: Any) -> Any:
        for name in value if isinstance(value, Mapping) else ():
            if name not in list(AgentRole):
                meant = near(str(name), list(AgentRole))
                hint = f"did you mean {meant!r}?" if meant else f"known roles: {', '.join(AgentRole)}"
                raise ValueError(f"unknown role {name!r}; {hint}")
        return value

    def model_for(self, role: AgentRole, name: str | None = None) -> ModelEntry:
        """The model that a role asks, or the entry of that `name`; ConfigError when the file has none."""
        models = self.models
        if name is not None:
            return self._named_model(name)
        entry = models.multi_model.get(role) if models.mode == "multi" else None
        entry = entry or models.single_model
        if entry:
            return entry
        if models.mode == "multi":
            raise ConfigError(
                f"no model for the role '{role}'; add model_config.multi_model.{role} or .single_model"
            )
        raise ConfigError(
            "no model is configured; `swarm-graph init` writes a config for your servers, or use --simulate"
        )

    def _named_model(self, name: str) -> ModelEntry:
        if name in self.models.multi_model:
            return self.models.multi_model[name]
        known = ", ".join(self.models.multi_model) or "none"
        raise ConfigError(f"no model '{name}'; entries of model_config.multi_model: {known}")

    def parameters_for(self, role: AgentRole, own: Mapping[str, Any] | None = None) -> AgentParameters:
        """What the file says of a role's sampling, over the role's defaults; `own` goes over both."""
        given = self.agent_parameters.get(role, AgentParameters())
        update = {**given.model_dump(exclude_unset=True), **(own or {})}
        return DEFAULT_PARAMETERS[role].model_copy(update=update)

    def fallbacks_of(self, entry: ModelEntry) -> list[ModelEntry]:
        """The models that are asked in turn when one fails for good; their own fallbacks are not."""
        return [self._named_model(name) for name in entry.fallbacks]

    @property
    def entries(self) -> list[ModelEntry]:
        """Every configured model."""
        entries = [self.models.single_model, *self.models.multi_model.values()]
        return [entry for entry in entries if entry is not None]

    @property
    def is_simulated(self) -> bool:
        """Whether every configured model is simulated."""
        return bool(self.entries) and all(entry.api_type == "simulated" for entry in self.entries)

    def kept(self) -> dict[str, Any]:
        """What is given, in the file's shape, without anything that looks like a secret: sessions keep it."""
        plain = self.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return cast("dict[str, Any]", _without_secrets(plain))

    def shaped_like(self, kept: Mapping[str, Any]) -> SwarmConfig:
        """The same with the settings of a session's kept configuration that give its graph its nodes."""
        began = SwarmConfig.model_validate(kept)
        if self.shape == began.shape:
            return self
        workflow = self.workflow.model_copy(update={name: getattr(began.workflow, name) for name in SHAPING})
        features = self.features.model_copy(update={"execute_tests": began.features.execute_tests})
        return self.model_copy(update={"workflow": workflow, "features": features})

    @property
    def shape(self) -> tuple[Any, ...]:
        """The settings that give a graph its nodes."""
        return (*(getattr(self.workflow, name) for name in SHAPING), self.features.execute_tests)

    def simulated(self) -> SwarmConfig:
        """The same with a simulated model for every role that is not simulated already."""
        entry = self.models.single_model
        if self.is_simulated and entry:
            return self
        if entry is None or entry.api_type != "simulated":
            entry = ModelEntry(model="simulated", api_type="simulated", slots=64)
        entries = self.models.multi_model if self.models.mode == "multi" else {}
        kept = {name: model for name, model in entries.items() if model.api_type == "simulated"}
        models = Models(mode="multi" if kept else "single", single_model=entry, multi_model=kept)
        return self.model_copy(update={"models": models})


SHAPING = ("reviewers", "pause_before", "pause_after")
"""Those of `workflow` that give a graph its nodes."""

DEFAULT_PARAMETERS: dict[AgentRole, AgentParameters] = {
    AgentRole.CLARIFIER: AgentParameters(temperature=0.6, max_tokens=3000),
    AgentRole.ARCHITECT: AgentParameters(temperature=0.6, max_tokens=4000),
    AgentRole.CODER: AgentParameters(temperature=0.4, max_tokens=8000),
    AgentRole.REVIEWER: AgentParameters(temperature=0.7, max_tokens=3000),
    AgentRole.TESTER: AgentParameters(temperature=0.4, max_tokens=6000),
    AgentRole.OPTIMIZER: AgentParameters(temperature=0.6, max_tokens=3000),
    AgentRole.DOCUMENTER: AgentParameters(temperature=0.6, max_tokens=4000),
    AgentRole.DEBUGGER: AgentParameters(temperature=0.4, max_tokens=3000),
    AgentRole.SECURITY: AgentParameters(temperature=0.7, max_tokens=3000),
}
"""The seed's tuning table; every value can be set in `agent_parameters`."""


def load_config(
    source: SwarmConfig | str | Path | Mapping[str, Any] | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> SwarmConfig:
    """The configuration from a file, a dict or where the environment points.

    None: the file that `SWARM_CONFIG` names, else ./config.json, else the defaults, which name no
    model. `overrides` has the file's shape and wins over the environment (`SWARM_SECTION__KEY`).
    Raises ConfigError with one line: where, key path, value, what is allowed. Unknown keys that are
    near a known one are errors, others warn.
    """
    if isinstance(source, SwarmConfig):
        if not overrides:
            return source
        source, environ = source.model_dump(by_alias=True, exclude_unset=True), {}
    environ = os.environ if environ is None else environ
    data, where = read_source(source, environ)
    if not isinstance(source, Mapping):
        data = _beside(Path(where), data)
    data.pop("$schema", None)  # what editors write to find the schema
    layers = [(where, data), ("the environment", from_environment(environ))]
    layers.append(("the command line", dict(overrides or {})))
    for _, layer in layers:
        data = merged(data, layer)
    try:
        config = SwarmConfig.model_validate(data)
    except ValidationError as error:
        path, problem = first_problem(error)
        raise ConfigError(
            one_line(f"{origin(path, layers)}: {'.'.join(path) or 'the file'}: {problem}")
        ) from error
    for path, known in _unknown_keys(config, ()):
        name = f"{origin(path, layers)}: {'.'.join(path)}"
        if meant := near(path[-1], known):
            raise ConfigError(one_line(f"{name}: unknown key; did you mean {meant!r}?"))
        warnings.warn(one_line(f"{name}: unknown key, it has no effect"), stacklevel=2)
    _forget_unknown_keys(config)
    return config


def _beside(file: Path, data: dict[str, Any]) -> dict[str, Any]:
    """What a file says, with the folder in it, which is relative to the file, as an absolute path."""
    own = data.get("prompts_dir")
    if not isinstance(own, str) or own in PACKS:
        return data
    return {**data, "prompts_dir": str(file.absolute().parent / own)}


def changed_settings(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The dotted paths of the settings in which two kept configurations differ."""
    before, after = (
        SwarmConfig.model_validate(kept).model_dump(mode="json", by_alias=True) for kept in (old, new)
    )
    return changed_keys(before, after)


def config_path(source: SwarmConfig | str | Path | Mapping[str, Any] | None) -> str:
    """The file that `load_config` reads for a source, as an absolute path; empty when there is none."""
    if isinstance(source, (SwarmConfig, Mapping)):
        return ""
    path = source_path(source, os.environ)
    return str(path.absolute()) if path else ""


def _unknown_keys(group: Settings, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    fields = type(group).model_fields
    for key in group.__pydantic_extra__ or {}:
        yield (*path, key), [field.alias or name for name, field in fields.items()]
    for inner, child in _groups(group):
        yield from _unknown_keys(child, (*path, *inner))


def _forget_unknown_keys(group: Settings) -> None:
    """What has no effect is not kept either: it may be a secret, and configurations are saved."""
    (group.__pydantic_extra__ or {}).clear()
    for _, child in _groups(group):
        _forget_unknown_keys(child)


SECRET = re.compile(r"key|token|secret|passw|auth|credential", re.IGNORECASE)


def _without_secrets(value: Any, *, own: bool = False) -> Any:
    """Plain data without the entries of `extra_body`, the user's `own`, that are named like secrets."""
    if isinstance(value, dict):
        return {
            key: _without_secrets(inner, own=own or key == "extra_body")
            for key, inner in value.items()
            if not (own and SECRET.search(key))
        }
    return [_without_secrets(item, own=own) for item in value] if isinstance(value, list) else value


def _groups(group: Settings) -> Iterator[tuple[tuple[str, ...], Settings]]:
    """The groups of settings in a group, each with its keys."""
    for name, field in type(group).model_fields.items():
        value = getattr(group, name)
        for key, child in value.items() if isinstance(value, dict) else [(None, value)]:
            if isinstance(child, Settings):
                yield (field.alias or name, *([] if key is None else [str(key)])), child


def config_schema() -> dict[str, Any]:
    """The JSON Schema of a config file, for editors."""
    return SwarmConfig.model_json_schema(by_alias=True)
