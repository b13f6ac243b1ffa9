"""The questions of a task: about its files as they are, about a part of them, and those that join answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from swarm_graph.errors import InputError
from swarm_graph.models.context_window import MAX_TOKENS_PER_BYTE, prompt_bytes, room_for_answer
from swarm_graph.models.pool import PromptSize
from swarm_graph.roles.question import Question
from swarm_graph.state import TaskRecord
from swarm_graph.tasks.file_texts import Piece, TaskFiles
from swarm_graph.tasks.prompting import Outcome, TaskPrompts
from swarm_graph.tasks.spec import TaskSpec

SizeOf = Callable[[Question[Outcome]], Awaitable[PromptSize | None]]
"""Returns the size of a question's prompt for the model that it is meant for; None for an unknown context."""
FILLED = 0.9
"""The share of the room for files that the first plan fills."""
MAX_ANSWER = 0.25
"""How much of the context is left for an answer whose limit (`max_tokens`) is no smaller."""
SMALLER = 0.8
"""The factor by which parts get smaller while one of them does not fit."""
MIN_CHARACTERS = 75
"""The smallest part: MIN_PART_TOKENS in characters of four bytes. A prompt with less room is full."""


class PartQuestion(NamedTuple):
    """The question about a part of a task's files."""

    place: str
    question: Question[Outcome]


if TYPE_CHECKING:
    from swarm_graph.roles.recollection import Recollection


@dataclass(frozen=True)
class PartQuestions:
    """Builds the questions of one task.

    Attributes:
        prompts: The prompts of its graph.
        spec: The task.
        results: The completed tasks that it depends on, by id.
        files: Its files.
        recollection: What the task has recalled from memory; None if it recalls nothing.
    """

    prompts: TaskPrompts
    spec: TaskSpec
    results: Mapping[str, TaskRecord]
    files: TaskFiles
    recollection: Recollection | None = None

    def whole(self) -> Question[Outcome]:
        """The question about the files as they are."""
        return self._question(self.spec, self.files)

    def _question(self, spec: TaskSpec, files: TaskFiles, more: str = "") -> Question[Outcome]:
        return self.prompts.question(spec, self.results, files, more, self.recollection)

    def parts(self, limit: int) -> list[PartQuestion]:
        """The questions for the parts of the files.

        Args:
            limit: The most characters of a part.
        """
        parts = self.files.parts(limit)
        return [self._part(number, len(parts), part) for number, part in enumerate(parts, 1)]

    def _part(self, number: int, count: int, pieces: Sequence[Piece]) -> PartQuestion:
        place = self.files.place(pieces)
        files = replace(self.files, texts={piece.file: piece.part.shown for piece in pieces})
        more = self.prompts.part_instructions(number, count, place)
        question = self._question(self.spec, files, more)
        return PartQuestion(place, replace(question, subject=f"part {number} of {count} ({place})"))

    def join(self, answers: Mapping[str, str], spec: TaskSpec) -> Question[Outcome]:
        """The question that joins answers for parts.

        Args:
            answers: The answers in their order, by what they are called.
            spec: The task, or the same one with another form of the answer.
        """
        files = TaskFiles(texts={**answers})
        question = self._question(spec, files, self.prompts.join_instructions())
        return replace(question, subject=f"the joining of {len(answers)} answers", cure="ask for less")

    async def limit(self, size_of: SizeOf) -> int | None:
        """The most characters of a part; None where the files are not to be split.

        Raises:
            InputError: The prompt fills the context without any file.
        """
        split = self.spec.split
        if split is None or not self.files.characters:
            return None
        if isinstance(split, int):
            limit = int(split * self.files.characters / self.files.estimated_tokens)
            return limit if self.files.characters > limit else None
        alone = replace(self, recollection=None)  # files are not split to make room for passages
        size = await size_beside_answer(alone.whole(), size_of)
        if size is None or size.tokens <= size.room:
            return None
        if self.recollection:
            with suppress(InputError):  # the passages fill the context
                return await self._limit_to_fit(size_of)
        return await alone._limit_to_fit(size_of)

    async def _limit_to_fit(self, size_of: SizeOf) -> int:
        """The most characters of a part with which each one fits. Raises InputError if there is no room."""
        whole = self.whole()
        size = await size_beside_answer(whole, size_of)
        assert size is not None
        return await self._fitting(self._first_limit(whole, size), size_of, size.room)

    async def is_undecided(self, size_of: SizeOf) -> bool:
        """Whether the files would be split to fit a context of which nothing is known."""
        is_auto = self.spec.split is not None and not isinstance(self.spec.split, int)
        return is_auto and bool(self.files.characters) and await size_of(self.whole()) is None

    def _first_limit(self, whole: Question[Outcome], size: PromptSize) -> int:
        """A limit by the tokens per byte of the whole prompt."""
        prompt = prompt_bytes(whole.messages)
        room = size.room * prompt / size.tokens - (prompt - self.files.bytes)
        return min(int(FILLED * room * self._characters_per_byte), self.files.characters - 1)

    async def _fitting(self, limit: int, size_of: SizeOf, room: int) -> int:
        """The first limit, from a given one down, with which every part fits."""
        while limit >= MIN_CHARACTERS:
            sizes = [await size_beside_answer(part.question, size_of) for part in self.parts(limit)]
            if all(size is None or size.tokens <= size.room for size in sizes):
                return limit
            limit = int(SMALLER * limit)
        raise InputError(
            f"{self.spec.task_id}: a prompt of {room} tokens has no room for a part of its files beside the "
            "instructions; raise the context of the server, or shorten the prompt"
        )

    @property
    def _characters_per_byte(self) -> float:
        return self.files.characters / self.files.bytes


async def size_beside_answer(question: Question[Outcome], size_of: SizeOf) -> PromptSize | None:
    """The size of a prompt, with less room: MAX_ANSWER of the context is left for the answer."""
    size = await size_of(question)
    if size is None:
        return None
    most, least = question.parameters.max_tokens, room_for_answer(question.parameters.max_tokens)
    context = size.room + least
    answer = max(least, min(most or context, int(MAX_ANSWER * context)))
    size_in_bytes, tokens = prompt_bytes(question.messages), size.tokens
    if size_in_bytes <= tokens <= size.room:  # nobody has counted them, because they fit in any case
        tokens = round(MAX_TOKENS_PER_BYTE * size_in_bytes)
    return PromptSize(tokens, context - answer)
