"""The transcript in SQLite: a table of events, and a table with each text of a prompt once a session."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from typing import Any

from swarm_graph.checkpoints.database import Database
from swarm_graph.checkpoints.records import CALL_COLUMNS, checked
from swarm_graph.checkpoints.transcript import (
    MAX_CHARACTERS,
    MAX_SESSION_BYTES,
    NO_TEXTS,
    Call,
    Message,
    StoredEvent,
    Texts,
    ToolKey,
    ToolTexts,
    bounded,
)
from swarm_graph.events import Event
from swarm_graph.text import check_json_like

TRANSCRIPT_TABLES = ("events", "texts")
FIELDS = ("role", "node", "task")
"""The columns by which calls can be selected."""
NOT_KEPT = (
    "nothing was kept: features.keep_prompts was false, an older version ran the session, "
    "`sessions cleanup --calls` removed it, or the disk was full"
)
FULL = f"not kept: the transcript of the session had reached {MAX_SESSION_BYTES // 2**20} MB"
UNREADABLE = "what was kept cannot be read: the database is damaged or was changed"
_MAX_BYTES = 32 * MAX_CHARACTERS
"""More is never unpacked from one row, whatever a received file claims."""
_MAX_SAID = 16 * MAX_CHARACTERS
"""Characters of the prompt of one call; a few bytes could name the same long text a million times."""
_MIN_WINDOW_BITS, _MAX_WINDOW_BITS = 12, 15
_LEAST_OF_MESSAGE = 1_000
"""A shorter message counts as so many characters."""
_TEXTS_AT_HAND = 16
"""Texts that are kept unpacked while the calls of a session are read: prompts repeat."""
_EVENT_COLUMNS = ("session", "time", "kind", "node", "role", "task", "iteration", "call", "data")
_INSERT_EVENT = (
    f"INSERT INTO events ({', '.join(_EVENT_COLUMNS)}) VALUES (?{', ?' * (len(_EVENT_COLUMNS) - 1)})"
)


class SqliteTranscript:
    """The transcript of the sessions of a database; see `transcript.Transcript`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._bytes: dict[str, int] = {}
        """What the texts of a session take, for each session that was written to."""
        self._rollbacks = database.rollbacks

    # --- writing ---------------------------------------------------------------------------------

    def append(self, event: Event, call: int | None = None, texts: Texts = NO_TEXTS) -> int:
        with self._database.transaction() as cursor:
            session, full = event.session, {"full": True}
            said: dict[str, Any] = {}
            if any(texts):
                said = self._kept(cursor, session, texts) if self._has_room(cursor, session) else full
            data = _packed({"data": event.data, **said})
            self._count(session, len(data))
            place = (event.node, event.role, event.task, event.iteration)
            cursor.execute(_INSERT_EVENT, (session, event.time, event.kind, *place, call, data))
            return int(cursor.lastrowid or 0)

    def _kept(self, cursor: sqlite3.Cursor, session: str, texts: Texts) -> dict[str, Any]:
        """The texts as an event keeps them: those of the prompt by their ids."""
        prompt = [[message.role, self._text_id(cursor, session, message.text)] for message in texts.prompt]
        parameters = texts.parameters and self._text_id(cursor, session, texts.parameters)
        own = {name: getattr(texts, name) for name in Texts._fields if name not in ("prompt", "parameters")}
        kept = {
            "prompt": prompt,
            "parameters": parameters,
            **{name: bounded(text) for name, text in own.items()},
        }
        return {name: value for name, value in kept.items() if value}

    def _text_id(self, cursor: sqlite3.Cursor, session: str, text: str) -> int:
        text = bounded(text)
        digest = sha256(text.encode(errors="replace")).digest()[:16]
        query = "SELECT id FROM texts WHERE session = ? AND digest = ?"
        if row := cursor.execute(query, (session, digest)).fetchone():
            return int(row[0])
        data = _packed(text)
        self._count(session, len(data))
        cursor.execute("INSERT INTO texts (session, digest, data) VALUES (?, ?, ?)", (session, digest, data))
        return int(cursor.lastrowid or 0)

    def _has_room(self, cursor: sqlite3.Cursor, session: str) -> bool:
        if self._rollbacks != self._database.rollbacks:  # what they undid was counted
            self._bytes.clear()
            self._rollbacks = self._database.rollbacks
        if session not in self._bytes:
            sums = " + ".join(
                f"(SELECT total(length(data)) FROM {table} WHERE session = :session)"
                for table in TRANSCRIPT_TABLES
            )
            (size,) = cursor.execute(f"SELECT {sums}", {"session": session}).fetchone()
            self._bytes[session] = int(size)
        return self._bytes[session] < MAX_SESSION_BYTES

    def _count(self, session: str, size: int) -> None:
        if session in self._bytes:
            self._bytes[session] += size

    def forget(self, session_id: str) -> int:
        with self._database.transaction() as cursor:
            cursor.execute("DELETE FROM texts WHERE session = ?", (session_id,))
            return cursor.execute("DELETE FROM events WHERE session = ?", (session_id,)).rowcount

    # --- reading ---------------------------------------------------------------------------------

    def calls(self, session_id: str, matching: Mapping[str, str] | None = None) -> Iterator[Call]:
        wanted = {name: value for name, value in (matching or {}).items() if name in FIELDS}
        where = " AND ".join(["session = :session", *(f"{name} = :{name}" for name in wanted)])
        values = {**wanted, "session": session_id}
        calls = f"SELECT call, session, {', '.join(CALL_COLUMNS)} FROM calls WHERE {where} ORDER BY rowid"
        all_events = f"SELECT id, {', '.join(_EVENT_COLUMNS[:-1])} FROM events WHERE {where} ORDER BY id"
        with self._database.view() as cursor:
            ended = _dicts(cursor.execute(calls, values))
            events = _dicts(cursor.execute(all_events, values))
        by_call: dict[Any, list[int]] = {}
        for event in events:
            by_call.setdefault(event["call"] or event["id"], []).append(event["id"])
        known = {row["call"] for row in ended}
        begun = [event for event in events if event["kind"] == "call_started" and event["id"] not in known]
        rows = [(_began_at(row), row["call"], _figures(row)) for row in ended]
        rows += [(event["time"], event["id"], _place(event)) for event in begun]
        text_of = lru_cache(_TEXTS_AT_HAND)(self._text)
        for _, call, figures in sorted(rows, key=lambda row: _number(row[0])):
            # Events belong to one call: a changed file could make every call read all of them.
            yield self._call(figures, by_call.pop(call, []) if call else [], text_of)

    def events(
        self,
        after: int = 0,
        *,
        session_id: str | None = None,
        kinds: Sequence[str] = (),
        limit: int = 1000,
    ) -> list[StoredEvent]:
        where, values = ["id > ?"], list[Any]([after])
        if session_id is not None:
            where.append("session = ?")
            values.append(session_id)
        if kinds:
            where.append(f"kind IN ({', '.join('?' * len(kinds))})")
            values += kinds
        columns = "id, kind, time, session, node, role, task, iteration, data, call"
        query = f"SELECT {columns} FROM events WHERE {' AND '.join(where)} ORDER BY id LIMIT ?"
        with self._database.view() as cursor:
            rows = cursor.execute(query, (*values, limit)).fetchall()
        stored: list[StoredEvent] = []
        for number, kind, time, session, node, role, task, iteration, data, call in rows:
            with suppress(_Damaged):
                said = _object(_object(_unpacked(data)).get("data"))
                event = Event(kind, time, session, node, role, task, iteration, said)
                stored.append(StoredEvent(number, event, call))
        return stored

    def latest(self, session_id: str | None = None) -> int:
        where, values = ("", ()) if session_id is None else ("WHERE session = ?", (session_id,))
        with self._database.view() as cursor:
            (number,) = cursor.execute(f"SELECT max(id) FROM events {where}", values).fetchone()
        return number or 0

    def tool_texts(self, session_id: str) -> dict[ToolKey, ToolTexts]:
        """See `transcript.Transcript`. Reading stops where a changed file holds more than a prompt may."""
        query = (
            "SELECT id FROM events WHERE session = ? AND kind IN ('tool_started', 'tool_ended') ORDER BY id"
        )
        with self._database.view() as cursor:
            events = [number for (number,) in cursor.execute(query, (session_id,))]
        found: dict[ToolKey, ToolTexts] = {}
        left = _MAX_SAID
        for number in events:
            with suppress(_Damaged), self._database.view() as cursor:
                row = cursor.execute("SELECT data FROM events WHERE id = ?", (number,)).fetchone()
                key, texts = _tool_texts(_object(_unpacked(row and row[0])))
                left -= len(texts.arguments) + len(texts.result) + _LEAST_OF_MESSAGE
                if left < 0:
                    break
                found[key] = texts
        return found

    def _call(self, figures: dict[str, Any], events: list[int], text_of: _TextOf) -> Call:
        """A call with what its events say. Each call is read in a view of its own."""
        try:
            with self._database.view() as cursor:
                said = self._said(cursor, events, text_of) if events else {"missing": NOT_KEPT}
        except _Damaged:
            said = {"missing": UNREADABLE}
        return checked(Call, {**said, **figures} if figures.get("outcome") else {**figures, **said})

    def _said(self, cursor: sqlite3.Cursor, events: list[int], text_of: _TextOf) -> dict[str, Any]:
        said: dict[str, Any] = {}
        for number in events:
            row = cursor.execute("SELECT kind, data FROM events WHERE id = ?", (number,)).fetchone()
            if row is None:  # removed since the list was read
                return {"missing": NOT_KEPT}
            found = _object(_unpacked(row[1]))
            if found.get("full"):
                said["missing"] = FULL
            said |= _texts(found, text_of)
            if row[0] in ("call_started", "answer_read"):
                said |= {
                    name: value for name, value in _object(found.get("data")).items() if name in _SAID[row[0]]
                }
        return said

    def _text(self, number: int) -> str:
        with self._database.view() as cursor:
            row = cursor.execute("SELECT data FROM texts WHERE id = ?", (number,)).fetchone()
        text = _unpacked(row[0]) if row else None
        if not isinstance(text, str):
            raise _Damaged
        return text


