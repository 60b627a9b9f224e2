"""The SDK in Chromium: what Node has not, IndexedDB, Web Locks, keys that cannot be read out, reloads and tabs."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page
from relay_client import Client

from tests.relay_client.peer import DEADLINE_S, until
from tests.relay_client.town import PASSWORD, Town
from tests.web.node import needs_node, run_node
from tests.web.stage import CHROMIUM, DEADLINE_MS, FLAGS

pytestmark = needs_node
names = count(1)

# What a test page has besides the SDK: what it was told, and the promises it does not wait for.
PAGE = """
import { Relay } from "./relay.js";
globalThis.came = [];
globalThis.fates = {};
globalThis.Relay = Relay;
globalThis.connect = async (options) => {
  const me = (globalThis.me = await Relay[options.patient ? "start" : "connect"](options));
  me.on("message", ({ value, offset }) => void came.push([offset, value]));
  me.on("posted", ({ value, state }) => void (fates[value] = state));
  if (options.patient) await me.whenOpen();
  return [me.address, me.pending.map(({ value }) => value)];
};
"""


BUILD = """
import { buildSync } from "esbuild";
const stdin = { contents: process.argv[1], resolveDir: process.cwd() };
process.stdout.write(buildSync({ stdin, bundle: true, format: "iife", write: false }).outputFiles[0].text);
"""


@pytest.fixture(scope="module")
def bundle() -> str:
    """The SDK and what the tests' page has besides, as one script."""
    done = run_node("--input-type=module", "--eval", BUILD, PAGE)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Tabs:
    """One browser of somebody who is alone in it, and a friend in Python."""

    def __init__(self, town: Town, context: BrowserContext, bundle: str) -> None:
        number = next(names)
        self.user, self.friend = f"tia{number}", f"uwe{number}"
        town.add(self.user, self.friend)
        self.town = town
        self.origin = f"http://{town.address}"
        self.context = context
        self.bundle = bundle

    def open(self, password: str | None = PASSWORD, **options: Any) -> Page:
        page = self.context.new_page()
        page.set_default_timeout(DEADLINE_MS)
        self.load(page)
        self.connect(page, password, **options)
        return page

    def load(self, page: Page) -> None:
        # The page of this address runs no script of its own.
        page.goto(f"{self.origin}/healthz")
        page.evaluate(self.bundle)

    def connect(self, page: Page, password: str | None = None, **options: Any) -> Any:
        return page.evaluate("connect", {"user": self.user, "password": password, **options})

    def logins(self) -> list[str]:
        assert self.town.process
        return self.town.process.seen("relay.login", f"{self.user}/")


@pytest.fixture
def tabs(town: Town, browser: Browser, bundle: str) -> Iterator[Tabs]:
    context = browser.new_context()
    yield Tabs(town, context, bundle)
    context.close()


@pytest.fixture
def friend(tabs: Tabs) -> Iterator[Client]:
    with Client(tabs.town.url(tabs.friend), "python") as friend:
        friend.receive()
        yield friend


def test_a_reload_comes_back_by_ticket_and_the_key_stays_secret(tabs: Tabs, friend: Client) -> None:
    page = tabs.open()
    address = page.evaluate("me.address")
    page.evaluate("to => me.send(to, 'one')", tabs.friend)
    friend.send(tabs.user, "two")
    page.wait_for_function("came.length === 1")
    tabs.load(page)
    assert tabs.connect(page) == [address, []]
    until(lambda: "by TICKET" in tabs.logins()[-1])
    friend.send(tabs.user, "three")
    page.wait_for_function("came.length > 0 && came.at(-1)[1] === 'three'")
    assert page.evaluate("came.at(-1)[0]") == 3
    exported = """new Promise((resolve) => {
      const open = indexedDB.open("relay");
      open.onsuccess = () => {
        const store = open.result.transaction("entries").objectStore("entries");
        const all = store.getAll(IDBKeyRange.bound("ticket/", "ticket/~"));
        all.onsuccess = () => resolve(crypto.subtle.exportKey("raw", all.result[0].key));
      };
    })"""
    with pytest.raises(Error, match="not extractable"):
        page.evaluate(exported)
    page.evaluate("me.close({ forget: true })")
    with pytest.raises(Error, match="password"):
        tabs.connect(page)


FLOOD = """([to, from, until]) => {
  for (let number = from; number < until; number += 1) me.post(to, number).stored.catch(() => {});
}"""


