"""Debian's Chromium without a screen, driven by playwright, and its own log of what it asked the network for.

While playwright runs, its event loop runs in the thread of the tests. So `browser` is a fixture of a module,
and the tests of that module cannot call `asyncio.run`.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from servers.installed import lacks, npm_packages
from servers.web_page import Page as Site

PHONE, DESK = 375, 1440
"""The widths of the windows."""
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
HERE = "127.0.0.1"
TIMEOUT_MS = 30_000
"""How long a test waits for what has to come."""
expect.set_options(timeout=TIMEOUT_MS)
NOBODY = f"http://{HERE}:9/"
"""A port that Chromium never connects to."""
FLAGS = [
    f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {HERE}",
    f"--component-updater=url-source={NOBODY}",
    f"--gaia-url={NOBODY}",
    f"--autofill-server-url={NOBODY}",
    "--disable-sync",
]
"""Chromium asks Google for updates and accounts, whatever it is told; so it is told that nobody answers."""
DICTIONARIES = "redirector.gvt1.com"
"""Where Chromium, which finds no such name, looks for a dictionary when it sees a field for text."""
INTERNET_SCHEMES = ("http", "https", "ws", "wss", "ftp")


class Windows:
    """The windows that a test opens. Each is of a person of its own: cookies are not shared.

    Attributes:
        expected: Patterns of messages in the console that are no fault in this test.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self.expected: set[str] = set()
        self._said: list[str] = []

    def open(
        self,
        address: str,
        *,
        site: Site | None = None,
        width: int = DESK,
        scheme: Literal["light", "dark"] = "light",
        scripts: bool = True,
        script: str = "",
    ) -> Page:
        """Open a window.

        Args:
            address: Its address.
            site: The site to which the user is logged in.
            width: Its width in pixels.
            scheme: The colours that the user wants.
            scripts: Whether pages may run scripts.
            script: A script of the test that runs before those of each page.
        """
        context = self._browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            java_script_enabled=scripts,
            reduced_motion="reduce",
        )
        if site:
            admit(context, site)
        if script:
            context.add_init_script(script)
        context.set_default_timeout(TIMEOUT_MS)
        page = context.new_page()
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self._said.append(f"error: {error}"))
        page.goto(address)
        return page

    def faults(self) -> list[str]:
        """What pages have said in the console: errors of scripts, refused by the content security policy …"""
        return [text for text in self._said if not any(re.search(known, text) for known in self.expected)]

    def close(self) -> None:
        """Close all windows."""
        for context in self._browser.contexts:
            context.close()

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._said.append(f"{message.type}: {message.text} ({message.location.get('url', '')})")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium. When it ends, the test fails if it has asked for anything beyond this machine."""
    log = tmp_path_factory.mktemp("browser") / "network.json"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=chromium_program(), args=[*FLAGS, *sandbox_flags(), f"--log-net-log={log}"]
        )
        yield chromium
        chromium.close()
    assert asked_beyond(log) == set()


@pytest.fixture
def windows(browser: Browser) -> Iterator[Windows]:
    """The windows of a test; it fails if a page complains in the console."""
    opened = Windows(browser)
    yield opened
    opened.close()
    assert opened.faults() == []


def admit(context: BrowserContext, site: Site) -> None:
    """Give a context the cookie of a user who is logged in."""
    name, _, value = site.cookie.partition("=")
    context.add_cookies([{"name": name, "value": value, "url": site.root}])


def chromium_program() -> str:
    """The path of Chromium. Without it the test is skipped; in CI it fails."""
    return shutil.which("chromium") or lacks("chromium")


def sandbox_flags() -> list[str]:
    """Chromium's own sandbox refuses to work for root."""
    return ["--no-sandbox"] if os.geteuid() == 0 else []


def asked_beyond(log: Path) -> set[str]:
    """The addresses beyond this machine that Chromium has asked for, but for what it asks for by itself."""
    record = json.loads(log.read_text(encoding="utf-8"))
    kinds = record["constants"]["logEventTypes"]
    asked = {
        urlsplit(event["params"]["url"])
        for event in record["events"]
        if event["type"] == kinds["URL_REQUEST_START_JOB"] and "url" in event.get("params", {})
    }
    assert any(address.hostname == HERE for address in asked), "the log has no request at all"
    return {
        address.geturl()
        for address in asked
        if address.scheme in INTERNET_SCHEMES and address.hostname not in (HERE, DICTIONARIES)
    }


@dataclass(frozen=True)
class Violation:
    """A rule of axe-core that a page breaks, and where."""

    rule: str
    impact: str
    places: tuple[str, ...] = field(compare=False)


SERIOUS = ("serious", "critical")


CONTRAST = "color-contrast"
"""The rule of axe-core that takes longest, and the only one that depends on colours."""


def violations(page: Page, *, colours: bool = True, rest: bool = True) -> list[Violation]:
    """What axe-core finds on a page that is serious or critical.

    Args:
        page: The page.
        colours: Whether to check the contrast of its colours.
        rest: Whether to check all other rules.
    """
    if not page.evaluate("'axe' in window"):
        page.evaluate((npm_packages() / "axe-core/axe.min.js").read_text(encoding="utf-8"))
    rules = {"rules": {CONTRAST: {"enabled": colours}}} if rest else {"runOnly": [CONTRAST]}
    options = {"resultTypes": ["violations"], **rules}
    found = page.evaluate("options => axe.run(document, options)", options)["violations"]
    return [
        Violation(one["id"], one["impact"], tuple(node["html"][:200] for node in one["nodes"]))
        for one in found
        if one["impact"] in SERIOUS
    ]


def load_all(page: Page) -> None:
    """Let a page fetch the parts that are far down, and unfold what is folded."""
    later = page.locator("section:not([hidden]) > [data-later]")
    for address in [part.get_attribute("data-part") for part in later.all()]:
        part = page.locator(f'[data-part="{address}"]')
        part.scroll_into_view_if_needed()
        expect(part).not_to_have_attribute("data-later", "")
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")


def cut_tables(page: Page) -> list[str]:
    """The tables that are wider than their boxes, so that columns are out of sight."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll('.wide')].filter(box => box.scrollWidth > box.clientWidth + 1)
            .map(box => box.innerText.slice(0, 160))"""
    )
    return found


def beyond_the_edge(page: Page) -> list[str]:
    """The elements that make a page scroll sideways; none where it does not."""
    found: list[str] = page.evaluate(
        """() => {
            const width = document.documentElement.clientWidth;
            if (document.documentElement.scrollWidth <= width) return [];
            return [...document.querySelectorAll('body *')]
                .filter(element => element.getBoundingClientRect().right > width + 1)
                .map(element => element.outerHTML.slice(0, 160));
        }"""
    )
    return found
