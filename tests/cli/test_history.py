"""relay history, conversations, receipts and device against a real relay process."""

import json

from tests.cli.conftest import Town


def test_history_reads_the_newest_or_what_is_behind_an_offset(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    lines = "".join(f"line {number}\n" for number in range(1, 601)).encode()
    assert town.run("send", "--lines", bob, "-", user=alice, stdin=lines).returncode == 0

    def bodies(*words: str) -> list[str]:
        done = town.run("history", alice, "--json", *words, user=bob)
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["body"] for line in done.stdout.splitlines()]

    assert bodies() == [f"line {number}" for number in range(581, 601)]
    assert bodies("--last", "550") == [f"line {number}" for number in range(51, 601)]
    assert bodies("--last", "2", "--before", "60") == ["line 58", "line 59"]
    assert bodies("--after", "60") == [f"line {number}" for number in range(61, 601)]
    assert town.run("history", alice, "--last", "1", user=bob).stdout.endswith(f"{alice}: line 600\n")


def test_conversations_and_receipts_say_how_far_one_is(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    for text in ("one", "two"):
        town.run("send", bob, text, user=alice)
    town.received(bob, 1, "--mark-read", "--device", "phone")
    conversation = "@".join(sorted((alice, bob)))
    found = json.loads(town.run("conversations", "--json", user=bob).stdout)
    assert (found["conversation"], found["head"], found["read"], found["unread"]) == (conversation, 2, 1, 1)
    assert town.run("conversations", user=bob).stdout.split() == [conversation, "1", "unread", "of", "2"]
    row = json.loads(town.run("receipts", bob, "--json", user=alice).stdout)
    assert row == {"user": bob, "device": "phone", "delivered": 1, "read": 1}
    assert town.run("receipts", bob, user=alice).stdout.split(maxsplit=1) == [f"{bob}/phone", "delivered 1, read 1\n"]


def test_history_goes_one_way(town: Town) -> None:
    done = town.run("history", "bob", "--after", "1", "--before", "5", user=town.user())
    assert done.returncode == 2 and "--before" in done.stderr


def test_a_conversation_of_others_is_refused(town: Town) -> None:
    alice, bob, eve = town.user("alice"), town.user("bob"), town.user("eve")
    town.run("send", bob, "secret", user=alice)
    done = town.run("history", "@".join(sorted((alice, bob))), user=eve)
    assert (done.returncode, done.stdout) == (1, "")


def test_a_forgotten_device_is_gone(town: Town) -> None:
    alice = town.user("alice")
    town.run("listen", "--timeout", "0", "--device", "phone", user=alice)
    assert "phone" in town.run("device", "list", user=alice).stdout
    assert town.run("device", "forget", "phone", user=alice).returncode == 0
    devices = [
        json.loads(line)["device"] for line in town.run("device", "list", "--json", user=alice).stdout.splitlines()
    ]
    assert "phone" not in devices
    assert town.run("device", "forget", "phone", user=alice).returncode == 1
