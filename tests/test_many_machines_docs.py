"""docs/many-machines.md: its commands run on a real server with a real worker, and print what it shows."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from pages import Page
from servers.postgres import PostgresServer
from servers.scribe import MODEL, scribe


@pytest.mark.slow
def test_the_page_can_be_followed(
    postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = postgres_server.empty_database()
    monkeypatch.setenv("PATH", str(postgres_server.programs), prepend=os.pathsep)
    with scribe() as server:
        real = {
            "postgresql://swarm@db-server/swarm": postgres_server.url(name),
            "postgresql://swarm@db-server/restored": postgres_server.url("restored"),
            "http://10.0.0.11:8000": server.root,
            MODEL: "canned",
        }
        try:
            Page("many-machines.md").follow(tmp_path, real=real)
        finally:
            with suppress(FileNotFoundError, ProcessLookupError):
                os.kill(int((tmp_path / "worker.pid").read_text()), signal.SIGKILL)
    assert "urgent" in (tmp_path / "restored.txt").read_text()
    log = (tmp_path / "worker.log").read_text()
    assert log.index("'urgent' begins") < log.index("'sensor' begins")