def test_reloads_in_the_middle_of_sending(tabs: Tabs, friend: Client) -> None:
    """What was kept goes out once; the numbers that came have no hole and no double."""
    page = tabs.open()
    begin = 0
    for turn in range(4):
        page.evaluate(FLOOD, [tabs.friend, begin, begin + 300])
        page.wait_for_function(f"fates[{begin + 60 * turn}] === 'stored'")
        tabs.load(page)
        tabs.connect(page)
        page.wait_for_function("me.pending.length === 0")
        head = page.evaluate("async to => (await me.history(to, { limit: 1 })).messages.at(-1).value", tabs.friend)
        begin = head + 1
    came = [message.value for message in friend.messages(timeout=DEADLINE_S, count=begin)]
    assert came == list(range(begin))
    assert list(friend.messages(timeout=0.2)) == []
    assert begin > 0


def test_tabs_share_a_connection_and_pass_it_on(tabs: Tabs, friend: Client) -> None:
    first = tabs.open()
    second = tabs.open(password=None)
    third = tabs.open(password=None)
    until(lambda: len(tabs.logins()) == 1)
    friend.send(tabs.user, "to all")
    for page in (first, second, third):
        page.wait_for_function("came.length === 1")
    second.evaluate(FLOOD, [tabs.friend, 0, 400])
    third.evaluate(FLOOD, [tabs.friend, 1000, 1400])
    first.close()
    for page, last in ((second, 399), (third, 1399)):
        page.wait_for_function(f"fates[{last}] === 'stored'")
    came = [int(message.value) for message in friend.messages(timeout=DEADLINE_S, count=800)]  # type: ignore[arg-type]
    assert [number for number in came if number < 1000] == list(range(400))
    assert [number for number in came if number >= 1000] == list(range(1000, 1400))
    assert list(friend.messages(timeout=0.2)) == []
    until(lambda: len(tabs.logins()) == 2)
    friend.send(tabs.user, "to the rest")
    for page in (second, third):
        page.wait_for_function("came.length === 2")
        assert page.evaluate("came.map(([, value]) => value)") == ["to all", "to the rest"]
    assert len(tabs.logins()) == 2


def test_files_and_streams_in_a_tab_that_does_not_lead(tabs: Tabs, friend: Client, tmp_path: Path) -> None:
    tabs.open()
    page = tabs.open(password=None)
    sent = page.evaluate(
        "async to => (await me.files.send(to, new File([new Uint8Array(2_500_000).fill(7)], 'x.bin'))).id", tabs.friend
    )
    [message] = friend.messages(timeout=DEADLINE_S, count=1)
    assert message.file
    assert message.file.id == sent
    got = friend.files.get(sent, tmp_path)
    assert Path(str(got.path)).read_bytes() == bytes([7]) * 2_500_000
    assert page.evaluate(
        "async id => [...new Set(new Uint8Array(await (await me.files.get(id)).arrayBuffer()))]", sent
    ) == [7]


def test_a_killed_relay_and_what_was_written_meanwhile(tmp_path: Path, browser: Browser, bundle: str) -> None:
    town = Town(tmp_path)
    context = browser.new_context()
    with town.open():
        tabs = Tabs(town, context, bundle)
        page = tabs.open()
        page.evaluate("to => me.send(to, 'before')", tabs.friend)
        assert town.process
        town.process.stop(9)
    page.wait_for_function("me.state === 'waiting'")
    page.evaluate(FLOOD, [tabs.friend, 0, 5])
    with town.open(), Client(town.url(tabs.friend), "python", start=10) as friend:
        page.evaluate("me.hurry()")
        came = [message.value for message in friend.messages(timeout=DEADLINE_S, count=6)]
        assert came == ["before", 0, 1, 2, 3, 4]
    context.close()


def test_a_relay_in_the_house_over_plain_http(town: Town, browser: Browser, bundle: str) -> None:
    """An address that browsers do not trust: no WebCrypto, no Web Locks. Each tab is a device, also after a reload."""
    rules = "--host-resolver-rules=MAP relay.house 127.0.0.1"
    other = browser.browser_type.launch(executable_path=CHROMIUM, args=[*FLAGS, rules])
    try:
        tabs = Tabs(town, other.new_context(), bundle)
        tabs.origin = f"http://relay.house:{town.address.rpartition(':')[2]}"
        first, second = tabs.open(), tabs.open()
        assert not first.evaluate("isSecureContext || Boolean(crypto.subtle) || Boolean(navigator.locks)")
        addresses = {page.evaluate("me.address") for page in (first, second)}
        assert len(addresses) == 2
        assert {page.evaluate("me.state") for page in (first, second)} == {"open"}
        first.evaluate("to => me.send(to, 'in the clear')", tabs.friend)
        second.wait_for_function("came.length === 1")
        tabs.load(first)
        assert tabs.connect(first)[0] in addresses
    finally:
        other.close()
