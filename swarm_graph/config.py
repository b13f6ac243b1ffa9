"""The configuration of a run: JSON with `//` comments, checked as a whole before anything runs.

Precedence: command line, environment (`SWARM_WORKFLOW__MAX_ITERATIONS=2`), file, defaults.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from swarm_graph.config_source import (
    Layer,
    changed_keys,
    closest_match,
    first_problem,
    from_environment,
    merged,
    one_line,
    origin,
    read_source,
    source_path,
    unknown_name,
)
from swarm_graph.database_place import refuse_password, validated_database
from swarm_graph.errors import KIND_WITH_REPOSITORY, ConfigError, NoModel
from swarm_graph.memory_settings import MemorySettings
from swarm_graph.names import (
    ROLE_NAMES_FOR_EDITORS,
    OwnRoles,
    OwnWorkflows,
    RoleName,
    is_yaml,
    name_problems,
)
from swarm_graph.settings import (
    EMBEDDED,
    PROMPT_PACKS,
    SETTINGS_OF_ANY_SESSION,
    AgentParameters,
    AnyOf,
    ApiType,
    DocumentSettings,
    Features,
    ModelEntry,
    Models,
    RepositorySettings,
    SessionLimits,
    Settings,
    UiSettings,
    WorkflowSettings,
    absolute_file,
    validated_url,
)

# Execution is imported as itself, which re-exports it: scripts that call the sandbox import it from here.
from swarm_graph.settings import Execution as Execution
from swarm_graph.shorthand import SHORTHAND, names_file, one_model
from swarm_graph.state import CHANGE, WORKFLOWS, AgentRole, Kind
from swarm_graph.text import first_names
from swarm_graph.tool_settings import BUILT_IN, MEMORY_TOOL, McpServer, ServerName, ToolLimits, ToolPattern

GRAPH_SETTINGS = ("kind", "reviewers", "candidates", "pause_before", "pause_after")
"""The settings in `workflow` that decide which nodes a graph has."""

SECRET_NAME = re.compile(r"key|token|secret|passw|auth|credential", re.IGNORECASE)
"""Names of request fields that may hold a secret."""


class SwarmConfig(Settings):
    """All settings of a run. The attribute `models` is `model_config` in the file.

    `url`, `model`, `api_type` and `api_key_env` at the top stand for a `model_config` with one model for all
    roles: `load_config` replaces it. As attributes they hold only what the command line gave.
    """

    url: str | None = Field(None, description="One model for all roles: the address of its server.")
    model: str | None = Field(
        None, description="One model for all roles: its name on the server, or an entry of multi_model."
    )
    api_type: ApiType | None = Field(None, description="The type of the server at `url`; default: auto.")
    api_key_env: str | None = Field(
        None, description="Name of the environment variable with the API key of the server at `url`."
    )
    models: Models = Field(default=Models(), alias="model_config")
    agent_parameters: dict[RoleName, AgentParameters] = Field(
        {}, description="By role.", json_schema_extra={"propertyNames": ROLE_NAMES_FOR_EDITORS}
    )
    workflow: WorkflowSettings = WorkflowSettings()
    limits: SessionLimits = SessionLimits()
    execution: Execution = Execution()
    documents: DocumentSettings = DocumentSettings()
    features: Features = Features()
    ui: UiSettings = UiSettings()
    repo: RepositorySettings | None = Field(
        None, description="The git repository that sessions change or review; default: none."
    )
    tools: dict[RoleName, list[ToolPattern]] = Field(
        {},
        description="By role: the tools that it may call, by name or glob (project.read, time.*).",
        json_schema_extra={"propertyNames": ROLE_NAMES_FOR_EDITORS},
    )
    tool_limits: ToolLimits = ToolLimits()
    mcp_servers: dict[ServerName, McpServer] = Field(
        {},
        description="MCP servers by name; their tools are `NAME.TOOL`.",
        json_schema_extra={"additionalProperties": False},
    )
    approve: list[ToolPattern] = Field(
        [], description="Tools whose calls wait for a person, by name or glob (files.write*)."
    )
    memory: MemorySettings | None = Field(
        None, description="What the swarm remembers across sessions; default: nothing."
    )
    prompts_dir: str | None = Field(
        None,
        description="A folder, or a pack (process-safety), with prompts that replace those of their names.",
    )
    roles: OwnRoles = Field(
        {}, description="Roles of your own by name: 'module:attribute' (a Role), or a YAML file."
    )
    workflows: OwnWorkflows = Field(
        {}, description="Workflows of your own by name: 'module:attribute' (a function)."
    )
    code_dir: str | None = Field(
        None,
        description="The folder of the modules of `roles` and `workflows`; default: the config file's own.",
    )
    database: str | None = Field(
        None,
        description="Where sessions are kept, for many machines: postgresql://swarm@db-server/swarm. The "
        "password belongs into ~/.pgpass or PGPASSWORD. Default: a file in the data folder.",
        exclude=True,
        repr=False,
    )
    proxy: str | None = Field(
        None, description="HTTP proxy for model servers; proxy variables of the environment are ignored."
    )

    @field_validator("proxy")
    @classmethod
    def _http_proxy(cls, url: str | None) -> str | None:
        return validated_url(url, "http://localhost:3128") or None if url else None

    @field_validator("database")
    @classmethod
    def _database_url(cls, url: str | None) -> str | None:
        return validated_database(url) or None if url else None

    @field_validator("mcp_servers")
    @classmethod
    def _own_server_names(cls, servers: dict[str, McpServer]) -> dict[str, McpServer]:
        for name in servers:
            if name in BUILT_IN:
                raise ValueError(f"'{name}' is the name of built-in tools; give the server another name")
        return servers

    @model_validator(mode="before")
    @classmethod
    def _known_names(cls, data: Any) -> Any:
        """Own roles and workflows may be named in every group, so names are checked here, all together."""
        problems = list(name_problems(data)) if isinstance(data, Mapping) else []
        if problems:
            # An error of one line has no place to say where it is, so each carries its path.
            details = [
                InitErrorDetails(
                    type=PydanticCustomError("unknown_name", "{text}", {"text": text}), loc=path, input={}
                )
                for path, text in problems
            ]
            raise ValidationError.from_exception_data("SwarmConfig", details)
        return data

    @model_validator(mode="after")
    def _kind_of_repo(self) -> SwarmConfig:
        """A repository makes the kind `change`. The model is frozen for others, not while it is made."""
        if self.repo is None or self.workflow.kind == CHANGE:
            return self
        if self.workflow.is_kind_given:
            raise ValueError(
                f"{KIND_WITH_REPOSITORY}, and workflow.kind is {self.workflow.kind!r}; leave one out"
            )
        object.__setattr__(self, "workflow", self.workflow.model_copy(update={"kind": CHANGE}))
        self.__pydantic_fields_set__.add("workflow")
        return self

    @property
    def role_names(self) -> list[str]:
        """The names of all roles: the nine, then those of `roles`."""
        return [*AgentRole, *self.roles]

    @property
    def workflow_names(self) -> list[str]:
        """The names of all workflows: the built-in ones, then those of `workflows`."""
        return [*WORKFLOWS, *self.workflows]

    @property
    def uses_memory(self) -> bool:
        """Whether sessions read or write memory: roles recall, search it, or what they verify is kept."""
        if self.memory is None:
            return False
        searches = any(fnmatchcase(MEMORY_TOOL, one) for tools in self.tools.values() for one in tools)
        return bool(self.memory.recall) or self.memory.remember != "off" or searches

    def without_memory(self) -> SwarmConfig:
        """A copy whose sessions neither read nor write memory; the same one if there is none."""
        if self.memory is None:
            return self
        tools = {
            role: [one for one in patterns if one.partition(".")[0] != "memory"]
            for role, patterns in self.tools.items()
        }
        return self.model_copy(update={"memory": None, "tools": tools})

    def model_for(self, role: str, name: str | None = None) -> ModelEntry:
        """The model of a role.

        Args:
            role: The role that asks.
            name: An entry of multi_model to use in place of the role's model.

        Returns:
            Of a role with several models the chosen one; the first one while none is chosen.

        Raises:
            ConfigError: The configuration has no such model.
        """
        models = self.models
        if name is not None:
            return self._named_model(name)
        entry = models.entry_of(role) if models.mode == "multi" else None
        entry = entry or models.single_model
        if entry:
            return entry
        if models.mode == "multi":
            raise ConfigError(
                f"no model for the role '{role}'; add model_config.multi_model.{role} or .single_model"
            )
        raise NoModel

    def _named_model(self, name: str) -> ModelEntry:
        if entry := self.models.entry_of(name):
            return entry
        if self.model and self.models.single_model:  # the command line: one model, whatever tasks name
            return self.models.single_model
        names = ", ".join(self.models.multi_model) or "none"
        raise ConfigError(f"no model '{name}'; entries of model_config.multi_model: {names}")

    def parameters_for(
        self, role: str, own: Mapping[str, Any] | None = None, defaults: Mapping[str, Any] | None = None
    ) -> AgentParameters:
        """The sampling parameters of a role: its defaults, below those of the file, below a task's `own`.

        Args:
            role: The name of the role.
            own: The parameters of a task.
            defaults: The defaults of a role that is not one of the nine.
        """
        configured = self.agent_parameters.get(role, AgentParameters())
        update = {**(defaults or {}), **configured.model_dump(exclude_unset=True), **(own or {})}
        return default_parameters(role).model_copy(update=update)

    def fallbacks_of(self, entry: ModelEntry) -> list[ModelEntry]:
        """The models to ask in turn when `entry` fails for good. Fallbacks of fallbacks are ignored."""
        return [self._named_model(name) for name in entry.fallbacks]

    @property
    def entries(self) -> list[ModelEntry]:
        """Every configured model."""
        entries = [self.models.single_model, *self.models.named.values()]
        return [entry for entry in entries if entry is not None]

    def models_for(self, role: str) -> list[ModelEntry]:
        """Every model that a role may have: one, or several to choose from. Raises as `model_for` does."""
        choice = self.models.choices.get(role) if self.models.mode == "multi" else None
        return [self.models.named[name] for name in choice.any_of] if choice else [self.model_for(role)]

    @property
    def choices(self) -> dict[str, AnyOf]:
        """The roles that have several models to choose from, each with their names."""
        return self.models.choices if self.models.mode == "multi" else {}

    def with_choices(
        self, chosen: Mapping[str, str], reasons: Mapping[str, str] | None = None
    ) -> SwarmConfig:
        """A copy in which roles with several models ask one of them.

        Args:
            chosen: The entry of multi_model by role.
            reasons: Why, by role.

        Raises:
            ConfigError: A role has no models to choose from, or not this one.
        """
        entries: dict[str, ModelEntry | AnyOf] = dict(self.models.multi_model)
        for role, name in chosen.items():
            if (choice := self.choices.get(role)) is None:
                roles = ", ".join(self.choices) or "none"
                raise ConfigError(
                    f"the role '{role}' has no models to choose from; roles with any_of: {roles}"
                )
            if name not in choice.any_of:
                raise ConfigError(
                    f"the role '{role}' cannot have the model '{name}': "
                    f"model_config.multi_model.{role}.any_of names {', '.join(choice.any_of)}"
                )
            entries[role] = AnyOf(any_of=choice.any_of, chosen=name, reason=(reasons or {}).get(role, ""))
        return self._with_named(entries) if chosen else self

    def undecided(self) -> SwarmConfig:
        """A copy in which no role with several models has chosen one."""
        decided = {role: choice for role, choice in self.models.choices.items() if choice.chosen}
        entries = {role: AnyOf(any_of=choice.any_of) for role, choice in decided.items()}
        return self._with_named({**self.models.multi_model, **entries}) if entries else self

    def _with_named(self, entries: Mapping[str, ModelEntry | AnyOf]) -> SwarmConfig:
        models = self.models.model_copy(update={"multi_model": dict(entries)})
        return self.model_copy(update={"models": models})

    @property
    def is_simulated(self) -> bool:
        """Whether every configured model is simulated."""
        return bool(self.entries) and all(entry.api_type == "simulated" for entry in self.entries)

    def redacted(self) -> dict[str, Any]:
        """The settings that were given, in the file's shape and without secrets, as sessions save them."""
        settings = self.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return cast("dict[str, Any]", without_secrets(settings))

    def with_graph_of(self, saved: Mapping[str, Any]) -> SwarmConfig:
        """A copy with the graph settings of a saved configuration.

        A session must resume with the nodes that it began with: its checkpoints name them.

        Args:
            saved: A configuration in the file's shape, as `redacted` returns it.

        Raises:
            ConfigError: The saved graph settings cannot be used.
        """
        other = _graph_settings(saved)
        if self.graph_settings == other.graph_settings:
            # Only a folder of prompts could declare another kind.
            return self.with_kind(other.workflow.kind) if self.prompts_dir else self
        workflow = self.workflow.model_copy(
            update={name: getattr(other.workflow, name) for name in GRAPH_SETTINGS}
        )
        features = self.features.model_copy(update={"execute_tests": other.features.execute_tests})
        return self.model_copy(update={"workflow": workflow, "features": features})

    def without_candidate_models(self) -> SwarmConfig:
        """A copy in which every candidate of the coder asks the coder's model."""
        if not isinstance(self.workflow.candidates, list):
            return self
        candidates = [one.model_copy(update={"model": None}) for one in self.workflow.candidates]
        return self.model_copy(
            update={"workflow": self.workflow.model_copy(update={"candidates": candidates})}
        )

    def with_kind(self, kind: Kind) -> SwarmConfig:
        """A copy whose sessions make this, whatever its folder of prompts declares."""
        return self.model_copy(update={"workflow": self.workflow.model_copy(update={"kind": kind})})

    def with_repo(self, repo: RepositorySettings) -> SwarmConfig:
        """A copy whose sessions change this repository.

        Raises:
            ConfigError: The configuration says that they make something else.
        """
        if self.workflow.is_kind_given and self.workflow.kind != CHANGE:
            raise ConfigError(
                f"{KIND_WITH_REPOSITORY}, and the kind given is {self.workflow.kind!r}; "
                "leave the repository or the kind out"
            )
        return self.model_copy(update={"repo": repo}).with_kind(CHANGE)

    def without_repo(self) -> SwarmConfig:
        """A copy for a task graph, which changes no repository."""
        return (
            self.model_copy(update={"repo": None}).with_kind("code") if self.workflow.kind == CHANGE else self
        )

    @property
    def graph_settings(self) -> tuple[Any, ...]:
        """The values of the settings that decide which nodes a graph has."""
        return (*(getattr(self.workflow, name) for name in GRAPH_SETTINGS), self.features.execute_tests)

    def simulated(self) -> SwarmConfig:
        """A copy in which every model is simulated; models that are simulated already stay as they are."""
        entry = self.models.single_model
        if self.is_simulated and entry:
            return self
        if entry is None or entry.api_type != "simulated":
            entry = ModelEntry(model="simulated", api_type="simulated", slots=64)
        entries = self.models.named if self.models.mode == "multi" else {}
        remaining: dict[str, ModelEntry | AnyOf] = {
            name: model for name, model in entries.items() if model.api_type == "simulated"
        }
        choices = {role: choice for role, choice in self.choices.items() if {*choice.any_of} <= {*remaining}}
        models = Models(
            mode="multi" if remaining else "single", single_model=entry, multi_model={**remaining, **choices}
        )
        return self.model_copy(update={"models": models, **dict.fromkeys(SHORTHAND)})


