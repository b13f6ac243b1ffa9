"""What a turn recalls from memory: recorded before the model is asked, and shown as far as there is room."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any, TypeVar

from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig
from langgraph.runtime import get_runtime
from langgraph.store.base import BaseStore

from swarm_graph.checkpoints.journal import question_key
from swarm_graph.checkpoints.steps import RECALLED
from swarm_graph.memory.passage import Passage
from swarm_graph.memory.recall import Recall, from_record, passages_text, recall, to_record, to_state
from swarm_graph.repository.words import words
from swarm_graph.roles.answered_document import lines_outside_fences
from swarm_graph.roles.emitter import Emitter
from swarm_graph.roles.question import PromptVersions, Question
from swarm_graph.roles.run import RunContext
from swarm_graph.roles.steps_of import recalled_steps_of
from swarm_graph.state import Recalled, SwarmState

A = TypeVar("A")

MAX_REQUEST, MAX_TEXT = 2000, 1000
"""Characters of a query: of the request, and of each other text."""
ENOUGH_WORDS, FEW_WORDS = 12, 9
"""How many different words a question to memory is filled up to, and how few are too few."""
ABOUT = ("requirements", "design", "diagnosis")
"""The keys that say what a role's work is about, as far as it reads them."""
_NAME = re.compile(
    r"\b(?:def|class|func|function|fn|struct|interface|trait|impl|enum|type|module|package|namespace"
    r"|PROGRAM|FUNCTION|FUNCTION_BLOCK)\s+(?!import\b|main\b|__)([A-Za-z_]\w+)"
)
"""The definition of a name that says something; `from enum import` is none."""


@dataclass
class Recollection:
    """What one turn, or all parts of one task, have recalled.

    Attributes:
        passages: The passages, the best first.
        note: What limited the search.
        emit: Emits the events of the turn.
        shown: How many passages the prompt shows; None until one was chosen.
    """

    passages: Sequence[Passage]
    note: str
    emit: Emitter
    shown: int | None = None
    _tried: int = field(init=False)
    _is_settled: bool = field(init=False)

    def __post_init__(self) -> None:
        self._tried, self._is_settled = len(self.passages), False

    def shown_in(self, question: Question[A], prompt: Callable[[str], list[BaseMessage]]) -> Question[A]:
        """A question whose prompt shows the passages; they are the first that a small context leaves out.

        Args:
            question: The question without passages.
            prompt: Returns its prompt with a text of passages.
        """

        def shorter() -> PromptVersions:
            # Another model may have more room than the one before.
            self._tried, self._is_settled = len(self.passages), False
            return self._versions(question, prompt, question.shorter())

        messages = prompt(passages_text(self.passages))
        return replace(question, messages=messages, shorter=shorter, on_fit=self._tell)

    def _versions(
        self,
        question: Question[Any],
        prompt: Callable[[str], list[BaseMessage]],
        shorter: PromptVersions,
    ) -> Iterator[tuple[list[BaseMessage], str]]:
        """The prompt without the last passages, one more each time, then shorter ones without any."""
        for shown in reversed(range(len(self.passages))):
            self._tried = shown
            note = "; ".join(filter(None, [self._left_out(shown), question.note]))
            yield prompt(passages_text(self.passages[:shown])), note
        for messages, note in shorter:
            yield messages, "; ".join(filter(None, [self._left_out(0), note]))

    def _left_out(self, shown: int) -> str:
        """What a prompt that shows only the first passages leaves out, for people."""
        if shown == len(self.passages):
            return ""
        return f"{shown} of {len(self.passages)} recalled passages shown: the context has no room"

    def _tell(self) -> None:
        """Called when a version fits, before the model is asked: emit what its prompt shows, if that is new.

        The results of tools may leave less room later in the turn; by then the model has read the passages.
        """
        is_known = self._is_settled or self._tried == self.shown
        self._is_settled = True
        if is_known:
            return
        self.shown = self._tried
        shown = self.passages[: self.shown]
        self.emit(
            "recalled",
            passages=len(shown),
            characters=sum(len(passage.text) for passage in shown),
            sources=[passage.citation for passage in shown],
            note=self._note,
        )

    def record(self) -> Recalled:
        """What the state keeps."""
        origin = self.emit.origin
        return Recalled(
            node=origin.node,
            role=origin.role,
            task=origin.task,
            iteration=origin.iteration,
            passages=[to_state(passage) for passage in self.passages[: self.shown or 0]],
            note=self._note,
        )

    @property
    def _note(self) -> str:
        return "; ".join(filter(None, [self.note, self._left_out(self.shown or 0)]))


