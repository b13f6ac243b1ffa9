"""A process that parses files of a repository; a file that ends it or hangs it costs only its own outline."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

from swarm_graph.repository.outline import Outline

UNREADABLE = Outline(problem="its parser failed on it")
_BATCH_BYTES = 2_000_000
_BATCH_SECONDS = 60
_MAX_RESTARTS = 10
_MAX_TIMEOUTS = 4
"""When it has hung so often, the program is not started again: it is the program that hangs, not a file."""


def parsed(
    command: Sequence[str],
    sources: Sequence[bytes],
    read: Callable[[bytes], list[Outline]],
    seconds: float = _BATCH_SECONDS,
) -> list[Outline]:
    """The outlines of sources, in their order, by as many processes as there are processors.

    Args:
        command: A program that reads sources from stdin one after another, and prints what it finds in each
            before it reads the next.
        sources: The sources in the form that the program reads.
        read: Returns the outlines in its output, of the sources that it completed.
        seconds: After so long a process is ended, and started again for the next sources.
    """
    parser = _Parser(command, read, seconds)
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        batches = pool.map(parser.parsed, _batches(sources))
        return [*chain.from_iterable(batches)]


def _batches(sources: Sequence[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for source in sources:
        if batch and size + len(source) > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(source)
        size += len(source)
    if batch:
        yield batch


class _Parser:
    """A program that parses."""

    def __init__(
        self, command: Sequence[str], read: Callable[[bytes], list[Outline]], seconds: float
    ) -> None:
        self._command, self._read, self._seconds = command, read, seconds
        self._timeouts = 0

    def parsed(self, sources: list[bytes]) -> list[Outline]:
        """The outlines of sources, in their order."""
        outlines: list[Outline] = []
        for _ in range(_MAX_RESTARTS):
            outlines += self._read(self._output(sources[len(outlines) :]))
            if len(outlines) == len(sources):
                return outlines
            outlines.append(UNREADABLE)  # the source that ended the program; the next ones are tried again
        return outlines + [UNREADABLE] * (len(sources) - len(outlines))

    def _output(self, sources: list[bytes]) -> bytes:
        """What the program prints until it ends or its time is over."""
        if self._timeouts >= _MAX_TIMEOUTS:
            return b""
        try:
            return subprocess.run(
                self._command,
                input=b"".join(sources),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=tempfile.gettempdir(),
                env={name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ},
                timeout=self._seconds,
                check=False,
            ).stdout
        except subprocess.TimeoutExpired as error:
            self._timeouts += 1
            return error.stdout or b""
