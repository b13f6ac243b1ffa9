"""Looking at past sessions from Python: the seed's SwarmManager."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any, cast

from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.retention import Cleanup, clean_up
from swarm_graph.checkpoints.saver import SwarmSaver, open_checkpointer
from swarm_graph.errors import ConfigError, InputError, SwarmError
from swarm_graph.reports.analysis import Analysis, analysis, export_rows
from swarm_graph.reports.comparison import Comparison, compare
from swarm_graph.reports.listing import account, account_text
from swarm_graph.reports.overview import Overview, overview
from swarm_graph.reports.session_page import overview_page, session_page
from swarm_graph.sessions.ids import database_in
from swarm_graph.sessions.output import write_file
from swarm_graph.state import SwarmState
from swarm_graph.tasks.dry_run import DRAWN, mermaid
from swarm_graph.tasks.results import csv_table, in_order, json_lines, parquet_table
from swarm_graph.tasks.spec import TaskSpec
from swarm_graph.text import plain_text
from swarm_graph.workflows.build import build_graph
from swarm_graph.workflows.drawing import draw

FORMS: dict[str, Callable[[Sequence[Mapping[str, Any]]], str | bytes]] = {
    ".csv": csv_table,
    ".jsonl": json_lines,
    ".parquet": parquet_table,
}
"""What figures are exported as, by the ending of the file's name."""


class SwarmManager:
    """Lists, analyzes, compares, exports and removes sessions.

    `output_dir`: where the sessions' folders are; `data_dir`: where their database is. Methods take a
    session's id or the path of its state JSON; InputError when there is none.
    """

    def __init__(self, output_dir: str | Path = "swarm-output", *, data_dir: str | Path = ".swarm") -> None:
        self.output_dir, self.data_dir = Path(output_dir), Path(data_dir)

    @property
    def session_files(self) -> list[Path]:
        """The state JSON of every session in the output folder, the newest first."""
        found = self.output_dir.glob("*/swarm_state_*.json")
        return sorted(found, key=lambda path: (path.stat().st_mtime, path.name), reverse=True)

    def analyze_session(self, session: str | Path, *, quiet: bool = False) -> Analysis:
        """Prints an account of a session, unless `quiet`, and returns its figures."""
        with self._saver() as saver:
            known = self._find(saver, session)
            if not quiet:
                sys.stdout.write(plain_text(account_text(account(saver.catalogue, known))))
            return analysis(saver.catalogue, known)

    def compare_sessions(self, *sessions: str | Path, quiet: bool = False) -> Comparison:
        """Prints two sessions or more side by side, unless `quiet`, and returns the comparison."""
        with self._saver() as saver:
            found = compare(saver, [self._find(saver, session) for session in sessions])
        if not quiet:
            sys.stdout.write(plain_text(found.text()))
        return found

    def export_metrics(self, path: str | Path = "swarm_metrics.csv", *, calls: bool = False) -> int:
        """Writes the figures of all sessions, a row for each session and role, or with `calls` for each call.

        The path ends in .csv, .jsonl or, with the extra `parquet`, .parquet. Returns the number of rows.
        StorageError when it cannot be written.
        """
        path = Path(path)
        if path.suffix not in FORMS:
            raise InputError(f"cannot export to '{path}': its name ends in {', '.join(FORMS)}")
        with self._saver() as saver:
            catalogue = saver.catalogue
            rows = catalogue.all_calls() if calls else export_rows(catalogue, catalogue.sessions())
        write_file(path.parent, path.name, FORMS[path.suffix](rows))
        return len(rows)

    def generate_report(self, path: str | Path = "swarm_report.txt") -> Overview:
        """Writes a page about all sessions, as HTML if its name ends so, and returns its figures.

        InputError for a name that ends in neither .txt nor .html, StorageError when it cannot be written.
        """
        path = _page(path, ".txt", ".html")
        with self._saver() as saver:
            made = overview(saver.catalogue)
        text = overview_page(made) if path.suffix == ".html" else plain_text(made.text())
        write_file(path.parent, path.name, text)
        return made

    def session_report(self, session: str | Path, path: str | Path = "session.html") -> Analysis:
        """Writes an HTML page about one session, which needs no network, and returns its figures.

        It has a timeline of the calls, tokens per role, findings by round and, with the `draw` extra, the
        graph. StorageError when it cannot be written.
        """
        path = _page(path, ".html")
        with self._saver() as saver:
            known = self._find(saver, session)
            saved = saver.get_tuple({"configurable": {"thread_id": known.session}})
            state = cast("SwarmState", saved.checkpoint["channel_values"] if saved else {})
            told = analysis(saver.catalogue, known)
            calls = saver.catalogue.calls(known.session)
        write_file(path.parent, path.name, session_page(told, calls, state, _drawing(known, state)))
        return told

    def cleanup(
        self, *, older_than_days: float | None = None, keep: int = 10, dry_run: bool = False
    ) -> Cleanup:
        """Removes ended sessions not worked on for some days, but the `keep` newest, and gives space back."""
        age = None if older_than_days is None else older_than_days * 86400
        with self._saver() as saver:
            return clean_up(saver, older_than_s=age, keep=keep, dry_run=dry_run)

    @contextmanager
    def _saver(self) -> Iterator[SwarmSaver]:
        with open_checkpointer(database_in(self.data_dir)) as saver:
            yield saver

    def _find(self, saver: SwarmSaver, session: str | Path) -> Session:
        name = str(session)
        known = saver.catalogue.get(name)
        if known is None and name.endswith(".json"):
            known = saver.catalogue.get(name := _session_in(Path(session)))
        if known:
            return known
        raise InputError(f"no session '{name}' in '{self.data_dir}'; `swarm-graph sessions list` shows all")


def _page(path: str | Path, *endings: str) -> Path:
    path = Path(path)
    if path.suffix not in endings:
        raise InputError(f"cannot write a page to '{path}': its name ends in {' or '.join(endings)}")
    return path


def _drawing(known: Session, state: SwarmState) -> str:
    """A session's graph as SVG; its Mermaid text without the `draw` extra."""
    tasks = {
        task["task_id"]: TaskSpec.model_validate(task["spec"]) for task in in_order(state.get("tasks", {}))
    }
    if len(tasks) > DRAWN:
        return f"<p>{len(tasks)} tasks are too many for a drawing.</p>"
    try:
        graph = None if tasks else build_graph(known.workflow, config=known.config).get_graph()
    except ConfigError as error:  # its folder of prompts may be gone by now
        return f"<p>No drawing: {escape(str(error))}</p>"
    text = graph.draw_mermaid() if graph else mermaid(tasks)
    try:
        return draw(text, "svg").decode()
    except SwarmError:
        return f"<pre>{escape(text)}</pre>"


def _session_in(path: Path) -> str:
    """The id of the session whose state JSON a file is."""
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
        return str(document["workflow_id"])
    except OSError as error:
        raise InputError(f"cannot read '{path}': {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"'{path}' is no state JSON of a session") from error
