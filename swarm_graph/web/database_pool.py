"""Open databases: a request takes one that no other request uses, and gives it back.

To open the file takes longer than most requests do, and a moment in which no session can write.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swarm_graph.checkpoints.saver import SwarmSaver, open_checkpointer

MAX_IDLE = 8
"""How many stay open while no request uses them."""


class DatabasePool:
    """The database of a site, open once for each request at the same time.

    Args:
        file: The database; it may not exist yet, and another file may take its place.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._idle: list[SwarmSaver] = []
        self._inode = 0

    @contextmanager
    def lent(self) -> Iterator[SwarmSaver | None]:
        """Lend the open database; None if there is none.

        Raises:
            StorageError: The file cannot be used.
        """
        inode = self._look()
        if not inode:
            yield None
            return
        with self._lock:
            saver = self._idle.pop() if self._idle else None
        saver = saver or open_checkpointer(self._file)
        try:
            yield saver
        except BaseException:
            saver.close()
            raise
        self._take_back(saver, inode)

    def _look(self) -> int:
        """The number of the file that lies there; 0 if none does. What is open of another one is closed."""
        try:
            inode = self._file.stat().st_ino
        except OSError:
            inode = 0
        with self._lock:
            old = self._idle if inode != self._inode else []
            if inode != self._inode:
                self._inode, self._idle = inode, []
        for saver in old:
            saver.close()
        return inode

    def _take_back(self, saver: SwarmSaver, inode: int) -> None:
        with self._lock:
            is_kept = inode == self._inode and len(self._idle) < MAX_IDLE
            if is_kept:
                self._idle.append(saver)
        if not is_kept:
            saver.close()
