"""Files with a secret of the user: made whole or not at all, and readable by nobody else."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path


def make_secret_file(path: Path, secret: bytes) -> None:
    """Write a secret into a new file; if several processes try at once, one wins.

    Raises:
        OSError: The file cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}-{secrets.token_hex(8)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secret)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()


def secret_file_problem(status: os.stat_result) -> str:
    """Why a file is no secret of the user, as the predicate of a sentence; empty if it is one."""
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file"
    if os.name == "nt":
        return ""
    if status.st_uid != os.geteuid():
        return "belongs to another user"
    return "can be read by other users" if status.st_mode & 0o077 else ""
