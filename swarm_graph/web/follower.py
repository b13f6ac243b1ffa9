"""One reader of the database for all pages that are open: it reads only while somebody listens."""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_right
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from itertools import count
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar, get_args

from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.checkpoints.transcript import StoredEvent
from swarm_graph.database_place import place_mark
from swarm_graph.errors import StorageError
from swarm_graph.events import Kind
from swarm_graph.reports.listing import current_phase
from swarm_graph.text import printable

P = ParamSpec("P")
T = TypeVar("T")

POLL_S = 0.25
MAX_POLL_S = 4.0
"""Between two looks at a file that is locked, absent or damaged."""
PHASE_POLLS = 8
"""Looks between two looks at the phases of sessions: a process that was killed writes no event."""
ALIVE_S = 15.0
"""After so much silence a stream says that it is alive: proxies end a silent one."""
PIECE = 500
"""Events that are read at once."""
MAX_AT_HAND, MAX_AT_HAND_CHARACTERS = 4_000, 4_000_000
"""The latest messages that are kept for all streams; a stream that lags further reads the file."""
MAX_DATA_CHARACTERS = 64_000
"""A message with more data comes without it: the page reads it from the session."""
TOKENS = "tokens"
ASIDES = STATE, PHASE, RELOAD, TROUBLE = ("state", "phase", "reload", "trouble")
KINDS_FOR_ALL = tuple(kind for kind in get_args(Kind) if kind != TOKENS)
"""The events that a stream of all sessions has."""


class Message(NamedTuple):
    """What streams send: an event, or an aside, which is no event and has no id of its own.

    Attributes:
        id: The id of the event; of an aside the id of the latest event before it.
        session: The session; empty for an aside to all.
        kind: The kind of the event. Asides: `phase` (a session has a new one), `state` (it has a new
            checkpoint), `reload` (another database lies in the folder), `trouble` (why the database cannot
            be read; empty once it can be).
        text: The lines of the stream.
    """

    id: int
    session: str
    kind: str
    text: str

    def is_for(self, session_id: str | None, after: int) -> bool:
        """Whether a stream has it.

        Args:
            session_id: The session of the stream; None for the stream of all sessions.
            after: The id of the event after which the stream begins.
        """
        if self.id <= after and self.kind not in ASIDES:
            return False
        if session_id is None:
            return self.kind not in (TOKENS, STATE)
        return self.session in (session_id, "")


