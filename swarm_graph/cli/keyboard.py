"""What a person types on a terminal: a line, a text of many lines, or a choice from a menu.

The commands /help, /back and /quit work at every prompt. Ctrl-C goes back, Ctrl-D leaves the program.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from swarm_graph.cli.console import say

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.buffer import Buffer
    from prompt_toolkit.history import History
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
    from prompt_toolkit.output import Output

END = "END"
"""The line that ends a text."""
COMMANDS = ("/help", "/back", "/quit")
IN_MENUS = {
    "?": "/help", "h": "/help", "help": "/help",
    "b": "/back", "back": "/back",
    "q": "/quit", "quit": "/quit", "exit": "/quit", "0": "/quit",
}  # fmt: skip
"""Short forms of the commands, for menus."""
WORDS = {short: command for short, command in IN_MENUS.items() if short.isalpha()}
"""Short forms that no other line consists of: alone on a line they are the command, too."""
HELP = """At every prompt: /help, /back and /quit (in menus also ?, b and q).
Ctrl-C goes back, Ctrl-D quits."""
HOW_TO_END = f"Ctrl-D, or a line {END}, ends it"
MAX_SHOWN_PASTE = 20
"""Lines of a paste that the prompt shows; of a longer one it shows only the number of lines."""
MAX_HISTORY_CHARACTERS = 10_000
"""A longer text is not kept for the arrow keys."""
MAX_TERMINAL_LINE = 4095
"""Bytes of a line that a terminal in its own line mode passes on; it drops the rest."""
PLAIN_TERMINALS = ("", "dumb", "linux", "unknown")
"""Values of TERM for terminals that cannot be drawn on, or that do not mark what is pasted."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Back(Exception):
    """The person goes back one step.

    Attributes:
        interrupted: Whether by Ctrl-C.
    """

    def __init__(self, *, interrupted: bool = False) -> None:
        self.interrupted = interrupted


class _Reader(Protocol):
    """Reads from the terminal. Raises KeyboardInterrupt on Ctrl-C and EOFError on Ctrl-D."""

    def line(self, prompt: str, *, remember: bool) -> str: ...

    def text(self, prompt: str) -> str: ...

    def drop_typed(self) -> None: ...


class Keyboard:
    """Asks the person at the terminal."""

    def __init__(self, data_dir: Path) -> None:
        """Choose how to read: with an editor, or on a terminal that cannot be drawn on line by line.

        Args:
            data_dir: The data folder; if it exists, what was typed is kept in its file `history`.
        """
        plain = os.environ.get("TERM", "") in PLAIN_TERMINALS and os.name == "posix"
        self._reader: _Reader = (
            _PlainReader() if plain or not sys.stdout.isatty() else _Editor(data_dir / "history")
        )

    def line(
        self,
        prompt: str,
        default: str = "",
        help: str = "",
        *,
        end: str = ": ",
        remember: bool = False,
        words: Mapping[str, str] = WORDS,
    ) -> str:
        """A line, without blanks around it.

        Args:
            prompt: What is asked.
            default: The answer to an empty line.
            help: What /help prints.
            end: What stands between the prompt and the answer.
            remember: Whether the arrow keys bring the answer back later.
            words: Lines that stand for a command, in lower case, and the command.

        Raises:
            Back: The person goes back.
            click.exceptions.Exit: The person quits.
        """
        shown = f"{prompt} [{default}]{end}" if default else f"{prompt}{end}"
        while True:
            typed = self._read(lambda: self._reader.line(shown, remember=remember)).strip()
            answer = words.get(typed.lower(), typed)
            if not self._is_help(answer, help):
                return answer or default

    def text(self, help: str = "") -> str:
        """A text of many lines; empty if nothing was typed. See `line` for the rest."""
        while True:
            text = self._read(lambda: self._reader.text("  "))
            if not self._is_help(text.strip(), help):
                return text.strip("\n")

    def choose(self, prompt: str, choices: Mapping[str, str], default: str, help: str) -> str:
        """A key of `choices`; its value, or the first three or more characters of it, stand for it too."""
        while True:
            answer = self.line(prompt, default, help, words=IN_MENUS).lower()
            if answer in choices:
                return answer
            matching = [key for key, value in choices.items() if value.startswith(answer)]
            if len(matching) == 1 and (len(answer) > 2 or choices[matching[0]] == answer):
                return matching[0]
            say(f"'{answer[:40]}' is not among {', '.join(choices)}; ? helps, b goes back, q quits")

    def drop_typed(self) -> None:
        """Drop what was typed while nothing was asked."""
        with suppress(ImportError, OSError):
            import termios

            termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
        self._reader.drop_typed()

    def _read(self, read: Callable[[], str]) -> str:
        try:
            return _clean(read())
        except KeyboardInterrupt:
            raise Back(interrupted=True) from None
        except EOFError:
            click.echo()
            raise click.exceptions.Exit(0) from None

    def _is_help(self, answer: str, help: str) -> bool:
        """Obey a command; whether it was /help, and so the question is to be asked again."""
        if answer == "/back":
            raise Back
        if answer == "/quit":
            raise click.exceptions.Exit(0)
        if answer == "/help":
            click.echo("\n".join(filter(None, [help, HELP])))
        return answer == "/help"


def _clean(typed: str) -> str:
    """A text with line ends of one kind, and without control characters."""
    return _CONTROL.sub("", typed.replace("\r\n", "\n").replace("\r", "\n"))


