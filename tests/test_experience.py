"""What sessions have verified, in a store: kept, offered, counted over sessions, replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langgraph.store.base import BaseStore, Op, PutOp, Result
from langgraph.store.memory import InMemoryStore

from swarm_graph import aio
from swarm_graph.errors import InputError
from swarm_graph.memory import experience
from swarm_graph.memory.experience import Experience, Offer, Remembered, remember
from swarm_graph.memory.mistakes import is_same, may_be_same
from swarm_graph.memory.namespaces import CANDIDATES, EXPERIENCE, MEMORY, OFFERS
from swarm_graph.memory.store import open_store
from swarm_graph.memory.swarm_memory import SwarmMemory
from swarm_graph.memory.work import ado, do

DESIGN = Experience("design", "Write a queue.", "One class.", "s1", 1000.0, 2, "3 of 3 tests passed")
PROBLEM = "The result of an empty list is not defined."
FINDING = Experience("finding", PROBLEM, "The cure.", "s1", 1000.0, 2, "gone", sessions=("s1",))


@pytest.fixture(params=["ours", "in memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseStore]:
    if request.param == "in memory":
        yield InMemoryStore()
        return
    with open_store(tmp_path / "swarm.db") as ours:
        yield ours


def keep(store: BaseStore, *found: Experience, asks: bool = False) -> Remembered:
    """Remember what a session has found; each call is another request."""
    request_id = f"{found[0].session} {found[0].time} {found[0].text}"
    return do(remember(found, request_id, asks=asks), store)


def offers(store: BaseStore) -> list[Offer]:
    return SwarmMemory(store).offers()


def values(store: BaseStore, *namespace: str) -> list[dict[str, Any]]:
    found = store.search(namespace, limit=1000)
    return sorted((item.value for item in found), key=lambda value: (value["time"], value["about"]))


def in_session(one: Experience, session: str, **changes: Any) -> Experience:
    sessions = (session,) if one.kind == "finding" else ()
    return replace(one, session=session, sessions=sessions, **changes)


# --- keeping and asking --------------------------------------------------------------------------


def test_a_memory_names_session_time_and_evidence(store: BaseStore) -> None:
    (key,) = keep(store, DESIGN).kept
    item = store.get((*EXPERIENCE, "design"), key)
    assert item is not None
    assert (item.value["text"], item.value["source"]) == ("One class.", "session s1")
    assert (
        item.value["place"]
        == "approved design for the request in its first line, round 2, 3 of 3 tests passed"
    )
    assert item.value["evidence"].startswith("session s1, 1970-01-01 ")
    assert item.value["evidence"].endswith(":40, round 2, 3 of 3 tests passed")


def test_a_kept_memory_is_found_and_an_offer_is_not(store: BaseStore) -> None:
    keep(store, DESIGN, asks=True)
    assert store.search(MEMORY, query="class") == []
    (offer,) = offers(store)
    SwarmMemory(store).accept(offer.id)
    assert [item.key for item in store.search(MEMORY, query="class")] == [offer.id]
    assert offers(store) == []
    assert values(store, *EXPERIENCE)[0]["evidence"].endswith("3 of 3 tests passed; kept by a person")


def test_offers_have_async_twins(store: BaseStore) -> None:
    async def decide() -> list[str]:
        memory = SwarmMemory(store)
        first, second = [offer.id for offer in await memory.aoffers()]
        await memory.areject(first)
        await memory.aaccept(second)
        return [second]

    keep(store, DESIGN, in_session(DESIGN, "s1", subject="Write a stack."), asks=True)
    assert aio.run(decide()) == [item.key for item in store.search(MEMORY)]
    assert offers(store) == []


def test_a_database_that_somebody_changed_is_data(store: BaseStore) -> None:
    odd: dict[str, Any] = {"about": PROBLEM, "sessions": 7, "time": "x", "supersedes": None}
    store.put((*CANDIDATES, "finding"), "odd", odd, index=False)
    store.put((*OFFERS, "design"), DESIGN.key, {"text": 3}, index=False)
    store.put((*EXPERIENCE, "design"), DESIGN.key, {}, index=False)
    assert offers(store)[0].text == ""
    assert keep(store, FINDING, DESIGN, asks=True).offered == [DESIGN.key]
    SwarmMemory(store).accept(DESIGN.key)
    assert values(store, *EXPERIENCE)[0]["supersedes"] == 1


def test_a_rejected_offer_is_gone_and_what_it_would_replace_stays(store: BaseStore) -> None:
    keep(store, DESIGN)
    keep(store, in_session(DESIGN, "s2", text="Two classes.", time=2000.0), asks=True)
    (offer,) = offers(store)
    assert (offer.text, offer.replaces, offer.replaces_edited) == ("Two classes.", "One class.", False)
    SwarmMemory(store).reject(offer.id)
    assert [value["text"] for value in values(store, *EXPERIENCE)] == ["One class."]
    assert offers(store) == []


def test_an_unknown_offer_changes_nothing(store: BaseStore) -> None:
    (key,) = keep(store, DESIGN, asks=True).offered
    unknown = "no offer 'nope' waits; `swarm-graph memory offers` lists the 1"
    for decide in (SwarmMemory(store).accept, SwarmMemory(store).reject):
        with pytest.raises(InputError, match=unknown):
            decide([key, "nope"])
    assert len(offers(store)) == 1


def test_the_same_request_is_remembered_once(store: BaseStore) -> None:
    (key,) = keep(store, DESIGN, asks=True).offered
    SwarmMemory(store).reject([key])
    assert keep(store, DESIGN, asks=True) == experience.NOTHING  # as in a resume of the ended session
    assert keep(store, DESIGN) == experience.NOTHING


def test_what_only_models_have_approved_needs_a_person(store: BaseStore) -> None:
    approved = replace(DESIGN, needs_person=True)
    assert keep(store, approved).kept == []
    assert len(keep(store, in_session(approved, "s2"), asks=True).offered) == 1


# --- superseding ---------------------------------------------------------------------------------


def test_a_newer_design_for_the_same_request_replaces_the_older(store: BaseStore) -> None:
    keep(store, DESIGN)
    keep(store, in_session(DESIGN, "s2", subject="write  a Queue", text="Two classes.", checked="4 of 4"))
    keep(store, in_session(DESIGN, "s3", text="Three classes.", checked="5 of 5"))
    (value,) = values(store, *EXPERIENCE)
    assert (value["text"], value["supersedes"]) == ("Three classes.", 2)
    present, _, before = value["evidence"].partition("; replaces ")
    assert present.startswith("session s3, ")
    assert before.startswith("session s2, ")
    assert "s1" not in value["evidence"]


def test_a_kept_memory_takes_the_place_of_an_older_offer(store: BaseStore) -> None:
    keep(store, DESIGN, asks=True)
    keep(store, replace(in_session(DESIGN, "s2"), text="A newer design."))
    assert offers(store) == []
    assert [value["text"] for value in values(store, *EXPERIENCE)] == ["A newer design."]


def test_another_request_has_a_memory_of_its_own(store: BaseStore) -> None:
    keep(store, DESIGN)
    keep(store, in_session(DESIGN, "s2", subject="Write a stack."))
    assert [value["about"] for value in values(store, *EXPERIENCE)] == ["Write a queue.", "Write a stack."]


def test_what_a_person_has_edited_is_replaced_by_a_person_only(store: BaseStore) -> None:
    (key,) = keep(store, DESIGN).kept
    SwarmMemory(store).edit(key, "One class, and a lock.")
    (edited,) = values(store, *EXPERIENCE)
    assert keep(store, in_session(DESIGN, "s2", text="Two classes.")) == Remembered([], [key])
    assert values(store, *EXPERIENCE) == [edited]
    (offer,) = offers(store)
    assert (offer.replaces, offer.replaces_edited) == ("One class, and a lock.", True)
    SwarmMemory(store).accept([key])
    assert values(store, *EXPERIENCE)[0]["text"] == "Two classes."


def test_a_person_is_not_asked_about_what_is_kept_already(store: BaseStore) -> None:
    tests = Experience("tests", "/r", "`pytest` passes.", "s1", 1000.0, 1, "3 of 3")
    keep(store, tests)
    assert keep(store, in_session(tests, "s2", checked="4 of 4"), asks=True).offered == []


# --- findings ------------------------------------------------------------------------------------


def test_a_finding_of_one_session_alone_is_a_candidate(store: BaseStore) -> None:
    assert keep(store, FINDING) == Remembered([], [])
    assert (values(store, *MEMORY), values(store, *OFFERS)) == ([], [])
    assert len(values(store, *CANDIDATES)) == 1


def test_a_finding_of_two_sessions_is_kept_with_both(store: BaseStore) -> None:
    keep(store, FINDING)
    other = in_session(
        FINDING, "s2", subject="Result of empty lists isn't defined", text="A newer cure.", time=2000.0
    )
    assert len(keep(store, other).kept) == 1
    (value,) = values(store, *EXPERIENCE)
    assert (value["text"], value["sessions"]) == ("A newer cure.", ["s1", "s2"])
    assert value["evidence"].endswith("round 2, gone; also in session s1")
    assert values(store, *CANDIDATES) == []


def test_the_same_session_and_its_forks_count_once(store: BaseStore) -> None:
    keep(store, FINDING)
    keep(store, replace(FINDING, time=2000.0))  # a follow-up
    keep(store, replace(FINDING, session="fork", time=3000.0))  # sessions: s1, which it was forked from
    assert values(store, *EXPERIENCE) == []
    assert [value["sessions"] for value in values(store, *CANDIDATES)] == [["s1"]]


def test_a_rejected_finding_is_counted_anew(store: BaseStore) -> None:
    keep(store, FINDING, asks=True)
    (key,) = keep(store, in_session(FINDING, "s2"), asks=True).offered
    SwarmMemory(store).reject([key])
    assert keep(store, in_session(FINDING, "s3"), asks=True).offered == []
    assert len(keep(store, in_session(FINDING, "s4"), asks=True).offered) == 1


def test_a_kept_finding_that_comes_back_is_replaced_by_its_newest_cure(store: BaseStore) -> None:
    for number in range(1, 5):
        keep(store, in_session(FINDING, f"s{number}", text=f"Cure {number}.", time=1000.0 * number))
    (value,) = values(store, *EXPERIENCE)
    assert (value["text"], value["supersedes"]) == ("Cure 4.", 2)
    assert value["sessions"] == ["s1", "s2", "s3", "s4"]


def test_candidates_are_bounded_and_the_oldest_go(store: BaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experience, "MAX_CANDIDATES", 3)
    problems = [
        "alpha beta gamma",
        "delta epsilon zeta",
        "eta theta iota",
        "kappa lambda mu",
        "nu omicron pi",
    ]
    for number, problem in enumerate(problems):
        keep(store, in_session(FINDING, f"s{number}", subject=problem, time=1000.0 * number))
    assert [value["about"] for value in values(store, *CANDIDATES)] == problems[2:]


SAME = [
    ("`largest` crashes on an empty list of values.", "`smallest()` crashes on an empty list of values"),
    ("The price is not validated before it is stored", "Prices are not validated before storing."),
    (
        "find_max raises IndexError for an empty list of numbers",
        "Raises IndexError for empty lists of numbers",
    ),
    ("The file handle is never closed.", "File handles are not closed"),
    ("Missing validation of negative amounts", "Negative amounts: validation is missing"),
    ("Opens the discharge valve before starting the pump.", "The valve is opened before the pump is started"),
    ("Die Freigabe der Pumpe fehlt im Schritt.", "Im Schritt fehlt die Freigabe der Pumpe"),
    ("步骤没有写明由谁关闭阀门", "步骤没有写明由谁关闭阀门。"),
]
DIFFERENT = [
    ("The price is not validated before it is stored", "The price is validated twice before it is stored"),
    (
        "The parser rejects a negative amount in the price",
        "The parser rejects an empty name in the price list",
    ),
    ("Missing validation of negative amounts", "Missing validation of empty names"),
    ("The file handle is never closed.", "The file name is never checked."),
    ("It fails.", "It fails."),
    ("`a.b` is wrong", "`a.b` is wrong"),
    ("The timeout of the request is too long", "The name of the request is too long"),
    ("No test covers the error path of `load`", "No test covers the happy path of `load`"),
    ("The password is written to the log", "The user name is written to the report"),
    ("The trip at low level is off during the start", "The trip at high level is off during the start"),
    (
        "The value is rounded up as it is written to file",
        "The value is rounded down as it is written to file",
    ),
    ("The pump is started before the valve is opened.", "The valve is opened before the pump is started."),
    (
        "Pressure is given in bar, not in inches, in the table",
        "Pressure is given in inches, not in bar, in the table",
    ),
    ("Die Funktion prüft nicht, ob die Liste leer ist.", "Die Funktion prüft nicht, ob die Datei leer ist."),
    ("步骤没有写明由谁关闭阀门", "步骤没有写明由谁打开阀门"),
    ("步骤没有写明由谁关闭入口阀门", "步骤写明由谁关闭入口阀门"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_mistake_in_similar_words(one: str, other: str) -> None:
    assert is_same(one, other)
    assert may_be_same(one, other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_mistakes_in_similar_words(one: str, other: str) -> None:
    assert not is_same(one, other)


# --- many at once --------------------------------------------------------------------------------


def test_sessions_that_end_at_once_lose_no_design(tmp_path: Path) -> None:
    async def all_at_once(store: BaseStore) -> None:
        sessions = [in_session(DESIGN, f"s{n}", subject=f"Write part {n}.") for n in range(8)]
        await asyncio.gather(*(ado(remember([one], one.session, asks=False), store) for one in sessions))

    with open_store(tmp_path / "swarm.db") as store:
        aio.run(all_at_once(store))
        assert len(values(store, *EXPERIENCE)) == 8


class Meanwhile(BaseStore):
    """A store in which another session remembers something before the first write."""

    def __init__(self, store: BaseStore, other: Callable[[], object]) -> None:
        self.store, self.others = store, [other]

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        ops = [*ops]
        if self.others and any(isinstance(op, PutOp) for op in ops):
            self.others.pop()()
        return self.store.batch(ops)

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        return self.batch(ops)


@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize("problem", [PROBLEM, "Result of empty lists isn't defined"])
def test_a_mistake_of_two_sessions_that_end_at_once_is_found(
    store: BaseStore, problem: str, asks: bool
) -> None:
    other = in_session(FINDING, "s2", subject=problem)
    mine = keep(Meanwhile(store, lambda: keep(store, other, asks=asks)), FINDING, asks=asks)
    (value,) = values(store, *(OFFERS if asks else EXPERIENCE))
    assert value["sessions"] == ["s2", "s1"]
    assert len(mine.offered if asks else mine.kept) == 1
    assert values(store, *CANDIDATES) == []
