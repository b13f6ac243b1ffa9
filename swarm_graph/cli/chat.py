"""The conversation about a session: follow-ups, questions about the result, its files, resuming it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from swarm_graph.cli.console import EXIT_TERMINATED, end, say
from swarm_graph.cli.decisions import decide_after_edits
from swarm_graph.cli.display import Display
from swarm_graph.cli.keyboard import HOW_TO_END, WORDS, Keyboard
from swarm_graph.cli.session_runner import Ending, Work, print_session, run_to_end
from swarm_graph.errors import InputError, SwarmError
from swarm_graph.state import OwnWorkflow, has_ended

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from swarm_graph.events import Event
    from swarm_graph.sessions.coordinator import SwarmCoordinator

CHAT_HELP = f"""  TEXT       a follow-up, such as: add a method that empties the queue
             The workflow runs again on this session, from its present result.
  ?QUESTION  a question about the result, such as: ?why a deque
             One call to a model; nothing of the session changes, nothing is recorded.
  /paste     a follow-up of many lines; {HOW_TO_END}
  /files     the files of the session; /files NAME prints one
  /show      the summary again
  /resume    go on with a session that waits, failed or was stopped
The name of a command alone on a line, such as quit, is the command.
Enter sends, Alt-Enter begins a new line. A paste of many lines is one text."""
CHAT_WORDS = {**WORDS, "paste": "/paste", "files": "/files", "show": "/show", "resume": "/resume"}
"""Lines that are never meant as a follow-up, which runs a whole workflow."""


class Chat:
    """The conversation about one session.

    Attributes:
        ending: How the latest run ended.
    """

    def __init__(self, keyboard: Keyboard, coordinator: SwarmCoordinator, display: Display) -> None:
        self._keyboard, self._coordinator, self._display = keyboard, coordinator, display
        self._earlier: list[tuple[str, str]] = []
        self.ending = Ending()

    def run(self, work: Work) -> None:
        """Run a session, then talk about it. Raises Back when the person goes back to the menu."""
        self._attempt(lambda: self._run(work))
        self._talk()

    def resume(self, session: str) -> None:
        """Resume a session, or read it if it has ended, then talk about it. Raises Back as `run` does."""
        self._attempt(lambda: self._resume(session))
        self._talk()

    def _talk(self) -> None:
        if not self._coordinator.session_id:
            return
        click.echo("Type a follow-up, ?QUESTION about the result, or /help; /back leads to the menu.")
        while True:
            prompt = self._coordinator.session_id
            typed = self._keyboard.line(prompt, help=CHAT_HELP, end="> ", remember=True, words=CHAT_WORDS)
            self._attempt(partial(self._obey, typed))

    def _attempt(self, action: Callable[[], None]) -> None:
        """Do something; what goes wrong is said, and the conversation goes on."""
        try:
            action()
        except SwarmError as error:
            say(str(error))
        except (KeyboardInterrupt, click.Abort):
            click.echo()
            say("stopped; /resume goes on with a session that has not ended")

    def _obey(self, typed: str) -> None:
        """Do what one line says."""
        command, _, rest = typed.partition(" ")
        commands: dict[str, Callable[[], None]] = {
            "": lambda: None,
            "/paste": self._paste,
            "/files": lambda: self._files(rest.strip()),
            "/show": self._show,
            "/resume": lambda: self._resume(self._coordinator.session_id),
        }
        if command in commands:
            commands[command]()
        elif typed.startswith("?"):
            self._ask(typed[1:].strip())
        elif typed.startswith("/") and "\n" not in typed:
            raise InputError(f"unknown command '{command[:40]}'; /help lists them")
        else:
            self._follow_up(typed)

    # --- running ---------------------------------------------------------------------------------

    def _run(self, work: Work) -> None:
        self.ending = run_to_end(self._coordinator, self._display, work)
        self._keyboard.drop_typed()
        if self.ending.code == EXIT_TERMINATED:
            end(self.ending.message, EXIT_TERMINATED)
        if self.ending.message:
            say(f"{self.ending.message} (here: /resume)")

    def _resume(self, session: str) -> None:
        from swarm_graph.sessions.ids import find_session

        found = find_session(self._coordinator.data_dir, session, database=self._coordinator.database)
        as_before, anew = decide_after_edits(
            self._coordinator.edits(found), False, False, self._display.options
        )
        self._run(lambda coordinator: coordinator.aresume(session, as_before=as_before, anew=anew))

    def _follow_up(self, text: str) -> None:
        coordinator = self._coordinator
        session, phase = coordinator.session_id, coordinator.state.get("phase", "")
        if not has_ended(phase):
            raise InputError(f"session '{session}' has not ended ({phase}); /resume goes on with it first")
        if coordinator.workflow == "custom":
            command = f"swarm-graph run --tasks FILE --session {session} --follow-up"
            raise InputError(f"a task graph is followed up with tasks, not with a text: `{command}`")
        workflow = OwnWorkflow(coordinator.workflow)
        self._run(
            lambda coordinator: coordinator.arun_workflow(text, workflow, session_id=session, follow_up=True)
        )

    def _paste(self) -> None:
        click.echo(f"({HOW_TO_END})")
        if text := self._keyboard.text(CHAT_HELP).strip():
            self._follow_up(text)

    # --- looking ---------------------------------------------------------------------------------

    def _show(self) -> None:
        print_session(self._coordinator, self._display.options)
        if self.ending.message:
            say(self.ending.message)

    def _files(self, name: str) -> None:
        """List the files of the session, or print one of them."""
        from swarm_graph.text import printable

        output = self._coordinator.files
        files = output.files() if output else []
        if output is None or not name:
            click.echo(printable("\n".join(files) or "no files yet"))
        elif name in files:
            click.echo(printable(_text_of(output.folder / name)))
        else:
            raise InputError(f"no file '{name[:80]}' in this session; /files lists them")

    def _ask(self, question: str) -> None:
        """Print the answer of a model as it arrives."""
        import asyncio

        printer = AnswerPrinter()
        asked = self._coordinator.aask(question, earlier=self._earlier, on_event=printer.on_event)
        try:
            answer = asyncio.run(asked)
        except BaseException:
            printer.end_line()
            raise
        printer.end(answer.value)
        if answer.note:
            say(f"note: {answer.note}")
        self._earlier.append((question, answer.value))


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"cannot read '{path}': {error.strerror}") from error


class AnswerPrinter:
    """Prints who is asked, and the answer while it arrives, without the thoughts before it.

    Attributes:
        text: What has arrived of the answer, thoughts included.
    """

    def __init__(self) -> None:
        self.text, self._printed = "", 0

    def on_event(self, event: Event) -> None:
        """Print what is new of the answer; each attempt begins on a new line."""
        if event.kind == "call_started":
            self.end_line()
            self.text, self._printed = "", 0
            again = f", attempt {event.data['attempt']}" if event.data["attempt"] > 1 else ""
            repair = ", its answer could not be used" if event.data["repair"] else ""
            model, server = event.data["model"], event.data["server"]
            place = f" at {server}" if server not in ("", model) else ""
            say(f"asking {model}{place}{again}{repair}")
        elif event.kind == "tokens":
            self.text += event.data["text"]
            self._print(self._visible())

    def end_line(self) -> None:
        """End the line of an answer that has begun."""
        if self._printed:
            click.echo()

    def end(self, answer: str) -> None:
        """Print what is still missing, and the end of the line."""
        if not self._printed:
            self._print(answer)
        click.echo()

    def _visible(self) -> str:
        """The text so far; of one that begins with markup, such as `<think>`, only what follows thoughts."""
        text = self.text.lstrip()
        return text.partition("</think>")[2].lstrip() if text.startswith("<") else text

    def _print(self, text: str) -> None:
        from swarm_graph.text import printable

        click.echo(printable(text[self._printed :]), nl=False)
        self._printed = len(text)
