"""The program in a terminal of its own, as a person sees and uses it."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import termios
from pathlib import Path
from threading import Thread
from typing import Self

import pytest
import warm

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-_]|[\r\x07\x08]")
_UNFINISHED = re.compile(r"\x1b(\[[0-9;?]*)?$")
"""An escape sequence whose end was not read yet."""
_READS_KEYS, _READS_LINES = "\x1b[?2004h", "\x1b[?2004l"
"""Bracketed paste on and off: an editor runs between them."""
TIMEOUT_S = 60


class Terminal:
    """The program in a terminal of its own, and what a person sees there."""

    def __init__(self, folder: Path, *arguments: str, term: str = "dumb", **environment: str) -> None:
        self._screen, end = pty.openpty()
        self.resize(24, 80)
        given = {**warm.ENVIRONMENT, "TERM": term, "VISUAL": str(folder / "editor"), **environment}
        self.process = warm.Process(
            *arguments, cwd=folder, env=given, stdin=end, stdout=end, stderr=end, start_new_session=True
        )
        os.close(end)
        self.raw = ""
        self.seen = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = self._ahead = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.close()

    def expect(self, text: str) -> str:
        """Read on until a text appears that was not expected before; returns what stands before it."""
        read, self._ahead = self._ahead, ""
        while text not in read:
            try:
                read += self._read()
            except TimeoutError:
                pytest.fail(f"{text!r} did not appear: {self.seen}{read}")
        before, found, self._ahead = read.partition(text)
        self.seen += before + found
        return before

    def type(self, keys: str) -> None:
        """Type keys, also more of them than a terminal takes at once."""
        given = keys.encode("utf-8", "surrogateescape")
        if len(given) < 1000:
            os.write(self._screen, given)
        else:
            Thread(target=self._type_all, args=(given,), daemon=True).start()

    def answer(self, prompt: str, keys: str) -> str:
        """Wait for a prompt and type; returns what stood before the prompt."""
        before = self.expect(prompt)
        self.type(keys)
        return before

    def wait_for_editor(self) -> None:
        """Read on until the program reads key by key: until then the terminal itself handles Ctrl-C."""
        while self.raw.rfind(_READS_KEYS) <= self.raw.rfind(_READS_LINES):
            self._ahead += self._read()

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the terminal, which sends SIGWINCH."""
        fcntl.ioctl(self._screen, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def end(self) -> int:
        """Read to the end; returns the exit code."""
        self.seen += self._ahead
        with contextlib.suppress(AssertionError):
            while True:
                self.seen += self._read()
        return self.process.wait()

    def close(self) -> None:
        """Close the terminal's window."""
        if self._screen >= 0:
            os.close(self._screen)
            self._screen = -1

    def _type_all(self, given: bytes) -> None:
        with contextlib.suppress(OSError):
            for start in range(0, len(given), 512):
                os.write(self._screen, given[start : start + 512])

    def _read(self) -> str:
        """What the program shows next. Raises TimeoutError, and AssertionError when the program has ended."""
        if not select.select([self._screen], [], [], TIMEOUT_S)[0]:
            raise TimeoutError(f"the program waits: {self.seen}")
        try:
            part = os.read(self._screen, 1 << 16)
        except OSError:  # Linux says so when nobody is left on the other side
            part = b""
        assert part, f"the program ended: {self.seen}"
        text = self._decoder.decode(part)
        self.raw += text
        text, self._begun = self._begun + text, ""
        if unfinished := _UNFINISHED.search(text):
            text, self._begun = text[: unfinished.start()], unfinished[0]
        return _CONTROL.sub("", text)
