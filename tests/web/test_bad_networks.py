"""The page while the network or the relay fails: what was written goes out, once and in order."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.relay_client.town import Town
from tests.web.stage import Stage, eventually


@pytest.fixture
def own_town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    town = Town(tmp_path_factory.mktemp("own-town"))
    town.add("alice", "bob")
    return town


def test_a_killed_relay_loses_and_doubles_nothing(own_town: Town, browser: Browser) -> None:
    stage = Stage(own_town, browser)
    with own_town.open():
        alice, bob = stage.person("alice").sign_in(), stage.person("bob").sign_in()
        alice.open("bob")
        alice.write("0: before")
        bob.open("alice")
        expect(bob.message("0: before")).to_be_visible()
        assert own_town.process is not None
        own_town.process.process.kill()
        own_town.process.wait()
        for number in range(1, 6):
            alice.write(f"{number}: while it was dead")
        expect(alice.page.locator(".strip")).to_contain_text("goes out by itself")
        alice.await_fate("5: while it was dead", "Waiting to be sent|Sending")
        bob.write("6: from the other side")
        alice.picture("offline")
    with own_town.open():
        wanted = ["0: before", *(f"{number}: while it was dead" for number in range(1, 6))]
        expect(alice.page.locator(".strip")).to_have_count(0)
        expect(bob.message("5: while it was dead")).to_be_visible()
        expect(alice.message("6: from the other side")).to_be_visible()
        alice.await_fate("5: while it was dead", "Sent|Delivered|Read")
        with stage.client("alice") as client:
            stored = [str(it.value) for it in client.history("bob", after=0)]
        assert sorted(stored) == sorted([*wanted, "6: from the other side"])
        assert [text for text in stored if not text.startswith("6")] == wanted
        for person in (alice, bob):
            eventually(lambda person=person: person.texts() == stored, f"{person.name} sees {stored}")  # type: ignore[misc]
            person.check()
        stage.close()


def test_what_was_written_offline_goes_out_from_the_next_tab(own_town: Town, browser: Browser) -> None:
    stage = Stage(own_town, browser)
    with own_town.open():
        alice = stage.person("alice").sign_in()
        alice.open("bob")
        alice.write("first of all")
        alice.await_fate("first of all", "Sent|Delivered")
    alice.write("written in the dark")
    alice.await_fate("written in the dark", "Waiting to be sent|Sending")
    expect(alice.page.locator(".strip")).to_be_visible()
    alice.page.close()
    with own_town.open():
        alice.page = alice.open_tab()
        alice.open("bob")
        alice.await_fate("written in the dark", "Sent|Delivered")
        assert alice.texts() == ["first of all", "written in the dark"]
        with stage.client("bob") as client:
            assert [it.value for it in client.history("alice", after=0)] == ["first of all", "written in the dark"]
        stage.close()


def test_a_slow_network_shows_what_is_under_way(stage: Stage) -> None:
    stage.town.add("emil", "fay")
    emil, fay = stage.person("emil").sign_in(), stage.person("fay").sign_in()
    emil.open("fay")
    devtools = emil.context.new_cdp_session(emil.page)
    devtools.send("Network.enable")
    slow = {"offline": False, "latency": 400, "downloadThroughput": 20_000, "uploadThroughput": 20_000}
    devtools.send("Network.emulateNetworkConditions", slow)
    for number in range(5):
        emil.write(f"slowly {number}")
    expect(fay.page.locator(".talk", has_text="slowly 4")).to_be_visible()
    fay.open("emil")
    eventually(lambda: fay.texts() == [f"slowly {number}" for number in range(5)], "all five in order")
    emil.await_fate("slowly 4", "Delivered|Read")
