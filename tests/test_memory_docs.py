"""docs/memory.md and examples/memory.py: what they say runs, and prints what they show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pages import DOCS, Page
from procedures import write
from support import dead_port

from swarm_graph.config import load_config

PAGE = Page("memory.md")


@pytest.mark.slow
def test_the_page_can_be_followed(tmp_path: Path) -> None:
    write(tmp_path / "procedures")
    PAGE.follow(tmp_path, real={"127.0.0.1:8081": f"127.0.0.1:{dead_port()}"})


def test_its_configurations_are_read() -> None:
    configs = [load_config(json.loads(text), environ={}) for _, text in PAGE.blocks("json")]
    assert all(config.memory for config in configs)


def test_it_is_in_the_menu() -> None:
    assert "memory.md" in (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
