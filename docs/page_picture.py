"""Makes docs/assets/page*.png: a session at the page, in Chromium. `make picture` makes them again.

The session is the demo, with a simulated model as slow as a server: one picture while roles write, one of a
finding beside its code. Everything runs on this machine: the page, the session and the browser.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ASSETS = Path(__file__).parent / "assets"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
REQUEST = "Create a Python class for managing a FIFO queue"
SLOW = {"first_token_s": 0.5, "tokens_per_s": 150}
WIDTH, HEIGHT = 1100, 1000
WAIT_MS = 90_000


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder)) as address,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page = browser.new_context(
            viewport={"width": WIDTH, "height": HEIGHT}, reduced_motion="reduce"
        ).new_page()
        page.goto(address)
        page.wait_for_url(re.compile(r"/$"))
        session = program(Path(folder), "run", REQUEST, "--workflow", "full", "--session", "queue-1")
        take_running(page)
        session.wait()
        take_finding(page)
        browser.close()


def take_running(page: Page) -> None:
    """A picture while several roles write."""
    page.get_by_role("link", name="queue-1").first.click(timeout=WAIT_MS)
    page.locator("[data-node=reviewer][data-state=running]").wait_for(timeout=WAIT_MS)
    page.locator("[data-writes]").filter(has_text=re.compile(r"\S[\s\S]{60}")).nth(1).wait_for(
        timeout=WAIT_MS
    )
    save(page.screenshot(), "page.png")


def take_finding(page: Page) -> None:
    """A picture of the first finding with its code."""
    page.reload()
    page.locator("#round-1 > summary").click(timeout=WAIT_MS)
    finding = page.locator("#part-rounds article", has=page.locator(".lines")).first
    finding.wait_for(timeout=WAIT_MS)
    finding.scroll_into_view_if_needed()
    save(finding.screenshot(), "page-finding.png")


def save(picture: bytes, name: str) -> None:
    (ASSETS / name).write_bytes(picture)
    print(f"{ASSETS / name}: {len(picture) / 1000:.0f} kB")


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of a page for a folder, with the token."""
    model = {"model": "demo", "api_type": "simulated", "simulation": SLOW}
    (folder / "config.json").write_text(json.dumps({"model_config": {"single_model": model}}))
    server = program(folder, "ui", "--no-browser", "--port", "0", stderr=subprocess.PIPE)
    try:
        assert server.stderr
        yield re.findall(r"open (\S+)", io.TextIOWrapper(server.stderr).readline())[0]
    finally:
        server.terminate()
        server.wait()


def program(folder: Path, *arguments: str, stderr: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """A `swarm-graph` that runs in a folder, with no settings of this shell."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SWARM_")}
    words = [str(Path(sys.executable).parent / "swarm-graph"), *arguments]
    return subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=stderr)


def chromium() -> str:
    """The browser of this machine. Ends the program if there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        sys.exit("install Chromium: `apt install chromium`")
    return found


if __name__ == "__main__":
    main()
