"""The settings of tools: the limits of their calls, and the user's MCP servers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from swarm_graph.settings import Integer, PositiveNumber, Settings, absolute_file, validated_url

ToolPattern = Annotated[str, Field(pattern=r"^[A-Za-z_*?][\w*?.-]*$", max_length=128)]
"""The name of a tool, such as `project.read`, or a glob over names, such as `project.*`."""

ServerName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,31}$")]
"""The name of an MCP server: the names of its tools begin with it and a dot."""

BUILT_IN = ("project", "sandbox", "memory", "tools")
"""The first parts of the names of built-in tools, which no MCP server may have."""

MEMORY_TOOL = "memory.search"
"""The built-in tool that searches memory; there is none without `memory` in the configuration."""

REFERENCE = re.compile(r"\$\{([A-Za-z_]\w*)\}")
"""How a setting names an environment variable: `${NAME}`."""
_SECRET_NAME = re.compile(r"key|token|secret|passw|auth|credential", re.IGNORECASE)
_SECRET_OPTION = re.compile(r"(--?[\w-]*(?:key|token|secret|passwd|password))(=.+)?", re.IGNORECASE)
"""A command's option for a secret: with its value, as in `--api-key=VALUE`, or before it."""
_PASSWORD_IN_URL = re.compile(r"//[^/\s:@]*:[^/\s@]+@")


class ToolLimits(Settings):
    """Limits of the tools that roles call (`tools`)."""

    calls: Integer = Field(12, ge=1, le=200, description="Calls of tools in one turn of a role.")
    characters: Integer = Field(
        4000, ge=100, le=1_000_000, description="Characters of one result; a longer one is cut, and says so."
    )
    seconds: PositiveNumber = Field(60.0, description="Seconds for one call.")
    offered: Integer = Field(
        5,
        ge=2,
        le=100,
        description="Tools that a prompt describes at once; the others are behind tools.find.",
    )


class McpServer(Settings):
    """An MCP server whose tools roles may call: a command that is started, or a URL."""

    command: str | None = Field(None, description="The program to start; it speaks MCP on stdin and stdout.")
    args: list[str] = Field([], description="Its arguments; ${NAME} stands for an environment variable.")
    env: dict[str, str] = Field(
        {}, description="Environment variables that it gets; give a key as ${NAME}, never itself."
    )
    cwd: str | None = Field(None, description="The folder that it starts in; default: the present one.")
    url: str | None = Field(None, description="The address of a server that speaks streamable HTTP.")
    token_env: str | None = Field(
        None, description="Name of the environment variable with the token for `url`, sent as Bearer."
    )
    allow: list[str] = Field(
        [], description="Tools that need no approval although the server does not mark them read-only."
    )
    sandbox: bool = Field(
        False, description="Run the command in bubblewrap: no network, no folder but `folders`."
    )
    folders: list[str] = Field([], description="Folders that a sandboxed command may read and write.")
    readable: list[str] = Field([], description="Folders that a sandboxed command may only read.")
    start_seconds: PositiveNumber = Field(30.0, description="Seconds for its start.")
    disabled: bool = Field(False, description="Leave the server out.")

    @property
    def fingerprint(self) -> str:
        """A hash of what the server is and may do: all settings but those that only say when it is asked."""
        settings = self.model_dump(mode="json", exclude={"allow", "start_seconds", "disabled"})
        return sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]

    @field_validator("url")
    @classmethod
    def _http_url(cls, url: str | None) -> str | None:
        return validated_url(url, "http://127.0.0.1:8000/mcp", "token_env") or None if url else None

    @field_validator("token_env")
    @classmethod
    def _variable(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise ValueError("expected the name of an environment variable, not a token itself")
        return name

    @field_validator("env")
    @classmethod
    def _no_secrets(cls, env: dict[str, str]) -> dict[str, str]:
        for name, value in env.items():
            is_secret = _SECRET_NAME.search(name) or _PASSWORD_IN_URL.search(value)
            if is_secret and value and not REFERENCE.search(value):
                raise ValueError(f"expected ${{{name}}} as the value of {name}, not a key itself")
        return env

    @field_validator("args")
    @classmethod
    def _no_secret_arguments(cls, args: list[str]) -> list[str]:
        """Other programs see the arguments of a process, and sessions save them."""
        for arg, after in zip(args, [*args, "-"][1:], strict=True):
            option = _SECRET_OPTION.fullmatch(arg)
            value = (option[2] or ("" if after.startswith("-") else after)) if option else ""
            if not REFERENCE.search(value or arg) and (value or _PASSWORD_IN_URL.search(arg)):
                what = option[1] if option else "a URL with a password"
                raise ValueError(f"expected an environment variable as ${{NAME}} in {what}, not a key itself")
        return args

    @field_validator("folders", "readable")
    @classmethod
    def _absolute(cls, folders: list[str]) -> list[str]:
        """Absolute, because a session may be resumed in another folder."""
        return [absolute_file(folder) for folder in folders]

    @model_validator(mode="after")
    def _one_transport(self) -> Self:
        if bool(self.command) == bool(self.url):
            raise ValueError("expected either a command or a url")
        odd = ["token_env"] if self.command else ["args", "env", "cwd", "sandbox", "folders", "readable"]
        if given := next((name for name in odd if getattr(self, name)), None):
            raise ValueError(f"expected no {given} with a {'command' if self.command else 'url'}")
        return self

    @model_validator(mode="before")
    @classmethod
    def _as_other_clients(cls, data: Any) -> Any:
        """Other clients' files may name the transport, too."""
        return (
            {key: value for key, value in data.items() if key != "type"}
            if isinstance(data, Mapping)
            else data
        )
