"""The groups of settings in a config file, with the type, range, default and description of each value.

Descriptions and class docstrings are also the JSON Schema (`swarm-graph init --schema`) and the page
docs/reference/settings.md: run `python docs/reference_pages.py` after a change.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import unquote, urlsplit, urlunsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    field_validator,
    model_validator,
)

from swarm_graph.names import OwnName, RoleName
from swarm_graph.state import WORKFLOWS, Kind

SERVER_TYPES = {
    "openai": "swarm_graph.models.openai",
    "ollama": "swarm_graph.models.ollama",
    "llamacpp": "swarm_graph.models.embedded",
    "simulated": "swarm_graph.models.simulated",
}
"""The module of each `api_type`. It defines `chat_model(entry, parameters, proxy, refused)`.

That function returns a LangChain chat model for the running event loop. The model streams, sends none of the
`refused` request fields, and uses no proxy but the given one.
"""

EMBEDDED = "llamacpp"
"""The `api_type` of a GGUF file that swarm_graph serves itself, in a process of its own."""

AUTO = "auto"
"""The `api_type` of a model whose server is asked at the first call: Ollama's own API, or OpenAI's."""

# Type checkers cannot evaluate a Literal that is made from a table; pydantic can.
if TYPE_CHECKING:
    ApiType = str
    ReviewedWorkflow = str
else:
    ApiType = Literal[(*SERVER_TYPES, AUTO)]
    ReviewedWorkflow = Annotated[
        Literal[tuple(name for name in WORKFLOWS if name != "custom")] | OwnName,
        Field(union_mode="left_to_right"),
    ]


ReviewFocus = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
"""Name of a reviewer's focus. It becomes part of a node's name and of a prompt's file name."""

PROMPT_PACKS = ("process-safety",)
"""Packs of prompts that come with swarm_graph. In `prompts_dir`, a folder of such a name is `./NAME`."""

MODEL_PLACEHOLDER = "PUT-THE-MODEL-HERE"
"""The model name that `init` writes when it finds no model; a run refuses it."""

Integer = Annotated[int, Field(strict=True)]
"""Strict: pydantic would take `true` for 1 and "3" for 3."""
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
PositiveNumber = Annotated[Number, Field(gt=0)]
Fraction = Annotated[Number, Field(ge=0, le=1)]


class Settings(BaseModel):
    """A group of settings. Unknown keys are kept until `load_config` has reported them."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True, hide_input_in_errors=False)


def validated_url(url: str, example: str, key_setting: str = "api_key_env") -> str:
    """The same URL, checked: http or https, with a host, and no part that could hold a key; or empty.

    Args:
        url: The URL to check.
        example: A valid URL for the message.
        key_setting: The setting that names the variable with the key, for the message.

    Raises:
        ValueError: The URL is not valid; the message says what was expected.
    """
    parts = urlsplit(url)
    if url and (parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"\s", url)):
        raise ValueError(f"expected a URL such as {example}")
    # The path may hold another URL, encoded or not, with a password and a query of its own.
    decoded = _decoded(urlunsplit(parts._replace(scheme="")))
    if re.search("//[^/]*@", decoded):
        raise ValueError(
            f"expected no password in the URL; put a key into the variable that {key_setting} names"
        )
    if found := re.search("[?#;](?=.)", decoded):
        raise ValueError(
            f"expected no '{found[0]}' in the URL; put a key into the variable that {key_setting} names"
        )
    _ = parts.port  # raises ValueError for a port above 65535
    return url


def _decoded(part: str) -> str:
    """A part of a URL without percent-encoding, however often it was encoded."""
    return unquote(re.sub("%(25)+", "%", part))


class Simulation(Settings):
    """Behaviour of a simulated model. It asks no server; its answers are scripted or invented."""

    seed: Integer = Field(0, description="The same seed gives the same answers.")
    first_token_s: Number = Field(0.0, ge=0, le=3600, description="Seconds until the first token.")
    tokens_per_s: Number = Field(0.0, ge=0, description="Tokens per second; 0: the whole answer at once.")
    failure_rate: Fraction = Field(0.0, description="Share of calls that fail as if the server refused them.")
    malformed_rate: Fraction = Field(0.0, description="Share of typed answers that are broken JSON.")
    script: str | None = Field(None, description="Path of a script file with the answers of each role.")
    skill: Fraction | None = Field(
        None,
        description="Share of known questions that it answers right, for experiments; needs `answers`.",
    )
    answers: str | None = Field(
        None, description="Path of a file with right and wrong answers; `swarm-graph eval` makes one."
    )


class Prices(Settings):
    """Prices of a model's tokens, in any currency."""

    input: Number = Field(0.0, ge=0, description="Per million input tokens.")
    output: Number = Field(0.0, ge=0, description="Per million output tokens.")


