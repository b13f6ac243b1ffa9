"""The configuration: the seed's JSON with `//` comments, checked as a whole before anything runs.

Precedence: command line, environment (`SWARM_WORKFLOW__MAX_ITERATIONS=2`), file, defaults.
"""

from __future__ import annotations

import difflib
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from swarm_graph.errors import ConfigError
from swarm_graph.state import AgentRole

ApiType = Literal["openai", "ollama", "simulated"]
Workflow = Literal["standard", "full", "review_only"]
ReviewFocus = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class Settings(BaseModel):
    """A group of settings; keys that it does not know are kept, to be reported by `load_config`."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True, hide_input_in_errors=False)


class Simulation(Settings):
    """How a simulated model behaves. It asks no server, and everything it says is invented."""

    seed: int = Field(0, description="Another seed gives other answers; the same seed the same ones.")
    first_token_s: float = Field(0.0, ge=0, le=3600, description="Seconds before the first token.")
    tokens_per_s: float = Field(0.0, ge=0, description="Tokens per second; 0: all at once.")
    failure_rate: Share = Field(
        0.0, description="Share of calls that fail as if the server had refused them."
    )
    malformed_rate: Share = Field(0.0, description="Share of typed answers that are broken JSON.")
    script: str | None = Field(None, description="A script file that says what each role answers.")


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
    retries: int = Field(
        4, ge=0, le=20, description="How often a refused, cut or overloaded call is repeated."
    )
    slots: int | None = Field(
        None, ge=1, description="Calls its server takes at once; default max_parallel_agents."
    )
    api_key_env: str | None = Field(None, description="The environment variable that holds the API key.")
    simulation: Simulation = Simulation()

    @field_validator("url")
    @classmethod
    def _http_url(cls, url: str) -> str:
        if not url:
            return url
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("expected a URL such as http://localhost:1234/v1")
        if parts.username or parts.password:
            raise ValueError(
                "expected no password in the URL; put a key into the variable that api_key_env names"
            )
        _ = parts.port
        return url.rstrip("/")

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
        return f"{parts.scheme}://{parts.netloc}" if self.url else "simulated"


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
            near = _near(str(name), list(AgentRole))
            if near and near != name:
                raise ValueError(f"unknown role {name!r}; did you mean {near!r}?")
        return entries

    @model_validator(mode="after")
    def _has_entries(self) -> Self:
        if self.mode == "multi" and not self.multi_model and self.single_model is None:
            raise ValueError("mode 'multi' needs entries in multi_model")
        return self


class AgentParameters(Settings):
    """How a role's model samples; what is not given is left to the defaults of the role or the server."""

    temperature: float | None = Field(None, ge=0, le=2)
    max_tokens: int | None = Field(None, ge=1, description="The longest answer, in tokens.")
    top_p: float | None = Field(None, gt=0, le=1)
    num_ctx: int | None = Field(None, ge=256, description="Ollama: context size in tokens.")
    keep_alive: str | int | None = Field(
        None, description="Ollama: how long the model stays loaded, as in '10m'."
    )
    seed: int | None = Field(None, description="The server's sampling seed.")
    reasoning: bool | Literal["low", "medium", "high"] | None = Field(
        None, description="Let the model think first."
    )
    extra_body: dict[str, Any] = Field(
        {}, description="Sent along as it is with each call; Ollama takes it as options."
    )


class WorkflowSettings(Settings):
    max_iterations: int = Field(3, ge=1, le=100, description="Rounds of coding and reviewing at the most.")
    max_parallel_agents: int = Field(4, ge=1, le=1024, description="Calls of one session at once.")
    enable_parallel: bool = Field(True, description="false: one call at a time.")
    verbose_logging: bool = Field(False, description="Log every step to stderr.")
    reviewers: list[ReviewFocus] | dict[Workflow, list[ReviewFocus]] | None = Field(
        None, description="Focuses (correctness, security, performance, style or a prompt's name)."
    )

    @field_validator("reviewers")
    @classmethod
    def _some_once(cls, value: Any) -> Any:
        for names in value.values() if isinstance(value, dict) else [value] if value is not None else []:
            if not names or len(set(names)) != len(names):
                raise ValueError("expected at least one focus and none twice")
        return value

    @property
    def parallel(self) -> int:
        """How many calls one session makes at once."""
        return self.max_parallel_agents if self.enable_parallel else 1

    def focuses(self, workflow: str) -> list[str] | None:
        """The configured reviewers of a workflow; None: the workflow's own."""
        return self.reviewers.get(workflow) if isinstance(self.reviewers, dict) else self.reviewers  # type: ignore[call-overload]


class Features(Settings):
    enable_checkpointing: bool = Field(True, description="Save every step, so that a run can be resumed.")
    langsmith: bool = Field(False, description="Leave LangSmith tracing as the environment sets it.")


