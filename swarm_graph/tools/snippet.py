"""The built-in tool sandbox.run: Python in the sandbox of the tests, on a copy of the project."""

from __future__ import annotations

import asyncio
import re
import threading

from langchain_core.tools import StructuredTool

from swarm_graph import aio
from swarm_graph.settings import Execution
from swarm_graph.tool_settings import ToolLimits
from swarm_graph.tools.results import bounded
from swarm_graph.tools.tool import GetProject, Tool

MAX_CODE = 30_000
"""Characters of a snippet, of up to four bytes: an argument of a process holds 128 kB."""
_FENCED = re.compile(r"```\w*\n(.*?)\n?```", re.DOTALL)
_STDERR_SHARE = 0.35
"""The part of a result that stderr may take when both are long."""
_DESCRIPTION = (
    "Run Python in a sandbox, in a copy of the project's text files, and see what it prints. There is no "
    "network, and no change outlives the call."
)
_SCHEMA = {
    "type": "object",
    "properties": {
        "code": {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_CODE,
            "description": "A whole program; print what you want to see",
        },
        "seconds": {"type": "number", "exclusiveMinimum": 0, "description": "When to stop it"},
    },
    "required": ["code"],
    "additionalProperties": False,
}


def sandbox_tools(
    project: GetProject, execution: Execution, characters: int = ToolLimits().characters
) -> list[Tool]:
    """The tool that runs a snippet of Python.

    Without a sandbox it refuses to run anything, unless `execution.unsafe` allows it.

    Args:
        project: Returns the files as they are now; the snippet gets a copy.
        execution: The section `execution` of the config: the interpreter, the sandbox and its limits.
        characters: The longest result.
    """

    async def run(code: str, seconds: float | None = None) -> str:
        cancelled = threading.Event()
        work = asyncio.to_thread(_run, project, code, execution, seconds, cancelled, characters)
        return await aio.stopped_first(work, cancelled)

    tool = StructuredTool.from_function(
        coroutine=run, name="sandbox.run", description=_DESCRIPTION, args_schema=_SCHEMA
    )
    return [Tool("sandbox.run", tool, _SCHEMA, _DESCRIPTION, read_only=True)]


def _run(
    project: GetProject,
    code: str,
    execution: Execution,
    seconds: float | None,
    cancelled: threading.Event,
    characters: int,
) -> str:
    """Run a snippet, and say how it ended and what it printed."""
    from swarm_graph.sandbox.snippet import run_snippet
    from swarm_graph.sandbox.testlog import exit_text

    files = project()
    ran = run_snippet(_without_fence(code), files.texts(files.paths()), execution, seconds, cancelled)
    ended = f"stopped: it {ran.stopped}" if ran.stopped else exit_text(ran.exit_code)
    head = f"{ended}, after {ran.seconds:g} s ({ran.sandbox})"
    if not ran.has_files:
        head += "\n(The project is too large to be copied; the code ran in an empty folder.)"
    return "\n".join([head, *_streams(ran.stdout, ran.stderr, characters - len(head) - 40)])


def _streams(stdout: str, stderr: str, room: int) -> list[str]:
    """What was printed, as much as there is room for."""
    errors = bounded(stderr.strip("\n"), max(int(room * _STDERR_SHARE), room - len(stdout), 100))
    printed = bounded(stdout.strip("\n"), max(room - len(errors), 100))
    named = [("stdout", printed), ("stderr", errors)]
    return [f"{name}:\n{text}" for name, text in named if text] or ["It printed nothing."]


def _without_fence(code: str) -> str:
    """Code without the Markdown fence that some models put around it."""
    fenced = _FENCED.fullmatch(code.strip())
    return fenced[1] if fenced else code
