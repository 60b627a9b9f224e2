"""relay history and relay device against a real relay process."""

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
    assert bodies("--after", "60") == [f"line {number}" for number in range(61, 601)]
    assert town.run("history", alice, "--last", "1", user=bob).stdout.endswith(f"{alice}: line 600\n")


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