_TextOf = Callable[[int], str]
"""Returns the text with an id, of the table `texts`."""


def _texts(found: dict[str, Any], text_of: _TextOf) -> dict[str, Any]:
    """The texts of an event; those of a prompt by their ids."""
    texts: dict[str, Any] = {name: found[name] for name in ("thoughts", "answer") if name in found}
    if not all(isinstance(text, str) for text in texts.values()):
        raise _Damaged
    if "prompt" in found:
        texts["prompt"] = tuple(_messages(_list(found["prompt"]), text_of))
    if "parameters" in found:
        parameters = _object(_json(text_of(_id(found["parameters"]))))
        texts["schema"] = parameters.pop("schema", None)
        texts["parameters"] = parameters
    if "tool_calls" in found:
        texts["tool_calls"] = [_object(tool) for tool in _list(_json(found["tool_calls"]))]
    return texts


def _tool_texts(found: dict[str, Any]) -> tuple[ToolKey, ToolTexts]:
    """The call of a tool that an event belongs to, and the texts of the event."""
    data = _object(found.get("data"))
    key, started_at = data.get("key"), data.get("started_at")
    texts = ToolTexts(found.get("arguments", ""), found.get("result", ""), FULL if found.get("full") else "")
    if not (isinstance(key, str) and isinstance(started_at, (int, float))):
        raise _Damaged
    if not all(isinstance(text, str) for text in texts):
        raise _Damaged
    if texts.arguments:
        _object(_json(texts.arguments))
    return ToolKey(key, started_at), texts


