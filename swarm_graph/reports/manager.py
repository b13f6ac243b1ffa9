"""SwarmManager: past sessions from Python, under the old manager's names."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.retention import Cleanup, clean_up
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.checkpoints.transcript import Call, StoredEvent
from swarm_graph.database_place import place_name, place_of
from swarm_graph.errors import InputError
from swarm_graph.reports.analysis import Analysis, analysis, export_rows
from swarm_graph.reports.comparison import Comparison, compare
from swarm_graph.reports.listing import session_account, session_account_text
from swarm_graph.reports.overview import Overview, overview
from swarm_graph.sessions.apply import state_of
from swarm_graph.sessions.history import pauses_of
from swarm_graph.sessions.ids import existing_place
from swarm_graph.sessions.output import write_file
from swarm_graph.sessions.removal import remove_belongings
from swarm_graph.state import DATA_DIR, OUTPUT_DIR
from swarm_graph.tasks.results import csv_table, json_lines, parquet_table
from swarm_graph.text import printable

if TYPE_CHECKING:
    from swarm_graph.reports.savings_report import SavingsReport

EXPORT_FORMATS: dict[str, Callable[[Sequence[Mapping[str, Any]]], str | bytes]] = {
    ".csv": csv_table,
    ".jsonl": json_lines,
    ".parquet": parquet_table,
}
"""The writer of exported figures for each file name's ending."""

SECONDS_PER_DAY = 86400


