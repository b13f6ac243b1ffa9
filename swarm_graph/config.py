"""The configuration: the seed's JSON with `//` comments, checked as a whole before anything runs.

Precedence: command line, environment (`SWARM_WORKFLOW__MAX_ITERATIONS=2`), file, defaults.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

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
from swarm_graph.state import AgentRole

ApiType = Literal["openai", "ollama", "simulated"]
Workflow = Literal["standard", "full", "review_only"]
ReviewFocus = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
PACKS = ("process-safety",)
"""The packs of prompts that come with swarm_graph; a folder of such a name is written `./NAME`."""
YOUR_MODEL = "PUT-THE-MODEL-HERE"
"""What `init` writes where it found no model."""
Whole = Annotated[int, Field(strict=True)]
"""Strict, so that `true` is no number."""
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
Share = Annotated[Number, Field(ge=0, le=1)]


class Settings(BaseModel):
    """A group of settings; keys that it does not know are kept, to be reported by `load_config`."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True, hide_input_in_errors=False)


def checked_url(url: str, example: str) -> str:
    """An HTTP URL without a password, or an empty one. ValueError says what was expected."""
    parts = urlsplit(url)
    if url and (parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"\s", url)):
        raise ValueError(f"expected a URL such as {example}")
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "expected no password in the URL; put a key into the variable that api_key_env names"
        )
    if parts.query:
        raise ValueError("expected no '?' in the URL; put a key into the variable that api_key_env names")
    _ = parts.port
    return url


class Simulation(Settings):
    """How a simulated model behaves. It asks no server, and everything it says is invented."""

    seed: Whole = Field(0, description="Another seed gives other answers; the same seed the same ones.")
    first_token_s: Number = Field(0.0, ge=0, le=3600, description="Seconds before the first token.")
    tokens_per_s: Number = Field(0.0, ge=0, description="Tokens per second; 0: all at once.")
    failure_rate: Share = Field(
        0.0, description="Share of calls that fail as if the server had refused them."
    )
    malformed_rate: Share = Field(0.0, description="Share of typed answers that are broken JSON.")
    script: str | None = Field(None, description="A script file that says what each role answers.")


class Prices(Settings):
    """What a model's tokens cost, in any currency."""

    input: Number = Field(0.0, ge=0, description="For a million tokens in.")
    output: Number = Field(0.0, ge=0, description="For a million tokens out.")