def _messages(pairs: list[Any], text_of: _TextOf) -> Iterator[Message]:
    characters = 0
    for pair in pairs:
        match pair:
            case [str(role), int(number)]:
                message = Message(role, text_of(_id(number)))
            case _:
                raise _Damaged
        characters += len(message.role) + len(message.text) + _LEAST_OF_MESSAGE
        if characters > _MAX_SAID:
            raise _Damaged
        yield message


def _id(value: Any) -> int:
    """The id of a row; SQLite has no larger ones."""
    if not isinstance(value, int) or not 0 < value < 2**63:
        raise _Damaged
    return value


_SAID = {
    "call_started": ("attempt", "repair", "model", "server", "queued_s"),
    "answer_read": ("problem", "note"),
}
"""What the events of a call say of it, by kind, besides its row in `calls`."""


class _Damaged(Exception):
    """Internal: a row does not hold what we write."""


def _packed(value: Any) -> bytes:
    """A value as compressed JSON, in a window that holds all of it up to 32 KB.

    Setting up the full window takes 0.1 ms, and most texts are short.
    """
    data = json.dumps(value, ensure_ascii=False).encode(errors="replace")
    bits = min(max(len(data).bit_length(), _MIN_WINDOW_BITS), _MAX_WINDOW_BITS)
    packing = zlib.compressobj(wbits=bits, memLevel=bits - 7)  # zlib's own level for 15 bits is 8
    return packing.compress(data) + packing.flush()


def _unpacked(data: Any) -> Any:
    try:
        unpacking = zlib.decompressobj()
        text = unpacking.decompress(data, _MAX_BYTES)
        if unpacking.unconsumed_tail:
            raise _Damaged
        return json.loads(text)
    except (zlib.error, TypeError, ValueError, RecursionError) as error:
        raise _Damaged from error


def _json(text: Any) -> Any:
    """The value in a text that another program may have written: not nested too deep, no odd numbers."""
    try:
        value = json.loads(text)
        check_json_like(value)
        return value
    except (TypeError, ValueError, RecursionError) as error:
        raise _Damaged from error


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Damaged
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _Damaged
    return value


def _dicts(cursor: sqlite3.Cursor) -> list[dict[str, Any]]:
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _number(value: Any) -> float:
    return value if isinstance(value, (int, float)) else 0.0


def _began_at(row: Mapping[str, Any]) -> float:
    return _number(row["time"]) - _number(row["seconds"])


def _figures(row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a call from its row in `calls`; NULL is a field's default."""
    figures = {
        name: value for name, value in row.items() if name not in ("call", "time") and value is not None
    }
    return {**figures, "started_at": _began_at(row)}


def _place(event: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a call that has not ended, from the event that began it."""
    place = {name: event[name] for name in ("session", "node", "role", "task", "iteration")}
    return {**place, "started_at": event["time"]}
