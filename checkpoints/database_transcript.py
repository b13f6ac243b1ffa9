"""The transcript in a database: a table of events, and one with each text of a prompt once a session."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from math import isfinite
from typing import Any

from swarm_graph.checkpoints.records import CALL_COLUMNS, checked
from swarm_graph.checkpoints.storage import Cursor, Storage, dicts, session_lock
from swarm_graph.checkpoints.transcript import (
    ALL_PLACES,
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
PARTIAL = "this is what had arrived of the answer"
"""The note of a call that has not ended, or was killed."""
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
_PACKED_FROM = 400
"""Shorter data is not compressed: most events are short, and zlib takes longer than writing them."""
_OF_CALLS = """(kind IN ('call_started', 'call_ended', 'answer_read') OR kind = 'tokens' AND call NOT IN (
    SELECT call FROM calls WHERE calls.session = :session AND calls.call IS NOT NULL))"""
"""Selects the events that say what was asked and answered, and pieces of an answer if its call is open."""
_BEFORE_DATA = '{"data": '
_SHORT_DATA = 2**12
"""More bytes than the data of most events takes; its texts may take much more."""
_decode = json.JSONDecoder().raw_decode
_encoded = json.JSONEncoder(ensure_ascii=False).encode
_PLAIN = b"{"
"""How data begins that is not compressed; zlib's never does."""
MAX_ID = 2**63 - 1
_PIECE = 100
"""Events, or texts of a prompt, that are read at once."""
_EVENT_COLUMNS = ("session", "time", "kind", "node", "role", "task", "iteration", "call", "data")
_INSERT_EVENT = (
    f"INSERT INTO events ({', '.join(_EVENT_COLUMNS)}) "
    f"VALUES (?{', ?' * (len(_EVENT_COLUMNS) - 1)}) RETURNING id"
)


