"""The model servers of `servers/`, the processes of `chaos/` and the folders of Jupyter for every test."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest_plugins = ["servers.fixtures", "chaos.fixtures"]


@pytest.fixture(scope="session")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the files of IPython and Jupyter out of the home folder, which may not be writable."""
    folder = str(tmp_path_factory.mktemp("jupyter"))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
            patch.setenv(name, folder)
        yield


def pytest_configure(config: pytest.Config) -> None:
    """Keep the key that signs sessions, and outlines, out of the home folder, for processes of tests, too."""
    folder = tempfile.mkdtemp(prefix="swarm-graph-tests-")
    os.environ["XDG_DATA_HOME"] = folder
    caches = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    os.environ.setdefault("PIP_CACHE_DIR", str(caches / "pip"))
    os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
