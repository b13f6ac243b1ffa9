"""Hidden tests and solutions reach no prompt, no state, no event and no file of a session."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from sqlite3 import connect

import pytest

from swarm_graph import evaluate, load_config
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.checkpoints.transcript import Call
from swarm_graph.suites.case import Case, Suite
from swarm_graph.suites.load_suite import load_suite

CANARY = "canary_7f3a9c_"
SUITES = ("smoke", "humaneval", "reviews")
MIN_CHARACTERS = 24
"""Of a line that is looked for; shorter ones stand in any program."""
ARMS = ["full", "single:candidates=2", 'standard:max_iterations=2:reviewers=["security"]']
"""Every role that a workflow has asks in one of them."""


def kinds_of_cases() -> list[Case]:
    """A case of each kind from the bundled suites, with a canary in everything that is hidden."""
    cases = [case for name in SUITES for case in load_suite(name).cases]
    kinds = {
        (case.suite, case.assignment, case.kind, case.is_clean, bool(case.planted)): case for case in cases
    }
    return [with_canary(number, case) for number, case in enumerate(kinds.values())]


def with_canary(number: int, case: Case) -> Case:
    mark = f"\n# {CANARY}{number}\n"
    hidden, solution, visible = (
        {path: text + mark for path, text in files.items()}
        for files in (case.hidden, case.solution, case.visible)
    )
    wrong = tuple({path: text + mark for path, text in files.items()} for files in case.wrong)
    return replace(case, hidden=hidden, solution=solution, visible=visible, wrong=wrong)


def secret_lines(case: Case) -> set[str]:
    """The distinctive lines of what is hidden that its request does not show."""
    texts = [*case.hidden.values(), *case.solution.values()]
    lines = {line.strip() for text in texts for line in text.splitlines()}
    return {
        line
        for line in lines
        if len(line) >= MIN_CHARACTERS
        and line not in case.request
        and not line.startswith(("import ", "from ", "def test_"))
    } | {CANARY}


def texts_of(call: Call) -> Iterator[str]:
    yield from (message.text for message in call.prompt)
    yield from (
        call.answer,
        call.thoughts,
        call.error or "",
        json.dumps(call.schema),
        json.dumps(call.parameters),
    )


def cells(database: Path) -> Iterator[str]:
    """Every cell of every table as text, unpacked where it is packed."""
    with closing(connect(database)) as connection:
        tables = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        ]
        for table in tables:
            for row in connection.execute(f'SELECT * FROM "{table}"'):
                for cell in row:
                    if isinstance(cell, bytes):
                        yield unpacked(cell).decode(errors="replace")
                    else:
                        yield str(cell)


def unpacked(data: bytes) -> bytes:
    try:
        return zlib.decompress(data)
    except zlib.error:
        return data


@pytest.mark.slow
def test_nothing_that_is_hidden_reaches_a_session(tmp_path: Path) -> None:
    cases = kinds_of_cases()
    assert {case.assignment for case in cases} == {"write", "review"}
    assert {case.kind for case in cases} == {"code", "document"}
    entry = {"model": "s", "api_type": "simulated", "simulation": {"malformed_rate": 0.3, "seed": 2}}
    config = load_config(
        {
            "model_config": {"single_model": entry},
            "workflow": {"max_iterations": 2},
            "execution": {"mode": "off"},
        },
        environ={},
    )
    suites = [Suite(name, "", tuple(c for c in cases if c.suite == name)) for name in SUITES]
    evaluation = evaluate(
        suites, ARMS, config=config, data_dir=tmp_path / "data", output_dir=tmp_path / "output"
    )
    assert {trial.judged_at is not None for trial in evaluation.trials} == {True}
    by_id = {case.id: case for case in cases}
    repairs, rounds = 0, set[int]()
    with open_checkpointer(tmp_path / "data" / "swarm.db") as saver:
        for trial in evaluation.trials:
            case = by_id[f"{trial.suite}/{trial.case}"]
            secrets = secret_lines(case) | ({case.planted.change} if case.planted else set())
            assert len(secrets) > 1
            calls = [*saver.catalogue.transcript.calls(trial.session)]
            assert calls
            repairs += sum(call.repair for call in calls)
            rounds |= {call.iteration for call in calls}
            state = saver.get_tuple({"configurable": {"thread_id": trial.session}})
            assert state
            said = [text for call in calls for text in texts_of(call)]
            found = [*said, json.dumps(state.checkpoint["channel_values"], default=str, ensure_ascii=False)]
            for text in found:
                assert not [line for line in secrets if line in text]
    assert repairs, "no repair question was asked"
    assert 2 in rounds, "no second round was asked"
    every = {line for case in cases for line in secret_lines(case)}
    assert [cell for cell in cells(tmp_path / "data" / "swarm.db") if CANARY in cell] == []
    files = [
        path for folder in ("data", "output") for path in (tmp_path / folder).rglob("*") if path.is_file()
    ]
    assert len(files) > len(evaluation.trials)
    for path in files:
        text = path.read_bytes().decode(errors="replace")
        assert not [line for line in every if line in text], path
    assert not [
        line for line in every if line in evaluation.to_html() + evaluation.text() + evaluation.to_csv()
    ]


def test_the_search_finds_what_it_looks_for(tmp_path: Path) -> None:
    case = with_canary(1, load_suite("smoke").cases[0])
    assert any(line in next(iter(case.hidden.values())) for line in secret_lines(case) - {CANARY})
    database = tmp_path / "a.db"
    with closing(connect(database)) as connection:
        connection.execute("CREATE TABLE texts (data BLOB)")
        connection.execute("INSERT INTO texts VALUES (?)", (zlib.compress(f"x {CANARY}".encode()),))
        connection.commit()
    assert [cell for cell in cells(database) if CANARY in cell]
