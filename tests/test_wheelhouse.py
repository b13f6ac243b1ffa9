"""The wheelhouse holds the locked versions and nothing else.

`docs/air-gapped.md` says how it is tried without a network.
"""

from __future__ import annotations

import re
import subprocess
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from pages import script

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheelhouse() -> ModuleType:
    return script("wheelhouse")


def test_it_takes_the_versions_of_the_locks_with_all_extras(wheelhouse: ModuleType) -> None:
    versions = wheelhouse._locked_versions()
    runtime = re.findall(r"^\S+==\S+", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert {*runtime} <= {version.split(" ")[0] for version in versions}
    assert any(version.startswith("sandlock==") and "linux" in version for version in versions)


def test_a_file_that_the_lock_does_not_name_is_refused(wheelhouse: ModuleType, tmp_path: Path) -> None:
    strange = tmp_path / "click-8.5.1-py3-none-any.whl"
    strange.write_bytes(b"another click")
    with pytest.raises(SystemExit, match=r"not the files of the lock: click-8\.5\.1"):
        wheelhouse._check([strange])


def test_older_wheels_of_the_platform_are_taken_too(wheelhouse: ModuleType) -> None:
    platforms = wheelhouse._with_older("manylinux_2_28_aarch64")
    assert platforms[0] == "manylinux_2_28_aarch64"
    assert {"manylinux_2_17_aarch64", "manylinux2014_aarch64"} <= {*platforms}
    assert (wheelhouse._with_older("win_amd64"), wheelhouse._with_older("")) == (["win_amd64"], [])


def test_the_install_script_is_a_shell_script_that_uses_no_index(wheelhouse: ModuleType) -> None:
    subprocess.run(["sh", "-n"], input=wheelhouse.INSTALL, text=True, check=True)
    assert "--no-index" in wheelhouse.INSTALL
    assert "--require-hashes" in wheelhouse.INSTALL


def test_our_wheel_is_built_anew_and_pinned_with_its_hash(wheelhouse: ModuleType, tmp_path: Path) -> None:
    removed = ROOT / "build/lib/swarm_graph/removed.py"
    removed.parent.mkdir(parents=True, exist_ok=True)
    removed.touch()
    wheel = wheelhouse._own_wheel(tmp_path)
    removed.unlink()
    assert "swarm_graph/removed.py" not in zipfile.ZipFile(wheel).namelist()
    assert re.fullmatch(r"swarm_graph==\S+ --hash=sha256:[0-9a-f]{64}\n", wheelhouse._pin(wheel))


def test_a_folder_with_other_files_is_left_alone(wheelhouse: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(SystemExit, match="holds other files"):
        wheelhouse._empty(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"
