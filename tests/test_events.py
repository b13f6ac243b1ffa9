"""Events as JSON lines (`--json-events`), as documented in docs/events.md."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import get_args

import warm
from support import write_config
from test_cli import swarm

from swarm_graph.events import VERSION, Event, Kind, event_line

PAGE = (Path(__file__).parents[1] / "docs" / "events.md").read_text(encoding="utf-8")


def table(head: str) -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", PAGE.partition(head)[2].partition("\n\n")[0], flags=re.MULTILINE)


def test_the_page_has_every_event_and_every_key() -> None:
    assert sorted(table("| event | `data` |")) == sorted(get_args(Kind))
    line = json.loads(event_line(Event("verdict", 1.0, "s", "verdict")))
    assert table("| key | meaning |") == list(line)
    assert line["version"] == VERSION


def test_a_run_prints_events_and_nothing_else(tmp_path: Path) -> None:
    done = swarm("run", "x", "--simulate", "--session", "s", "--json-events", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert {one["session"] for one in events} >= {"s"}
    assert events[0]["event"] == "session_started"
    began = events[0]["data"]
    assert (began["workflow"], began["resumed"], began["usual_seconds"]) == ("standard", False, None)
    assert began["done"] == []
    assert began["nodes"][:3] == ["clarifier", "architect", "coder"]
    assert events[-1]["event"] == "session_ended"
    assert events[-1]["data"]["phase"] == "complete"
    ended = next(one for one in events if one["event"] == "call_ended")
    row = PAGE.partition("| `call_ended` |")[2].partition("\n")[0]
    assert set(ended["data"]) <= {*re.findall(r"`(\w+)`", row)}
    alone = swarm("run", "x", "--simulate", "--workflow", "review_only", "--json-events", cwd=tmp_path)
    began = json.loads(alone.stdout.splitlines()[0])["data"]
    assert (began["max_iterations"], began["seconds_before"]) == (1, 0.0)
    both = swarm("run", "x", "--simulate", "--json-events", "--json", cwd=tmp_path)
    assert (both.returncode, both.stderr.count(b"\n")) == (2, 1)


def test_the_last_event_of_a_failed_run_has_its_phase(tmp_path: Path) -> None:
    write_config(
        tmp_path, model_config={"single_model": {"model": "m", "url": "http://127.0.0.1:9/v1", "retries": 0}}
    )
    done = swarm("run", "x", "--json-events", cwd=tmp_path)
    assert done.returncode == 1
    assert json.loads(done.stdout.splitlines()[-1])["data"]["phase"] == "failed"
    assert done.stderr.count(b"\n") == 1


def test_a_reader_that_goes_away_does_not_end_the_session(tmp_path: Path) -> None:
    (tmp_path / "p.md").write_text("Look.")
    (tmp_path / "rows.jsonl").write_text('{"n": 1}\n' * 50)
    batch = ["batch", "rows.jsonl", "--prompt", "p.md", "--simulate", "--session", "b", "--json-events"]
    with warm.Process(*batch, cwd=tmp_path, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        process.stdout.close()
        assert process.wait() == 0
    assert len(list((tmp_path / "swarm-output/b/results").iterdir())) == 50
