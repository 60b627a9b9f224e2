"""who, block, unblock and blocks against a real relay process."""

import json
import signal

from relay_client import Client

from tests.cli.conftest import Town
from tests.process import running


def test_who_shows_users_and_their_devices(town: Town) -> None:
    bob = town.user("bob")
    with Client(town.url(bob), device="phone"):
        rows = [json.loads(line) for line in town.run("who", "--json", user=town.user()).stdout.splitlines()]
        assert {"user": bob, "sessions": ["phone"], "bot": False} in rows
        lines = [line.split() for line in town.run("who", user=town.user()).stdout.splitlines()]
        assert [bob, "phone"] in lines


def test_a_watch_shows_how_it_stands_and_what_changes(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    town.run("send", bob, "hello", user=alice)
    with running("who", "--watch", "--json", home=town.home, env=town.env(alice)) as watching:
        before = json.loads(watching.line())
        assert (before["user"], before["state"]) == (bob, "offline")
        with Client(town.url(bob), device="phone") as phone:
            assert json.loads(watching.line())["state"] == "online"
            phone.people.set_away()
            assert json.loads(watching.line())["state"] == "away"
        last = json.loads(watching.line())
        assert last["state"] == "offline" and last["seen"] > "2020"
        assert watching.stop(signal.SIGINT) == 130


def test_a_watch_ends_with_the_connection_for_good(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    town.run("send", bob, "hello", user=alice)
    with running("who", "--watch", "--json", home=town.home, env=town.env(alice)) as watching:
        assert json.loads(watching.line())["user"] == bob
        assert town.run("user", "disable", alice, *town.on_data).returncode == 0
        assert watching.wait() == 3
        assert "".join(watching.rest("stderr")).startswith("relay: ")


def test_whom_one_blocks_one_does_not_hear(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    assert town.run("blocks", user=bob).stdout == ""
    assert town.run("block", alice, user=bob).returncode == 0
    assert town.run("blocks", user=bob).stdout == f"{alice}\n"
    assert json.loads(town.run("blocks", "--json", user=bob).stdout) == {"user": alice}
    refused = town.run("send", bob, "hello", user=alice)
    assert refused.returncode == 1 and refused.stderr.startswith("relay: ")
    assert town.run("unblock", alice, user=bob).returncode == 0
    assert town.run("send", bob, "hello", user=alice).returncode == 0


def test_nobody_can_block_who_is_not_there(town: Town) -> None:
    done = town.run("block", "nobody", user=town.user())
    assert (done.returncode, done.stdout) == (1, "") and "nobody" in done.stderr
