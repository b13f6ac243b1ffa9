"""Makes docs/assets/terminal.svg: the demo in a real terminal, recorded. `make picture` makes it again.

The program runs in a pseudo-terminal. The picture has the live view at its fullest moment and the summary at
the end, as they were printed, in system fonts: it refers to nothing outside of itself.
"""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).parent / "assets" / "terminal.svg"
COLUMNS, LINES = 92, 40
REQUEST = "Create a Python class for managing a FIFO queue"
COMMAND = ["run", REQUEST, "--workflow", "full", "--session", "queue"]
SLOW = {"first_token_s": 0.4, "tokens_per_s": 300}
"""The simulated model as slow as a server, so that the live view has something to show."""

REDRAW = re.compile(rb"(?:\r|\x1b\[1A|\x1b\[2K)*\x1b\[1A(?:\r|\x1b\[1A|\x1b\[2K)*")
"""How a live view goes back to its first line."""
CONTROLS = re.compile(rb"\x1b\[\?\d+[hl]|\x1b\[\d*[A-DJKH]|\r")
FONT = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def main() -> None:
    frames = REDRAW.split(recorded())
    *views, last = (Text.from_ansi(CONTROLS.sub(b"", frame).decode()) for frame in frames)
    console = Console(record=True, width=COLUMNS, height=LINES, file=io.StringIO(), force_terminal=True)
    console.print(Text(f'$ swarm-graph run "{REQUEST}" --workflow full\n', style="bold"))
    console.print(fullest(views))
    console.print(Text("\n  ⋮\n", style="dim"))
    console.print(summary(last))
    PICTURE.write_text(svg(console), encoding="utf-8")
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1000:.0f} kB")


def recorded() -> bytes:
    """What the demo writes to a terminal."""
    with tempfile.TemporaryDirectory() as folder:
        model = {"model": "demo", "api_type": "simulated", "simulation": SLOW}
        (Path(folder) / "config.json").write_text(json.dumps({"model_config": {"single_model": model}}))
        ours, theirs = pty.openpty()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SWARM_")}
        environment |= {"COLUMNS": str(COLUMNS), "LINES": str(LINES), "TERM": "xterm-256color"}
        program = Path(sys.executable).parent / "swarm-graph"
        running = subprocess.Popen(
            [program, *COMMAND], cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        written = b"".join(iter(lambda: _read(ours), b""))
        os.close(ours)
        if running.wait():
            sys.exit(written.decode())
        return written


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux's way to say that the program has closed the terminal
        return b""


def fullest(views: list[Text]) -> Text:
    """The moment at which most roles worked: the view with the most lines, the last of them."""
    return max(reversed(views), key=lambda view: view.plain.rstrip().count("\n"))


def summary(last: Text) -> Text:
    """What was printed after the live view."""
    return last[last.plain.index("SIMULATED") : last.plain.index("\n\nNext")]


def svg(console: Console) -> str:
    """The recorded console as SVG, without the web fonts that rich refers to."""
    form = re.sub(r"@font-face \{\{.*?\}\}\n|<!--.*?-->", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    form = form.replace("font-family: Fira Code, monospace", f"font-family: {FONT}")
    drawn = console.export_svg(title="swarm-graph", code_format=form, unique_id="terminal")
    return "".join(f"{line.rstrip()}\n" for line in drawn.splitlines() if line.strip())


if __name__ == "__main__":
    main()