class DatabaseTranscript:
    """The transcript of the sessions of a database; see `transcript.Transcript`."""

    def __init__(self, database: Storage) -> None:
        self._database = database
        self._bytes: dict[str, int] = {}
        """What the texts of a session take, for each session that was written to."""
        self._rollbacks = database.rollbacks

    # --- writing ---------------------------------------------------------------------------------

    def append(self, event: Event, call: int | None = None, texts: Texts = NO_TEXTS) -> int:
        with self._database.transaction() as cursor:
            session, full = event.session, {"full": True}
            self._database.check_lock(session_lock(session))
            said: dict[str, Any] = {}
            if event.kind == "tokens" and not self._has_room(cursor, session):
                return 0
            if any(texts):
                said = self._kept(cursor, session, texts) if self._has_room(cursor, session) else full
            data = _packed({"data": event.data, **said})
            self._count(session, len(data))
            place = (event.node, event.role, event.task, event.iteration)
            row = (session, event.time, event.kind, *place, call, data)
            return int(cursor.execute(_INSERT_EVENT, row).fetchone()[0])

    def _kept(self, cursor: Cursor, session: str, texts: Texts) -> dict[str, Any]:
        """The texts as an event keeps them: those of the prompt by their ids."""
        parts = [bounded(message.text) for message in texts.prompt]
        parameters = bounded(texts.parameters)
        ids = self._text_ids(cursor, session, {*parts, parameters} if parameters else {*parts})
        own = {name: getattr(texts, name) for name in Texts._fields if name not in ("prompt", "parameters")}
        kept = {
            "prompt": [[said.role, ids[part]] for said, part in zip(texts.prompt, parts, strict=True)],
            "parameters": ids.get(parameters),
            **{name: bounded(text) for name, text in own.items()},
        }
        return {name: value for name, value in kept.items() if value}

    def _text_ids(self, cursor: Cursor, session: str, texts: Collection[str]) -> dict[str, int]:
        """The ids of texts, by the texts; those that the session does not have yet are added."""
        digests = {sha256(text.encode(errors="replace")).digest()[:16]: text for text in texts}
        ids: dict[str, int] = {}
        for piece in _sliced(sorted(digests)):
            query = f"SELECT digest, id FROM texts WHERE session = ? AND digest IN ({_places(piece)})"
            known = dict(cursor.execute(query, (session, *piece)).fetchall())
            if missing := [digest for digest in piece if digest not in known]:
                known |= self._add_texts(cursor, session, {digest: digests[digest] for digest in missing})
            ids |= {digests[digest]: number for digest, number in known.items()}
        return ids

    def _add_texts(self, cursor: Cursor, session: str, texts: Mapping[bytes, str]) -> dict[bytes, int]:
        """Add texts by their digests; returns their ids. Another process may have added one meanwhile."""
        rows = [(session, digest, _packed(text)) for digest, text in texts.items()]
        self._count(session, sum(len(data) for _, _, data in rows))
        insert = (
            f"INSERT INTO texts (session, digest, data) VALUES {', '.join(['(?, ?, ?)'] * len(rows))} "
            "ON CONFLICT (session, digest) DO UPDATE SET digest = excluded.digest RETURNING digest, id"
        )
        return dict(cursor.execute(insert, [value for row in rows for value in row]).fetchall())

    def _has_room(self, cursor: Cursor, session: str) -> bool:
        if self._rollbacks != self._database.rollbacks:  # what they undid was counted
            self._bytes.clear()
            self._rollbacks = self._database.rollbacks
        if session not in self._bytes:
            sums = " + ".join(
                f"(SELECT coalesce(sum(length(data)), 0) FROM {table} WHERE session = :session)"
                for table in TRANSCRIPT_TABLES
            )
            (size,) = cursor.execute(f"SELECT {sums}", {"session": session}).fetchone()
            self._bytes[session] = int(size)
        return self._bytes[session] < MAX_SESSION_BYTES

    def _count(self, session: str, size: int) -> None:
        if session in self._bytes:
            self._bytes[session] += size

    def compact(self, session_id: str) -> None:
        ended = "SELECT call FROM events WHERE session = :session AND kind = 'call_ended'"
        with self._database.transaction() as cursor:
            cursor.execute(
                f"DELETE FROM events WHERE session = :session AND kind = 'tokens' AND call IN ({ended})",
                {"session": session_id},
            )
            self._bytes.pop(session_id, None)

    def forget(self, session_id: str) -> int:
        with self._database.transaction() as cursor:
            cursor.execute("DELETE FROM texts WHERE session = ?", (session_id,))
            return cursor.execute("DELETE FROM events WHERE session = ?", (session_id,)).rowcount

    # --- reading ---------------------------------------------------------------------------------

    def calls(
        self,
        session_id: str,
        matching: Mapping[str, str] | None = None,
        *,
        places: slice = ALL_PLACES,
        number: int | None = None,
    ) -> Iterator[Call]:
        wanted = {name: value for name, value in (matching or {}).items() if name in FIELDS}
        where = " AND ".join(["session = :session", *(f"{name} = :{name}" for name in wanted)])
        values = {**wanted, "session": session_id}
        calls = f"SELECT call, session, {', '.join(CALL_COLUMNS)} FROM calls WHERE {where} ORDER BY rowid"
        columns = ", ".join(_EVENT_COLUMNS[:-1])
        of_calls = f"SELECT id, {columns} FROM events WHERE {where} AND {_OF_CALLS} ORDER BY id"
        with self._database.view() as cursor:
            ended = dicts(cursor.execute(calls, values))
            events = dicts(cursor.execute(of_calls, values))
        by_call: dict[Any, list[int]] = {}
        for event in events:
            by_call.setdefault(event["call"] or event["id"], []).append(event["id"])
        known = {row["call"] for row in ended}
        begun = [event for event in events if event["kind"] == "call_started" and event["id"] not in known]
        rows = [(_began_at(row), row["call"], _figures(row)) for row in ended]
        rows += [(event["time"], event["id"], _place(event)) for event in begun]
        rows = [row for row in rows if number in (None, row[1])]
        text_of = lru_cache(_TEXTS_AT_HAND)(self._text)
        for _, call, figures in sorted(rows, key=lambda row: _number(row[0]))[places]:
            # Events belong to one call: a changed file could make every call read all of them.
            figures["number"] = call if isinstance(call, int) else 0
            yield self._call(figures, by_call.pop(call, []) if call else [], text_of)

    def call_count(self, session_id: str) -> int:
        query = """SELECT (SELECT count(*) FROM calls WHERE session = :session)
            + (SELECT count(*) FROM events WHERE session = :session AND kind = 'call_started' AND id NOT IN
               (SELECT call FROM calls WHERE session = :session AND call IS NOT NULL))"""
        with self._database.view() as cursor:
            (number,) = cursor.execute(query, {"session": session_id}).fetchone()
        return int(number)

    def events(
        self,
        after: int = 0,
        *,
        session_id: str | None = None,
        kinds: Sequence[str] = (),
        limit: int = 1000,
    ) -> list[StoredEvent]:
        """See `transcript.Transcript`. It ends where an event with a smaller id may still be committed."""
        where, values = ["id > ?"], list[Any]([after])
        if session_id is not None:
            where.append("session = ?")
            values.append(session_id)
        if kinds:
            where.append(f"kind IN ({', '.join('?' * len(kinds))})")
            values += kinds
        stored: list[StoredEvent] = []
        characters = 0
        settled = self._database.last_settled_event()
        if settled is not None:
            where.append("id <= ?")
            values.append(settled)
        with self._database.view() as cursor:
            for number, call, packed, kind, *place in _in_pieces(cursor, " AND ".join(where), values):
                with suppress(_Damaged):
                    said, length = _data(packed)
                    if kind in ("tool_started", "tool_ended"):
                        arguments = _object(_unpacked(packed)).get("arguments", "{}")
                        said["arguments"] = _object(_json(arguments))
                        length += len(arguments)
                    characters += length
                    stored.append(StoredEvent(number, _event(said, kind, *place), call and _id(call)))
                if len(stored) >= limit or characters > _MAX_SAID:
                    break
        return stored

    def latest(self, session_id: str | None = None) -> int:
        settled = self._database.last_settled_event()
        with self._database.view() as cursor:
            if session_id is None:
                return self._database.last_event(cursor) if settled is None else settled
            query = "SELECT max(id) FROM events WHERE session = ? AND id <= ?"
            limit = MAX_ID if settled is None else settled
            (number,) = cursor.execute(query, (session_id, limit)).fetchone()
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
                if any(texts):  # without `features.keep_prompts` there are none
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

    def _said(self, cursor: Cursor, events: list[int], text_of: _TextOf) -> dict[str, Any]:
        said: dict[str, Any] = {}
        pieces = _Pieces()
        for number in events:
            row = cursor.execute("SELECT kind, data FROM events WHERE id = ?", (number,)).fetchone()
            if row is None:  # removed since the list was read
                return {"missing": NOT_KEPT}
            found = _object(_unpacked(row[1]))
            if row[0] == "tokens":
                pieces.add(_object(found.get("data")))
            if found.get("full"):
                said["missing"] = FULL
            said |= _texts(found, text_of)
            if row[0] in ("call_started", "answer_read"):
                said |= {
                    name: value for name, value in _object(found.get("data")).items() if name in _SAID[row[0]]
                }
        if "prompt" not in said and "missing" not in said:
            said["missing"] = NOT_KEPT
        return {**pieces.said(), **said}

    def _text(self, number: int) -> str:
        with self._database.view() as cursor:
            row = cursor.execute("SELECT data FROM texts WHERE id = ?", (number,)).fetchone()
        text = _unpacked(row[0]) if row else None
        if not isinstance(text, str):
            raise _Damaged
        return text


