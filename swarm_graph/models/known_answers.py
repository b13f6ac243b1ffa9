"""Known answers: what a simulated model with a skill answers to the questions of an experiment.

The file is a JSON list with an object for each question:

    {"when": "text in the prompt", "right": {"coder": "an answer"}, "wrong": {"coder": ["other answers"]}}
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from swarm_graph.errors import ConfigError
from swarm_graph.models.ask import Ask
from swarm_graph.settings import Simulation
from swarm_graph.state import AgentRole
from swarm_graph.text import in_one_line

MAX_BYTES = 64 << 20

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Known:
    """What is known of one question.

    Attributes:
        right: The right answer.
        wrong: The wrong answers, at least one.
    """

    right: str
    wrong: Sequence[str]

    def answer(self, skill: float, dice: Random) -> str:
        """The right answer with the probability `skill`, else one of the wrong ones."""
        return self.right if dice.random() < skill else dice.choice(self.wrong)


class Entry(BaseModel):
    """An object of the file: a text in the prompts of questions, and their answers by role."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    when: str = Field(min_length=1)
    right: dict[AgentRole, str] = Field(min_length=1)
    wrong: dict[AgentRole, Annotated[list[str], Field(min_length=1)]]

    @model_validator(mode="after")
    def _have_both(self) -> Self:
        if one_sided := sorted(self.right.keys() ^ self.wrong.keys()):
            raise ValueError(f"'right' and 'wrong' must name the same roles; '{one_sided[0]}' stands in one")
        return self


_ENTRIES = TypeAdapter(list[Entry])


class KnownAnswers:
    """The entries of a file, found by the words of a prompt: a prompt is compared with few of them."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        ordered = sorted(entries, key=lambda entry: -len(entry.when))  # the most exact first
        # The first and the last word of a text may be parts of longer words in a prompt; the others are not.
        words = [set(_WORD.findall(entry.when)[1:-1]) for entry in ordered]
        counts: dict[str, int] = {}
        for word in (word for some in words for word in some):
            counts[word] = counts.get(word, 0) + 1
        self._by_word: dict[str, list[tuple[int, Entry]]] = {}
        for place, (entry, some) in enumerate(zip(ordered, words, strict=True)):
            rarest = min(some, key=lambda word: (counts[word], word), default="")
            self._by_word.setdefault(rarest, []).append((place, entry))

    def find(self, ask: Ask) -> Known | None:
        """What is known of a question; None if nothing is.

        If several entries fit, the longest text decides. A question with a task's own schema, or of a person
        about a session, is not answered with a role's text.
        """
        if ask.has_task_schema or ask.is_question or ask.role not in list(AgentRole):
            return None
        words = {"", *_WORD.findall(ask.prompt)}
        role = AgentRole(ask.role)
        near = [found for word in self._by_word.keys() & words for found in self._by_word[word]]
        return next(
            (
                Known(entry.right[role], entry.wrong[role])
                for _, entry in sorted(near, key=lambda found: found[0])
                if role in entry.right and entry.when in ask.prompt
            ),
            None,
        )


def known_answers_of(simulation: Simulation) -> KnownAnswers | None:
    """The known answers of a simulated model; None if it has no skill.

    Raises:
        ConfigError: It has a skill without answers or answers without a skill, or the file cannot be used.
    """
    if simulation.skill is None and simulation.answers is None:
        return None
    if simulation.answers is None:
        raise ConfigError(
            "simulation.skill needs simulation.answers, a file with right and wrong answers; "
            "`swarm-graph eval` makes one for its cases"
        )
    if simulation.skill is None:
        raise ConfigError("simulation.answers needs simulation.skill, as in 0.5; or leave it out")
    return load_known_answers(simulation.answers)


def load_known_answers(path: str) -> KnownAnswers:
    """Read a file of known answers; a file that did not change is read once.

    Raises:
        ConfigError: The file cannot be read, is too large, or has another form.
    """
    file = Path(path)
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would wait
            raise ConfigError(f"cannot read the known answers '{path}': expected a file")
        if status.st_size > MAX_BYTES:
            raise ConfigError(
                f"the known answers '{path}' have {status.st_size:,} bytes; expected at most {MAX_BYTES:,}"
            )
        return _load(file, status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise ConfigError(f"cannot read the known answers '{path}': {error.strerror}") from error


@lru_cache(maxsize=8)
def _load(file: Path, _changed_at: int, _size: int) -> KnownAnswers:
    try:
        return KnownAnswers(_ENTRIES.validate_json(file.read_bytes(), strict=True))
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, problem["loc"]))
        raise ConfigError(
            in_one_line(f"the known answers '{file}': {place and f'{place}: '}{problem['msg']}")
        ) from error
