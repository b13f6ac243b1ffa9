"""What a session has verified when it ends: a design that passed, cured mistakes, a repository's tests.

A model's word alone verifies nothing. What counts is said at each function. Nothing here runs unless
`memory.remember` is `ask` or `on`.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from difflib import unified_diff
from hashlib import sha256
from pathlib import PurePosixPath
from shlex import quote
from typing import Any, NamedTuple, cast

from langgraph.store.base import BaseStore

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.signatures import is_own
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.config import SwarmConfig
from swarm_graph.memory.experience import NOTHING, Experience, Remembered, remember
from swarm_graph.memory.meaning import collected_notes
from swarm_graph.memory.mistakes import has_words, may_be_same
from swarm_graph.memory.patience import in_time
from swarm_graph.memory.work import ado
from swarm_graph.models.keys import keys_of
from swarm_graph.models.masking import masked
from swarm_graph.repository.test_places import find_test_places
from swarm_graph.roles.answered_change import base_files
from swarm_graph.roles.findings import GRAVE, SEVERITIES, judge
from swarm_graph.roles.locations import place_of
from swarm_graph.sandbox.evidence import CHECK_DOCUMENT, RUN_TESTS, TEXT_ONLY
from swarm_graph.sessions.logs import log
from swarm_graph.state import (
    ChangeState,
    Evidence,
    Finding,
    Repository,
    Review,
    SwarmState,
)
from swarm_graph.text import cut, cut_note, longer_fence

MAX_REQUEST, MAX_DESIGN, MAX_PROBLEM, MAX_DIFF = 300, 4_000, 400, 1_500
"""Characters of a request, of a design, of a problem or suggestion, and of a cure's diff."""
MAX_REASON = 200
"""Characters of what limits a test run, such as values of a document that are left open."""
MAX_MISTAKES = 10
"""Mistakes of one session, the gravest first."""
MACHINES = frozenset({RUN_TESTS, CHECK_DOCUMENT})
"""Their findings say which test or check failed in this session, not which mistake it was."""
_USER = re.compile(r"(?<=://)[^/@]*@")

Texts = Mapping[str, str]
"""Path to text of the files of a round."""


class Ended(NamedTuple):
    """A session that has ended.

    Attributes:
        session: Its id.
        root: The session that it was forked from in the end; itself if it was not forked.
        request: Its requests: the first one and the follow-ups.
        state: Its state.
        time: Seconds since the epoch.
    """

    session: str
    root: str
    request: str
    state: SwarmState
    time: float


async def remember_session(
    session_id: str,
    state: SwarmState,
    config: SwarmConfig,
    *,
    saver: SwarmSaver | None,
    store: BaseStore,
    clock: Callable[[], float] | None = None,
    configured: Collection[str],
) -> Remembered:
    """Keep or offer what an ended session has verified; what goes wrong is its note.

    Args:
        session_id: The session.
        state: Its state.
        config: Its configuration; `memory.remember` is not `off`.
        saver: Its saver; None without checkpointing.
        store: The store of its graph.
        clock: Returns the time in seconds since the epoch.
        configured: The roles that asked the models of the configuration, not those that a program gave.
    """
    try:
        now = (clock or time.time)()
        ended = await _ended(session_id, state, saver, now)
        texts = await _texts_of_rounds(ended, saver) if any(_grave(state)) else {}
        found = await asyncio.to_thread(verified, ended, texts)  # of a repository git reads files
        if not found:
            return NOTHING
        if reason := await _why_not(session_id, config, saver, configured):
            return NOTHING._replace(note=f"nothing of this session is remembered: {reason}")
        assert config.memory is not None
        clean = [_masked(one, config) for one in found]
        asks = config.memory.remember == "ask"
        with collected_notes() as problems:
            work = ado(remember(clean, _request_id(ended), asks=asks), store)
            remembered = await in_time(work, store)
        return remembered._replace(note="; ".join(problems) if remembered.kept else "")
    except Exception as error:  # a store of the user's may raise anything, and the session has ended well
        log.info("session %s: nothing is remembered: %s", session_id, error)
        text = " ".join(str(error).split()) or type(error).__name__
        again = f"`swarm-graph resume {quote(session_id)}` tries again"
        return NOTHING._replace(note=f"nothing of this session is remembered: {text}; {again}")