def _graph_settings(saved: Mapping[str, Any]) -> SwarmConfig:
    """The settings in a saved configuration that decide which nodes a graph has, and no others.

    They may name roles and workflows of its own, so those names are not checked.

    Raises:
        ConfigError: They cannot be used.
    """
    groups = {group: saved.get(group) for group in ("workflow", "features")}
    given = {group: values if isinstance(values, Mapping) else {} for group, values in groups.items()}
    workflow = {name: given["workflow"][name] for name in GRAPH_SETTINGS if name in given["workflow"]}
    features = {name: value for name, value in given["features"].items() if name == "execute_tests"}
    try:
        return SwarmConfig.model_construct(
            workflow=WorkflowSettings.model_validate(workflow), features=Features.model_validate(features)
        )
    except ValidationError as error:
        path, message = first_problem(error)
        raise ConfigError(one_line(f"recorded settings: {'.'.join(path)}: {message}")) from error


DEFAULT_PARAMETERS: dict[str, AgentParameters] = {
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
"""The old coordinator's sampling parameters by role; `agent_parameters` overrides each of them."""
OTHER_ROLES = AgentParameters(temperature=0.6, max_tokens=3000)
"""The sampling parameters of a role that is not in the table."""


def default_parameters(role: str) -> AgentParameters:
    """The sampling parameters of a role that the configuration does not set."""
    return DEFAULT_PARAMETERS.get(role, OTHER_ROLES)


def load_config(
    source: SwarmConfig | str | Path | Mapping[str, Any] | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> SwarmConfig:
    """Load and check a configuration.

    An unknown key is an error when it is a misspelling of a known one, otherwise a warning. No server is
    asked: with `{"url": …, "model": …}` the first call finds out which API the server has.

    Args:
        source: A file's path or a dict in the file's shape. None: the file that SWARM_CONFIG names, else
            ./config.json, else the defaults, which have no model. A SwarmConfig is returned as it is, with
            `overrides` applied.
        overrides: Settings in the file's shape; they win over the environment.
        environ: Environment variables (`SWARM_SECTION__KEY`); default: those of the process.

    Raises:
        ConfigError: A file cannot be read or a setting is wrong. One line: the source, the key's path, the
            value, and what is allowed.
    """
    given = source
    if isinstance(source, SwarmConfig):
        if not overrides:
            return source
        dumped = source.model_dump(by_alias=True, exclude_unset=True)
        # A dump would take objects apart, and leaves the database out.
        objects = {"roles": source.roles, "workflows": source.workflows, "database": source.database}
        source, environ = {**dumped, **{key: own for key, own in objects.items() if own}}, {}
    environ = os.environ if environ is None else environ
    lowest = read_source(source, environ)
    if not isinstance(source, Mapping):
        resolve_paths(Path(lowest.name), lowest.data)
    lowest.data.pop("$schema", None)  # editors write it to find the schema
    layers = [lowest, Layer("the environment", from_environment(environ))]
    layers.append(Layer("the command line", dict(overrides or {})))
    if not isinstance(given, SwarmConfig):
        for layer in (layers[0], layers[-1]):
            refuse_password(layer.name, layer.data)
    data: dict[str, Any] = {}
    for layer in layers:
        data = _with_layer(data, layer)
    data.update({key: overrides[key] for key in SHORTHAND if overrides and key in overrides})
    try:
        config = SwarmConfig.model_validate(data)
    except ValidationError as error:
        path, message = first_problem(error)
        raise ConfigError(
            one_line(f"{origin(path, layers)}: {'.'.join(path) or 'the file'}: {message}")
        ) from error
    for path, valid in _unknown_keys(config, ()):
        key = f"{origin(path, layers)}: {'.'.join(path)}"
        if meant := closest_match(path[-1], valid):
            raise ConfigError(one_line(f"{key}: unknown key; did you mean {meant!r}?"))
        warnings.warn(one_line(f"{key}: unknown key, it has no effect"), stacklevel=2)
    _drop_unknown_keys(config)
    return config


def _with_layer(data: Mapping[str, Any], layer: Layer) -> dict[str, Any]:
    """The settings with those of a higher layer; a shorthand in it replaces the models of all others.

    Raises:
        ConfigError: The shorthand names no model, or no server.
    """
    both = merged(data, layer.data)
    given = {key: value for key in SHORTHAND if (value := both.pop(key, None)) is not None}
    if not given:
        return both
    models = both.pop("models", None) or both.get("model_config")
    try:
        return {**both, "model_config": one_model(models, given)}
    except ValueError as error:
        raise ConfigError(one_line(f"{layer.name}: {error}")) from error


def resolve_paths(file: Path, data: dict[str, Any]) -> None:
    """Make the paths in a file absolute: they are relative to the file's folder."""
    here = file.absolute().parent
    folder = data.get("prompts_dir")
    if isinstance(folder, str) and folder not in PROMPT_PACKS:
        data["prompts_dir"] = str(here / folder)
    if data.get("roles") or data.get("workflows"):
        data["code_dir"] = str(here / str(data.get("code_dir") or ""))
    _resolve_models(here, data)
    _resolve_servers(here, data.get("mcp_servers"))
    _resolve_memory(here, data.get("memory"))
    if isinstance(repo := data.get("repo"), dict) and isinstance(path := repo.get("path"), str) and path:
        repo["path"] = absolute_file(path, here)
    if isinstance(roles := data.get("roles"), Mapping):
        data["roles"] = {
            name: str(here / role) if isinstance(role, str) and is_yaml(role) else role
            for name, role in roles.items()
        }


def _resolve_servers(here: Path, servers: Any) -> None:
    """Make the paths of MCP servers absolute; a command without a `/` is looked for in PATH."""
    for server in servers.values() if isinstance(servers, Mapping) else ():
        if not isinstance(server, dict):
            continue
        start = here
        if isinstance(folder := server.get("cwd"), str):
            server["cwd"] = str(start := Path(absolute_file(folder, here)))
        if isinstance(command := server.get("command"), str) and "/" in command:
            server["command"] = absolute_file(command, start)
        for name in ("folders", "readable"):
            if isinstance(folders := server.get(name), list):
                server[name] = [absolute_file(one, here) if isinstance(one, str) else one for one in folders]


def _resolve_memory(here: Path, memory: Any) -> None:
    """Make the paths of memory absolute: those of an embedding model and of a vector store."""
    memory = memory if isinstance(memory, Mapping) else {}
    model, vectors = memory.get("embeddings"), memory.get("vector_store")
    if isinstance(model, dict) and model.get("api_type") == EMBEDDED and isinstance(model.get("model"), str):
        model["model"] = absolute_file(model["model"], here)
    if isinstance(vectors, dict) and isinstance(path := vectors.get("path"), str) and path:
        vectors["path"] = absolute_file(path, here)


def _resolve_models(here: Path, data: dict[str, Any]) -> None:
    """Make the paths of GGUF files absolute."""
    models = data.get("model_config", data.get("models"))
    models = models if isinstance(models, Mapping) else {}
    named = models.get("multi_model")
    entries = [models.get("single_model"), *(named.values() if isinstance(named, Mapping) else ())]
    for entry in [data, *entries]:
        if isinstance(entry, dict) and isinstance(file := entry.get("model"), str):
            of_shorthand = entry is data and "url" not in data and names_file(file)
            if entry.get("api_type") == EMBEDDED or of_shorthand:
                entry["model"] = absolute_file(file, here)


def repository_settings(
    given: str | Path | Mapping[str, Any] | RepositorySettings | None,
) -> RepositorySettings | None:
    """The settings of a repository that a caller names: a folder in it, or an object in the file's shape.

    Raises:
        ConfigError: They cannot be used.
    """
    if given is None or isinstance(given, RepositorySettings):
        return given
    values = given if isinstance(given, Mapping) else {"path": str(given)}
    try:
        settings = RepositorySettings.model_validate(values)
    except ValidationError as error:
        path, message = first_problem(error)
        raise ConfigError(one_line(f"{'.'.join(('repo', *path))}: {message}")) from error
    if unknown := [*(settings.__pydantic_extra__ or {})]:
        known = [*RepositorySettings.model_fields]
        raise ConfigError(f"repo: {unknown_name('key', unknown[0], known)}")
    return settings


def changed_settings(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The dotted paths of the settings in which two saved configurations differ, defaults included.

    Where one has settings that only another version of swarm_graph knows, the groups that differ.

    Args:
        old: A configuration in the file's shape, as `SwarmConfig.redacted` returns it.
        new: The configuration to compare with it.
    """
    try:
        before, after = (
            SwarmConfig.model_validate(saved).model_dump(mode="json", by_alias=True) for saved in (old, new)
        )
    except ValidationError:
        return [group for group in {**old, **new} if old.get(group) != new.get(group)]
    return [path for path in changed_keys(before, after) if not _OF_CHOICE.fullmatch(path)]


_OF_CHOICE = re.compile(r"model_config\.multi_model\..*\.(chosen|reason)")
"""What a session records of its choice of models; no person has set it."""


def settings_in_words(paths: Iterable[str]) -> str:
    """Settings in which two configurations differ (`changed_settings`), in words and on one line.

    As in "the models of coder and tester (url, model); limits (max_calls)".
    """
    groups: dict[str, tuple[list[str], list[str]]] = {}
    for path in paths:
        group, owner, setting = _named_parts(path)
        owners, settings = groups.setdefault(group, ([], []))
        owners += [owner] if owner and owner not in owners else []
        settings += [setting] if setting and setting not in settings else []
    return "; ".join(
        group
        + (f" {first_names(owners)}" if owners else "")
        + (f" ({first_names(settings)})" if settings else "")
        for group, (owners, settings) in groups.items()
    )


def _named_parts(path: str) -> tuple[str, str, str]:
    """A setting's group in words, the role or entry that it belongs to, and its name."""
    match path.split(".", 2):
        case ["model_config", "multi_model", *rest]:
            owner, _, setting = ".".join(rest).partition(".")
            return "the models of", owner, setting
        case ["model_config", "single_model", *rest]:
            return "the model", "", ".".join(rest)
        case ["model_config", *rest]:
            return "the models", "", ".".join(rest)
        case ["agent_parameters", owner, *rest]:
            return "the parameters of", owner, ".".join(rest)
        case ["tools", owner]:
            return "the tools of", owner, ""
        case ["memory", "recall", owner]:
            return "what is recalled by", owner, ""
        case ["memory", "embeddings", *rest]:
            return "the embedding model", "", ".".join(rest)
        case ["memory", "vector_store", *rest]:
            return "the vector store", "", ".".join(rest)
        case ["mcp_servers", owner, *rest]:
            return "the MCP servers", owner, ".".join(rest)
        case ["prompts_dir"]:
            return "the prompts", "", ""
        case [group, *rest]:
            return group, "", ".".join(rest)
    return path, "", ""


def settings_of_any(saved: Mapping[str, Any]) -> dict[str, Any]:
    """What may be taken from a saved configuration whoever saved it.

    These are SETTINGS_OF_ANY_SESSION, a pack of prompts that comes with swarm_graph, and simulated models,
    which ask no server. Roles and workflows of its own are code, so even their names are left out.

    Args:
        saved: A configuration in the file's shape.
    """
    found: dict[str, Any] = {}
    for path in SETTINGS_OF_ANY_SESSION:
        group, name = path.split(".")
        values = saved.get(group)
        if isinstance(values, Mapping) and name in values:
            found.setdefault(group, {})[name] = _without_own_names(name, values[name])
    if saved.get("prompts_dir") in PROMPT_PACKS:
        found["prompts_dir"] = saved["prompts_dir"]
    models = saved.get("model_config")
    if isinstance(models, Mapping) and _asks_nothing(models):
        found["model_config"] = dict(models)
    return found


def _without_own_names(setting: str, value: Any) -> Any:
    """A setting in `workflow` without the names of models, and of roles and workflows of the user's own."""
    if setting == "candidates" and isinstance(value, list):
        return [{**one, "model": None} if isinstance(one, Mapping) else one for one in value]
    if setting == "reviewers" and isinstance(value, Mapping):
        return {name: focuses for name, focuses in value.items() if name in WORKFLOWS}
    if setting.startswith("pause_") and isinstance(value, list):
        return [name for name in value if not isinstance(name, str) or name in list(AgentRole)]
    return value


def _asks_nothing(models: Mapping[str, Any]) -> bool:
    """Whether all of these models are simulated and read no file and no key."""
    try:
        entries = SwarmConfig(models=Models.model_validate(models)).entries
    except ValidationError:
        return False
    return bool(entries) and all(
        entry.api_type == "simulated"
        and (entry.simulation.script, entry.simulation.answers, entry.api_key_env) == (None, None, None)
        for entry in entries
    )


def recorded_choices(saved: Mapping[str, Any]) -> dict[str, AnyOf]:
    """The models that a session has chosen, by role.

    Args:
        saved: Its configuration in the file's shape.
    """
    models = saved.get("model_config")
    entries = models.get("multi_model") if isinstance(models, Mapping) else None
    found: dict[str, AnyOf] = {}
    for role, entry in entries.items() if isinstance(entries, Mapping) else ():
        if isinstance(entry, Mapping) and entry.get("chosen"):
            with suppress(ValidationError):
                found[str(role)] = AnyOf.model_validate(entry)
    return found


def saved_values(saved: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """The dotted path and the value of each setting in a saved configuration."""
    if isinstance(saved, Mapping):
        for key, value in saved.items():
            yield from saved_values(value, (*path, str(key)))
    else:
        yield ".".join(path), saved


def config_path(source: SwarmConfig | str | Path | Mapping[str, Any] | None) -> str:
    """The absolute path of the file that `load_config` reads for a source; empty when it reads none."""
    if isinstance(source, (SwarmConfig, Mapping)):
        return ""
    path = source_path(source, os.environ)
    return str(path.absolute()) if path else ""


def _unknown_keys(group: Settings, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """The path of each unknown key, with the keys that its group knows."""
    fields = type(group).model_fields
    for key in group.__pydantic_extra__ or {}:
        yield (*path, key), [field.alias or name for name, field in fields.items()]
    for keys, child in _groups(group):
        yield from _unknown_keys(child, (*path, *keys))


def _drop_unknown_keys(group: Settings) -> None:
    """Unknown keys may hold secrets, and sessions save their configuration."""
    (group.__pydantic_extra__ or {}).clear()
    for _, child in _groups(group):
        _drop_unknown_keys(child)


def without_secrets(value: Any, *, in_extra_body: bool = False) -> Any:
    """JSON-like settings without the fields of `extra_body` that have a secret's name.

    Only the user's own fields are removed: `max_tokens`, for one, matches SECRET_NAME too.
    """
    if isinstance(value, dict):
        return {
            key: without_secrets(inner, in_extra_body=in_extra_body or key == "extra_body")
            for key, inner in value.items()
            if not (in_extra_body and SECRET_NAME.search(key))
        }
    if isinstance(value, list):
        return [without_secrets(item, in_extra_body=in_extra_body) for item in value]
    return value


def _groups(group: Settings) -> Iterator[tuple[tuple[str, ...], Settings]]:
    """The groups of settings inside a group, each with the keys that lead to it."""
    for name, field in type(group).model_fields.items():
        value = getattr(group, name)
        for key, child in value.items() if isinstance(value, dict) else [(None, value)]:
            if isinstance(child, Settings):
                yield (field.alias or name, *([] if key is None else [str(key)])), child


def config_schema() -> dict[str, Any]:
    """The JSON Schema of a config file, for editors."""
    return SwarmConfig.model_json_schema(by_alias=True)
