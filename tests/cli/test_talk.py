"""send, listen, signal, call, who, bot, login and logout against a real relay process."""

import json
import os
import re
import signal
import stat
import subprocess
from pathlib import Path

import pytest
from relay_client import Client

from tests.cli.conftest import Town
from tests.cli.terminal import Terminal
from tests.process import COMMAND, environment, run, running


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


def test_listening_ends_by_timeout(town: Town) -> None:
    bob = town.user("bob")
    assert town.run("listen", "--timeout", "0.1", user=bob).returncode == 0
    late = town.run("listen", "--timeout", "0.1", "--count", "1", user=bob)
    assert (late.returncode, late.stderr) == (5, "relay: 0 of 1 messages came in time\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_leaving_hands_over_what_was_seen(town: Town, number: int, code: int) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    with running("listen", home=town.home, env=town.env(bob)) as listening:
        town.run("send", bob, "seen", user=alice)
        assert listening.line().endswith(f"{alice}: seen")
        assert listening.stop(number) == code
        assert "".join(listening.rest("stderr")) == ""
    town.run("send", bob, "unseen", user=alice)
    assert [message["body"] for message in town.received(bob, 1)] == ["unseen"]


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


def test_a_signal_reaches_who_is_online(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    with Client(town.url(bob), device="phone") as phone:
        signals = phone.signals(timeout=20, count=2)
        assert town.run("signal", bob, "ring", user=alice).returncode == 0
        assert town.run("signal", f"{bob}/phone", "again", user=alice).returncode == 0
        assert [(signal.sender, signal.text) for signal in signals] == [(alice, "ring"), (alice, "again")]
    assert town.run("signal", bob, "nobody there", user=alice).returncode == 0


BOT = """
import time
from relay_client import Bot, MethodError

bot = Bot(threads=4)

@bot.method("add")
def add(call, a, b):
    return a + b

@bot.method("raw")
def raw(call):
    return b"\\x00\\x1b"

@bot.method("fail")
def fail(call):
    raise MethodError("the \\x1b[31mprinter\\n is on fire", 1234)

@bot.method("sleep")
def sleep(call):
    time.sleep(2)

@bot.on_message
def shout(message):
    message.reply(message.text.upper())

@bot.on_start
def started():
    print("started", flush=True)
"""


def test_a_bot_answers_calls_and_messages(town: Town) -> None:
    alice, echo = town.user("alice"), town.user("echo", bot=True)
    (town.home / "echo.py").write_text(BOT)
    with running("bot", "echo.py", home=town.home, env=town.env(echo)) as bot:
        assert bot.line() == "started"

        def call(*words: str) -> tuple[int, str, str]:
            done = town.run("call", echo, *words, user=alice)
            return done.returncode, done.stdout, done.stderr

        assert call("add", "1", "2") == (0, "3\n", "")
        assert call("add", "a=1.5", "b=2") == (0, "3.5\n", "")
        assert call("add", "x", "y") == (0, "xy\n", "")
        assert call("--json", "add", "x", "y") == (0, '"xy"\n', "")
        assert call("add", "[1]", '[{"k": null}]') == (0, '[1, {"k": null}]\n', "")
        assert call("raw") == (0, "\x00\x1b", "")
        code, out, error = call("fail")
        assert (code, out) == (1, "")
        assert error.startswith("relay: ") and error.count("\n") == 1 and "\x1b" not in error
        assert call("--timeout", "0.2", "sleep")[0] == 5
        assert call("nothing")[0] == 1
        town.run("send", echo, "shout this", user=alice)
        assert [message["body"] for message in town.received(alice, 2)] == ["shout this", "SHOUT THIS"]
        rows = [json.loads(line) for line in town.run("who", "--json", user=alice).stdout.splitlines()]
        assert {"user": echo, "sessions": ["bot"], "bot": True} in rows
        assert f"{echo} (bot)" in town.run("who", user=alice).stdout
        assert bot.stop() == 0
        assert bot.rest("stderr") == []


def test_a_bot_file_that_is_none_is_a_sentence(town: Town) -> None:
    for text in (None, "print('no bot')", "bot = (", "raise RuntimeError('early')"):
        if text is not None:
            (town.home / "none.py").write_text(text)
        done = town.run("bot", "none.py", user=town.user("bot"))
        assert done.returncode == 1
        assert "none.py" in done.stderr
        assert done.stderr.startswith("relay: ")


def test_the_relay_itself_answers_calls(town: Town) -> None:
    info = json.loads(town.run("call", "relay", "relay.info", user=town.user()).stdout)
    assert info["version"] == 1


def test_a_wrong_password_and_a_missing_relay_have_codes_of_their_own(town: Town) -> None:
    alice = town.user("alice")
    for url, code in {
        f"relay://{alice}:s3cret@{town.address}": 4,
        f"relay://nobody:s3cret@{town.address}": 4,
        "relay://alice:s3cret@127.0.0.1:1": 3,
        "relay://alice:s3cret@does-not-exist.invalid": 3,
        "relay+unix://alice:s3cret@/does/not/exist": 3,
        "relay://alice:s3cret@127.0.0.1:99999": 2,
    }.items():
        done = town.run("send", "--url", url, "bob", "hi")
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert re.fullmatch(r"relay: [^\n]+\n", done.stderr)
        assert "s3cret" not in done.stderr


def test_refusals_are_sentences(town: Town) -> None:
    alice = town.user("alice")
    assert town.run("send", "no one", "hi", user=alice).returncode == 2
    unknown = town.run("send", "nobody", "hi", user=alice)
    assert (unknown.returncode, unknown.stderr.count("\n")) == (1, 1)
    assert town.run("call", alice, "x", "1" * 500, user=alice).returncode == 2
    large = town.run("send", alice, "-", user=alice, stdin=b"x" * 1_100_000)
    assert large.returncode == 2
    assert "at most" in large.stderr


def test_login_keeps_a_profile_that_only_the_owner_reads(town: Town) -> None:
    alice = town.user("alice")
    config = {"XDG_CONFIG_HOME": str(town.home / "conf")}
    url = f"relay://{alice}@{town.address}"

    def command(*words: str, stdin: bytes = b"") -> tuple[int, str]:
        done = run(*words, home=town.home, stdin=stdin, env=config)
        return done.returncode, done.stdout + done.stderr

    file = town.home / "conf" / "relay" / "profile.toml"
    assert command("login", url, "--password-stdin", stdin=b"wrong")[0] == 4
    assert not file.exists()
    code, text = command("login", url, "--password-stdin", stdin=f"secret-{alice}\n".encode())
    assert code == 0
    assert f"logged in as {alice}" in text
    assert "secret" not in text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert command("who")[0] == 0
    assert command("login", "--profile", "work", town.url(alice))[0] == 0
    assert command("who", "--profile", "work")[0] == 0
    assert command("logout")[0] == 0
    assert command("who")[0] == 2
    assert command("who", "--profile", "work")[0] == 0
    code, text = command("logout")
    assert (code, text) == (1, f"relay: there is no profile 'default' in {file}\n")
    assert list(file.parent.iterdir()) == [file]


def test_a_password_with_every_character_survives_the_profile(town: Town) -> None:
    alice = town.user("alice")
    password = "a/b:c@d%e\"f\\g'h#i?j ü漢&=+"
    town.run("user", "password", alice, "--password-stdin", *town.on_data, stdin=password.encode())
    login = run("login", f"relay://{alice}@{town.address}", "--password-stdin", home=town.home, stdin=password.encode())
    assert login.returncode == 0, login.stderr
    assert run("who", home=town.home).returncode == 0


def test_on_a_terminal_login_asks_for_the_password(town: Town) -> None:
    alice = town.user("alice")
    terminal = Terminal("login", f"relay://{alice}@{town.address}", home=town.home)
    terminal.wait_for(f"Password of {alice} at {town.address}: ")
    terminal.type(f"secret-{alice}\n")
    assert terminal.finish() == 0
    assert "secret" not in terminal.shown
    assert run("who", home=town.home).returncode == 0


@pytest.mark.parametrize("text", ["not toml", "[default]\nurl = 3\n", "default = 'x'\n"])
def test_a_broken_profile_is_a_sentence(tmp_path: Path, text: str) -> None:
    file = tmp_path / ".config" / "relay" / "profile.toml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    done = run("who", home=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"relay: {file}: ")


def test_completion_offers_who_is_online(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bobby")
    run("login", town.url(alice), home=town.home)
    with running("listen", home=town.home, env=town.env(bob)) as listening:
        town.run("send", bob, "x", user=alice)
        listening.line()
        line = f"relay send {bob[:4]}"
        done = run(home=town.home, env={"_RELAY_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": "2"})
    assert f"plain,{bob}" in done.stdout.splitlines()
