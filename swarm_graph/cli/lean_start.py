"""Starts the program faster: sqlite-utils finds no NumPy and pandas, and garbage is collected less often.

Only the program does this. In other processes, such as a notebook, all libraries load as they are.
"""

from __future__ import annotations

import gc
import sys

GC_THRESHOLD = 50_000
"""New objects between two searches for cycles. Python's own 700 cost a search every few modules."""
UNUSED = ("numpy", "pandas")
LIBRARY = "sqlite_utils.db"
"""It loads UNUSED, where they are installed, to store values of their types. The program stores none."""


class _Absent:
    """A finder of `sys.meta_path` that hides UNUSED from LIBRARY, and from no other module."""

    @staticmethod
    def find_spec(fullname: str, *_: object) -> None:
        """None leaves the search to the next finder."""
        if fullname in UNUSED and _is_loading(LIBRARY):
            raise ModuleNotFoundError(f"{fullname} is not used here", name=fullname)


def _is_loading(name: str) -> bool:
    """Whether a module is being imported; Python's import system reads the same attribute."""
    return bool(getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False))


def start_lean() -> None:
    """Set up this process for one command."""
    gc.set_threshold(GC_THRESHOLD)
    sys.meta_path.insert(0, _Absent)
