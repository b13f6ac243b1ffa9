"""Starts the program faster: libraries load nothing for features of theirs that no command uses.

Only the program does this. In somebody else's process, as in a notebook, all libraries load as they are.
"""

from __future__ import annotations

import gc
import sys

NEW_OBJECTS = 50_000
"""Before the garbage collector looks for cycles. With Python's own 700 it walks through all modules often."""
UNUSED = ("numpy", "pandas")
LIBRARY = "sqlite_utils.db"
"""It loads UNUSED, where they are installed, to store values of their types; the program has none."""


class _Absent:
    """Hides UNUSED from LIBRARY; everybody else finds them."""

    @staticmethod
    def find_spec(fullname: str, *_: object) -> None:
        """A finder of `sys.meta_path`."""
        if fullname in UNUSED and _is_loading(LIBRARY):
            raise ModuleNotFoundError(f"{fullname} is not used here", name=fullname)


def _is_loading(name: str) -> bool:
    """Whether a module is being imported; Python itself asks its spec, too."""
    return bool(getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False))


def start_lean() -> None:
    """Set up this process for one command."""
    gc.set_threshold(NEW_OBJECTS)
    sys.meta_path.insert(0, _Absent)
