"""Files of a working tree: read and written as git records them, and never through a link."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from swarm_graph.repository.snapshot import EXECUTABLE, LINK, REGULAR


class Content(NamedTuple):
    """A file or link: its mode as git records it, and its bytes; the bytes of a link are its target."""

    mode: str
    data: bytes


def content(path: Path) -> Content | None:
    """The file or link at a path; None if there is none, or a folder, pipe or device."""
    try:
        if path.is_symlink():
            return Content(LINK, os.fsencode(path.readlink()))
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            return None
        return Content(EXECUTABLE if mode & 0o100 else REGULAR, path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def in_the_way(folder: Path, path: str, *, is_folder: bool = False) -> str:
    """The path that blocks another one: a file or link in place of a folder, or no file in its own place.

    Args:
        folder: The top folder of the working tree.
        path: A path in it.
        is_folder: A folder is wanted there, not a file.

    Returns:
        The path in the way; empty if there is none.
    """
    parts = path.split("/")
    for count in range(1, len(parts) + is_folder):
        place = folder.joinpath(*parts[:count])
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            return "/".join(parts[:count])
    target = folder / path
    is_file = target.is_symlink() or target.is_file() or not target.exists()
    return path if not is_folder and not is_file else ""


def write_whole(path: Path, data: bytes, mode: str, new: Path) -> None:
    """Write a file or a link, whole or not at all; an old file keeps its permissions, except for the x bit.

    Args:
        path: The file.
        data: Its bytes, or the path that the link names.
        mode: REGULAR, EXECUTABLE or LINK.
        new: A temporary path for it, on the same file system.

    Raises:
        OSError: It cannot be written.
    """
    with suppress(FileNotFoundError):
        new.unlink()
    if mode == LINK:
        new.symlink_to(os.fsdecode(data))
    else:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(new, flags, 0o777 if mode == EXECUTABLE else 0o666), "wb") as file:
            file.write(data)
        _keep_permissions(path, new, is_executable=mode == EXECUTABLE)
    new.replace(path)


def remove_file(folder: Path, path: str) -> None:
    """Remove a file of a working tree, and the folders that are empty then. Raises OSError."""
    target = folder / path
    target.unlink()
    for parent in target.parents:
        if parent == folder or any(parent.iterdir()):
            break
        parent.rmdir()


def _keep_permissions(old: Path, new: Path, *, is_executable: bool) -> None:
    """Give a new file the permissions of the old one, if both are executable or neither is."""
    with suppress(OSError):
        status = old.lstat()
        if stat.S_ISREG(status.st_mode) and bool(status.st_mode & 0o100) == is_executable:
            new.chmod(stat.S_IMODE(status.st_mode))