OF_EMBEDDED = ("num_ctx", "threads", "gpu_layers", "embedding")
"""Settings of a model that only embedded ones have."""


def absolute_file(path: str, folder: Path | None = None) -> str:
    """A path as a person types it, from the root; `~` is the home folder.

    Args:
        path: The path.
        folder: The folder that it counts from; default: the current one.
    """
    file = Path(path)
    with suppress(RuntimeError):  # there is no home folder
        file = file.expanduser()
    return str((folder or Path()).absolute() / file)


class ModelEntry(Settings):
    """One model on one server."""

    url: str = Field("", description="http://localhost:1234/v1 (openai), http://localhost:11434 (ollama).")
    model: str = Field(min_length=1, description="The model's name on the server; for llamacpp a GGUF file.")
    model_name: str | None = Field(None, description="The name in reports and progress; default: `model`.")
    api_type: ApiType = Field(
        "openai",
        description="openai: LM Studio, llama.cpp, vLLM; ollama: Ollama's own API; auto: as the server says; "
        "llamacpp: serve a GGUF file ourselves, without a url.",
    )
    timeout: PositiveNumber = Field(
        1800.0, description="Seconds for one call, from dispatch to the last token."
    )
    idle_timeout: PositiveNumber = Field(
        600.0, description="Seconds of silence from the server after which a call fails."
    )
    retries: Integer = Field(
        4,
        ge=0,
        le=20,
        description="Repeats of a call that is refused or cut off, or meets an overloaded server.",
    )
    slots: Integer | None = Field(
        None,
        ge=1,
        description="Calls at once on its server; default: as it reports, else max_parallel_agents.",
    )
    num_ctx: Integer | None = Field(
        None,
        ge=256,
        description="llamacpp: tokens of one call; default: 16384, or as long as it was trained.",
    )
    threads: Integer | None = Field(
        None, ge=1, le=1024, description="llamacpp: threads that compute; default: one for each core but one."
    )
    gpu_layers: Integer | None = Field(
        None, ge=0, description="llamacpp: layers on the GPU; default: as many as fit."
    )
    embedding: bool = Field(False, description="llamacpp: the file is an embedding model.")
    slot_per_session: bool = Field(
        False,
        description="llama.cpp: all calls of a session go to one slot (`id_slot`), whose cache holds what "
        "their prompts begin with; they then wait for each other. `doctor --measure` says whether it pays.",
    )
    api_key_env: str | None = Field(None, description="Name of the environment variable with the API key.")
    fallbacks: list[str] = Field(
        [], description="Entries of multi_model to ask in turn when this one fails for good."
    )
    tool_calls: Literal["auto", "native", "action", "text"] = Field(
        "auto",
        description="How it calls tools: native: by its server's API; action: as a JSON object that a schema "
        "binds; text: as its answer writes them; auto: found out by one small call.",
    )
    prices: Prices = Prices()
    simulation: Simulation = Simulation()
    _served_key: str = PrivateAttr("")

    @field_validator("url")
    @classmethod
    def _http_url(cls, url: str) -> str:
        return validated_url(url, "http://localhost:1234/v1").rstrip("/")

    @field_validator("api_key_env")
    @classmethod
    def _variable(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise ValueError("expected the name of an environment variable, not a key itself")
        return name

    @model_validator(mode="before")
    @classmethod
    def _absolute_file(cls, data: Any) -> Any:
        """The path of a GGUF file is absolute, because a session may be resumed in another folder."""
        if isinstance(data, Mapping) and data.get("api_type") == EMBEDDED:
            file = data.get("model")
            if isinstance(file, str) and file:
                return {**data, "model": absolute_file(file)}
        return data

    @model_validator(mode="after")
    def _needs_url(self) -> Self:
        if self.is_embedded:
            if self.url or self.api_key_env:
                given = "url" if self.url else "api_key_env"
                raise ValueError(
                    f"expected no {given} with api_type llamacpp: the file is served on this machine"
                )
            return self
        if self.api_type != "simulated" and not self.url:
            raise ValueError("expected a url: the address of the server with this model")
        if odd := next((name for name in OF_EMBEDDED if getattr(self, name)), None):
            cure = "agent_parameters has Ollama's" if odd == "num_ctx" else "set it where the server starts"
            raise ValueError(f"expected {odd} only with api_type llamacpp; {cure}")
        return self

    @property
    def is_embedded(self) -> bool:
        """Whether it is a GGUF file that swarm_graph serves itself."""
        return self.api_type == EMBEDDED

    def at(self, url: str, key: str) -> ModelEntry:
        """An embedded model where it is served.

        Args:
            url: The base URL of its server.
            key: The key of its server; it is in no dump of the model.
        """
        entry = self.model_copy(update={"url": url, "model": self.name, "api_type": "openai"})
        entry._served_key = key
        return entry

    @property
    def served_key(self) -> str:
        """The key of the server of an embedded model; empty for all others."""
        return self._served_key

    @property
    def name(self) -> str:
        """What identifies the model, wherever its server is: its name there, or the name of its file."""
        return Path(self.model).name if self.is_embedded else self.model

    @property
    def label(self) -> str:
        """The name in reports and progress; default: `model`, or the name of its file."""
        return self.model_name or self.name

    @property
    def server(self) -> str:
        """Scheme, host and port. Models with equal values share one server and its slots."""
        if self.is_embedded:
            return f"embedded:{self.name}"
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.lower()}" if self.url else "simulated"