def verified(ended: Ended, texts: Mapping[int, Texts]) -> list[Experience]:
    """All that a session has verified.

    Args:
        ended: The session.
        texts: The files of its rounds.
    """
    return [*designs(ended), *mistakes(ended, texts), *repository_tests(ended)]


async def _why_not(
    session_id: str, config: SwarmConfig, saver: SwarmSaver | None, configured: Collection[str]
) -> str:
    """Why nothing of a session may be remembered; empty if it may."""
    if config.is_simulated or any(config.model_for(role).api_type == "simulated" for role in configured):
        return "a model of it is simulated, and its answers are invented"
    if saver is None:
        return ""
    session = await saver.database.run(saver.catalogue.get, session_id)
    if session and session.simulated:
        return "it began with simulated models, and their answers are invented"
    if session and not await saver.database.run(is_own, saver.catalogue, session):
        return "somebody else began it; --trust-session (in Python trust_session=True) makes it yours"
    return ""


def _masked(one: Experience, config: SwarmConfig) -> Experience:
    """An experience without API keys."""
    embeddings = config.memory.embeddings if config.memory else None
    secrets = keys_of([*config.entries, *([embeddings.entry] if embeddings else [])])
    return replace(
        one,
        subject=masked(one.subject, secrets),
        text=masked(one.text, secrets),
        checked=masked(one.checked, secrets),
    )


def _request_id(ended: Ended) -> str:
    """Names a request of a session and its result: a resume of an ended session has the same."""
    keys = ("design", "iteration", "approved", "reviews", "phase")
    result = {key: ended.state.get(key) for key in keys}
    text = json.dumps([ended.session, ended.request, result], sort_keys=True, default=str)
    return sha256(text.encode(errors="replace")).hexdigest()[:20]


# --- what earlier runs left ----------------------------------------------------------------------


async def _ended(session_id: str, state: SwarmState, saver: SwarmSaver | None, now: float) -> Ended:
    root, requests = session_id, [state.get("request", "")]
    if saver is not None:
        root, requests = await saver.database.run(_origin, saver.catalogue, session_id, requests[0])
    return Ended(session_id, root, "\n\nThen: ".join(requests), state, now)


def _origin(catalogue: Catalogue, session_id: str, request: str) -> tuple[str, list[str]]:
    """The session that a fork comes from in the end, and the requests of the session, the first one first."""
    inputs = [run.input or {} for run in catalogue.runs(session_id) if run.kind in ("begin", "follow_up")]
    requests = [str(given["request"]) for given in inputs if given.get("request")]
    root, seen = session_id, set[str]()
    while root not in seen and (session := catalogue.get(root)) and session.parent:
        seen.add(root)
        root = session.parent
    return root, requests or [request]


async def _texts_of_rounds(ended: Ended, saver: SwarmSaver | None) -> dict[int, Texts]:
    """The files of each round as it was judged; empty without a saver."""
    if saver is None:
        return {}
    found: dict[int, Texts] = {}
    async for saved in saver.alist({"configurable": {"thread_id": ended.session, "checkpoint_ns": ""}}):
        values = saved.checkpoint["channel_values"]
        iteration = values.get("iteration") or 0
        if iteration == 0:
            break  # where the request began
        # Newest first: the round as it ended. Documentation is written after the last verdict.
        found.setdefault(iteration, {**values.get("code", {}), **values.get("tests", {})})
    return found


# --- designs -------------------------------------------------------------------------------------


def designs(ended: Ended) -> Iterator[Experience]:
    """The design of an approved session.

    The tests, or the checks of a document, have passed in its last round. Without a test run only models have
    approved it, so a person must decide about it.
    """
    state = ended.state
    design, iteration = state.get("design", "").strip(), state.get("iteration", 0)
    if not (design and state.get("approved") and state.get("phase") == "complete"):
        return
    evidence = _evidence_of_round(state, iteration)
    if evidence and evidence["outcome"] not in ("passed", "not_run"):
        return
    is_checked = evidence is not None and evidence["outcome"] == "passed"
    request = cut(" ".join(ended.request.split()), MAX_REQUEST)
    text = f"{request}\n\n{_cut(design, MAX_DESIGN)}"
    checked = "; ".join(filter(None, [_check(evidence), _approval(state, iteration)]))
    yield _experience(ended, "design", ended.request, text, iteration, checked, needs_person=not is_checked)


