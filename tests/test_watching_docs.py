"""docs/watching.md: its commands and its Python code run and write the files that it names."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import Page
from support import write_config

WRITTEN = ("queue-3.jsonl", "metrics.csv", "calls.jsonl", "metrics.parquet", "report.html", "queue-1.html")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_its_commands_and_its_python_run_and_write_their_files(tmp_path: Path) -> None:
    write_config(tmp_path)
    Page("watching.md").follow(tmp_path)
    for name in WRITTEN:
        assert (tmp_path / name).stat().st_size > 200, name
