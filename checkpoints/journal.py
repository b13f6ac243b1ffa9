"""The call journal: every answer is committed, with the record of its call, before a node uses it.

A node that runs again after a kill or a pause asks the same questions and finds their answers here. All other
events of a run pass through it on their way to the database, too, and nobody waits for them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from typing import Any

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.records import CALL_COLUMNS
from swarm_graph.checkpoints.storage import Cursor, session_lock
from swarm_graph.checkpoints.transcript import NO_TEXTS, Texts, Transcript
from swarm_graph.errors import AnswerError, StorageError
from swarm_graph.events import Event
from swarm_graph.state import Evidence, Reply, TaskRecord, ToolCall

MakeTexts = Callable[[], Texts]
"""Returns what was said, without secrets: finding them in a long text takes time that other calls need."""

_INSERT_CALL = (
    f"INSERT INTO calls (session, key, answer, tools, call, {', '.join(CALL_COLUMNS)}) "
    f"VALUES (?, ?, ?, ?, ?{', ?' * len(CALL_COLUMNS)}) "
    "RETURNING (SELECT stop_requested FROM runs WHERE id = ?)"
)
_ELSEWHERE = frozenset({"record"})
"""What events say that the database keeps in other tables."""
_TEXTS = frozenset({"text", "thoughts", "arguments", "problem", "note"})
"""What events say that is a text of a model, or may quote one."""


@dataclass
class BegunCall:
    """A call that has begun.

    Attributes:
        number: Its id in the transcript; None before its begin is recorded, and if that fails.
    """

    number: int | None = None


class Journal:
    """The journal of one run of a session.

    Args:
        catalogue: The catalogue of the session's database.
        session_id: The session.
        has_answers: Whether earlier runs of the same request may have left answers.
        transcript: Keeps the events of calls; None keeps nothing of them.
        keeps_texts: Whether it keeps what is asked and answered.
        keeps_events: Whether it keeps all other events, too.
        run: The number of the run in the catalogue; None if it is not recorded.
        on_stop: Called in the database's thread once another process has asked the run to stop.
        lock: The name of the lock that must not be lost while something is written; default the session's.

    Attributes:
        ended_tasks: The tasks that have ended in this run, by id.
        approved_tools: The tools that a person has approved for the session in this run.
        keeps_texts: Whether what is asked and answered is kept for people.
        keeps_events: Whether the events of the run are kept, and not only those of its calls.
        run: The number of the run in the catalogue; None if it is not recorded.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        session_id: str,
        *,
        has_answers: bool,
        transcript: Transcript | None = None,
        keeps_texts: bool = True,
        keeps_events: bool = False,
        run: int | None = None,
        on_stop: Callable[[], None] | None = None,
        lock: str = "",
    ) -> None:
        self.catalogue, self.session_id, self.has_answers = catalogue, session_id, has_answers
        self._transcript = transcript
        self.keeps_texts = keeps_texts and transcript is not None
        self.keeps_events = keeps_events and transcript is not None
        self.run, self._on_stop = run, on_stop
        self._lock = lock or session_lock(session_id)
        self.approved_tools: set[str] = set()
        self.ended_tasks: dict[str, TaskRecord] = {}

    async def find_answer(self, task: str, iteration: int, key: str) -> Reply | None:
        """The answer to a question that a task has asked before; None if there is none.

        Args:
            task: The task's id.
            iteration: The round.
            key: The question's `question_key`.
        """
        if not self.has_answers:
            return None
        return await self.catalogue.database.run(self._find_answer, task, iteration, key)

    async def check_lock(self) -> None:
        """Ask a server's database whether what calls is still this process's; call it before a question goes.

        A process that was stopped, or had lost its connection, may wait for a slot while another one gets
        the answer. A file's lock ends with its process.

        Raises:
            SessionInUse: Another process works on it by now.
        """
        if not self.catalogue.database.is_file:
            await self.catalogue.database.run(self._check_lock)

    @property
    def transcript(self) -> Transcript | None:
        """What keeps the events of calls; None if they are not kept."""
        return self._transcript

    def record_event(self, event: Event) -> None:
        """Record an event of a node, if events are kept, and do not wait for it."""
        if self.keeps_events:
            self.catalogue.database.start(self._append, event)

    async def recorded_ends(self) -> set[tuple[str, str]]:
        """The kind and the task of each `task_ended` and `task_added` that this request has recorded."""
        if not (self.keeps_events and self.has_answers):
            return set()
        return await self.catalogue.database.run(self._recorded_ends)

    def record_tokens(self, event: Event, begun: BegunCall) -> None:
        """`record_event` for a piece of the answer of a call that `begin_call` has recorded."""
        if self.keeps_events:
            self.catalogue.database.start(self._append, event, begun)

    def begin_call(self, event: Event, texts: MakeTexts) -> BegunCall | None:
        """Record that a call begins, with its prompt, and do not wait for it; None if nothing is kept.

        Args:
            event: `call_started`.
            texts: Returns the prompt and the parameters; called in the database's thread.
        """
        if self._transcript is None:
            return None
        begun = BegunCall()
        self.catalogue.database.start(self._begin_call, begun, self._transcript, event, texts)
        return begun

    async def record_call(
        self,
        call: Mapping[str, Any],
        key: str,
        reply: Reply | None,
        event: Event,
        texts: MakeTexts,
        begun: BegunCall | None,
    ) -> int | None:
        """Commit one attempt of a call; returns its id in the transcript, None if nothing is kept.

        If there is no room for the texts, the answer is committed without them.

        Args:
            call: The columns of CALL_COLUMNS; missing ones become NULL.
            key: The question's `question_key`.
            reply: The answer; None if the attempt failed.
            event: `call_ended`.
            texts: Returns what was answered; called in the database's thread.
            begun: What `begin_call` returned.
        """
        return await self.catalogue.database.run(self._record_call, call, key, reply, event, texts, begun)

    async def record_reading(self, event: Event, call: int | None) -> None:
        """Commit what was wrong or odd when an answer was read.

        Args:
            event: `answer_read`.
            call: The answer's call in the transcript; None if it is not kept.
        """
        if self._transcript and call:
            with suppress(StorageError):  # the answer itself is committed, and a node is about to use it
                await self.catalogue.database.run(self._transcript.append, self._kept(event), call)

    async def record_test_run(self, evidence: Evidence, iteration: int) -> None:
        """Commit the evidence of a test run; the same attempt in the same round is overwritten."""
        await self.catalogue.database.run(
            self.catalogue.put_test_run, self.session_id, "run", iteration, evidence["attempt"], evidence
        )

    def end_task(self, task: TaskRecord) -> None:
        """Record that a task ended, so that a look at the running session shows it.

        Nobody waits for that: the tasks are recorded once more at the end of the run.
        """
        self.ended_tasks[task["task_id"]] = task
        self.catalogue.database.start(self.catalogue.put_tasks, self.session_id, [task])

    async def fail_task(self, task: TaskRecord, error: Exception) -> None:
        """Commit that a task failed.

        After an AnswerError the answers that it names are deleted: a resume must ask the model again.
        """
        await self.catalogue.database.run(self._fail_task, task, error)

    def _find_answer(self, task: str, iteration: int, key: str) -> Reply | None:
        with self.catalogue.database.view() as cursor:
            row = cursor.execute(
                "SELECT answer, outcome, input_tokens, output_tokens, call, tools FROM calls "
                "WHERE session = ? AND task = ? AND iteration = ? AND key = ? AND answer IS NOT NULL "
                "ORDER BY rowid DESC LIMIT 1",
                (self.session_id, task, iteration, key),
            ).fetchone()
        tool_calls = _tool_calls(row[5]) if row else None
        if tool_calls is None:
            return None
        return Reply(row[0], row[1] == "truncated", row[2], row[3], call=row[4], tool_calls=tool_calls)

    def _append(self, event: Event, begun: BegunCall | None = None) -> None:
        if self._transcript is None or (begun and begun.number is None):
            return
        with self._writing():
            self._transcript.append(self._kept(event), begun.number if begun else None)

    def _check_lock(self) -> None:
        with self._writing():
            pass

    @contextmanager
    def _writing(self) -> Iterator[Cursor]:
        """A transaction of the process that works on it. Raises SessionInUse if another one does by now."""
        with self.catalogue.database.transaction() as cursor:
            self.catalogue.database.check_lock(self._lock)
            yield cursor

    def _kept(self, event: Event) -> Event:
        """What is kept of an event."""
        left_out = _ELSEWHERE if self.keeps_texts else _ELSEWHERE | _TEXTS
        if event.session == self.session_id and left_out.isdisjoint(event.data):
            return event
        data = {name: value for name, value in event.data.items() if name not in left_out}
        return replace(event, session=self.session_id, data=data)

    def _recorded_ends(self) -> set[tuple[str, str]]:
        query = """SELECT kind, task FROM events
            WHERE session = :session AND kind IN ('task_ended', 'task_added') AND time >=
                (SELECT max(started_at) FROM runs WHERE session = :session AND kind != 'resume')"""
        with self.catalogue.database.view() as cursor:
            return {*cursor.execute(query, {"session": self.session_id}).fetchall()}

    def _heed_stop(self) -> None:
        """Stop the run if another process has asked for that."""
        if self._on_stop and self.run is not None:
            with suppress(StorageError):
                if self.catalogue.stop_requested(self.run):
                    self._on_stop()

    def _begin_call(self, begun: BegunCall, transcript: Transcript, event: Event, texts: MakeTexts) -> None:
        self._heed_stop()
        begun.number = None  # a group of works that fails is done again
        with self._writing():
            begun.number = transcript.append(event, texts=texts() if self.keeps_texts else NO_TEXTS)

    def _record_call(
        self,
        call: Mapping[str, Any],
        key: str,
        reply: Reply | None,
        event: Event,
        texts: MakeTexts,
        begun: BegunCall | None,
    ) -> int | None:
        insert = partial(self._insert_call, call, key, reply)
        number = begun.number if begun else None  # known: the database's thread works in order
        if self._transcript and number:
            said = texts() if self.keeps_texts else NO_TEXTS
            with suppress(StorageError):  # as of a full disk: the answer matters more than what people read
                insert(number, partial(self._transcript.append, event, number, said))
                return number
        insert(None, lambda: None)
        return None

    def _insert_call(
        self,
        call: Mapping[str, Any],
        key: str,
        reply: Reply | None,
        number: int | None,
        with_it: Callable[[], object],
    ) -> None:
        columns = [call.get(name) for name in CALL_COLUMNS]
        with self._writing() as cursor:
            answer = reply.text if reply else None
            tools = _tools_column(reply.tool_calls) if reply else None
            row = (self.session_id, key, answer, tools, number, *columns, self.run)
            (is_to_stop,) = cursor.execute(_INSERT_CALL, row).fetchone()
            with_it()
        if is_to_stop and self._on_stop:
            self._on_stop()

    def _fail_task(self, task: TaskRecord, error: Exception) -> None:
        with self._writing() as cursor:
            self.catalogue.put_tasks(self.session_id, [task], str(error))
            if isinstance(error, AnswerError):
                which = f" AND key IN ({', '.join('?' * len(error.keys))})" if error.keys else ""
                cursor.execute(
                    "UPDATE calls SET answer = NULL, tools = NULL "
                    f"WHERE session = ? AND task = ? AND iteration = ?{which}",
                    (self.session_id, task["task_id"], task["iteration"], *error.keys),
                )


def _tools_column(calls: Sequence[ToolCall]) -> str | None:
    return json.dumps(calls) if calls else None


def _tool_calls(column: str | None) -> tuple[ToolCall, ...] | None:
    """The tools that an answer calls; None if the column, which may be somebody else's, cannot be read."""
    try:
        calls = tuple(ToolCall(*call) for call in json.loads(column or "[]"))
    except (TypeError, ValueError, RecursionError):
        return None
    return calls if all(isinstance(call.arguments, dict) for call in calls) else None


def question_key(question: Any) -> str:
    """The key of a question: a hash of its messages and parameters, the same in every process."""
    return sha256(json.dumps(question, sort_keys=True, default=str).encode()).hexdigest()[:32]