def _check(evidence: Evidence | None) -> str:
    """What a test run or the checks of a document have shown, in a few words."""
    if evidence is None or evidence["outcome"] != "passed":
        return "no tests were run"
    what = "checks hold" if evidence["sandbox"] == TEXT_ONLY else "tests passed"
    counted = evidence["passed"] + evidence["failed"] + evidence["errored"]
    skipped = f"{evidence['skipped']} skipped" if evidence["skipped"] else ""
    passed = f"{evidence['passed']} of {counted} {what}" if counted else "the tests passed"  # by exit code
    return ", ".join(filter(None, [passed, skipped, cut(evidence["reason"], MAX_REASON)]))


def _approval(state: SwarmState, iteration: int) -> str:
    names = [
        review["node"]
        for review in _reviews(state, iteration)
        if review["approved"] and review["node"] not in MACHINES
    ]
    return f"approved by {', '.join(names)}" if names else ""


def _reviews(state: SwarmState, iteration: int) -> list[Review]:
    return [review for review in state.get("reviews", []) if review["iteration"] == iteration]


def _evidence_of_round(state: SwarmState, iteration: int) -> Evidence | None:
    found = [review for review in _reviews(state, iteration) if review["node"] in MACHINES]
    return found[-1].get("evidence") if found else None


# --- mistakes and their cures --------------------------------------------------------------------


class _Mistake(NamedTuple):
    finding: Finding
    round: int


def mistakes(ended: Ended, texts: Mapping[int, Texts]) -> Iterator[Experience]:
    """The mistakes of a session that were cured, the gravest first.

    A critical or major finding of a model or a person is cured if its file changed, nobody made it again in
    a later round, each reviewer that made it has judged the next round, too, and found nothing grave in that
    file, and the next round was approved or its tests passed. A finding without a known file is cured by a
    change of any. A round that brings an earlier attempt back cures nothing.

    Args:
        ended: The session.
        texts: The files of its rounds.
    """
    told, base = list[str](), base_files(ended.state)
    for finding, iteration in sorted(_grave(ended.state), key=_gravity):
        problem = " ".join(finding["problem"].split())
        if len(told) == MAX_MISTAKES or any(may_be_same(problem, other) for other in told):
            continue
        if not _is_cured(finding, iteration, ended.state):
            continue
        diff = _diff(finding, texts.get(iteration), texts.get(iteration + 1), base)
        if diff:
            told.append(problem)
            yield _cured(ended, finding, iteration, diff)


def _gravity(mistake: _Mistake) -> tuple[int, int]:
    return SEVERITIES.index(mistake.finding["severity"]), -mistake.round


def _grave(state: SwarmState) -> Iterator[_Mistake]:
    last = state.get("iteration", 0)
    for iteration in range(1, last - bool(state.get("circling"))):
        for finding in judge(_reviews(state, iteration)).findings:
            is_named = has_words(finding["problem"]) and not MACHINES & {*finding["seen_by"]}
            if finding["severity"] in GRAVE and is_named:
                yield _Mistake(finding, iteration)


def _is_cured(finding: Finding, iteration: int, state: SwarmState) -> bool:
    following = _reviews(state, iteration + 1)
    reviewers = {review["node"] for review in state.get("reviews", []) if review["approved"] is not None}
    judged = {review["node"] for review in following if review["approved"] is not None}
    evidence = _evidence_of_round(state, iteration + 1)
    passed = evidence is not None and evidence["outcome"] == "passed"
    return (
        {*finding["seen_by"]} & reviewers <= judged
        and not _comes_back(finding, iteration, state)
        and (judge(following).approved or passed)
    )


def _comes_back(finding: Finding, iteration: int, state: SwarmState) -> bool:
    """Whether a finding is made again, or may be, in words of its own: a grave one of the same reviewer about
    the same file in the next round.
    """
    place = place_of(finding["location"])
    for review in state.get("reviews", []):
        for other in review["findings"] if review["iteration"] > iteration else ():
            there = place_of(other["location"])
            in_same_file = place is not None and there is not None and place.path == there.path
            is_next = review["iteration"] == iteration + 1 and review["node"] in finding["seen_by"]
            if is_next and in_same_file and other["severity"] in GRAVE:
                return True
            if may_be_same(finding["problem"], other["problem"]):
                return True
    return False


