"""Seeded edits with a known truth: each is applied right or refused aloud, and none in a wrong place."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import pytest
from edit_corpus import PER_CELL, Case, cases, complaints, outcome, table

from swarm_graph.roles import applied_edits, edit_places, edit_results
from swarm_graph.roles.edit import Edit
from swarm_graph.roles.edit_places import FileLines, Place

MOST_PER_CELL = 40


@pytest.fixture(scope="module")
def corpus() -> list[Case]:
    return list(cases())


def test_every_edit_is_applied_right_or_refused(corpus: list[Case]) -> None:
    outcomes = [(case, outcome(case)) for case in corpus]
    assert not complaints(outcomes), f"python tests/edit_corpus.py {PER_CELL} shows them"
    assert len(outcomes) >= 400
    assert sum(found == "right" for _, found in outcomes) > len(outcomes) / 2
    assert all(found == "right" for case, found in outcomes if case.form == "whole file")
    assert f"{PER_CELL}/{PER_CELL}" in table(outcomes)


def _first(*arguments: Any, **_: object) -> Place:
    alike = arguments[3]
    return Place(alike[0].numbers, "blanks")


def _only_exact(file: FileLines, edit: Edit, *_: object, **__: object) -> Place:
    before = edit.old_lines
    windows = edit_places._windows(file.lines, before)
    if len(windows) != 1:
        raise edit_places.Misfit("does not fit")
    return Place([windows[0] + n for n, line in enumerate(before) if line.strip()])


def _deleted_unread(edit: Edit) -> list[bool]:
    return [True for line in edit.old_lines if line.strip()]


MUTATIONS: dict[str, tuple[object, str, Callable[..., object]]] = {
    "the first of several places is taken": (edit_places, "_chosen", _first),
    "an exact place is taken although its lines stand elsewhere, too": (
        applied_edits, "place_of", _only_exact),
    "lines that an edit does not quote are replaced": (edit_places, "_kept", _deleted_unread),
    "a deletion counts as done when its neighbours stand there": (
        edit_places, "_shows_its_result", lambda _edit: True),
    "new lines are not indented like the file's": (
        edit_results, "_fitted", lambda _file, edit, _place: edit.new_lines),
}  # fmt: skip


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_corpus_notices_a_weaker_rule(
    mutation: str, corpus: list[Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    where, name, weaker = MUTATIONS[mutation]
    monkeypatch.setattr(where, name, weaker)
    # The corpus holds files of this repository, which change: what a few seeds do not show, more of them do.
    assert any(complaints([(case, outcome(case))]) for case in chain(corpus, cases(MOST_PER_CELL)))
