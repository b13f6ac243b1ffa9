"""The log of an MCP server: what it writes to stderr, what it reports, and when it was started and ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from swarm_graph.models.masking import MaskedStream, masked
from swarm_graph.text import cut, file_name, printable

if TYPE_CHECKING:
    from swarm_graph.models.embedded_server import Log

LOGS = "mcp-logs"
"""The folder beside the database with the logs of servers, in a folder for each session."""
MAX_LINE = 2000
"""Characters of a line that are kept."""
MAX_BYTES = 4_000_000
"""What one start of a server may write to its log; the rest is left out."""


def log_folder(data_dir: Path, session_id: str) -> Path:
    """The folder with the logs of the MCP servers of a session."""
    return data_dir / LOGS / file_name(session_id)


class ServerLog:
    """The log file of one server in one session, with a bound and without secrets.

    A thread writes it: the event loop does not wait for the disk, and `langgraph dev` refuses that it does. A
    full disk, or a folder that cannot be written, does not stop the server: its log is then left out.

    Args:
        path: The file; when it has grown too long, it becomes `NAME.1`.
        secrets: The texts that no line may repeat.

    Attributes:
        last_line: The last line that the server has written to stderr.
    """

    def __init__(self, path: Path, secrets: Sequence[str]) -> None:
        self.path, self.last_line = path, ""
        self._secrets, self._size = secrets, 0
        self._stderr = MaskedStream(secrets)
        self._rest = ""
        self._file: Log | None = None
        self._writer: ThreadPoolExecutor | None = None

    def begin(self, secrets: Sequence[str]) -> None:
        """Begin the log of another start of the server.

        Args:
            secrets: The texts that no line may repeat from now on.
        """
        self._secrets, self._stderr, self._rest = secrets, MaskedStream(secrets), ""
        self._size, self.last_line = 0, ""
        self.note("started")

    def note(self, text: str) -> None:
        """Add a line of our own."""
        self._write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} [swarm_graph] {text}")

    def report(self, level: str, text: str) -> None:
        """Add a line that the server reports as MCP's log message."""
        if self._size < MAX_BYTES:
            self._write(f"[{level}] {self.masked(cut(text, MAX_LINE))}")

    @property
    def has_secrets(self) -> bool:
        """Whether there are texts that no line may repeat."""
        return bool(self._secrets)

    def masked(self, text: str) -> str:
        """A text of the server without secrets."""
        return masked(text, self._secrets)

    def stderr(self, data: bytes) -> None:
        """Add what the server writes to stderr; its end is held back until the line is complete."""
        if self._size < MAX_BYTES:
            self._stderr.add(data.decode(errors="replace"))
            self._lines(self._stderr.take())

    def end_stderr(self) -> None:
        """Add what was held back."""
        self._lines(self._stderr.take(last=True) + "\n")

    def close(self) -> None:
        """Wait until all lines are written, and close the file; the next line opens it again."""
        if self._writer is not None:
            self._writer.submit(self._close_file).result()

    def _lines(self, text: str) -> None:
        *lines, self._rest = (self._rest + text).split("\n")
        self._rest = self._rest[:MAX_LINE]
        for line in filter(str.strip, lines):
            self.last_line = cut(printable(line).strip(), MAX_LINE)
            self._write(self.last_line)

    def _write(self, line: str) -> None:
        if self._size >= MAX_BYTES:
            return
        data = f"{printable(line)}\n".encode(errors="replace")
        self._size += len(data)
        if self._size >= MAX_BYTES:
            data += b"[swarm_graph] it writes too much: the rest is left out until its next start\n"
        if self._writer is None:
            self._writer = ThreadPoolExecutor(1, thread_name_prefix="swarm_graph mcp log")
        self._writer.submit(self._append, data)

    def _append(self, data: bytes) -> None:
        with suppress(OSError):
            if self._file is None and sys.platform != "win32":
                from swarm_graph.models.embedded_server import Log

                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._file = Log(self.path)
            if self._file is not None:
                self._file.write(data)

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