def _cured(ended: Ended, finding: Finding, iteration: int, diff: str) -> Experience:
    suggestion = finding["suggestion"].strip()
    fence = longer_fence(diff)
    where = _kind_of_place(finding["location"])
    lines = [
        f"{_cut(finding['problem'], MAX_PROBLEM)} ({finding['severity']}{where})",
        *([f"Cure: {_cut(suggestion, MAX_PROBLEM)}"] if suggestion else []),
        f"{fence}diff\n{diff}\n{fence}",
    ]
    following, finders = iteration + 1, ", ".join(finding["seen_by"])
    facts = [
        f"cured what {finders} found in round {iteration}",
        _check(_evidence_of_round(ended.state, following)),
        _approval(ended.state, following),
    ]
    checked = "; ".join(filter(None, facts))
    problem = " ".join(finding["problem"].split())
    return _experience(
        ended, "finding", problem, "\n".join(lines), following, checked, sessions=(ended.root,)
    )


def _kind_of_place(location: str) -> str:
    """What kind of file a finding is about, as in `, in a .py test file`; empty if it names no file."""
    place = place_of(location)
    suffix = PurePosixPath(place.path).suffix if place else ""
    if place is None or not suffix:
        return ""
    return f", in a {suffix} {'test file' if find_test_places([place.path]) else 'file'}"


def _diff(finding: Finding, before: Texts | None, after: Texts | None, base: Texts) -> str:
    """What changed in the file of a finding, or in all files if that is not known; empty if it did not."""
    if before is None or after is None:
        return ""
    changed = [path for path in {**before, **after} if before.get(path) != after.get(path)]
    place = place_of(finding["location"])
    paths = [path for path in changed if not place or place.path not in before or path == place.path]
    lines = [
        line
        for path in paths
        for line in _hunks(*(texts.get(path) or base.get(path, "") for texts in (before, after)))
    ]
    return _cut("\n".join(lines), MAX_DIFF)


def _hunks(before: str, after: str) -> Iterable[str]:
    """The hunks of a diff, without the names of the files: another project has others."""
    lines = unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=1)
    return [line for line in lines if not line.startswith(("---", "+++"))]


# --- the tests of a repository -------------------------------------------------------------------


def repository_tests(ended: Ended) -> Iterator[Experience]:
    """What the result of a repository's own tests rests on, if they passed before the change and after it.

    Roles read it as text. It never becomes a command: `execution.command` is the user's own setting.
    """
    state = cast("ChangeState", ended.state)
    repo, before, iteration = state.get("repo"), state.get("baseline"), state.get("iteration", 0)
    after = _evidence_of_round(state, iteration)
    if not (repo and before and after and before["outcome"] == after["outcome"] == "passed"):
        return
    used = after.get("rests_on", "")
    if not used or used != before.get("rests_on"):
        return
    name = _repository_name(repo)
    text = f"The own tests of the repository {name} ran and passed. Their result is {used}."
    checked = f"before the change {_check(before)}, after it {_check(after)}"
    yield _experience(ended, "tests", name, text, iteration, checked)


def _repository_name(repo: Repository) -> str:
    """The address of a repository, so that all its clones are one, without credentials; else its path."""
    from swarm_graph.repository.git import Git  # other kinds need no git

    found = Git(repo["path"]).try_run("config", "--get", "remote.origin.url")
    address = found.stdout.decode(errors="replace").strip() if found.exit_code == 0 else ""
    return without_credentials(address) or repo["path"]


def without_credentials(address: str) -> str:
    """The address of a remote without user, password and parameters."""
    return _USER.sub("", address).partition("?")[0].partition("#")[0]


# --- common --------------------------------------------------------------------------------------


def _experience(
    ended: Ended, kind: Any, subject: str, text: str, iteration: int, checked: str, **more: Any
) -> Experience:
    return Experience(kind, subject, text, ended.session, ended.time, iteration, checked, **more)


def _cut(text: str, limit: int) -> str:
    """A text of at most `limit` characters, or its beginning and a line that says so."""
    return text if len(text) <= limit else f"{text[:limit].rstrip()}\n{cut_note(limit, len(text))}"
