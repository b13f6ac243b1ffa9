"""The page about A/B tests: its command and its Python run, and print what it shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import Page
from support import sandbox

SERVER = '{"url": "http://127.0.0.1:1234/v1", "model": "%s"}'
SIMULATED = '{"api_type": "simulated", "model": "%s", "simulation": {"skill": %s}}'
SKILLS = {"qwen2.5-coder:7b": 0.05, "gpt-oss:20b": 1}
REAL = {SERVER % model: SIMULATED % (model, skill) for model, skill in SKILLS.items()}
"""The models of the page, and those that stand for them."""


@pytest.mark.slow
def test_the_page_can_be_followed(tmp_path: Path) -> None:
    assert sandbox()
    Page("ab-testing.md").follow(tmp_path, real=REAL)
