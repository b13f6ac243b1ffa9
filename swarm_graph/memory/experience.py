"""What sessions have verified, in a LangGraph store: kept, offered to a person, or seen in one session only.

A newer experience about the same thing replaces the older one, unless a person has edited that: then a person
decides about the newer one, too. Every change is one batch of the store: whole or absent in ours.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Literal, NamedTuple, get_args

from langgraph.store.base import GetOp, Item, Op, PutOp, SearchItem

from swarm_graph.errors import InputError
from swarm_graph.memory.mistakes import is_same, likeness
from swarm_graph.memory.namespaces import CANDIDATES, EXPERIENCE, ID_DIGITS, OFFERS, REMEMBERED
from swarm_graph.memory.passage import Passage
from swarm_graph.memory.work import Work, all_items
from swarm_graph.text import cut, in_one_line, local_time

ExperienceKind = Literal["design", "finding", "tests"]
KINDS: tuple[ExperienceKind, ...] = get_args(ExperienceKind)
MIN_SESSIONS = 2
"""A finding is worth keeping when it was made, and cured, in as many sessions."""
MAX_CANDIDATES = 200
"""Findings of one session alone that are kept to compare others with; the oldest are dropped."""
MAX_SESSIONS = 20
"""The sessions that a finding names; the newest stay."""
MAX_ABOUT = 400
"""Characters of the line that says what an experience is about."""
_WHAT = {
    "design": "approved design for the request in its first line",
    "finding": "mistake of several sessions, with its cure",
    "tests": "own tests of a repository",
}
"""What a memory of each kind is. It stands beside the text, which is found by its own words alone."""
_BY_A_PERSON = "kept by a person"


@dataclass(frozen=True)
class Experience:
    """Something that a session has verified.

    Attributes:
        kind: A design, a finding with its cure, or the tests of a repository.
        subject: What it is about, as a whole: a newer experience with the same subject replaces it. The
            subject of a finding is its problem, which others have in similar words.
        text: What a role reads.
        session: The session that has verified it.
        time: When, in seconds since the epoch.
        round: In which round.
        checked: What was checked, and by whom, in one line.
        sessions: The sessions that had the finding, oldest first; a fork counts as what it was forked from.
        needs_person: Whether only models have approved it: it is offered to a person, or left out.
    """

    kind: ExperienceKind
    subject: str
    text: str
    session: str
    time: float
    round: int
    checked: str
    sessions: tuple[str, ...] = ()
    needs_person: bool = False

    @property
    def key(self) -> str:
        """Its key in the store: the same for the same subject."""
        return _key(self.kind, self.subject)

    def to_value(self) -> dict[str, Any]:
        """The experience as the value of an item; `Passage` reads its text, source and place."""
        place = f"round {self.round}, {self.checked}"
        others = [name for name in self.sessions if name != self.session]
        also = f"; also in {', '.join(f'session {name}' for name in others)}" if others else ""
        passage = Passage("", self.text, f"session {self.session}", f"{_WHAT[self.kind]}, {place}")
        return {
            **passage.to_value(),
            "about": cut(" ".join(self.subject.split()), MAX_ABOUT),
            "session": self.session,
            "time": self.time,
            "evidence": f"session {self.session}, {local_time(self.time)}, {place}{also}",
            "sessions": list(self.sessions),
            "supersedes": 0,
            "digest": _digest(self.text),
        }


class Offer(NamedTuple):
    """An experience that waits for a person.

    Attributes:
        id: Its id; the memory that becomes of it has the same.
        kind: As in Experience.
        about: What it is about, in one line.
        text: What roles would read.
        evidence: Session, time, round and what was checked, in one line.
        replaces: The text of the memory that it would replace; empty if there is none.
        replaces_edited: Whether a person has edited that memory.
        session: The session that has verified it, as the database says.
    """

    id: str
    kind: ExperienceKind
    about: str
    text: str
    evidence: str
    replaces: str
    replaces_edited: bool
    session: str


class Remembered(NamedTuple):
    """What has become of the experiences of a session.

    Attributes:
        kept: The ids of the memories.
        offered: The ids of those that wait for a person.
        note: Why something was left out, in one line; empty if nothing was.
    """

    kept: list[str]
    offered: list[str]
    note: str = ""


NOTHING = Remembered([], [])


def remember(found: Sequence[Experience], request_id: str, *, asks: bool) -> Work[Remembered]:
    """Keep or offer what a request of a session has verified, once.

    Args:
        found: What the session has verified.
        request_id: Names the request and its result: what has this id is remembered once.
        asks: Whether a person decides about each; otherwise they are kept at once.
    """
    if not found or (yield from _item(REMEMBERED, request_id)):
        return NOTHING
    changes = _Changes()
    for one in found:
        yield from _decide(one, asks, changes)
    done = {"session": found[0].session, "time": found[0].time}
    yield [*changes.puts, PutOp(REMEMBERED, request_id, done, index=False)]
    for one in changes.alone:  # another session may have ended meanwhile, with the same mistake
        later = _Changes()
        yield from _decide(one, asks, later)
        if not later.alone:
            yield later.puts
            changes.kept += later.kept
            changes.offered += later.offered
    return Remembered(changes.kept, changes.offered)


@dataclass
class _Changes:
    """What is to be put for the experiences of a session, with the ids that become memories and offers."""

    puts: list[Op] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    offered: list[str] = field(default_factory=list)
    alone: list[Experience] = field(default_factory=list)
    """The findings that no other session has had."""


def _decide(one: Experience, asks: bool, changes: _Changes) -> Work[None]:
    """Add what becomes of an experience."""
    key, known = one.key, one
    if one.kind == "finding":
        key, known, puts = yield from _with_earlier_sessions(one)
        changes.puts += puts
        if len(known.sessions) < MIN_SESSIONS:
            changes.alone.append(one)
            return
    if known.needs_person and not asks:
        return
    earlier = yield from _item((*EXPERIENCE, known.kind), key)
    if asks or _is_edited(earlier):
        if earlier and _text(earlier, "text") == known.text:
            return  # a person has it already
        changes.puts.append(PutOp((*OFFERS, known.kind), key, known.to_value(), index=False))
        changes.offered.append(key)
    else:
        value = _superseding(known.to_value(), earlier)
        changes.puts.append(PutOp((*EXPERIENCE, known.kind), key, value, index=["text"]))
        changes.puts.append(PutOp((*OFFERS, known.kind), key, None))  # an older offer would take its place
        changes.kept.append(key)


def offers() -> Work[list[Offer]]:
    """The experiences that wait for a person: designs, findings, tests; of each the oldest first."""
    waiting, found = (yield from _offered()), list[Offer]()
    for item in waiting:
        found.append((yield from _offer(item)))
    return found


def accept(ids: Collection[str]) -> Work[None]:
    """Keep offered experiences as memories; see `SwarmMemory.accept`."""
    puts = list[Op]()
    for item in (yield from _named(ids)):
        namespace = (*EXPERIENCE, item.namespace[-1])
        evidence = f"{_text(item, 'evidence')}; {_BY_A_PERSON}"
        earlier = yield from _item(namespace, item.key)
        value = _superseding({**item.value, "evidence": evidence}, earlier)
        puts += [PutOp(namespace, item.key, value, index=["text"]), PutOp(item.namespace, item.key, None)]
    yield puts


def reject(ids: Collection[str]) -> Work[None]:
    """Drop offered experiences; see `SwarmMemory.reject`."""
    named = yield from _named(ids)
    yield [PutOp(item.namespace, item.key, None) for item in named]


# --- findings ------------------------------------------------------------------------------------


def _with_earlier_sessions(finding: Experience) -> Work[tuple[str, Experience, list[Op]]]:
    """The key of a finding, the finding with all sessions that had it, and what changes of the candidates."""
    if known := (yield from _same_mistake(finding.subject)):
        return known.key, _seen_in(finding, [known]), []
    candidates = yield from _oldest_first(*CANDIDATES, finding.kind)
    same = [item for item in candidates if is_same(finding.subject, _text(item, "about"))]
    finding = _seen_in(finding, same)
    # The oldest one names all, so that sessions that end at once make the same memory.
    key = _key(finding.kind, _text(same[0], "about")) if same else finding.key
    if len(finding.sessions) >= MIN_SESSIONS:
        return key, finding, [PutOp(item.namespace, item.key, None) for item in same]
    if same:
        return key, finding, [_candidate(same[0].key, finding)]
    own = _digest(f"{finding.key}\n{finding.sessions}")[:ID_DIGITS]  # sessions that end at once keep one each
    return key, finding, [*_dropped(candidates), _candidate(own, finding)]


def _seen_in(finding: Experience, same: Sequence[Item]) -> Experience:
    """A finding with the sessions of other ones, too; the newest stay."""
    lists = [item.value.get("sessions") for item in same]
    known = [str(session) for one in lists if isinstance(one, list) for session in one]
    sessions = tuple(dict.fromkeys([*known, *finding.sessions]))[-MAX_SESSIONS:]
    return replace(finding, sessions=sessions)


def _same_mistake(problem: str) -> Work[Item | None]:
    """The most similar finding of the same mistake: of the memories, else of the offers."""
    for place in (EXPERIENCE, OFFERS):
        items = yield from all_items(*place, "finding")
        same = [item for item in items if is_same(problem, _text(item, "about"))]
        if same:
            return max(same, key=lambda item: likeness(problem, _text(item, "about")))
    return None


def _candidate(key: str, finding: Experience) -> PutOp:
    return PutOp((*CANDIDATES, finding.kind), key, finding.to_value(), index=False)


def _dropped(candidates: Sequence[Item]) -> list[PutOp]:
    """Make room for one more candidate."""
    oldest = candidates[: max(len(candidates) + 1 - MAX_CANDIDATES, 0)]
    return [PutOp(item.namespace, item.key, None) for item in oldest]


# --- items ---------------------------------------------------------------------------------------


def _superseding(value: dict[str, Any], earlier: Item | None) -> dict[str, Any]:
    """A value that replaces another one: it counts those before it, and names the evidence of the last."""
    if earlier is None:
        return value
    before = _text(earlier, "evidence").partition("; replaces ")[0]
    count = earlier.value.get("supersedes", 0)
    return {
        **value,
        "supersedes": count + 1 if isinstance(count, int) else 1,
        "evidence": f"{value['evidence']}; replaces {before}",
    }


def _is_edited(item: Item | None) -> bool:
    """Whether the text of a memory is not the one that a session has written."""
    return item is not None and item.value.get("digest") != _digest(_text(item, "text"))


def _item(namespace: tuple[str, ...], key: str) -> Work[Item | None]:
    (found,) = yield [GetOp(namespace, key)]
    item: Item | None = found
    return item


def _offered() -> Work[list[SearchItem]]:
    found: list[SearchItem] = []
    for kind in KINDS:
        waiting = yield from _oldest_first(*OFFERS, kind)
        found += [item for item in waiting if item.namespace == (*OFFERS, kind)]
    return found


def _offer(item: Item) -> Work[Offer]:
    kind = next(kind for kind in KINDS if kind == item.namespace[-1])
    earlier = yield from _item((*EXPERIENCE, kind), item.key)
    replaces = _text(earlier, "text") if earlier else ""
    about, evidence = (in_one_line(_text(item, name)) for name in ("about", "evidence"))
    passage = Passage.of_item(item)
    if passage.source not in evidence or passage.place not in evidence:
        evidence = f"{passage.citation}; {evidence}"  # roles would see it, so the person must, too
    session = _text(item, "session")
    return Offer(item.key, kind, about, passage.text, evidence, replaces, _is_edited(earlier), session)


def _named(ids: Collection[str]) -> Work[list[SearchItem]]:
    """The offers with these ids. Raises InputError if there is one without."""
    waiting = {item.key: item for item in (yield from _offered())}
    if unknown := [name for name in ids if name not in waiting]:
        cure = f"`swarm-graph memory offers` lists the {len(waiting)} that do" if waiting else "none does"
        raise InputError(f"no offer {unknown[0]!r} waits; {cure}")
    return [waiting[name] for name in dict.fromkeys(ids)]


def _oldest_first(*namespace: str) -> Work[list[SearchItem]]:
    found = yield from all_items(*namespace)
    return sorted(found, key=lambda item: (item.created_at, item.key))


def _text(item: Item, name: str) -> str:
    """A text of an item; a database is a file that anybody may have changed."""
    return str(item.value.get(name, ""))


def _key(kind: str, subject: str) -> str:
    return _digest(f"{kind}\n{' '.join(subject.lower().split()).rstrip('.')}")[:ID_DIGITS]


def _digest(text: str) -> str:
    return sha256(text.encode(errors="replace")).hexdigest()
