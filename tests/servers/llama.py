"""A llama.cpp server as a child process that never outlives its parent: random weights, or trained ones."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from servers.tiny_model import write_tiny_model

PROGRAM = Path(__file__).with_name("llama_server.py")
SECONDS_TO_END = 5


class Llama(NamedTuple):
    """Where the server listens and what it offers."""

    root: str
    alias: str
    slots: int
    ctx_per_slot: int

    @property
    def url(self) -> str:
        """The base URL of its OpenAI-compatible API."""
        return f"{self.root}/v1"


@contextmanager
def running_llama(
    folder: Path,
    *,
    model: Path | None = None,
    slots: int = 4,
    ctx_per_slot: int = 32768,
    alias: str = "tiny",
) -> Iterator[Llama]:
    """Serve a GGUF file, by default the tiny random model, which is written into the folder, as the log is.

    Raises:
        RuntimeError: The server does not start.
    """
    log = folder / "llama.log"
    model = model or write_tiny_model(folder / "tiny.gguf")
    flags = ["--slots", str(slots), "--ctx-per-slot", str(ctx_per_slot), "--alias", alias]
    command = [sys.executable, str(PROGRAM), str(model), *flags]
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as child,
    ):
        try:
            yield Llama(_ready(child, log), alias, slots, ctx_per_slot)
        finally:
            _end(child)


def _ready(child: subprocess.Popen[str], log: Path) -> str:
    assert child.stdout
    for line in child.stdout:
        if line.startswith("READY "):
            return line.split()[1]
    raise RuntimeError(
        f"the llama.cpp server ended with {child.wait()} before it was ready:\n{log.read_text()}"
    )


def _end(child: subprocess.Popen[str]) -> None:
    assert child.stdin
    child.stdin.close()
    try:
        child.wait(SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        child.kill()