class Follower:
    """Reads the events of a database as they are written, and hands them to all streams.

    A stream that lags, or asks for what was written long ago, reads pieces of the file in its own time. So no
    stream makes another one wait, and a slow reader fills no memory.

    Args:
        place: Where the database is (see `place_of`); a file may not exist yet.
        data_dir: The data folder.
    """

    def __init__(self, place: str | Path, data_dir: Path) -> None:
        self._source = _Source(place, data_dir)
        self._reader = ThreadPoolExecutor(1, "follower")
        self._messages: list[Message] = []
        """The latest messages. Streams count them on, from the first one that this process has read."""
        self._bytes = self._dropped = 0
        self._from = self._latest = 0
        """All events after `_from`, up to `_latest`, are at hand."""
        self._listeners: Counter[str | None] = Counter()
        self._changed = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._is_closed = False

    def close(self) -> None:
        """End all streams, and read no more."""
        self._is_closed = True
        self._wake()
        if self._reading:
            self._reading.cancel()
        self._reader.submit(self._source.close)
        self._reader.shutdown(wait=False)

    async def follow(self, after: int | None, session_id: str | None) -> AsyncGenerator[list[Message]]:
        """Yield the messages after an event as they come, in order, none left out and none twice.

        Args:
            after: The id of the last event that is known; None for the latest.
            session_id: Only messages of this session; None for those of all sessions, without tokens.

        Yields:
            Messages; an empty list after some seconds of silence.

        Raises:
            StorageError: The file cannot be read.
        """
        with self._listening(session_id):
            position = await self._begin(after)
            known = [_aside(RELOAD, "", position)] if after is not None and position < after else []
            if known := known + self._source.known_of(session_id, position):
                yield known
            while not self._is_closed:
                while position < self._from:
                    messages, position = await self._read(self._source.piece, position, session_id)
                    if messages:
                        yield messages
                async with aclosing(self._at_hand(position, session_id)) as parts:
                    async for messages in parts:
                        yield messages
                        position = messages[-1].id if messages else position

    async def _at_hand(self, position: int, session_id: str | None) -> AsyncGenerator[list[Message]]:
        """The messages after a position, from those at hand; ends when it lags behind them."""
        taken = self._dropped + bisect_right(self._messages, position, key=attrgetter("id"))
        while not self._is_closed and taken >= self._dropped:
            changed = self._changed
            messages = self._messages[taken - self._dropped :]
            taken += len(messages)
            if wanted := [message for message in messages if message.is_for(session_id, position)]:
                yield wanted
            elif not await _is_set(changed, ALIVE_S):
                yield []

    async def _begin(self, after: int | None) -> int:
        """The event after which a stream begins: the latest one if the file ends before `after`."""
        if self._reading is None or (after or 0) > self._latest:
            latest = await self._read(self._source.latest)
            if self._reading is None:
                self._forget(latest)
                self._reading = asyncio.create_task(self._read_on())
            return latest if after is None else min(after, latest)
        return self._latest if after is None else after

    @contextmanager
    def _listening(self, session_id: str | None) -> Iterator[None]:
        self._listeners[session_id] += 1
        try:
            yield
        finally:
            self._listeners[session_id] -= 1
            self._listeners += Counter()  # drops those with no listener
            if not self._listeners and self._reading and not self._is_closed:
                self._reading.cancel()
                self._reading = None
                self._reader.submit(self._source.close)

    async def _read_on(self) -> None:
        """Read what is new, until nobody listens."""
        wait, trouble, files = POLL_S, "", self._source.files
        for polls in count():
            await asyncio.sleep(wait)
            told, followed = trouble, [name for name in self._listeners if name is not None]
            try:
                messages, latest = await self._read(self._source.piece, self._latest, None, all_kinds=True)
                with_phases = polls % PHASE_POLLS == 0
                asides = await self._read(self._source.asides, followed, latest, with_phases=with_phases)
                is_another = files not in (0, self._source.files)  # 0: there was none yet
                files = self._source.files
                if latest < self._latest or is_another:
                    messages, latest = [], await self._read(self._source.latest)
                    asides = [_aside(RELOAD, "", latest)]
                    self._forget(latest)
                wait, trouble = 0.0 if len(messages) >= PIECE else POLL_S, ""
            except StorageError as error:
                messages, asides, latest = [], [], self._latest
                wait, trouble = min(max(2 * wait, POLL_S), MAX_POLL_S), str(error)
            if trouble != told:
                asides.append(_aside(TROUBLE, "", latest, trouble))
            self._add([*messages, *asides], latest)

    async def _read(self, read: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reader, lambda: read(*args, **options))

    def _add(self, messages: list[Message], latest: int) -> None:
        self._latest = latest
        if messages:
            self._messages += messages
            self._bytes += sum(len(message.text) for message in messages)
            if len(self._messages) > MAX_AT_HAND or self._bytes > MAX_AT_HAND_CHARACTERS:
                self._drop(len(self._messages) // 2)
            self._wake()

    def _drop(self, number: int) -> None:
        """Drop the oldest messages."""
        self._dropped += number
        self._from = self._messages[number - 1].id
        self._messages = self._messages[number:]
        self._bytes = sum(len(message.text) for message in self._messages)

    def _forget(self, latest: int) -> None:
        """Drop all messages; `latest` is the id of the latest event of the file."""
        self._dropped += len(self._messages)
        self._messages, self._bytes = [], 0
        self._from = self._latest = latest

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


async def _is_set(event: asyncio.Event, seconds: float) -> bool:
    """Whether an event was set within some seconds."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


class _Source:
    """The database, as the reader's thread reads it: it is open while somebody listens."""

    def __init__(self, place: str | Path, data_dir: Path) -> None:
        self._place, self._data_dir = place, data_dir
        self._saver: SwarmSaver | None = None
        self._mark = 0
        self.files = 0
        """How many files were opened, one in the place of the other."""
        self._known: dict[tuple[str, str], str] = {}
        """The value of the latest aside, by its kind and session."""

    def close(self) -> None:
        """Close the file."""
        if self._saver:
            self._saver.close()
        self._saver, self._known = None, {}

    def _open(self) -> SwarmSaver | None:
        """The database; None if there is none. Another file that was put there is opened anew."""
        mark = place_mark(self._place)
        if not mark:
            self.close()
            return None
        if self._saver and mark != self._mark:
            self.close()
        if self._saver is None:
            self._saver = open_checkpointer(self._place, data_dir=self._data_dir)
            self.files += mark != self._mark
            self._mark = mark
        return self._saver

    def latest(self) -> int:
        """The id of the latest event."""
        saver = self._open()
        return saver.catalogue.transcript.latest() if saver else 0

    def piece(
        self, after: int, session_id: str | None, *, all_kinds: bool = False
    ) -> tuple[list[Message], int]:
        """The next events, and the id up to which they are all."""
        saver = self._open()
        if saver is None:
            return [], 0
        transcript = saver.catalogue.transcript
        latest = transcript.latest()
        if latest <= after:
            return [], latest
        kinds = () if session_id or all_kinds else KINDS_FOR_ALL
        events = transcript.events(after, session_id=session_id, kinds=kinds, limit=PIECE)
        return [_message(stored) for stored in events], events[-1].id if events else latest

    def asides(self, sessions: Collection[str], latest: int, *, with_phases: bool) -> list[Message]:
        """The news of sessions that are no events."""
        saver = self._open()
        if saver is None:
            return []
        values = {(STATE, name): saver.latest_id(name) for name in sessions}
        if with_phases:
            values |= {(PHASE, name): _phase(saver, name) for name in sessions}
        news = {key: value for key, value in values.items() if self._known.get(key) != value}
        self._known = {key: value for key, value in self._known.items() if key[1] in sessions} | news
        return [_aside(kind, name, latest, value) for (kind, name), value in news.items()]

    def known_of(self, session_id: str | None, latest: int) -> list[Message]:
        """What other streams of a session were told last."""
        known = [*self._known.items()]
        return [_aside(kind, name, latest, value) for (kind, name), value in known if name == session_id]


def _phase(saver: SwarmSaver, session_id: str) -> str:
    session = saver.catalogue.get(session_id)
    return current_phase(saver.catalogue, session) if session else ""


def _message(stored: StoredEvent) -> Message:
    event = stored.event
    place = {"session": event.session, "node": event.node, "role": event.role, "task": event.task}
    document = {
        "kind": event.kind,
        "time": event.time,
        **place,
        "iteration": event.iteration,
        "call": stored.call or (stored.id if event.kind == "call_started" else None),
        "data": {name: _shown(value) for name, value in event.data.items() if name not in _LEFT_OUT},
    }
    text = json.dumps(document, ensure_ascii=False)
    if len(text) > MAX_DATA_CHARACTERS:
        text = json.dumps({**document, "data": {}, "cut": True}, ensure_ascii=False)
    return Message(stored.id, event.session, event.kind, f"id: {stored.id}\ndata: {text}\n\n")


_LEFT_OUT = ("record",)
"""The keys of events that hold whole results."""


def _shown(value: Any) -> Any:
    return printable(value) if isinstance(value, str) else value


def _aside(kind: str, session_id: str, latest: int, value: str = "") -> Message:
    text = json.dumps({"kind": kind, "session": session_id, "data": {kind: value}}, ensure_ascii=False)
    return Message(latest, session_id, kind, f"data: {text}\n\n")