class _PlainReader:
    """Reads in the terminal's own line mode."""

    def line(self, prompt: str, *, remember: bool) -> str:
        click.echo(prompt, nl=False)
        try:
            line = sys.stdin.readline()
        except UnicodeDecodeError:
            say("that is not UTF-8 text; it is left out")
            return ""
        except KeyboardInterrupt:
            click.echo()
            raise
        if not line:
            raise EOFError
        if len(line.encode(errors="replace")) > MAX_TERMINAL_LINE:
            say(
                f"the terminal may have cut this line at {MAX_TERMINAL_LINE} bytes; run --input FILE does not"
            )
        return line.removesuffix("\n")

    def text(self, prompt: str) -> str:
        lines: list[str] = []
        with suppress(_Ended):
            while True:
                self._add_line(lines)
        return "\n".join(lines)

    def drop_typed(self) -> None:
        """Nothing: the terminal passes one line at a time, and keeps the others."""

    def _add_line(self, lines: list[str]) -> None:
        try:
            line = self.line("", remember=False)
        except EOFError:
            if not any(map(str.strip, lines)):
                raise
            raise _Ended from None
        if line.strip() == END:
            raise _Ended
        lines.append(line)
        if len(lines) == 1 and line.strip() in COMMANDS:
            raise _Ended


class _Ended(Exception):
    """The text is complete."""


class _Editor:
    """Reads with prompt_toolkit: arrow keys, history, and pastes of many lines."""

    def __init__(self, history_file: Path) -> None:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.history import DummyHistory

        self._pastes: dict[str, str] = {}
        self._many_lines = False
        common: dict[str, Any] = {
            "multiline": True,
            "key_bindings": self._bindings(),
            "enable_suspend": True,
            "output": _output(),
            "prompt_continuation": "  ",
        }
        self._answers: PromptSession[str] = PromptSession(history=DummyHistory(), **common)
        self._texts: PromptSession[str] = PromptSession(history=self._history(history_file), **common)

    def line(self, prompt: str, *, remember: bool) -> str:
        return self._prompt(self._texts if remember else self._answers, prompt, many_lines=False)

    def text(self, prompt: str) -> str:
        return self._prompt(self._texts, prompt, many_lines=True)

    def drop_typed(self) -> None:
        """Drop the keys that were read together with the end of the last answer."""
        from prompt_toolkit.input.typeahead import clear_typeahead

        for session in (self._answers, self._texts):
            clear_typeahead(session.app.input)

    def _prompt(self, session: PromptSession[str], prompt: str, *, many_lines: bool) -> str:
        self._many_lines = many_lines
        self._pastes.clear()
        return self._with_pastes(session.prompt(prompt))

    def _with_pastes(self, text: str) -> str:
        """A text with the pastes in place of the names that the prompt showed."""
        for name, paste in self._pastes.items():
            if name not in text:
                say(f"left out, because its name was edited: {name[1:-1]}")
            text = text.replace(name, paste)
        return text

    def _history(self, file: Path) -> History:
        from prompt_toolkit.history import FileHistory, InMemoryHistory

        pastes = self._pastes

        class ShortTexts(FileHistory):
            """The history without long texts, and without those that only name a paste."""

            def append_string(self, string: str) -> None:
                if len(string) <= MAX_HISTORY_CHARACTERS and not any(name in string for name in pastes):
                    with suppress(OSError):
                        super().append_string(string)

        try:
            flags = os.O_CREAT | os.O_RDWR | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
            os.close(os.open(file, flags, 0o600))
        except OSError:
            return InMemoryHistory()
        return ShortTexts(str(file))

    def _bindings(self) -> KeyBindings:
        from prompt_toolkit.key_binding import KeyBindings
        from prompt_toolkit.keys import Keys

        bindings = KeyBindings()
        bindings.add("enter")(lambda event: self._enter(event.current_buffer))
        bindings.add("c-d")(self._end)
        bindings.add("escape", "enter")(lambda event: self._alt_enter(event.current_buffer))
        bindings.add(Keys.BracketedPaste)(lambda event: self._paste(event.current_buffer, event.data))
        return bindings

    def _enter(self, buffer: Buffer) -> None:
        text, line = buffer.text, buffer.document.current_line
        if self._many_lines and line.strip() == END and buffer.document.on_last_line:
            buffer.text = text.rpartition("\n")[0]
            buffer.validate_and_handle()
        elif self._many_lines and text.strip() not in COMMANDS:
            buffer.newline(copy_margin=False)
        else:
            buffer.validate_and_handle()

    def _alt_enter(self, buffer: Buffer) -> None:
        if self._many_lines:
            buffer.validate_and_handle()
        else:
            buffer.newline(copy_margin=False)

    def _end(self, event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if not buffer.text.strip():
            event.app.exit(exception=EOFError)
        elif self._many_lines:
            buffer.validate_and_handle()
        else:
            buffer.delete()

    def _paste(self, buffer: Buffer, data: str) -> None:
        text = _clean(data)
        lines = text.count("\n") + 1
        if lines > MAX_SHOWN_PASTE or len(text) > MAX_HISTORY_CHARACTERS:
            name = f"[paste {len(self._pastes) + 1}: {lines} lines, {len(text)} characters]"
            self._pastes[name] = text
            text = name
        buffer.insert_text(text)


def _output() -> Output:
    """prompt_toolkit's output. It does not ask where the cursor is: not all terminals answer."""
    from prompt_toolkit.output import create_output
    from prompt_toolkit.output.vt100 import Vt100_Output

    output = create_output()
    if isinstance(output, Vt100_Output):
        output.enable_cpr = False
    return output
