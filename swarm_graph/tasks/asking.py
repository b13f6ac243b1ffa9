"""Asks the questions of a task: one, or one for each part of its files and one that joins the answers.

The parts are asked one after the other. The journal has every answer, so a resumed run continues with the
missing parts. If the answers do not fit into one prompt, each half is joined first, then the two results.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from swarm_graph.errors import ModelError, UnreadableAnswer
from swarm_graph.models.failures import is_overflow
from swarm_graph.roles.answers import read_typed
from swarm_graph.roles.emitter import Emitter
from swarm_graph.roles.question import Question
from swarm_graph.roles.turn import Turn
from swarm_graph.tasks.joined_values import joined_values, schema_of
from swarm_graph.tasks.part_questions import PartQuestions, size_beside_answer
from swarm_graph.tasks.prompting import Outcome
from swarm_graph.tasks.spec import TaskSpec
from swarm_graph.text import first_names, format_count


class _Answered(NamedTuple):
    """An answer for some of the parts; `name` tells which."""

    name: str
    outcome: Outcome


@dataclass
class Asking:
    """Asks the questions of one task.

    Attributes:
        questions: Builds the questions.
        new_turn: Begins a turn; every question has its own.
        emit: Emits the events of the task.
        notes: What was unusual, for people.
    """

    questions: PartQuestions
    new_turn: Callable[[], Turn]
    emit: Emitter
    notes: list[str] = field(default_factory=list)

    async def whole(self) -> Outcome:
        """The answer to one question about all files."""
        return await self._ask(self.questions.whole())

    async def parts(self, limit: int) -> Outcome:
        """The answer for all parts of the files.

        Args:
            limit: The most characters of a part.
        """
        parts = self.questions.parts(limit)
        if len(parts) == 1:  # the files were edited since they were split
            return await self.whole()
        places = [part.place for part in parts]
        self.notes.append(f"asked in {format_count(len(parts), 'part')}: {first_names(places)}")
        answers = []
        for number, part in enumerate(parts, 1):
            self.emit("part_started", part=number, parts=len(parts), place=part.place)
            outcome = await self._ask(part.question, f"part {number}: ")
            answers.append(_Answered(f"part {number} of {len(parts)}, {part.place}", outcome))
        self.emit("part_started", part=0, parts=len(parts), place="")
        return await self._joined(answers, limit)

    async def _ask(self, question: Question[Outcome], where: str = "") -> Outcome:
        try:
            outcome, note = await self.new_turn().ask(question)
        except ModelError as error:
            if is_overflow(error.detail) and question.cure not in str(error):
                raise ModelError(f"{error}, or {question.cure}", node=error.node) from error
            raise
        self.notes += [f"{where}{note}"] if note else []
        return outcome

    async def _joined(self, answers: Sequence[_Answered], limit: int) -> Outcome:
        """The answers for all parts as one; typed ones are joined by code where that is sure."""
        spec = self.questions.spec
        values = [answer.outcome.value for answer in answers]
        if spec.answer and (joined := joined_values(values, spec.answer)):
            value = joined.value
            if joined.open:
                value |= await self._joined_values(answers, joined.open, limit)
            try:
                return _typed(
                    {name: value[name] for name in spec.answer["properties"] if name in value}, spec
                )
            except UnreadableAnswer:  # as a list that is longer than the schema allows
                pass
        return await self._joined_by_model(answers, limit, spec)

    async def _joined_values(
        self, answers: Sequence[_Answered], names: Sequence[str], limit: int
    ) -> dict[str, Any]:
        """Some of the values of typed answers, joined by a model."""
        spec = self.questions.spec
        assert spec.answer
        narrow = spec.model_copy(update={"answer": schema_of(names, spec.answer)})
        some = [
            _Answered(name, _outcome({key: outcome.value[key] for key in names if key in outcome.value}))
            for name, outcome in answers
        ]
        return dict((await self._joined_by_model(some, limit, narrow)).value)

    async def _joined_by_model(self, answers: Sequence[_Answered], limit: int, spec: TaskSpec) -> Outcome:
        question = self.questions.join({name: outcome.result for name, outcome in answers}, spec)
        if len(answers) > 2 and not await self._fits(question, answers, limit):
            middle = len(answers) // 2
            halves = [await self._half(half, limit, spec) for half in (answers[:middle], answers[middle:])]
            question = self.questions.join({name: outcome.result for name, outcome in halves}, spec)
        return await self._ask(question, "joining: ")

    async def _half(self, answers: Sequence[_Answered], limit: int, spec: TaskSpec) -> _Answered:
        if len(answers) == 1:
            return answers[0]
        name = f"{answers[0].name} to {answers[-1].name}"
        return _Answered(name, await self._joined_by_model(answers, limit, spec))

    async def _fits(self, question: Question[Outcome], answers: Sequence[_Answered], limit: int) -> bool:
        size = await size_beside_answer(question, self.new_turn().prompt_size)
        if size is None:  # then the answers may be as long as a part
            return sum(len(answer.outcome.result) for answer in answers) <= limit
        return size.tokens <= size.room


def _outcome(value: dict[str, Any]) -> Outcome:
    return Outcome(json.dumps(value, indent=2, ensure_ascii=False), value)


def _typed(value: dict[str, Any], spec: TaskSpec) -> Outcome:
    """A typed answer. Raises UnreadableAnswer where it does not fit the schema."""
    assert spec.answer
    return _outcome(read_typed(json.dumps(value), spec.answer))
