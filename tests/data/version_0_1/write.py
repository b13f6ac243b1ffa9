"""Writes the sessions of this folder with an installation of version 0.1: `PYTHON write.py FOLDER`.

PYTHON is that installation's. FOLDER must not exist; the sessions run in it, and the database names it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from swarm_graph import build_graph, load_config, open_checkpointer

HERE = Path(__file__).resolve().parent
FOLDER = Path(sys.argv[1])
DATABASE = FOLDER / "data" / "swarm.db"
PROGRAM = Path(sys.executable).parent / "swarm-graph"
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("SWARM_")}
ENTRIES = "SWARM_MODEL_CONFIG__MULTI_MODEL"
QUEUE = "Create a thread-safe FIFO queue with timeouts and statistics"
PARSER = "Create a CSV parser with error handling"
AREA = "def area(r):\n    return 3.14 * r * r\n"


def main() -> None:
    FOLDER.mkdir(parents=True)
    run("run", QUEUE, "--simulate", "--workflow", "full", session="demo")  # without a config
    shutil.copytree(HERE / "given", FOLDER, dirs_exist_ok=True)
    shutil.copy(HERE / "config.json", FOLDER)
    ended()
    unfinished()
    killed()
    keep()


def ended() -> None:
    run("run", PARSER, session="parser")
    run("run", "Add a flag for the delimiter", "--follow-up", session="parser")
    run("sessions", "fork", "parser", "--from", "coder:1", "--set", "design=Two files.", session="fork")
    run("run", AREA, "--workflow", "review_only", session="review")
    run("run", "--tasks", "checklist.yaml", session="checklist")
    run("batch", "procedures/*.txt", "--prompt", "extract.md", "--answer", "answer.json", session="batch")
    with open_checkpointer(DATABASE) as saver:
        graph = build_graph("review_only", config=load_config(HERE / "config.json"), checkpointer=saver)
        graph.invoke({"request": AREA}, {"configurable": {"thread_id": "plant/graph"}})


def unfinished() -> None:
    run("sessions", "fork", "parser", "--from", "architect:1", "--no-run", "--session", "fork-waits")
    run("run", PARSER, session="paused", code=3, SWARM_WORKFLOW__PAUSE_BEFORE='["coder"]')
    run("run", PARSER, session="over-budget", code=1, SWARM_LIMITS__CALLS="2")
    fails = {f"{ENTRIES}__CODER__SIMULATION__FAILURE_RATE": "1"}
    run("run", PARSER, session="failed", code=1, **fails)
    fails = {f"{ENTRIES}__SPARE__SIMULATION__FAILURE_RATE": "1"}
    run("run", "--tasks", "survey.yaml", session="failed-task", code=1, **fails)


def killed() -> None:
    """`killed` ends while the security reviewer is asked to repair its answer, `stopped` by two Ctrl-C."""
    simulation = f"{ENTRIES}__SECURITY__SIMULATION"
    slow = {f"{simulation}__FIRST_TOKEN_S": "3", f"{simulation}__MALFORMED_RATE": "1"}
    answered = ["architect", "clarifier", "coder", "reviewer", "security", "tester"]
    with at_work("run", PARSER, "--workflow", "full", session="killed", until=answered, **slow) as process:
        process.kill()
    slow = {f"{ENTRIES}__SPARE__SIMULATION__FIRST_TOKEN_S": "600"}
    with at_work("run", "--tasks", "survey.yaml", session="stopped", until=["measure"], **slow) as process:
        process.send_signal(signal.SIGINT)
        assert process.stderr
        assert "stopping" in process.stderr.readline()
        process.send_signal(signal.SIGINT)


def run(*words: str, session: str = "", code: int = 0, **environment: str) -> str:
    """Runs a command, which must end with this exit code, and returns what it prints."""
    done = subprocess.run(
        command(words, session),
        cwd=FOLDER,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, (words, done.returncode, done.stderr)
    return done.stdout


@contextmanager
def at_work(
    *words: str, session: str, until: list[str], **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """A session that has got these answers. Its process ends in the block, without another answer."""
    with subprocess.Popen(
        command(words, session),
        cwd=FOLDER,
        env={**ENVIRONMENT, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while answered(session) != until:
            assert process.poll() is None
            time.sleep(0.02)
        yield process
        process.communicate(timeout=60)
    assert process.returncode
    assert answered(session) == until


def command(words: tuple[str, ...], session: str) -> list[str]:
    place = ["--session", session, "--output", f"output/{session}"] if session else []
    return [str(PROGRAM), *words, *place, "--data-dir", "data"]


def answered(session: str) -> list[str]:
    query = "SELECT node FROM calls WHERE session = ? AND outcome = 'answered' ORDER BY node"
    with closing(sqlite3.connect(DATABASE)) as database:
        return [node for (node,) in database.execute(query, [session])]


def keep() -> None:
    """Packs what is kept; the database is one file then and names no machine."""
    with closing(sqlite3.connect(DATABASE, isolation_level=None)) as database:
        database.execute("UPDATE runs SET host = 'plant'")
    told = what_it_says()
    with closing(sqlite3.connect(DATABASE, isolation_level=None)) as database:
        database.execute("VACUUM")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with zipfile.ZipFile(HERE / "folder.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        packed.write(FOLDER / "config.json", "config.json")
        packed.write(DATABASE, "data/swarm.db")
        for session in ("demo", "checklist"):
            for path in sorted((FOLDER / "output" / session).rglob("*")):
                packed.write(path, path.relative_to(FOLDER).as_posix())
    (HERE / "told.json").write_text(json.dumps(told, separators=(",", ":")) + "\n")


def what_it_says() -> dict[str, Any]:
    """What this version reads from the config and says of the sessions."""
    config = load_config(HERE / "config.json", environ={})
    told: dict[str, Any] = {"config": config.model_dump(mode="json", by_alias=True)}
    told["given"] = config.model_dump(mode="json", by_alias=True, exclude_unset=True)
    told["list"] = said("list", "--sort", "created")
    names = [row["session"] for row in told["list"]]
    told["show"] = {name: said("show", name) for name in names}
    told["history"] = {name: said("history", name) for name in names}
    told["compared"] = ["parser", "fork", "killed", "checklist"]
    told["compare"] = said("compare", *told["compared"])
    return told


def said(*words: str) -> Any:
    return json.loads(run("sessions", *words, "--json"))


if __name__ == "__main__":
    main()