class AnyOf(Settings):
    """Several models for one role; each session chooses one of them by what was measured."""

    any_of: list[str] = Field(
        min_length=2, description="Other entries of multi_model; without evidence the first one is asked."
    )
    chosen: str | None = Field(
        None, description="The entry that is asked, whatever was measured; sessions record it."
    )
    reason: str = Field("", description="Why it was chosen, as sessions record it.")

    @field_validator("any_of")
    @classmethod
    def _unique(cls, names: list[str]) -> list[str]:
        if double := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"expected each entry once, and {double!r} is named {names.count(double)} times")
        return names

    @model_validator(mode="after")
    def _chosen_of_these(self) -> Self:
        if self.chosen is not None and self.chosen not in self.any_of:
            raise ValueError(
                f"chosen is {self.chosen!r}, which any_of does not name: {', '.join(self.any_of)}"
            )
        return self

    @property
    def entry(self) -> str:
        """The name of the entry that is asked: the chosen one, or the first."""
        return self.chosen or self.any_of[0]


OF_MODEL, OF_CHOICE = "model-entry", "any-of-entry"
"""What pydantic adds to the path of an error in an entry of multi_model; `first_problem` removes it."""


def _form_of_entry(value: Any) -> str:
    has_choice = isinstance(value, AnyOf) or (isinstance(value, Mapping) and "any_of" in value)
    return OF_CHOICE if has_choice else OF_MODEL


NamedModel = Annotated[
    Annotated[ModelEntry, Tag(OF_MODEL)] | Annotated[AnyOf, Tag(OF_CHOICE)], Discriminator(_form_of_entry)
]


