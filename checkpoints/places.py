"""Where the files of a session lie now: recorded paths go along when the folder of a project moves."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


def received_file(folder: str | Path, name: str) -> Path:
    """Where a worker keeps a file with this whole path: below a folder, whatever the path says."""
    parts = PurePosixPath(name.replace("\0", "%00")).parts
    return Path(folder, *("%2E%2E" if part == ".." else part for part in parts if not part.startswith("/")))


@dataclass(frozen=True)
class Places:
    """The paths of one session.

    A path is recorded as it was when the session began, together with the folder of its database. If that
    folder lies elsewhere now, its project has moved, and the path counts from the project's new place. A path
    that is not there is taken as it was recorded: it lay outside of the project, or was not moved along.

    Attributes:
        then: The folder of the database when the session began; empty if nothing was recorded.
        now: The folder of the database.
        inputs: The folder in which the input files lie now; empty if they lie where they were recorded.
        inputs_then: The folder in which they lay when the session began.
        received: At a worker the folder with the files that came through the database; else empty.
    """

    then: str = ""
    now: str = ""
    inputs: str = ""
    inputs_then: str = ""
    received: str = ""

    def present(self, recorded: str) -> str:
        """The path at which a recorded file or folder lies now."""
        moved = _moved(recorded, *self._roots)
        was_left = moved != recorded and not Path(moved).exists() and Path(recorded).exists()
        return recorded if was_left else moved

    def recorded(self, present: str) -> str:
        """The path to record for a file or folder that lies at a path now."""
        then, now = self._roots
        return _moved(present, now, then)

    def input_file(self, recorded: str) -> str:
        """The path at which a recorded input file lies now; at a worker what has come with the session."""
        if self.received:
            return str(received_file(self.received, recorded))
        if not self.inputs:
            return self.present(recorded)
        folder = self.present(self.inputs)
        below = Path(_moved(recorded, self.inputs_then, folder))
        return str(below if below.exists() else Path(folder) / Path(recorded).name)

    @property
    def _roots(self) -> tuple[str, str]:
        """The folder that moved, then and now: the highest one whose name or place is another now."""
        if self.then in ("", self.now):
            return "", ""
        then, now = Path(self.then), Path(self.now)
        while then.name and then.name == now.name:
            then, now = then.parent, now.parent
        return str(then), str(now)


UNMOVED = Places()
"""Of sessions whose files lie where they were recorded."""


def _moved(path: str, old: str, new: str) -> str:
    """A path below an old folder as a path below a new one; any other path as it is."""
    if not old:
        return path
    for same in (Path(path), Path(os.path.realpath(Path(path).parent)) / Path(path).name):
        if same.is_relative_to(old):
            return str(Path(new) / same.relative_to(old))
    return path


def is_below(path: str, folder: Path) -> bool:
    """Whether a path lies in a folder or below it, wherever links on the way lead."""
    try:
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
    except ValueError:  # it holds a zero byte, so it is the path of nothing
        return False


def common_folder(files: list[str]) -> str:
    """The folder that holds all files, in it or below it."""
    return os.path.commonpath([str(Path(name).parent) for name in files]) if files else ""
