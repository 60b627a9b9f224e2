"""`relay listen` against a real relay: what is shown, what is acknowledged, how it ends."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Town
from tests.cli.terminal import Terminal
from tests.process import COMMAND, environment, run, running


def test_each_message_is_shown_once_to_each_device(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    town.run("listen", "--timeout", "0", user=bob)
    town.run("listen", "--timeout", "0", "--device", "phone", user=bob)
    for number in range(3):
        town.run("send", bob, str(number), user=alice)
    assert [message["body"] for message in town.received(bob, 2)] == ["0", "1"]
    assert [message["body"] for message in town.received(bob, 1)] == ["2"]
    assert town.run("listen", "--timeout", "0.2", user=bob).stdout == ""
    assert [message["body"] for message in town.received(bob, 3, "--device", "phone")] == ["0", "1", "2"]


def test_only_the_conversations_that_are_named_are_shown(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    town.run("room", "create", "corner", user=alice)
    town.run("room", "join", "corner", user=bob)
    town.run("listen", "--timeout", "0", user=bob)
    town.run("listen", "#corner", "--timeout", "0", user=bob)
    town.run("send", bob, "direct", user=alice)
    town.run("send", "#corner", "to all", user=alice)
    assert [message["body"] for message in town.received(bob, 1, "#corner")] == ["to all"]
    assert sorted(str(message["body"]) for message in town.received(bob, 2)) == ["direct", "to all"]
    devices = [
        json.loads(line)["device"] for line in town.run("device", "list", "--json", user=bob).stdout.splitlines()
    ]
    assert {"cli", "cli-corner"} <= set(devices)


def test_what_is_neither_a_user_nor_a_room_cannot_be_listened_to(town: Town) -> None:
    done = town.run("listen", "two words", "--timeout", "0", "--device", "cli", user=town.user())
    assert done.returncode == 2 and "two words" in done.stderr


def test_a_room_one_is_not_in_is_told_of(town: Town) -> None:
    alice = town.user("alice")
    town.run("room", "create", "nook", user=alice)
    outside = town.run("listen", "#nook", "--timeout", "0", user=town.user("bob"))
    assert outside.stderr == "relay: you are not in #nook; nothing comes from it until you join\n"
    assert town.run("listen", "#nook", "--timeout", "0", user=alice).stderr == ""


def test_receipts_show_how_far_others_are(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    with running("listen", "--receipts", home=town.home, env=town.env(alice)) as listening:
        town.run("send", alice, "you are listening", user=bob)
        assert json.loads(listening.line())["body"] == "you are listening"
        town.run("send", bob, "hello", user=alice)
        while json.loads(row := listening.line()).get("body") != "hello":
            pass
        town.received(bob, 2, "--mark-read", "--device", "phone")
        while not (receipt := json.loads(listening.line())).get("read"):
            pass
        assert listening.stop(signal.SIGINT) == 130
    assert (receipt["event"], receipt["user"], receipt["conversation"]) == (
        "receipt",
        bob,
        json.loads(row)["conversation"],
    )
    assert receipt["read"] == receipt["delivered"] == receipt["devices"]["phone"] == 2


def test_listening_ends_by_timeout(town: Town) -> None:
    bob = town.user("bob")
    assert town.run("listen", "--timeout", "0.1", user=bob).returncode == 0
    late = town.run("listen", "--timeout", "0.1", "--count", "1", user=bob)
    assert (late.returncode, late.stderr) == (5, "relay: 0 of 1 messages came in time\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_leaving_hands_over_what_was_seen(town: Town, number: int, code: int) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    with running("listen", "--text", home=town.home, env=town.env(bob)) as listening:
        for text in ("seen", "last"):
            town.run("send", bob, text, user=alice)
            assert listening.line().endswith(f"{alice}: {text}")
        assert listening.stop(number) == code
        assert "".join(listening.rest("stderr")) == ""
    town.run("send", bob, "unseen", user=alice)
    # The signal may have come between writing the last one and acknowledging it.
    bodies = [message["body"] for message in town.received(bob, 1)]
    assert bodies == ["unseen"] or bodies + [message["body"] for message in town.received(bob, 1)] == ["last", "unseen"]


def test_ctrl_c_on_a_terminal_leaves_without_a_word(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    town.run("send", bob, "hi", user=alice)
    terminal = Terminal("listen", home=town.home, env=town.env(bob) | {"NO_COLOR": "1"})
    terminal.wait_for(f" {alice}: hi\r\n")
    terminal.type("\x03")
    assert terminal.finish() == 130
    assert terminal.shown.endswith(f"{alice}: hi\r\n^C\r\n")


def test_a_closed_pipe_ends_listening_and_loses_nothing(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    for number in range(3):
        town.run("send", bob, str(number), user=alice)
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        (*COMMAND, "listen", "--json"),
        env=environment(town.home, town.env(bob)),
        stdout=write_end,
        stderr=subprocess.PIPE,
        timeout=30,
        check=False,
    )
    os.close(write_end)
    assert (done.returncode, done.stderr) == (1, b"")
    assert [message["body"] for message in town.received(bob, 3)] == ["0", "1", "2"]


def test_hostile_text_cannot_reach_the_terminal(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    town.run("send", bob, "-", user=alice, stdin=b"\x1b[2Jgone\nsecond \x9b31m\x07")
    terminal = Terminal("listen", "--count", "1", home=town.home, env=town.env(bob))
    assert terminal.finish() == 0
    assert r"\x1b[2Jgone" in terminal.shown
    assert "\x1b[2J" not in terminal.shown
    assert "\x07" not in terminal.shown


def test_friends_have_colours_on_a_terminal_unless_unwanted(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    shown = []
    for env in ({}, {}, {"NO_COLOR": "1"}, {"TERM": "dumb"}):
        town.run("send", bob, "hi", user=alice)
        terminal = Terminal("listen", "--count", "1", home=town.home, env=town.env(bob) | env)
        assert terminal.finish() == 0
        shown.append(terminal.shown[5:])
    assert re.fullmatch(rf" \x1b\[\d+m{alice}\x1b\[0m: hi\r\n", shown[0])
    assert shown[1] == shown[0]
    assert shown[2] == shown[3] == f" {alice}: hi\r\n"


def test_a_relay_that_comes_back_is_found_again_and_says_so_beside_the_messages(tmp_path: Path) -> None:
    serve = ("serve", "--data", str(tmp_path / "data"), "--listen")
    for name in ("alice", "bob"):
        assert run("user", "add", name, "--password-stdin", home=tmp_path, stdin=b"secret").returncode == 0

    def send(text: str) -> None:
        sent = run("send", "--url", f"relay://alice:secret@{address}", "bob", text, home=tmp_path)
        assert sent.returncode == 0, sent.stderr

    with running(*serve, "127.0.0.1:0", home=tmp_path) as relay:
        address = relay.line().removeprefix("listening on ")
        with running("listen", "--text", "--url", f"relay://bob:secret@{address}", home=tmp_path) as listening:
            send("before")
            assert listening.line().endswith(" alice: before")
            relay.stop(signal.SIGKILL)
            assert "connecting again in" in listening.line("stderr")
            with running(*serve, address, home=tmp_path) as relay_again:
                relay_again.line()
                send("after")
                assert listening.line().endswith(" alice: after")
                assert listening.await_line("relay: connected again")
                assert listening.stop(signal.SIGINT) == 130