class Models(Settings):
    """The models of the roles (`model_config` in the file)."""

    mode: Literal["single", "multi"] = Field(
        "single", description="One model for all roles, or one per role."
    )
    single_model: ModelEntry | None = Field(
        None, description="For all roles; in multi mode for roles without an entry."
    )
    multi_model: dict[str, NamedModel] = Field(
        {},
        description="By role; entries with other names serve tasks and fallbacks. A role may name several: "
        '{"any_of": ["a", "b"]}.',
    )

    @property
    def named(self) -> dict[str, ModelEntry]:
        """The entries of multi_model that are models, by name."""
        return {name: entry for name, entry in self.multi_model.items() if isinstance(entry, ModelEntry)}

    @property
    def choices(self) -> dict[str, AnyOf]:
        """The entries of multi_model that name several models, by role."""
        return {name: entry for name, entry in self.multi_model.items() if isinstance(entry, AnyOf)}

    def entry_of(self, name: str) -> ModelEntry | None:
        """An entry of multi_model, or the one that is asked of several; None if there is none."""
        entry = self.multi_model.get(name)
        return self.named[entry.entry] if isinstance(entry, AnyOf) else entry

    @model_validator(mode="after")
    def _knows_fallbacks(self) -> Self:
        named = self.named
        for entry in [self.single_model, *named.values()]:
            for name in entry.fallbacks if entry else ():
                if name not in named:
                    raise ValueError(f"unknown fallback {name!r}; expected entries of multi_model")
        return self

    @model_validator(mode="after")
    def _knows_choices(self) -> Self:
        for role, choice in self.choices.items():
            for name in choice.any_of:
                if name in self.choices:
                    raise ValueError(
                        f"multi_model.{role}.any_of names {name!r}, which names several models itself; "
                        "expected entries with one model"
                    )
                if name not in self.multi_model:
                    others = ", ".join(self.named) or "none"
                    raise ValueError(
                        f"multi_model.{role}.any_of: unknown entry {name!r}; entries of multi_model: {others}"
                    )
        return self

    @model_validator(mode="after")
    def _has_entries(self) -> Self:
        if self.mode == "multi" and not self.multi_model and self.single_model is None:
            raise ValueError("mode 'multi' needs entries in multi_model")
        return self


class AgentParameters(Settings):
    """Sampling parameters of a role. Parameters that are not set have the role's or the server's defaults."""

    temperature: Number | None = Field(None, ge=0, le=2, description="0: always the most likely token.")
    max_tokens: Integer | None = Field(
        None, ge=1, description="Maximum length of an answer, in tokens; a longer one is cut off."
    )
    top_p: Number | None = Field(
        None, gt=0, le=1, description="Nucleus sampling: total probability of the tokens to sample from."
    )
    num_ctx: Integer | None = Field(None, ge=256, description="Ollama: context length in tokens.")
    keep_alive: str | Integer | None = Field(
        None, description="Ollama: how long the model stays loaded, as in '10m'."
    )
    seed: Integer | None = Field(None, description="The server's sampling seed.")
    reasoning: bool | Literal["low", "medium", "high"] | None = Field(
        None, description="Let the model think before it answers."
    )
    extra_body: dict[str, Any] = Field(
        {}, description="More request fields, sent as they are; for Ollama its options."
    )


class Candidate(Settings):
    """How one of several candidates of the coder is made."""

    model: str | None = Field(None, description="An entry of multi_model; default: the coder's model.")
    temperature: Number | None = Field(None, ge=0, le=2, description="Default: the coder's temperature.")


MAX_CANDIDATES = 32


