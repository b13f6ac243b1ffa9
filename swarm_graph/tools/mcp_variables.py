"""The environment variables that the settings of MCP servers name: read for each start, and kept nowhere."""

from __future__ import annotations

import os
from collections.abc import Collection

from swarm_graph.errors import ToolError
from swarm_graph.tool_settings import REFERENCE, McpServer

NO_SECRETS = ("LANG", "LOGNAME", "PATH", "TZ", "USER")
"""Variables that texts may repeat, as they may repeat any whose value is the path of a file or folder."""


class Variables:
    """Looks environment variables up that a server's settings name."""

    def __init__(self) -> None:
        self.secrets: list[str] = []

    def resolved(self, text: str) -> str:
        """A setting with the values of the variables that it names as `${NAME}`. Raises ToolError."""
        return REFERENCE.sub(lambda found: self.value(found[1]), text)

    def value(self, name: str) -> str:
        """The value of a variable. ToolError if it is not set."""
        value = os.environ.get(name)
        if not value:
            raise ToolError(f"its settings name the environment variable '{name}', which is not set")
        if _is_secret(name, value):
            self.secrets.append(value)
        return value

    def token(self, name: str) -> str:
        """The value of a variable, for a header. ToolError if it is not set, or no header may hold it."""
        value = self.value(name).strip()
        if not (value.isascii() and value.isprintable()):
            raise ToolError(f"the variable '{name}' holds no token: not all of it is printable ASCII")
        return value


def secrets_of(servers: Collection[McpServer]) -> tuple[str, ...]:
    """The values that no text may repeat, each once: a server may know those of another one."""
    texts = [text for server in servers for text in (*server.args, *server.env.values())]
    names = [name for text in texts for name in REFERENCE.findall(text)]
    names += [server.token_env for server in servers if server.token_env]
    values = {name: os.environ.get(name, "") for name in names}
    return tuple(dict.fromkeys(value for name, value in values.items() if value and _is_secret(name, value)))


def _is_secret(name: str, value: str) -> bool:
    is_path = value.startswith("/") and os.path.exists(value)  # noqa: PTH110  it takes any text
    return name not in NO_SECRETS and not is_path
