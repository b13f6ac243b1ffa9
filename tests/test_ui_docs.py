"""docs/ui.md: its commands run, what it says of options and messages is so, and its picture is small."""

from __future__ import annotations

import json
import re
from pathlib import Path
from subprocess import PIPE

import warm
from pages import DOCS, Page
from servers.web_page import running_page
from support import write_config

from swarm_graph.cli.ui import PORT, ui
from swarm_graph.config import load_config
from swarm_graph.web.compare_page import MAX_COMPARED

PAGE = Page("ui.md")
MAX_PICTURE_BYTES = 150_000


def test_its_commands_run_and_its_configuration_is_read(tmp_path: Path) -> None:
    write_config(tmp_path)
    PAGE.follow(tmp_path)
    (config,) = [load_config(json.loads(text), environ={}) for _, text in PAGE.blocks("json")]
    assert not config.ui.events


def test_the_program_prints_what_the_page_shows(tmp_path: Path) -> None:
    write_config(tmp_path)
    (shown,) = PAGE.blocks("text")
    with warm.Process("ui", "--no-browser", "--port", "0", cwd=tmp_path, stderr=PIPE, text=True) as process:
        assert process.stderr
        printed = process.stderr.readline()
        process.kill()

    def alike(line: str) -> str:
        return re.sub(r"#[\w-]{32} ", "#TOKEN ", re.sub(r":\d+/", ":PORT/", line))

    assert alike(printed) == alike(shown[1])


def test_its_options_exist_and_its_table_says_what_each_start_needs() -> None:
    known = {name for option in ui.params for name in option.opts}
    commands = re.findall(r"swarm-graph ui ([^\n`]*)", PAGE.text)
    named = {name for command in commands for name in re.findall(r"--[a-z-]+", command)}
    rows = re.findall(r"^\| (`--.*?) \|", PAGE.text, re.MULTILINE)
    assert named | {name for row in rows for name in re.findall(r"--[a-z-]+", row)} <= known
    assert f"127.0.0.1:{PORT}" in PAGE.text
    assert f"({MAX_COMPARED} at most)" in PAGE.text


def test_its_messages_are_those_of_the_program(tmp_path: Path) -> None:
    write_config(tmp_path)
    table = PAGE.text.partition("## When it does not work")[2]
    with running_page(tmp_path) as page:
        port = page.authority.rpartition(":")[2]
        done = warm.run("ui", "--no-browser", "--port", port, cwd=tmp_path)
        assert (
            done.stderr.decode().replace(port, str(PORT)).split("; ")[0].removeprefix("swarm-graph: ")
            in table
        )
        refused = page.ask("GET", "/", headers={"Host": "evil.example"})
        assert (refused.status, refused.text.partition(";")[0] in table) == (403, True)


def test_its_picture_is_small_and_says_what_it_shows() -> None:
    pictures = re.findall(r"!\[([^\]]{20,})\]\(assets/(page[\w-]*\.png)\)", PAGE.text)
    assert pictures
    for _, name in pictures:
        assert (DOCS / "assets" / name).stat().st_size < MAX_PICTURE_BYTES