class WorkflowSettings(Settings):
    """How the rounds, reviewers and pauses of a workflow run."""

    kind: Kind = Field(
        "code",
        description="What a session makes: code, document or change (of `repo`); default: as the "
        "prompts declare, else code.",
    )
    max_iterations: Integer = Field(3, ge=1, le=100, description="Maximum rounds of coding and reviewing.")
    max_parallel_agents: Integer = Field(
        4, ge=1, le=1024, description="Maximum model calls of a session at once."
    )
    enable_parallel: bool = Field(True, description="false: one call at a time.")
    max_tasks: Integer = Field(
        1000, ge=1, description="Maximum tasks of a custom session, added ones included."
    )
    verbose_logging: bool = Field(False, description="Log every step to stderr.")
    reviewers: list[ReviewFocus] | dict[ReviewedWorkflow, list[ReviewFocus]] | None = Field(
        None, description="Focuses: correctness, security, performance, style or your own (review_NAME.md)."
    )
    candidates: Annotated[Integer, Field(ge=1, le=MAX_CANDIDATES)] | list[Candidate] = Field(
        1,
        description="How many coders write side by side; tests that are written before choose one. A number, "
        'or a model and a temperature each: [{"model": "a", "temperature": 0.2}, …].',
    )
    pause_before: list[RoleName] = Field([], description="Pause for a person before these roles.")
    pause_after: list[RoleName] = Field([], description="Pause for a person after these roles.")
    grace_period: Number = Field(
        30.0, ge=0, description="Seconds for calls in flight to finish after Ctrl-C."
    )

    @field_validator("reviewers")
    @classmethod
    def _not_empty_and_unique(cls, value: Any) -> Any:
        for names in value.values() if isinstance(value, dict) else [value] if value is not None else []:
            if not names or len(set(names)) != len(names):
                raise ValueError("expected at least one focus and none twice")
        return value

    @property
    def is_kind_given(self) -> bool:
        """Whether `kind` was set; otherwise the folder of prompts may declare it."""
        return "kind" in self.model_fields_set

    @property
    def pauses(self) -> bool:
        """Whether the session pauses for a person anywhere."""
        return bool(self.pause_before or self.pause_after)

    @property
    def parallel(self) -> int:
        """Maximum number of model calls of one session at once."""
        return self.max_parallel_agents if self.enable_parallel else 1

    @property
    def coders(self) -> list[Candidate]:
        """How each candidate of the coder is made; empty if there is only one."""
        made = self.candidates if isinstance(self.candidates, list) else [Candidate()] * self.candidates
        return made if len(made) > 1 else []

    def focuses(self, workflow: str) -> list[str] | None:
        """The configured focuses of a workflow's reviewers; None: the workflow's default."""
        return self.reviewers.get(workflow) if isinstance(self.reviewers, dict) else self.reviewers


class SessionLimits(Settings):
    """Limits of one request of a session. A session that reaches one stops; a higher limit lets it resume."""

    calls: Integer | None = Field(None, ge=1, description="Model calls, failed ones included.")
    tokens: Integer | None = Field(None, ge=1, description="Input and output tokens.")
    seconds: PositiveNumber | None = Field(None, description="Working time in seconds, summed over all runs.")


class ExecutionLimits(Settings):
    """Limits of one test run."""

    seconds: PositiveNumber = Field(60.0, description="Wall-clock seconds.")
    memory_mb: Integer = Field(1024, ge=64, description="MiB of memory, summed over all processes.")
    processes: Integer = Field(128, ge=4, description="Processes and threads at the same time.")
    disk_mb: Integer = Field(256, ge=1, description="MiB of files.")
    files: Integer = Field(10_000, ge=10, description="Files and folders.")
    output_mb: Integer = Field(4, ge=1, description="MiB of text on stdout and stderr.")


class Execution(Settings):
    """How the generated tests run against the generated code."""

    mode: Literal["auto", "required", "off"] = Field(
        "auto", description="auto: where a sandbox is available; required: no approval without passing tests."
    )
    sandbox: Literal["auto", "bubblewrap", "docker", "podman", "landlock"] = Field(
        "auto", description="auto: the first one available, in this order."
    )
    python: str | None = Field(
        None, description="A Python or a virtual environment, used read-only; default: that of swarm_graph."
    )
    packages: list[str] | None = Field(
        None, description="Importable packages; default: all of `python` or `image`, else none."
    )
    command: list[str] = Field(
        [], description='Test command in place of pytest, for other languages, as in ["node", "--test"].'
    )
    readable: list[str] = Field(
        [],
        description="Folders that a repository's tests may read: a toolchain outside /usr, node_modules.",
    )
    image: str | None = Field(None, description="Local image for docker or podman; it is never pulled.")
    unsafe: bool = Field(False, description="Run the tests without a sandbox where none is available.")
    limits: ExecutionLimits = ExecutionLimits()

    @property
    def allowed_packages(self) -> list[str] | None:
        """The packages that code and tests may import; None: all that are installed."""
        own = self.python is None and self.image is None
        return [] if self.packages is None and own else self.packages

    @property
    def packages_text(self) -> str:
        """The packages that code and tests may import, as text for a prompt."""
        allowed = None if self.mode == "off" or self.command else self.allowed_packages
        if allowed is None:
            return "whatever the request and the design name"
        return ", ".join(allowed) or "none"