@dataclass(frozen=True)
class Recaller:
    """Searches the memory of a graph for the turns of one node.

    Attributes:
        run: The run that the node belongs to.
        config: LangGraph's configuration of the node.
        in_own_loop: Whether the node runs in an event loop of its own, as it does for synchronous callers.
        request: See `steps_of`.
    """

    run: RunContext
    config: RunnableConfig
    in_own_loop: bool
    request: str = ""

    @property
    def store(self) -> BaseStore | None:
        """The store of the graph, else of the graph around it, which LangGraph gives to the node."""
        return self.run.store if self.run.store is not None else get_runtime().store

    async def recall(self, query: str, limit: int, emit: Emitter) -> Recollection:
        """What a turn recalls. A turn that runs again recalls the same, whatever memory holds by then.

        Args:
            query: What the turn is about.
            limit: How many passages at the most.
            emit: Emits the events of the turn.
        """
        steps = recalled_steps_of(
            self.run, emit.origin, self.config, in_own_loop=self.in_own_loop, request=self.request
        )
        name = f"{RECALLED}{question_key([query, limit])}"
        found = from_record(await steps.find(name), limit)
        if found is None:
            found = await self.run.stop.unless_set(self.search(query, limit))
            await steps.keep(name, to_record(found))
        return Recollection(found.passages, found.note, emit)

    async def search(self, query: str, limit: int) -> Recall:
        """The passages that fit a question best; nothing is recorded."""
        return await recall(self.store, query, limit, secrets=self.run.keys)


def query_of_role(state: SwarmState, reads: Iterable[str], judged: Mapping[str, str] | None = None) -> str:
    """What a role's turn is about: the request, and what it reads that says more.

    Args:
        state: The state.
        reads: The keys that the role reads.
        judged: The files that it judges, if it does: their names, and those that they define, say more.
    """
    keys, request = [*reads], state.get("request", "")
    texts = [str(state.get(key) or "")[:MAX_TEXT] for key in ABOUT if key in keys]
    problems = [finding["problem"] for finding in state.get("findings", []) if "findings" in keys]
    names = _names(judged, request) if judged is not None else []  # pasted code is in the request
    return _query([_prose(request), "\n".join(problems)[:MAX_TEXT]], texts, names)


def query_of_task(
    request: str, description: str, metadata: Mapping[str, Any], files: Mapping[str, str]
) -> str:
    """What a task is about. Files say more, as in `batch`, whose tasks have a prompt and files alone."""
    values = [
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for value in metadata.values()
    ]
    asked = [_prose(description), "\n".join(values)[:MAX_TEXT]]
    read = [text[:MAX_TEXT] for text in files.values()]
    return _query(asked, [_prose(request), *read], [PurePath(name).stem for name in files])


def _query(asked: Iterable[str], texts: Iterable[str], names: Iterable[str] = ()) -> str:
    """A question to memory. The more words it has, the more passages fit it by accident.

    Args:
        asked: What is asked, which the question repeats.
        texts: What says more. A few words from there join a short question: those that return most often.
        names: Names in code, which say more in the same way.
    """
    lines, texts = [*filter(None, asked)], [*texts]
    known = {*words(" ".join(lines))}
    counts = Counter(words("\n".join([*names, *texts])))
    returning = [word for word, count in counts.most_common() if count > 1 and word not in known]
    more = returning[: max(ENOUGH_WORDS - len(known), 0)]
    if len(known) + len(more) < FEW_WORDS:
        more = [word for word in counts if word not in known]
    return "\n".join([*lines, " ".join(more)] if more else lines)


def _prose(request: str) -> str:
    """What a request says, without pasted code."""
    return "\n".join(line for _, line in lines_outside_fences(request)).strip()[:MAX_REQUEST]


def _names(files: Mapping[str, str], request: str) -> list[str]:
    """The names of files, and the names that the files and a request define, each once."""
    defined = (name for text in [*files.values(), request] for name in _NAME.findall(text))
    return [*dict.fromkeys([*files, *defined])]
