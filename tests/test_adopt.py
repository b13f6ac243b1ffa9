"""Adopting a configuration: the file in use says what the winner says, and the old one is kept."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from swarm_graph.config import load_config
from swarm_graph.errors import ConfigError, StorageError
from swarm_graph.experiments.adopt import adopt

WINNER = """// The winner.
{
  'model_config': {"mode": "multi", "multi_model": {
    "coder": {"api_type": "llamacpp", "model": "weights/coder.gguf"},  // "prompts" is no path here
    "tester": {"api_type": "llamacpp", "model": "/srv/tester.gguf"},
  }},
  prompts_dir: "prompts", /* our own "prompts" */
  "roles": {"metallurgist": "roles/metallurgist.yaml", "checker": "checks:checker"},
  "repo": {"path": "..", "only": ["prompts"]},
  "mcp_servers": {"time": {"command": "./serve", "cwd": "tools", "folders": ["data", "../shared"]}},
}
"""


def folders(tmp_path: Path) -> tuple[Path, Path]:
    winner = tmp_path / "trial" / "winner.json"
    winner.parent.mkdir()
    used = tmp_path / "config.json"
    used.write_text('{"limits": {"calls": 5}}\n')
    return winner, used


def test_an_adopted_configuration_means_the_same_and_keeps_its_comments(tmp_path: Path) -> None:
    winner, used = folders(tmp_path)
    winner.write_text(WINNER)
    used.chmod(0o600)
    adopted = adopt(winner, used)
    meant, found = load_config(winner, environ={}), load_config(used, environ={})
    assert found.model_dump() == meant.model_dump()
    new = used.read_text()
    assert "// The winner." in new
    assert '"coder": {"api_type": "llamacpp", "model": "trial/weights/coder.gguf"},  // "prompts" is' in new
    assert 'prompts_dir: "trial/prompts", /* our own "prompts" */' in new
    assert '"only": ["prompts"]' in new
    assert '"code_dir": "trial"' in new
    assert adopted.kept is not None
    assert adopted.kept.read_text() == '{"limits": {"calls": 5}}\n'
    assert {stat.S_IMODE(file.stat().st_mode) for file in (used, adopted.kept)} == {0o600}
    assert not adopt(winner, used).changed
    assert len(list(tmp_path.glob("config.before-*.json"))) == 1


def test_what_was_kept_before_is_never_overwritten(tmp_path: Path) -> None:
    winner, used = folders(tmp_path)
    texts = [f'{{"limits": {{"calls": {number}}}}}' for number in range(1, 8)]
    for text in texts:
        winner.write_text(text)
        adopt(winner, used)
    assert used.read_text() == texts[-1]
    kept = {file.read_text() for file in tmp_path.glob("config.before-*.json")}
    assert kept == {'{"limits": {"calls": 5}}\n', *texts[:-1]}


def test_a_link_stays_a_link_and_a_missing_file_is_made(tmp_path: Path) -> None:
    winner, used = folders(tmp_path)
    winner.write_text('{"prompts_dir": "process-safety"}')
    real = tmp_path / "trial" / "real.json"
    used.replace(real)
    used.symlink_to(real)
    assert adopt(winner, used).kept is not None
    assert used.is_symlink()
    assert real.read_text() == winner.read_text()
    assert adopt(winner, tmp_path / "new.json").kept is None
    assert (tmp_path / "new.json").read_text() == winner.read_text()


def test_a_path_that_would_be_the_name_of_a_pack_is_written_as_a_whole(tmp_path: Path) -> None:
    winner, used = folders(tmp_path)
    winner.write_text(f'{{"prompts_dir": "{tmp_path / "process-safety"}"}}')
    adopt(winner, used)
    assert load_config(used, environ={}).prompts_dir == str(tmp_path / "process-safety")


def test_what_cannot_be_read_or_written_leaves_the_configuration_as_it_was(tmp_path: Path) -> None:
    winner, used = folders(tmp_path)
    with pytest.raises(ConfigError, match="cannot read the config"):
        adopt(winner, used)
    winner.write_text("{")
    with pytest.raises(ConfigError, match="not valid JSON"):
        adopt(winner, used)
    winner.write_text("{}")
    with pytest.raises(StorageError, match=r"missing/config\.json.*as it was"):
        adopt(winner, tmp_path / "missing" / "config.json")
    assert used.read_text() == '{"limits": {"calls": 5}}\n'
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "trial"}


KILLED = """
import os, signal, sys
from pathlib import Path
from swarm_graph.experiments.adopt import adopt

def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)

setattr(*{"write": (os, "fsync"), "rename": (Path, "replace")}[sys.argv[1]].__iter__(), killed)
adopt(Path(sys.argv[2]), Path(sys.argv[3]))
"""


@pytest.mark.parametrize("moment", ["write", "rename"])
def test_a_kill_in_between_leaves_the_old_file(moment: str, tmp_path: Path) -> None:
    winner, used = folders(tmp_path)
    winner.write_text("{}")
    command = [sys.executable, "-c", KILLED, moment, str(winner), str(used)]
    assert subprocess.run(command, check=False).returncode == -9
    assert used.read_text() == '{"limits": {"calls": 5}}\n'
    assert adopt(winner, used).changed
    assert used.read_text() == "{}"


def test_what_is_no_file_is_never_read(tmp_path: Path) -> None:
    winner, pipe, loop = tmp_path / "winner.json", tmp_path / "pipe.json", tmp_path / "loop.json"
    winner.write_text("{}")
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    for file in (pipe, loop, tmp_path):
        with pytest.raises(StorageError, match="is no file; name a file with --config"):
            adopt(winner, file)
