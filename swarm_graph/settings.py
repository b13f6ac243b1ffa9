"""The groups of settings that a config file has, and what each value may be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from swarm_graph.config_source import near
from swarm_graph.state import AgentRole

SERVER_TYPES = {
    "openai": "swarm_graph.models.openai",
    "ollama": "swarm_graph.models.ollama",
    "simulated": "swarm_graph.models.simulated",
}
"""The module of each `api_type`, which has `chat_model(entry, parameters, proxy, refused)`.

It returns a LangChain chat model for the running event loop that streams, sends none of the `refused` fields
and uses no proxy but the given one.
"""

WORKFLOWS = {
    "standard": "swarm_graph.workflows.builtin:standard",
    "full": "swarm_graph.workflows.builtin:full",
    "review_only": "swarm_graph.workflows.builtin:review_only",
    "custom": "swarm_graph.workflows.builtin:custom",
}
"""The function of each workflow; it takes a Crew and returns the graph under construction."""

if TYPE_CHECKING:
    ApiType = str
    ReviewedWorkflow = str
else:
    ApiType = Literal[tuple(SERVER_TYPES)]
    ReviewedWorkflow = Literal[tuple(name for name in WORKFLOWS if name != "custom")]


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
    reviewers: list[ReviewFocus] | dict[ReviewedWorkflow, list[ReviewFocus]] | None = Field(
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
        return self.reviewers.get(workflow) if isinstance(self.reviewers, dict) else self.reviewers


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
