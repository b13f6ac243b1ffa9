"""The model servers of `servers/`, the processes of `chaos/` and the folders of Jupyter for every test."""

from collections.abc import Iterator

import pytest

pytest_plugins = ["servers.fixtures", "chaos.fixtures"]


@pytest.fixture(scope="session")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Lets IPython and Jupyter write elsewhere than at home, where that may be forbidden."""
    folder = str(tmp_path_factory.mktemp("jupyter"))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
            patch.setenv(name, folder)
        yield
