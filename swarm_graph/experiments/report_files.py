"""The files of a report: text, table, JSON and a page."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from swarm_graph.sessions.output import write_file
from swarm_graph.text import printable


class Report(Protocol):
    """What an experiment has shown, in the forms that are written."""

    def text(self) -> str: ...
    def to_csv(self) -> str: ...
    def to_json(self) -> str: ...
    def to_html(self) -> str: ...


def write_report(report: Report, folder: Path) -> None:
    """Write report.txt, trials.csv, report.json and report.html into a folder, which is made if missing.

    Raises:
        StorageError: A file cannot be written.
    """
    write_file(folder, "report.txt", printable(report.text()))
    write_file(folder, "trials.csv", report.to_csv())
    write_file(folder, "report.json", report.to_json())
    write_file(folder, "report.html", report.to_html())
