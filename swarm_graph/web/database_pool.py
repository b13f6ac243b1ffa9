"""Open databases: a request takes one that no other request uses, and gives it back.

To open one takes longer than most requests do, and with a file a moment in which no session can write.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.database_place import place_mark

MAX_IDLE = 8
"""How many stay open while no request uses them."""


class DatabasePool:
    """The database of a site, open once for each request at the same time.

    Args:
        place: Where the database is (see `place_of`). A file may not exist yet, and another one may take its
            place.
        data_dir: The data folder.
    """

    def __init__(self, place: str | Path, data_dir: Path) -> None:
        self._place, self._data_dir = place, data_dir
        self._lock = threading.Lock()
        self._idle: list[SwarmSaver] = []
        self._mark = 0

    @contextmanager
    def lent(self) -> Iterator[SwarmSaver | None]:
        """Lend the open database; None if there is none.

        Raises:
            StorageError: The database cannot be used.
        """
        mark = self._look()
        if not mark:
            yield None
            return
        with self._lock:
            saver = self._idle.pop() if self._idle else None
        saver = saver or open_checkpointer(self._place, data_dir=self._data_dir)
        try:
            yield saver
        except BaseException:
            saver.close()
            raise
        self._take_back(saver, mark)

    def _look(self) -> int:
        """The mark of the database that lies there; 0 if none does. What is open of another one is closed."""
        mark = place_mark(self._place)
        with self._lock:
            old = self._idle if mark != self._mark else []
            if mark != self._mark:
                self._mark, self._idle = mark, []
        for saver in old:
            saver.close()
        return mark

    def _take_back(self, saver: SwarmSaver, mark: int) -> None:
        with self._lock:
            is_kept = mark == self._mark and len(self._idle) < MAX_IDLE
            if is_kept:
                self._idle.append(saver)
        if not is_kept:
            saver.close()
