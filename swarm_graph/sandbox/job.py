"""A job for the program inside a sandbox: its input, its start, and how it ended."""

from __future__ import annotations

import json
import marshal
import re
import struct
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from itertools import chain
from typing import Any, NamedTuple

from swarm_graph.errors import SandboxError
from swarm_graph.sandbox import process
from swarm_graph.sandbox.protocol import MIB, Finished, Interpreter, Limits, Sandbox
from swarm_graph.settings import ExecutionLimits

MAX_CHARACTERS = 2000
"""How many characters of an output or traceback are kept."""
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}")


class Ran(NamedTuple):
    """How a job ended.

    Attributes:
        finished: How its processes ended.
        project: The path of the project's folder as the job saw it, with a slash.
    """

    finished: Finished
    project: str


def run_job(
    job: Mapping[str, Any],
    more: Iterable[bytes],
    sandbox: Sandbox,
    python: Interpreter,
    limits: Limits,
    cancelled: threading.Event | None,
) -> Ran:
    """Run a job in a sandbox; nothing of it is left on the host.

    Args:
        job: Plain data for `inside.py`; limits and filter of the sandbox are added.
        more: What the program reads after the job.
        sandbox: Where it runs.
        python: What runs it.
        limits: For all of its processes together.
        cancelled: Stops it when another thread sets it.

    Raises:
        SandboxError: It could not be started.
    """
    host_folder = tempfile.mkdtemp(prefix="swarm-run-") if sandbox.disk == "host" else ""
    work_folder = sandbox.work_folder(host_folder)
    whole = {
        **job,
        "folder": work_folder,
        "limits": sandbox.kernel_limits(limits),
        "filter": sandbox.syscall_filter().hex(),
        "python": sys.version,
    }
    text = json.dumps(whole).encode()
    command = sandbox.command([python.path, "-s", "-c", program("inside")], python, limits, host_folder)
    try:
        finished = process.run(
            command,
            chain([struct.pack(">Q", len(text)), text], more),
            limits,
            environment=sandbox.environment(host_folder),
            folder=work_folder,
            disk=sandbox.disk,
            cancelled=cancelled,
            stop=sandbox.stop,
        )
    except OSError as error:
        raise SandboxError(f"the tests could not be started in {sandbox.name}: {error}") from error
    finally:
        if host_folder:
            process.remove(host_folder)
    return Ran(finished, f"{work_folder}/project/")


def program(name: str) -> str:
    """The text of a program that runs inside the sandbox."""
    return resources.files("swarm_graph.sandbox").joinpath(f"{name}.py").read_text(encoding="utf-8")


@cache
def module(name: str) -> dict[str, str]:
    """A program as text, and compiled for the Python that runs here, which is usually the sandbox's too."""
    text = program(name)
    return {"text": text, "code": marshal.dumps(compile(text, f"<{name}>", "exec")).hex()}


def limits_of(settings: ExecutionLimits) -> Limits:
    """The limits of the settings, in bytes."""
    return Limits(
        seconds=settings.seconds,
        memory=settings.memory_mb * MIB,
        processes=settings.processes,
        disk=settings.disk_mb * MIB,
        files=settings.files,
        output=settings.output_mb * MIB,
    )


def without_addresses(text: str) -> str:
    """The text without memory addresses, so that the same failure reads the same in every test run."""
    return _ADDRESS.sub("0x…", text)


def shortened(text: str) -> str:
    """A text that is not longer than MAX_CHARACTERS; its middle is left out."""
    half = MAX_CHARACTERS // 2
    return text if len(text) <= MAX_CHARACTERS else f"{text[:half]}\n[...]\n{text[-half:]}"
