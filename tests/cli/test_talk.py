"""send, signal and call against a real relay process."""

import json
import re
import subprocess

import pytest
from relay_client import Client

from relay.cli.outcome import CommandError
from relay.cli.talk import parse_arguments
from tests.cli.conftest import Town
from tests.process import COMMAND, environment


def test_a_message_goes_from_one_to_the_other(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    sent = town.run("send", bob, "hello", "there", user=alice)
    conversation = "@".join(sorted((alice, bob)))
    assert (sent.returncode, sent.stdout, sent.stderr) == (0, f"stored as {conversation} 1\n", "")
    (message,) = town.received(bob, 1)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(message.pop("time")))
    assert isinstance(message.pop("device"), str)
    assert message == {
        "conversation": conversation,
        "offset": 1,
        "id": 1,
        "from": alice,
        "to": bob,
        "content_type": "text/plain",
        "body": "hello there",
    }


def test_send_json_says_where_the_message_is(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    row = json.loads(town.run("send", "--json", bob, "x", user=alice).stdout)
    assert (row["offset"], row["to"]) == (1, bob)
    assert set(row) == {"conversation", "offset", "id", "to", "time"}
    assert town.run("send", "--quiet", bob, "x", user=alice).stdout == ""


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (b"one\ntwo\n", "one\ntwo"),
        (b"no line end", "no line end"),
        ("多谢 👋".encode(), "多谢 👋"),
        (b"\x89PNG\xff\n", {"base64": "iVBOR/8K"}),
    ],
)
def test_standard_input_is_one_message(town: Town, data: bytes, body: object) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    assert town.run("send", bob, "-", user=alice, stdin=data).returncode == 0
    assert [message["body"] for message in town.received(bob, 1)] == [body]


def test_lines_are_messages_in_order(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    lines = [f"line {number}" for number in range(1000)]
    sent = town.run("send", "--lines", bob, "-", user=alice, stdin="\n".join(lines).encode())
    assert (sent.returncode, sent.stdout) == (0, "stored 1000 messages\n")
    received = town.received(bob, 1000)
    assert [message["body"] for message in received] == lines
    assert [message["offset"] for message in received] == list(range(1, 1001))


def test_lines_go_out_as_they_come(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    sender = subprocess.Popen(
        (*COMMAND, "send", "--lines", bob, "-"), env=environment(town.home, town.env(alice)), stdin=subprocess.PIPE
    )
    assert sender.stdin is not None
    for number in range(3):
        sender.stdin.write(f"{number}\n".encode())
        sender.stdin.flush()
        assert [message["body"] for message in town.received(bob, 1)] == [str(number)]
    sender.stdin.close()
    assert sender.wait(timeout=30) == 0


def test_a_message_can_be_awaited_until_it_is_read(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    late = town.run("send", bob, "1", "--until", "delivered", "--timeout", "0.5", "--json", user=alice)
    assert late.returncode == 5 and "not delivered in time" in late.stderr
    assert json.loads(late.stdout)["state"] == "stored"
    with Client(town.url(bob), device="phone") as phone:
        phone.on_message(lambda message: message.mark_read())
        assert town.run("send", bob, "2", "--until", "delivered", user=alice).stdout.endswith(
            f"delivered to {bob}/phone\n"
        )
        row = json.loads(town.run("send", bob, "3", "--until", "read", "--json", user=alice).stdout)
        assert (row["state"], row["delivered_to"], row["read_by"]) == ("read", [f"{bob}/phone"], [bob])
    assert town.run("send", "--lines", "--until", "read", bob, "-", user=alice).returncode == 2


def test_sending_leaves_no_device_behind(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    assert town.run("send", bob, "hello", user=alice).returncode == 0
    assert town.run("device", "list", user=alice).stdout == ""


def test_a_signal_reaches_who_is_online(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    with Client(town.url(bob), device="phone") as phone:
        signals = phone.signals(timeout=20, count=2)
        assert town.run("signal", bob, "ring", user=alice).returncode == 0
        assert town.run("signal", f"{bob}/phone", "again", user=alice).returncode == 0
        assert [(signal.sender, signal.text) for signal in signals] == [(alice, "ring"), (alice, "again")]
    assert town.run("signal", bob, "nobody there", user=alice).returncode == 0


def test_the_relay_itself_answers_calls(town: Town) -> None:
    info = json.loads(town.run("call", "relay", "relay.info", user=town.user()).stdout)
    assert info["version"] == 1


def test_refusals_are_sentences(town: Town) -> None:
    alice = town.user("alice")
    assert town.run("send", "no one", "hi", user=alice).returncode == 2
    unknown = town.run("send", "nobody", "hi", user=alice)
    assert (unknown.returncode, unknown.stderr.count("\n")) == (1, 1)
    assert town.run("call", alice, "x", "1" * 500, user=alice).returncode == 2
    large = town.run("send", alice, "-", user=alice, stdin=b"x" * 1_100_000)
    assert large.returncode == 2
    assert "at most" in large.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ([], {})),
        (["1", "2.5", "true", "null", "word", '"1"', "[1, 2]"], ([1, 2.5, True, None, "word", "1", [1, 2]], {})),
        (["copies=2", "name=report.pdf", "empty="], ([], {"copies": 2, "name": "report.pdf", "empty": ""})),
        (["a b=c", "=x", '"a=b"', "NaN", "-1"], (["a b=c", "=x", "a=b", "NaN", -1], {})),
        (["[" * 100_000], (["[" * 100_000], {})),
    ],
)
def test_arguments_of_a_call(words: list[str], expected: object) -> None:
    assert parse_arguments(tuple(words)) == expected


def test_arguments_by_position_and_by_name_do_not_mix() -> None:
    with pytest.raises(CommandError, match="all by position or all by name"):
        parse_arguments(("1", "b=2"))
