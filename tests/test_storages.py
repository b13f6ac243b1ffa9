"""What both storages promise, by the same tests: a SQLite file, and PostgreSQL."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from support import Crew, config, thread

from swarm_graph.checkpoints.database_transcript import DatabaseTranscript
from swarm_graph.checkpoints.model_evidence import read_evidence
from swarm_graph.checkpoints.open_database import open_database
from swarm_graph.checkpoints.past_values import PastValues
from swarm_graph.checkpoints.retention import clean_up
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.checkpoints.session_list import ListQuery, session_list
from swarm_graph.checkpoints.signatures import sign
from swarm_graph.checkpoints.spending import Spending
from swarm_graph.checkpoints.transcript import Message, Texts
from swarm_graph.errors import ModelError
from swarm_graph.events import Event
from swarm_graph.workflows.build import build_graph


def test_a_session_is_recorded_and_read_again(place: str | Path, tmp_path: Path) -> None:
    with open_checkpointer(place, data_dir=tmp_path) as saver:
        graph = build_graph("standard", config=config(), checkpointer=saver)
        graph.invoke({"request": "Build it"}, thread("one"), context=Crew().context)
    with open_checkpointer(place, data_dir=tmp_path) as saver:
        assert [session.session for session in saver.catalogue.sessions()] == ["one"]
        assert saver.catalogue.calls("one")


def told(place: str | Path, folder: Path) -> dict[str, Any]:
    """What a database tells of three sessions: one that has ended, one that was killed, one that failed."""
    with open_checkpointer(place, data_dir=folder) as saver:
        catalogue = saver.catalogue
        for name, crew in (("a", Crew()), ("B", Crew()), ("c%", Crew({"coder": ValueError("broken")}))):
            graph = build_graph("standard", config=config(), checkpointer=saver)
            try:
                graph.invoke({"request": f"Build {name}"}, thread(name), context=crew.context)
            except ModelError:
                assert name == "c%"
            sign(catalogue, name)
        with saver.transaction() as cursor:
            cursor.execute("UPDATE sessions SET phase = 'running' WHERE session = 'B'")
            cursor.execute("UPDATE runs SET ended_at = NULL WHERE session = 'B'")
        queries = [
            ListQuery(),
            ListQuery(text="BUILD b", order="id"),
            ListQuery(text="%"),
            ListQuery(phase="running"),
            ListQuery(phase="interrupted"),
            ListQuery(verdict="approved", workflow="standard", experiment="all"),
            ListQuery(verdict="none", order="workflow"),
        ]
        lists = [session_list(catalogue, query, 2, offset) for query in queries for offset in (0, 1)]
        spending, past = Spending(saver), PastValues(saver, "a")
        found = {
            "lists": [
                (page.total, [(row.session, row.phase, row.kind, row.rounds, row.findings, row.tests,
                               row.approved, row.input_tokens, row.cost, row.request) for row in page.rows])
                for page in lists
            ],
            "spent": [(one.session, one.simulated, one.iteration) for one in spending.sessions()],
            "calls": {
                name: [(*group[:8], group.calls, group.input_tokens, group.known_tokens) for group in groups]
                for name, groups in spending.calls().items()
            },
            "values": sorted((name, key, json.dumps(value)) for name, key, value in spending.last_values()),
            "past": [(past.value(step, "request"), past.value(step, "iteration")) for step in past.steps()],
            "evidence": read_evidence(catalogue).outcomes,
            "usage": [catalogue.usage_of_request(name)[:2] for name in ("a", "B", "c%", "none")],
            "working": {name: seconds >= 0 for name, seconds in catalogue.working_seconds().items()},
            "usual": catalogue.usual_seconds("standard", catalogue.sessions()[0].config),
            "tasks": [(task["task_id"], task["status"]) for task in catalogue.tasks("a")],
            "said": sorted(
                (call.node, call.outcome, call.answer) for call in catalogue.transcript.calls("a")
            ),
            "signed": sorted(row[0] for row in catalogue.signed_rows(["a", "c%", "none"])),
        }  # fmt: skip
        done = clean_up(saver, older_than_s=-10, keep=0, history="last")
        return {
            **found,
            "cleaned": (done.removed, done.compacted, [one.session for one in catalogue.sessions()]),
        }


def test_both_storages_tell_the_same_of_the_same_sessions(tmp_path: Path, postgres_url: str) -> None:
    of_file, of_server = told(tmp_path / "swarm.db", tmp_path), told(postgres_url, tmp_path)
    assert of_file == of_server
    assert [page[0] for page in of_file["lists"][::2]] == [3, 1, 1, 0, 1, 2, 1]
    assert of_file["cleaned"] == (["a"], [], ["c%", "B"])


def test_two_processes_keep_the_same_text_of_a_session_at_once(postgres_url: str, tmp_path: Path) -> None:
    event, texts = Event("call_started", 1.0, "s", "coder"), Texts((Message("user", "The same."),))
    with (
        open_database(postgres_url, tmp_path) as one,
        open_database(postgres_url, tmp_path) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        with one.transaction() as cursor:
            DatabaseTranscript(one).append(event, texts=texts)
            second = pool.submit(DatabaseTranscript(other).append, event, texts=texts)
            while not second.done():
                if cursor.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone():
                    break
        assert second.result()
        calls = [*DatabaseTranscript(one).calls("s")]
    assert [call.prompt for call in calls] == [texts.prompt] * 2