class SwarmConfig(Settings):
    """Everything a run is told besides its request. `models` is `model_config` in the file."""

    models: Models = Field(default=Models(), alias="model_config")
    agent_parameters: dict[AgentRole, AgentParameters] = Field({}, description="Per role.")
    workflow: WorkflowSettings = WorkflowSettings()
    features: Features = Features()
    prompts_dir: str | None = Field(
        None, description="A folder whose files replace prompts of the same name."
    )
    proxy: str | None = Field(
        None, description="The HTTP proxy for model servers; the environment's is not used."
    )

    @field_validator("agent_parameters", mode="before")
    @classmethod
    def _known_roles(cls, value: Any) -> Any:
        for name in value if isinstance(value, Mapping) else ():
            if name not in list(AgentRole):
                near = _near(str(name), list(AgentRole))
                hint = f"did you mean {near!r}?" if near else f"known roles: {', '.join(AgentRole)}"
                raise ValueError(f"unknown role {name!r}; {hint}")
        return value

    def model_for(self, role: AgentRole) -> ModelEntry:
        """The model that a role asks; ConfigError when the file names none."""
        models = self.models
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

    def parameters_for(self, role: AgentRole) -> AgentParameters:
        """What the file says of a role's sampling, over the role's defaults."""
        given = self.agent_parameters.get(role, AgentParameters())
        return DEFAULT_PARAMETERS[role].model_copy(update=given.model_dump(exclude_unset=True))

    def simulated(self) -> SwarmConfig:
        """The same with a simulated model for every role that is not simulated already."""
        entry = self.models.single_model
        if entry is None or entry.api_type != "simulated":
            entry = ModelEntry(model="simulated", api_type="simulated", slots=64)
        kept = {
            name: model for name, model in self.models.multi_model.items() if model.api_type == "simulated"
        }
        models = Models(mode="multi" if kept else "single", single_model=entry, multi_model=kept)
        return self.model_copy(update={"models": models})


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

ENVIRONMENT_SECTIONS = ("model_config", "agent_parameters", "workflow", "features")


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
        return source
    environ = os.environ if environ is None else environ
    data, where = _read(source, environ)
    data = _merged(data, _from_environment(environ))
    data = _merged(data, overrides or {})
    try:
        config = SwarmConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_first_problem(error)}") from error
    for path, key, known in _unknown_keys(config, ""):
        near = _near(key, known)
        if near:
            raise ConfigError(f"{where}: {path}: unknown key; did you mean {near!r}?")
        warnings.warn(f"{where}: {path}: unknown key, it has no effect", stacklevel=2)
    return config


def _read(
    source: str | Path | Mapping[str, Any] | None, environ: Mapping[str, str]
) -> tuple[dict[str, Any], str]:
    if isinstance(source, Mapping):
        return dict(source), "config"
    if source is None:
        source = environ.get("SWARM_CONFIG") or ("config.json" if Path("config.json").is_file() else None)
    if source is None:
        return {}, "config"
    return read_json5(Path(source)), str(source)


def read_json5(path: Path) -> dict[str, Any]:
    """A JSON file with comments and trailing commas; ConfigError names the line that is wrong."""
    import json5

    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(
            f"cannot read the config '{path}': {reason}; `swarm-graph init` writes one"
        ) from error
    try:
        data = json5.loads(text, allow_duplicate_keys=False)
    except (ValueError, RecursionError) as error:
        reason = str(error).replace("<string>:", "line ").splitlines()[0] or "it is nested too deep"
        raise ConfigError(f"{path}: not valid JSON: {reason}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected an object {{...}}, found {type(data).__name__}")
    return data


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """SWARM_WORKFLOW__MAX_ITERATIONS=2 as {"workflow": {"max_iterations": 2}}."""
    data: dict[str, Any] = {}
    for name, text in environ.items():
        section, _, rest = name.removeprefix("SWARM_").lower().partition("__")
        if not name.startswith("SWARM_") or not rest or section not in ENVIRONMENT_SECTIONS:
            continue
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        for key in reversed([section, *rest.split("__")]):
            value = {key: value}
        data = _merged(data, value)
    return data


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[key] = _merged(old, value) if both else value  # type: ignore[arg-type]
    return result


def _first_problem(error: ValidationError) -> str:
    problem, *others = error.errors(include_url=False)
    path = ".".join(str(part) for part in problem["loc"] if part not in ("list[constrained-str]",))
    message = problem["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    value = problem["input"]
    shown = "" if isinstance(value, dict) else f"{_shortened(value)} is not allowed: "
    more = f" (and {len(others)} more)" if others else ""
    return f"{path or 'the file'}: {shown}{message}{more}"


def _shortened(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _near(name: str, known: list[Any]) -> str | None:
    matches = difflib.get_close_matches(name.lower(), [str(item) for item in known], n=1, cutoff=0.8)
    return matches[0] if matches else None


def _unknown_keys(group: Settings, path: str) -> Iterator[tuple[str, str, list[str]]]:
    fields = type(group).model_fields
    known = [field.alias or name for name, field in fields.items()]
    for key in group.__pydantic_extra__ or {}:
        yield f"{path}{key}", key, known
    for name, field in fields.items():
        value = getattr(group, name)
        children = value.items() if isinstance(value, dict) else [("", value)]
        for child_name, child in children:
            if isinstance(child, Settings):
                inner = ".".join(filter(None, [field.alias or name, str(child_name)]))
                yield from _unknown_keys(child, f"{path}{inner}.")


def config_schema() -> dict[str, Any]:
    """The JSON Schema of a config file, for editors."""
    return SwarmConfig.model_json_schema(by_alias=True)