def _sliced(digests: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Digests, so many at a time as one statement takes."""
    for at in range(0, len(digests), _PIECE):
        yield digests[at : at + _PIECE]


def _places(values: Sequence[Any]) -> str:
    """Placeholders for values."""
    return ", ".join("?" * len(values))


def _in_pieces(cursor: Cursor, where: str, values: list[Any]) -> Iterator[Any]:
    """The events that match, a few at a time: a server sends all that it is asked for.

    Args:
        cursor: Inside a view.
        where: The condition; its first value is the id of the last event that is known.
        values: Of the condition.
    """
    columns = "id, call, data, kind, time, session, node, role, task, iteration"
    query = f"SELECT {columns} FROM events WHERE {where} ORDER BY id LIMIT {_PIECE}"
    rows = cursor.execute(query, values).fetchall()
    yield from rows
    while len(rows) == _PIECE:
        rows = cursor.execute(query, [rows[-1][0], *values[1:]]).fetchall()
        yield from rows


_TextOf = Callable[[int], str]
"""Returns the text with an id, of the table `texts`."""


def _event(data: dict[str, Any], kind: Any, time: Any, session: Any, *place: Any) -> Event:
    """The event of a row."""
    node, role, task, iteration = place
    words = (kind, session, node, role, task)
    is_ours = isinstance(time, (int, float)) and isfinite(time) and isinstance(iteration, int)
    if not is_ours or not all(isinstance(word, str) for word in words):
        raise _Damaged
    return Event(kind, time, session, node, role, task, iteration, data)


def _data(packed: Any) -> tuple[dict[str, Any], int]:
    """What an event says, and its length. Texts stand behind it, and long ones are not unpacked."""
    try:
        for size in (_SHORT_DATA, _MAX_BYTES):
            is_plain = packed[:1] == _PLAIN
            start = packed if is_plain else zlib.decompressobj().decompress(packed, size)
            text = start[:size].decode(errors="replace")
            if not text.startswith(_BEFORE_DATA):
                break
            with suppress(ValueError):
                value, end = _decode(text, len(_BEFORE_DATA))
                check_json_like(value)
                return _object(value), end
    except (zlib.error, TypeError, AttributeError, RecursionError) as error:
        raise _Damaged from error
    raise _Damaged


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


class _Pieces:
    """The pieces of an answer whose call is open: it still runs, or its process was killed."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {"thoughts": [], "answer": []}
        self._characters = 0

    def add(self, data: Mapping[str, Any]) -> None:
        """Add what an event of the kind `tokens` says."""
        for name, text in (("thoughts", data.get("thoughts", "")), ("answer", data.get("text", ""))):
            if not isinstance(text, str):
                raise _Damaged
            self._characters += len(text)
            self._texts[name].append(text)
        if self._characters > _MAX_SAID:
            raise _Damaged

    def said(self) -> dict[str, str]:
        """The texts so far, with a note; empty if nothing has arrived."""
        if not self._characters:
            return {}
        return {name: "".join(texts) for name, texts in self._texts.items()} | {"note": PARTIAL}


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
    """The id of a row; a database has no larger ones."""
    if not isinstance(value, int) or not 0 < value <= MAX_ID:
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
    """A value as JSON; from `_PACKED_FROM` bytes on compressed, in a window that holds all of it up to 32 KB.

    Setting up the full window takes 0.1 ms, and most texts are short.
    """
    data = _encoded(value).encode(errors="replace")
    if len(data) < _PACKED_FROM and data[:1] == _PLAIN:
        return data
    bits = min(max(len(data).bit_length(), _MIN_WINDOW_BITS), _MAX_WINDOW_BITS)
    packing = zlib.compressobj(wbits=bits, memLevel=bits - 7)  # zlib's own level for 15 bits is 8
    return packing.compress(data) + packing.flush()


def with_other_texts(data: bytes, ids: Mapping[int, int]) -> bytes:
    """The data of an event whose texts have other ids now; what is damaged stays as it is.

    Args:
        data: The data.
        ids: The new ids by the old ones.
    """
    with suppress(_Damaged, TypeError, ValueError):
        found = _object(_unpacked(data))
        if "parameters" in found:
            found["parameters"] = ids.get(found["parameters"], 0)
        if "prompt" in found:
            found["prompt"] = [[role, ids.get(number, 0)] for role, number in found["prompt"]]
        return _packed(found)
    return data


def _unpacked(data: Any) -> Any:
    try:
        if data[:1] == _PLAIN and len(data) < _MAX_BYTES:
            return json.loads(data)
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
