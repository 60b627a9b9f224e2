"""People in front of the chat page, each with a browser of her own, and the words in which tests speak about them.

What a person finds on the page is found here by its role and name, as somebody who hears the page would find it.
"""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright
from relay_client import Client

from tests.relay_client.town import PASSWORD, Town

CHROMIUM = os.environ.get("RELAY_TEST_CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
# Pictures of the page, for people to look at.
PICTURES = Path(__file__).parents[2] / "results" / "web"

# Far more than anything takes, also on a machine with other things to do.
DEADLINE_MS = 30_000

expect.set_options(timeout=DEADLINE_MS)


@contextmanager
def chromium() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        pytest.skip("there is no chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Person:
    """Somebody with a browser of her own. Tabs of one person share storage, as tabs of one browser do."""

    def __init__(self, town: Town, context: BrowserContext, name: str) -> None:
        self.town = town
        self.context = context
        self.name = name
        self.problems: list[str] = []
        self.page = self.open_tab()

    def open_tab(self) -> Page:
        page = self.context.new_page()
        page.set_default_timeout(DEADLINE_MS)
        page.on("pageerror", lambda error: self.problems.append(f"{error.name}: {error.message}"))
        page.on("console", lambda line: self._heard(line.type, line.text))
        page.on("request", self._asked)
        page.goto(f"http://{self.town.address}/")
        return page

    def _heard(self, kind: str, text: str) -> None:
        # A relay that was killed refuses connections; the browser always says so by itself.
        if kind == "error" and "WebSocket connection" not in text and "ERR_CONNECTION" not in text:
            self.problems.append(text)

    def _asked(self, request: object) -> None:
        url = str(getattr(request, "url", ""))
        if not url.startswith((f"http://{self.town.address}/", "blob:", "data:")):
            self.problems.append(f"a request to a third party: {url}")

    def sign_in(self, stay: bool = True, page: Page | None = None) -> "Person":
        page = page or self.page
        page.get_by_label("Name", exact=True).fill(self.name)
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        if not stay:
            page.get_by_label("Stay signed in").uncheck()
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_text("Connected", exact=True)).to_be_visible()
        return self

    def open(self, other: str, page: Page | None = None) -> "Person":
        """Open the conversation with somebody, or a room that is in the list."""
        page = page or self.page
        field = page.get_by_role("searchbox", name="Search people and rooms")
        field.fill(other)
        field.press("Enter")
        expect(page.get_by_role("feed")).to_be_visible()
        return self

    @property
    def field(self) -> Locator:
        return self.page.locator(".composer textarea")

    def write(self, text: str, page: Page | None = None) -> None:
        field = (page or self.page).locator(".composer textarea")
        field.fill(text)
        field.press("Enter")

    def message(self, text: str, page: Page | None = None) -> Locator:
        return (page or self.page).get_by_role("article").filter(has_text=text)

    def texts(self, page: Page | None = None) -> list[str]:
        """The texts of all messages in the document, in order."""
        return (page or self.page).locator(".messages [role=article] .text").all_inner_texts()

    def fate(self, text: str) -> str:
        """What the mark on a message of one's own says."""
        return str(self.message(text).locator(".fate").get_attribute("aria-label"))

    def await_fate(self, text: str, fate: str) -> None:
        expect(self.message(text).locator(".fate")).to_have_attribute("aria-label", re.compile(fate))

    def unread(self, other: str) -> Locator:
        return self.page.locator(f'.talk[data-key*="{other}"] .badge')

    def picture(self, name: str) -> None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png", animations="disabled")

    def check(self) -> None:
        """Nothing went wrong in the page that nobody saw."""
        assert self.problems == []


class Stage:
    """A relay and everybody in front of it."""

    def __init__(self, town: Town, browser: Browser) -> None:
        self.town = town
        self.browser = browser
        self.people: list[Person] = []

    def person(self, name: str, **options: object) -> Person:
        """Somebody with a window of 1200 by 800 unless `options` (of new_context) say otherwise; not signed in yet."""
        settings = {"viewport": {"width": 1200, "height": 800}, "locale": "en-GB", "color_scheme": "light"} | options
        context = self.browser.new_context(**settings)  # type: ignore[arg-type]
        person = Person(self.town, context, name)
        self.people.append(person)
        return person

    def client(self, name: str) -> Client:
        """The same somebody with a program."""
        return Client(self.town.url(name))

    def close(self) -> None:
        for person in self.people:
            person.context.close()


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_MS / 1000
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)
