"""Opens an address in the user's browser."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
"""Without any of these variables, a browser on Linux or BSD would be one for the terminal."""


def open_browser(address: str) -> None:
    """Open an address in a browser, if this machine has a screen; return at once.

    The browser has no terminal: it prints nothing, and one for the terminal ends. Python's own
    module starts it, never a file of that name in the user's folder.
    """
    if sys.platform not in ("darwin", "win32") and not any(map(os.environ.get, DISPLAYS)):
        return
    threading.Thread(target=_open, args=[address], daemon=True).start()


def _open(address: str) -> None:
    nothing = subprocess.DEVNULL
    subprocess.run(
        [sys.executable, "-I", "-m", "webbrowser", address],
        stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True, check=False,
    )  # fmt: skip