class DocumentSettings(Settings):
    """Limits of reading one document (PDF, Word, mail …). A file beyond them is an error, never cut."""

    max_megabytes: PositiveNumber = Field(
        50.0, description="Size of the file; its text may be as long, and zip files unpack to 10 times that."
    )
    max_pages: Integer = Field(2000, ge=1, description="Pages of a PDF, slides of a presentation.")
    max_cells: Integer = Field(200_000, ge=1, description="Cells with content, in all sheets together.")
    max_memory_mb: Integer = Field(1024, ge=128, description="Memory of the process that reads it (Linux).")
    max_cpu_seconds: Integer = Field(
        60, ge=1, description="Processor time of that process (Linux and macOS)."
    )


class Features(Settings):
    """Optional features."""

    enable_checkpointing: bool = Field(True, description="Save every step; needed to resume a session.")
    keep_prompts: bool = Field(
        True, description="Keep prompts, thoughts and answers in the database, for `swarm-graph log`."
    )
    execute_tests: bool = Field(False, description="Let `standard` write and run tests too.")
    langsmith: bool = Field(False, description="Let the environment switch LangSmith tracing on.")
    otlp_endpoint: str | None = Field(
        None, description="URL that receives OpenTelemetry spans, as in http://127.0.0.1:4318/v1/traces."
    )

    @field_validator("otlp_endpoint")
    @classmethod
    def _http_endpoint(cls, url: str | None) -> str | None:
        return validated_url(url, "http://127.0.0.1:4318/v1/traces") or None if url else None


class UiSettings(Settings):
    """What the page (`swarm-graph ui`) can show of a session."""

    events: bool = Field(
        True, description="Keep all events of a run in the database, so that the page can follow it live."
    )


class RepositorySettings(Settings):
    """The git repository that a session changes or reviews; it makes `workflow.kind` change."""

    path: str = Field(
        min_length=1,
        description="A folder inside the repository; a relative path starts at the config file's folder.",
    )
    base: str = Field("HEAD", min_length=1, description="The commit that the session's branch starts from.")
    only: list[str] = Field([], description="Globs of the paths that may be changed; default: all.")
    read_only: list[str] = Field([], description="Globs of the paths that may not be changed.")
    with_changes: bool = Field(
        False, description="Include the uncommitted changes of the working tree, as the first commit."
    )
    diff: str = Field(
        "", description="Of a review: the range to review, as in main... (what `base` adds to main)."
    )

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: str) -> str:
        """Absolute, because a session may be resumed in another folder."""
        return absolute_file(path)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.with_changes and self.base != "HEAD":
            raise ValueError("expected no base with with_changes: the uncommitted changes belong to HEAD")
        return self


SETTINGS_OF_ANY_SESSION = (
    "workflow.max_iterations",
    "workflow.max_parallel_agents",
    "workflow.enable_parallel",
    "workflow.max_tasks",
    "workflow.kind",
    "workflow.reviewers",
    "workflow.candidates",
    "workflow.pause_before",
    "workflow.pause_after",
    "workflow.grace_period",
    "limits.calls",
    "limits.tokens",
    "limits.seconds",
    "features.execute_tests",
    "features.keep_prompts",
    "ui.events",
)
"""The settings that a session takes from its database, whoever wrote it: its graph's shape and its limits.

A database may be received from somebody else, so every other setting comes from the user's own configuration.
Add a setting only if it names no server, program, file, folder or environment variable, sends nothing
anywhere, and weakens no sandbox.
"""
