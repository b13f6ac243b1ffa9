"""The steps of a turn with tools in our database: results and decisions, committed before they are used."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from swarm_graph.checkpoints.catalogue import REPLACE_STEP
from swarm_graph.checkpoints.decisions import DECISION
from swarm_graph.checkpoints.journal import Journal
from swarm_graph.checkpoints.portable_sql import replacement, set_aside
from swarm_graph.checkpoints.records import TOOL_CALL_COLUMNS, tool_call_from_row, tool_call_to_row
from swarm_graph.checkpoints.signed_decisions import (
    is_decision,
    is_signed_decision,
    json_value,
    sign_decisions,
)
from swarm_graph.checkpoints.steps import ToolRecord, approval_of
from swarm_graph.checkpoints.storage import Cursor
from swarm_graph.checkpoints.transcript import NO_TEXTS, Texts
from swarm_graph.errors import StorageError
from swarm_graph.events import Event
from swarm_graph.state import Reply

_PUT_CALL = (
    f"INSERT INTO tool_calls ({', '.join(TOOL_CALL_COLUMNS)}) VALUES (:{', :'.join(TOOL_CALL_COLUMNS)}) "
    + replacement(TOOL_CALL_COLUMNS, key=("session", "task", "iteration", "key"))
)
_SET_ASIDE = (
    "UPDATE tool_calls SET key = key || :aside WHERE session = :session "
    "AND task = :task AND iteration = :iteration AND key = :key AND started_at != :started_at"
)
"""Gives an earlier call with the same key another one: it was killed, or its node has run twice."""
_IN_TURN = "session = ? AND task = ? AND iteration = ?"
_IN_SESSION = ("", 0)
"""The task and the round of what belongs to the whole session."""


class JournalSteps:
    """The steps of one turn in the tables `tool_calls` and `steps`. Answers are in the call journal.

    Only a resume finds what an earlier run has kept. In a database that somebody else may have made no steps
    are found, because none may count as an approval.
    """

    can_wait = True

    def __init__(
        self,
        journal: Journal,
        task: str,
        iteration: int,
        *,
        is_own: bool = True,
        mask: Callable[[str], str] = str,
        is_again: bool | None = None,
    ) -> None:
        """Set whose steps they are.

        Args:
            journal: The journal of the run.
            task: The task's id.
            iteration: The round.
            is_own: Whether the user began the session, or has trusted it.
            mask: Returns a text without secrets.
            is_again: Whether the turn may have run before; default: as the journal says, in a resume.
        """
        self._journal, self._database = journal, journal.catalogue.database
        self._is_again = journal.has_answers if is_again is None else is_again
        self._turn, self._is_own, self._mask = (journal.session_id, task, iteration), is_own, mask

    async def find(self, name: str) -> Any:
        if not (self._is_again and self._is_own):
            return None
        kept = await self._database.run(self._find, *self._turn, name)
        return kept if await self._is_signed(name, kept) else None

    async def keep(self, name: str, value: Any) -> None:
        await self._database.run(self._put, *self._turn, name, value)
        if name.startswith(DECISION):
            await self._database.run(self._sign, name, value)

    async def find_reply(self, key: str) -> Reply | None:
        return None  # the call journal has it

    async def keep_reply(self, key: str, reply: Reply) -> None:
        pass  # the call journal has it

    async def forget_replies(self, keys: Sequence[str]) -> None:
        pass  # `Journal.fail_task` does

    async def find_call(self, key: str) -> ToolRecord | None:
        if not self._journal.has_answers:
            return None
        return await self._database.run(self._find_call, key)

    async def keep_call(self, record: ToolRecord) -> None:
        """Commit the record of a call when it begins and, with its result, when it has ended.

        If there is no room for what people read, the record is committed without it.

        Raises:
            StorageError: It cannot be committed.
        """
        try:
            await self._database.run(self._put_call, record)
        except StorageError as error:
            if record.result is None:
                raise
            raise StorageError(
                f"{error}; the tool '{record.tool}' had ended its call and its result is lost, "
                "so a resume makes the call again"
            ) from error

    async def is_approved(self, tool: str) -> bool:
        if tool in self._journal.approved_tools:
            return True
        if not self._is_own:
            return False
        place = (self._journal.session_id, *_IN_SESSION)
        name = approval_of(tool)
        is_kept = await self._database.run(self._find, *place, name) is True
        return is_kept and await self._is_signed(name, True)

    async def approve_for_session(self, tool: str) -> None:
        place = (self._journal.session_id, *_IN_SESSION)
        await self._database.run(self._put, *place, approval_of(tool), True)
        await self._database.run(self._sign, approval_of(tool), True)
        self._journal.approved_tools.add(tool)

    async def _is_signed(self, name: str, value: Any) -> bool:
        """Whether something that was kept counts: a decision only if the user has signed it."""
        if value is None or not is_decision(name):
            return True
        session = self._journal.session_id
        return await self._database.run(is_signed_decision, self._journal.catalogue, session, name, value)

    def _sign(self, name: str, value: Any) -> None:
        sign_decisions(self._journal.catalogue, self._journal.session_id, {name: value})

    def _find(self, session: str, task: str, iteration: int, name: str) -> Any:
        with self._database.view() as cursor:
            row = cursor.execute(
                f"SELECT value FROM steps WHERE {_IN_TURN} AND name = ?", (session, task, iteration, name)
            ).fetchone()
        return json_value(row[0]) if row else None

    def _put(self, session: str, task: str, iteration: int, name: str, value: Any) -> None:
        with self._database.transaction() as cursor:
            row = (session, task, iteration, name, json.dumps(value))
            insert = "INSERT INTO steps (session, task, iteration, name, value) VALUES (?, ?, ?, ?, ?)"
            cursor.execute(f"{insert} {REPLACE_STEP}", row)

    def _find_call(self, key: str) -> ToolRecord | None:
        with self._database.view() as cursor:
            row = cursor.execute(
                f"SELECT {', '.join(TOOL_CALL_COLUMNS)} FROM tool_calls WHERE {_IN_TURN} AND key = ?",
                (*self._turn, key),
            ).fetchone()
        return tool_call_from_row(dict(zip(TOOL_CALL_COLUMNS, row, strict=True))) if row else None

    def _put_call(self, record: ToolRecord) -> None:
        record = replace(record, arguments=_changed(dict(record.arguments), self._mask))
        row, journal = tool_call_to_row(record), self._journal
        if journal.transcript:
            event = _event(record, with_figures=journal.keeps_events)
            texts = _texts(record, row) if journal.keeps_texts else NO_TEXTS
            with suppress(StorageError), self._database.transaction() as cursor:
                _put(cursor, row)
                journal.transcript.append(event, texts=texts)
                return
        with self._database.transaction() as cursor:
            _put(cursor, row)


def _put(cursor: Cursor, row: dict[str, Any]) -> None:
    cursor.execute(_SET_ASIDE, {**row, "aside": set_aside()})
    cursor.execute(_PUT_CALL, row)


def _event(record: ToolRecord, *, with_figures: bool) -> Event:
    """What the transcript keeps of a call, besides its texts."""
    result, figures = record.result, dict[str, Any]()
    if with_figures:
        figures = {"number": record.number, "tool": record.tool, "server": record.server}
    if with_figures and result:
        figures |= {
            "outcome": result.outcome,
            "characters": result.characters,
            "decision": record.decision,
            "seconds": result.seconds,
        }
    return Event(
        "tool_ended" if result else "tool_started",
        record.started_at + (result.seconds if result else 0.0),
        record.session,
        record.node,
        record.role,
        record.task,
        record.iteration,
        data={"key": record.key, "started_at": record.started_at, **figures},
    )


def _texts(record: ToolRecord, row: dict[str, Any]) -> Texts:
    return Texts(arguments=row["arguments"], result=record.result.text if record.result else "")


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    """JSON-like data with each of its texts changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {
            change(name) if isinstance(name, str) else name: _changed(item, change)
            for name, item in value.items()
        }
    return [_changed(item, change) for item in value] if isinstance(value, (list, tuple)) else value