class SwarmManager:
    """Lists, analyzes, compares, exports and removes sessions.

    A method's `session` is a session's id or the path of its state JSON; InputError when there is none.

    Args:
        output_dir: The folder with the sessions' output folders.
        data_dir: The folder with their database.
        database: Where they are kept: the URL of a PostgreSQL database, or a file. Default: as the
            environment or the default config file says, else a file in `data_dir`.
    """

    def __init__(
        self,
        output_dir: str | Path = OUTPUT_DIR,
        *,
        data_dir: str | Path = DATA_DIR,
        database: str | Path = "",
    ) -> None:
        self.output_dir, self.data_dir = Path(output_dir), Path(data_dir)
        self.database = place_of(data_dir, database)

    @property
    def session_files(self) -> list[Path]:
        """The state JSON of every session in the output folder, the newest first."""
        files = self.output_dir.glob("*/swarm_state_*.json")
        return sorted(files, key=lambda path: (path.stat().st_mtime, path.name), reverse=True)

    def analyze_session(self, session: str | Path, *, quiet: bool = False) -> Analysis:
        """Print the account of a session, unless `quiet`, and return its figures.

        Raises:
            InputError: There is no such session.
        """
        with self._saver() as saver:
            row = self._find(saver, session)
            if not quiet:
                state, pauses = state_of(saver, row.session), pauses_of(saver, row)
                account = session_account(saver.catalogue, row, state, pauses)
                sys.stdout.write(printable(session_account_text(account)))
            return analysis(saver.catalogue, row)

    def calls(self, session: str | Path) -> list[Call]:
        """What the calls of a session were asked and what they answered, in the order in which they began.

        Raises:
            InputError: There is no such session.
        """
        with self._saver() as saver:
            return [*saver.catalogue.transcript.calls(self._find(saver, session).session)]

    def events(self, session: str | Path, after: int = 0, limit: int = 1000) -> list[StoredEvent]:
        """The events of a session that the database has, in order; of a session that runs, those so far.

        Args:
            session: The session.
            after: The id of the last event that is known.
            limit: How many, at most.

        Raises:
            InputError: There is no such session.
        """
        with self._saver() as saver:
            found = self._find(saver, session)
            return saver.catalogue.transcript.events(after, session_id=found.session, limit=limit)

    def compare_sessions(self, *sessions: str | Path, quiet: bool = False) -> Comparison:
        """Print two or more sessions side by side, unless `quiet`, and return the comparison.

        Raises:
            InputError: There is no such session, or fewer than two different ones are given.
        """
        with self._saver() as saver:
            comparison = compare(saver, [self._find(saver, session) for session in sessions])
        if not quiet:
            sys.stdout.write(printable(comparison.text()))
        return comparison

    def export_metrics(self, path: str | Path = "swarm_metrics.csv", *, calls: bool = False) -> int:
        """Write the figures of all sessions to a file and return the number of rows.

        Args:
            path: A file name that ends in .csv, .jsonl or, with the extra `parquet`, .parquet.
            calls: Write a row for each call, not for each session and role.

        Raises:
            InputError: The file name has another ending.
            StorageError: The file cannot be written.
        """
        path = Path(path)
        if path.suffix not in EXPORT_FORMATS:
            raise InputError(f"cannot export to '{path}': its name ends in {', '.join(EXPORT_FORMATS)}")
        with self._saver() as saver:
            catalogue = saver.catalogue
            rows = catalogue.all_calls() if calls else export_rows(catalogue, catalogue.sessions())
        write_file(path.parent, path.name, EXPORT_FORMATS[path.suffix](rows))
        return len(rows)

    def generate_report(self, path: str | Path = "swarm_report.txt") -> Overview:
        """Write a report about all sessions and return its figures.

        Args:
            path: A file name that ends in .txt or .html.

        Raises:
            InputError: The file name has another ending.
            StorageError: The file cannot be written.
        """
        from swarm_graph.reports.templates import file_html

        path = _report_path(path, ".txt", ".html")
        with self._saver() as saver:
            figures = overview(saver.catalogue)
        is_page = path.suffix == ".html"
        text = file_html("overview.html", overview=figures) if is_page else printable(figures.text())
        write_file(path.parent, path.name, text)
        return figures

    def savings(self, session: str | Path | None = None) -> SavingsReport:
        """Where the tokens of sessions went, what they bought, and what would have been cheaper.

        Args:
            session: A session; None for all but the trials of experiments.

        Raises:
            InputError: There is no such session.
        """
        from swarm_graph.reports.savings_report import savings

        with self._saver() as saver:
            return savings(saver, self._find(saver, session).session if session else None)

    def savings_report(self, path: str | Path, session: str | Path | None = None) -> SavingsReport:
        """Write a report about savings and return its figures.

        Args:
            path: A file name that ends in .txt or .html.
            session: A session; None for all but the trials of experiments.

        Raises:
            InputError: The file name has another ending, or there is no such session.
            StorageError: The file cannot be written.
        """
        from swarm_graph.reports.templates import file_html

        path = _report_path(path, ".txt", ".html")
        report = self.savings(session)
        is_page = path.suffix == ".html"
        text = file_html("savings.html", report=report) if is_page else printable(report.text())
        write_file(path.parent, path.name, text)
        return report

    def session_report(self, session: str | Path, path: str | Path = "session.html") -> Analysis:
        """Write an HTML page about one session and return the session's figures.

        The page is one file that needs no network. It has the session's figures, where its time went, the
        graph drawn, each finding beside its code, what changed from round to round, the timeline, and what
        each call was asked and answered.

        Raises:
            InputError: There is no such session, or the file name does not end in .html.
            StorageError: The file cannot be written.
        """
        from swarm_graph.reports.session_report import SessionReport, report_html

        path = _report_path(path, ".html")
        with self._saver() as saver:
            row = self._find(saver, session)
            report = SessionReport(saver, row)
            page = report_html(report)
        write_file(path.parent, path.name, page)
        return report.analysis

    def cleanup(
        self, *, older_than_days: float | None = None, keep: int = 10, dry_run: bool = False
    ) -> Cleanup:
        """Remove old sessions that have ended, compact the others, and shrink the database.

        Args:
            older_than_days: Remove sessions that have not changed for this many days; None removes none.
            keep: The number of newest sessions to keep whatever their age.
            dry_run: Change nothing; return what would be removed.
        """
        age_s = None if older_than_days is None else older_than_days * SECONDS_PER_DAY
        with self._saver() as saver:
            return clean_up(
                saver, older_than_s=age_s, keep=keep, dry_run=dry_run, before_removal=remove_belongings
            )

    @contextmanager
    def _saver(self) -> Iterator[SwarmSaver]:
        with open_checkpointer(existing_place(self.data_dir, self.database), data_dir=self.data_dir) as saver:
            yield saver

    def _find(self, saver: SwarmSaver, session: str | Path) -> Session:
        name = str(session)
        row = saver.catalogue.get(name)
        if row is None and name.endswith(".json"):  # an id may end so too: ids come first
            row = saver.catalogue.get(name := _session_in(Path(session)))
        if row:
            return row
        place = place_name(self.data_dir, saver.database.path)
        raise InputError(f"no session '{name}' in '{place}'; `swarm-graph sessions list` shows all")


def _report_path(path: str | Path, *endings: str) -> Path:
    path = Path(path)
    if path.suffix not in endings:
        raise InputError(f"cannot write a page to '{path}': its name ends in {' or '.join(endings)}")
    return path


def _session_in(path: Path) -> str:
    """The session's id in a state JSON file."""
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
        return str(document["workflow_id"])
    except OSError as error:
        raise InputError(f"cannot read '{path}': {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"'{path}' is no state JSON of a session") from error
