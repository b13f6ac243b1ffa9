"""The model servers of `servers/`, the processes of `chaos/` and the folders of Jupyter for every test."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

# Keep the key that signs sessions, and outlines, out of the home folder, for processes of tests, too: the
# modules that start processes copy the environment when they are imported, as plugins that follow.
_OWN_DATA = tempfile.mkdtemp(prefix="swarm-graph-tests-")
_CACHES = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
os.environ.setdefault("PIP_CACHE_DIR", str(_CACHES / "pip"))
os.environ.update(XDG_DATA_HOME=_OWN_DATA, XDG_CACHE_HOME=f"{_OWN_DATA}/cache")
pytest_plugins = ["servers.fixtures", "chaos.fixtures", "storages"]
if find_spec("playwright"):  # the environment of the vector stores is without it, and has no test of the page
    pytest_plugins.append("servers.browser")


@pytest.fixture(scope="session")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the files of IPython and Jupyter out of the home folder, which may not be writable."""
    folder = str(tmp_path_factory.mktemp("jupyter"))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
            patch.setenv(name, folder)
        yield


def pytest_configure(config: pytest.Config) -> None:
    """Remove the folder of the tests at the end."""
    config.add_cleanup(lambda: shutil.rmtree(_OWN_DATA, ignore_errors=True))
