"""Scripts for the simulated model: a Markdown file with the answer of each role in each round."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from swarm_graph.errors import ConfigError
from swarm_graph.models.ask import Ask

DEMO = "demo_session.md"

_MARK = re.compile(r"^<!-- *(?P<name>[A-Za-z][\w.-]*) +(?P<round>\d+) *-->$", re.MULTILINE)
_WHEN = re.compile(r"^<!-- *when: *(?P<text>.+?) *-->$", re.MULTILINE)


@dataclass(frozen=True)
class Script:
    """A scripted session.

    Attributes:
        when: Text that a prompt must contain for the script to answer; empty: any prompt.
        answers: Answers by node or role, and round from 1.
    """

    when: str
    answers: dict[tuple[str, int], str]

    def answer(self, ask: Ask) -> str | None:
        """The scripted answer; None when there is none.

        A node's answer comes before its role's. A round without an answer repeats the latest earlier one. A
        question with a task's own schema, or of a person about a session, is not answered with a role's text.
        """
        if self.when not in ask.prompt:
            return None
        names = (ask.node,) if ask.has_task_schema or ask.is_question else (ask.node, ask.role)
        for iteration in range(max(ask.iteration, 1), 0, -1):
            for name in names:
                if (name, iteration) in self.answers:
                    return self.answers[name, iteration]
        return None


def load_script(path: str | None) -> Script:
    """Read a script.

    Args:
        path: The file; None: the demo that comes with swarm_graph.

    Raises:
        ConfigError: The file cannot be read, or holds no answer.
    """
    try:
        source = Path(path) if path else resources.files("swarm_graph.models") / DEMO
        text = source.read_text(encoding="utf-8").removeprefix("\ufeff")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the simulation script '{path}': {error}") from error
    marks = list(_MARK.finditer(text))
    if not marks:
        raise ConfigError(
            f"the simulation script '{path}' has no answer; begin each with a line <!-- coder 1 -->"
        )
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    when = _WHEN.search(text)
    return Script(
        when=when["text"] if when else "",
        answers={
            (mark["name"], int(mark["round"])): text[mark.end() : end].strip()
            for mark, end in zip(marks, ends, strict=True)
        },
    )
