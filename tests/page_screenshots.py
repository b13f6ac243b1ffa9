"""Pictures of every page, at both widths and in both colour schemes: `make screenshots`.

python tests/page_screenshots.py build/screenshots [PAGE ...]
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from gallery import PAGES, fill
from playwright.sync_api import sync_playwright
from servers.browser import DESK, FLAGS, PHONE, SCHEMES, admit, chromium_program, load_all, sandbox_flags
from servers.web_page import running_page

WIDTHS = (PHONE, DESK)


def take(folder: Path, pages: list[str]) -> None:
    """Save the pictures of pages, each as NAME-WIDTH-SCHEME.png."""
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        fill(Path(home))
        with (
            running_page(Path(home)) as ui,
            playwright.chromium.launch(
                executable_path=chromium_program(), args=[*FLAGS, *sandbox_flags()]
            ) as chromium,
        ):
            context = chromium.new_context(reduced_motion="reduce")
            admit(context, ui)
            page = context.new_page()
            for name in pages:
                page.goto(ui.root + PAGES[name])
                load_all(page)
                for scheme in SCHEMES:
                    page.emulate_media(color_scheme=scheme)
                    for width in WIDTHS:
                        page.set_viewport_size({"width": width, "height": 900})
                        page.screenshot(path=folder / f"{name}-{width}-{scheme}.png", full_page=True)
                print(f"{name}: {page.title()}")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    shutil.rmtree(target, ignore_errors=True)
    take(target, sys.argv[2:] or [*PAGES])