class ModelEntry(Settings):
    """One model on one server."""

    url: str = Field("", description="http://localhost:1234/v1 (openai), http://localhost:11434 (ollama).")
    model: str = Field(min_length=1, description="The model's name as the server knows it.")
    model_name: str | None = Field(None, description="The name to show to people.")
    api_type: ApiType = Field(
        "openai", description="openai: LM Studio, llama.cpp, vLLM; ollama: its own API."
    )
    timeout: Positive = Field(1800.0, description="Seconds for one call, from dispatch to the last token.")
    idle_timeout: Positive = Field(
        600.0, description="Seconds without a new token before a call is given up."
    )
    retries: Whole = Field(
        4, ge=0, le=20, description="How often a refused, cut or overloaded call is repeated."
    )
    slots: Whole | None = Field(
        None,
        ge=1,
        description="Calls its server takes at once; default: as it says, else max_parallel_agents.",
    )
    api_key_env: str | None = Field(None, description="The environment variable that holds the API key.")
    fallbacks: list[str] = Field(
        [], description="Entries of multi_model that are asked in turn when this one fails for good."
    )
    prices: Prices = Prices()
    simulation: Simulation = Simulation()

    @field_validator("url")
    @classmethod
    def _http_url(cls, url: str) -> str:
        return checked_url(url, "http://localhost:1234/v1").rstrip("/")

    @field_validator("api_key_env")
    @classmethod
    def _variable(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise ValueError("expected the name of an environment variable, not a key itself")
        return name

    @model_validator(mode="after")
    def _needs_url(self) -> Self:
        if self.api_type != "simulated" and not self.url:
            raise ValueError("expected a url: where does the server of this model listen?")
        return self

    @property
    def label(self) -> str:
        """The name to show to people."""
        return self.model_name or self.model

    @property
    def server(self) -> str:
        """Scheme, host and port: models with the same one share a server."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.lower()}" if self.url else "simulated"


class Models(Settings):
    """Which model each role asks (`model_config` in the file)."""

    mode: Literal["single", "multi"] = Field(
        "single", description="One model for all roles, or one per role."
    )
    single_model: ModelEntry | None = Field(
        None, description="For all roles; in multi mode for roles not named."
    )
    multi_model: dict[str, ModelEntry] = Field({}, description="Keyed by role.")

    @field_validator("multi_model", mode="before")
    @classmethod
    def _role_names(cls, entries: Any) -> Any:
        for name in entries if isinstance(entries, Mapping) else ():
            meant = near(str(name), list(AgentRole))
            if meant and meant != name and not re.match(rf"{meant}[\d_-]", str(name)):
                raise ValueError(f"unknown role {name!r}; did you mean {meant!r}?")
        return entries

    @model_validator(mode="after")
    def _knows_fallbacks(self) -> Self:
        for entry in [self.single_model, *self.multi_model.values()]:
            for name in entry.fallbacks if entry else ():
                if name not in self.multi_model:
                    raise ValueError(f"unknown fallback {name!r}; expected entries of multi_model")
        return self

    @model_validator(mode="after")
    def _has_entries(self) -> Self:
        if self.mode == "multi" and not self.multi_model and self.single_model is None:
            raise ValueError("mode 'multi' needs entries in multi_model")
        return self


class AgentParameters(Settings):
    """How a role's model samples; what is not given is left to the defaults of the role or the server."""

    temperature: Number | None = Field(None, ge=0, le=2, description="0: always the likeliest token.")
    max_tokens: Whole | None = Field(None, ge=1, description="The longest answer, in tokens.")
    top_p: Number | None = Field(
        None, gt=0, le=1, description="The share of likeliest tokens to choose from."
    )
    num_ctx: Whole | None = Field(None, ge=256, description="Ollama: context size in tokens.")
    keep_alive: str | Whole | None = Field(
        None, description="Ollama: how long the model stays loaded, as in '10m'."
    )
    seed: Whole | None = Field(None, description="The server's sampling seed.")
    reasoning: bool | Literal["low", "medium", "high"] | None = Field(
        None, description="Let the model think first."
    )
    extra_body: dict[str, Any] = Field(
        {}, description="Sent along as it is with each call; Ollama takes it as options."
    )


class WorkflowSettings(Settings):
    max_iterations: Whole = Field(3, ge=1, le=100, description="Rounds of coding and reviewing at the most.")
    max_parallel_agents: Whole = Field(4, ge=1, le=1024, description="Calls of one session at once.")
    enable_parallel: bool = Field(True, description="false: one call at a time.")
    max_tasks: Whole = Field(
        1000, ge=1, description="Tasks that a custom session may grow to by tasks that expand."
    )
    verbose_logging: bool = Field(False, description="Log every step to stderr.")
    reviewers: list[ReviewFocus] | dict[Workflow, list[ReviewFocus]] | None = Field(
        None, description="Focuses (correctness, security, performance, style or a prompt's name)."
    )

    pause_before: list[AgentRole] = Field([], description="Roles before which a person is asked.")
    pause_after: list[AgentRole] = Field([], description="Roles whose answers a person sees first.")
    grace_period: Number = Field(
        30.0, ge=0, description="Seconds that calls in flight get to end after Ctrl-C."
    )

    @field_validator("reviewers")
    @classmethod
    def _some_once(cls, value: Any) -> Any:
        for names in value.values() if isinstance(value, dict) else [value] if value is not None else []:
            if not names or len(set(names)) != len(names):
                raise ValueError("expected at least one focus and none twice")
        return value

    @property
    def pauses(self) -> bool:
        """Whether a person is asked anywhere."""
        return bool(self.pause_before or self.pause_after)

    @property
    def parallel(self) -> int:
        """How many calls one session makes at once."""
        return self.max_parallel_agents if self.enable_parallel else 1

    def focuses(self, workflow: str) -> list[str] | None:
        """The configured reviewers of a workflow; None: the workflow's own."""
        return self.reviewers.get(workflow) if isinstance(self.reviewers, dict) else self.reviewers  # type: ignore[call-overload]


class SessionLimits(Settings):
    """What one request of a session may use before it stops, resumable with a raised limit."""

    calls: Whole | None = Field(None, ge=1, description="Calls of models, failed ones included.")
    tokens: Whole | None = Field(None, ge=1, description="Tokens in and out.")
    seconds: Positive | None = Field(None, description="Seconds at work, all its runs together.")


class ExecutionLimits(Settings):
    """What one run of the tests may use."""

    seconds: Positive = Field(60.0, description="Wall clock.")
    memory_mb: Whole = Field(1024, ge=64, description="MiB, all processes together.")
    processes: Whole = Field(128, ge=4, description="Processes and threads at once.")
    disk_mb: Whole = Field(256, ge=1, description="MiB of files.")
    files: Whole = Field(10_000, ge=10, description="Files and folders.")
    output_mb: Whole = Field(4, ge=1, description="MiB of text on stdout and stderr.")


class Execution(Settings):
    """How the generated tests are run on the generated code."""

    mode: Literal["auto", "required", "off"] = Field(
        "auto", description="auto: where a sandbox is possible; required: no approval without a passing run."
    )
    sandbox: Literal["auto", "bubblewrap", "docker", "podman", "landlock"] = Field(
        "auto", description="auto: the first one that can be used, in this order."
    )
    python: str | None = Field(
        None, description="A Python or a virtual environment, used read-only; default swarm_graph's own."
    )
    packages: list[str] | None = Field(
        None,
        description="Packages that code and tests may import; default all of `python` or `image`, else none.",
    )
    command: list[str] = Field(
        [], description='Instead of pytest, for other languages, as in ["node", "--test"].'
    )
    image: str | None = Field(None, description="The local image for docker or podman; it is never pulled.")
    unsafe: bool = Field(False, description="Run the tests without a sandbox where none is possible.")
    limits: ExecutionLimits = ExecutionLimits()

    @property
    def allowed_packages(self) -> list[str] | None:
        """The packages that may be imported; None: all that are there."""
        own = self.python is None and self.image is None
        return [] if self.packages is None and own else self.packages

    @property
    def packages_text(self) -> str:
        """The packages that may be imported, as a prompt shows them."""
        allowed = None if self.mode == "off" or self.command else self.allowed_packages
        if allowed is None:
            return "whatever the request and the design name"
        return ", ".join(allowed) or "none"


class Features(Settings):
    enable_checkpointing: bool = Field(True, description="Save every step, so that a run can be resumed.")
    execute_tests: bool = Field(False, description="`standard` too writes tests and runs them.")
    langsmith: bool = Field(False, description="Leave LangSmith tracing as the environment sets it.")
    otlp_endpoint: str | None = Field(
        None, description="Send OpenTelemetry spans there, as in http://127.0.0.1:4318/v1/traces."
    )

    @field_validator("otlp_endpoint")
    @classmethod
    def _http_endpoint(cls, url: str | None) -> str | None:
        return checked_url(url, "http://127.0.0.1:4318/v1/traces") or None if url else None


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
