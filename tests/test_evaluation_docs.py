"""The pages about experiments: their commands run, and what they say of options and numbers is so."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import click
import pytest
from pages import Page
from support import write_config

from swarm_graph.cli.main import swarm_graph as program
from swarm_graph.config import load_config
from swarm_graph.experiments.statistics import mcnemar, smallest_difference

PAGES = [Page(name) for name in ("evaluation.md", "candidates.md", "model-choice.md")]
COMMAND = re.compile(r"^(?:\$ )?(swarm-graph [^\n#]*)|`(swarm-graph [^`\n]*)`", re.MULTILINE)
SERVER = '{"url": "http://127.0.0.1:1234/v1", "model": "%s"}'
SIMULATED = '{"api_type": "simulated", "model": "%s", "simulation": {"skill": %s}}'
SKILLS = {"qwen2.5-coder:7b": 0.4, "gpt-oss:20b": 0.8}
REAL = {SERVER % model: SIMULATED % (model, skill) for model, skill in SKILLS.items()}
"""The models of the pages, and those that stand for them."""
LOST = 0.05
"""The share of cases that only the worse arm solves, in the table of sizes."""


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_page_can_be_followed(page: Page, tmp_path: Path) -> None:
    write_config(tmp_path)
    page.follow(tmp_path, real=REAL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_its_configurations_are_read(page: Page) -> None:
    model = {"model_config": {"single_model": {"model": "m", "api_type": "simulated"}}}
    for _, text in page.blocks("json"):
        assert load_config(model | json.loads(text), environ={}).workflow


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_its_commands_and_options_exist(page: Page) -> None:
    commands = ["".join(found) for found in COMMAND.findall(page.text)]
    assert len(commands) > 1
    for text in commands:
        _, *words = shlex.split(text)
        command: click.Command = program
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            assert words[0] in command.commands, text
            command = command.commands[words.pop(0)]
        known = {name for option in command.params for name in option.opts}
        assert {word for word in words if word.startswith("--")} <= known | {"--help"}, text


def test_the_table_of_sizes_is_right() -> None:
    rows = re.findall(r"^\| (\d+) points \| (\d+) \|$", PAGES[0].text, re.MULTILINE)
    assert len(rows) == 4
    for points, cases in rows:
        shown = int(points) / 100
        assert smallest_difference(int(cases), against=LOST) == shown
        assert smallest_difference(int(cases) - 1, against=LOST) != shown
    assert mcnemar([True] * 6, [False] * 6) < 0.05 < mcnemar([True] * 5, [False] * 5)
