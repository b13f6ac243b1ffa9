"""Two warm processes a test run, for two sessions at once."""

from collections.abc import Iterator

import pytest

from chaos.driver import Worker


@pytest.fixture(scope="session")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Worker]]:
    folder = tmp_path_factory.mktemp("workers")
    with Worker(folder / "log1") as first, Worker(folder / "log2") as second:
        yield [first, second]


@pytest.fixture
def worker(workers: list[Worker]) -> Worker:
    return workers[0]
