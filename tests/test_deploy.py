"""The files of deploy/ fit the program: its commands and options exist, systemd and Compose can read them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from warm import PROGRAM

from swarm_graph.cli.main import swarm_graph
from swarm_graph.config import load_config

DEPLOY = Path(__file__).parents[1] / "deploy"
UNITS = sorted((DEPLOY / "systemd").iterdir())
STARTED = "ExecStart=/opt/swarm-graph/bin/"


def compose() -> dict[str, dict[str, dict[str, object]]]:
    loaded: dict[str, dict[str, dict[str, object]]] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return loaded


def commands() -> Iterator[list[str]]:
    """Every command of the program in these files."""
    for service in compose()["services"].values():
        if isinstance(command := service.get("command"), list):
            yield command
    for unit in UNITS:
        for line in unit.read_text().splitlines():
            if line.startswith(STARTED):
                yield shlex.split(line.removeprefix(STARTED))


def test_the_commands_and_their_options_exist() -> None:
    found = [*commands()]
    assert len(found) >= 5
    for program, *words in found:
        assert program == "swarm-graph"
        command: click.Command = swarm_graph
        context = click.Context(command)
        while isinstance(command, click.Group):
            command = command.commands[words.pop(0)]
        command.make_parser(context).parse_args(words)


def test_every_service_and_every_unit_has_the_variables_of_the_example() -> None:
    example = (DEPLOY / "swarm.env.example").read_text()
    named = {*re.findall(r"^(\w+)=", example, re.MULTILINE)}
    texts = [path.read_text() for path in (DEPLOY / "compose.yaml", *UNITS)]
    used = {name for text in texts for name in re.findall(r"\$\{(\w+)|--token-env\W+(\w+)", text)}
    assert {name for pair in used for name in pair if name} <= named
    for name, service in compose()["services"].items():
        assert name == "database" or service["env_file"] == "swarm.env", name
    for unit in UNITS:
        if unit.suffix == ".service":
            assert "EnvironmentFile=/etc/swarm-graph/swarm.env" in unit.read_text(), unit


def test_what_a_service_waits_for_is_there() -> None:
    services, volumes = compose()["services"], compose()["volumes"]
    for service in services.values():
        waits_for = service.get("depends_on", {})
        assert isinstance(waits_for, dict)
        assert waits_for.keys() <= services.keys()
        mounted = service.get("volumes", [])
        assert isinstance(mounted, list)
        assert {place.partition(":")[0] for place in mounted if place[0] != "."} <= volumes.keys()


def test_the_configuration_is_read_without_a_warning() -> None:
    config = load_config(DEPLOY / "config.example.json", environ={})
    assert {entry.slots for entry in config.entries} == {16}


def test_systemd_reads_the_units(tmp_path: Path) -> None:
    if not (program := shutil.which("systemd-analyze")):
        assert not os.environ.get("CI"), "systemd-analyze is missing"
        pytest.skip("systemd-analyze is missing")
    for unit in UNITS:  # it wants programs that are there
        text = unit.read_text().replace(STARTED + "swarm-graph", f"ExecStart={PROGRAM}")
        (tmp_path / unit.name).write_text(re.sub(r"=(pg_dump|mv) ", "=/bin/true ", text))
    paths = [str(tmp_path / unit.name.replace("@", "@1")) for unit in UNITS]
    (tmp_path / "swarm-graph-worker@.service").rename(tmp_path / "swarm-graph-worker@1.service")
    done = subprocess.run(
        [program, "verify", "--man=no", *paths],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
