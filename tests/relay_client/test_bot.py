"""Bots against a peer, bots as processes that are told to end, and files that hold bots."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from relay_client import Bot, Call, Client, Message, Signal, errors
from relay_client.bot import load

from relay.protocol.codes import CloseCode, ErrorCode
from tests.relay_client.conftest import Start
from tests.relay_client.peer import DEADLINE_S, Peer, until


@pytest.fixture
def me(peer: Peer) -> Iterator[Client]:
    client = Client(peer.url(), "laptop", timeout=20, receive=True)
    yield client
    client._abandon()


@pytest.fixture
def bot(peer: Peer) -> Bot:
    return Bot(peer.url("echo"))


def online(peer: Peer, *methods: str) -> None:
    peer.until(lambda relay: relay.methods.get("echo/bot", set()) >= set(methods) and "echo/bot" in relay.sessions)


def test_a_bot_answers_messages(peer: Peer, bot: Bot, start: Start, me: Client) -> None:
    @bot.on_message
    def shout(message: Message) -> None:
        message.reply(message.text.upper())

    start(bot)
    me.send("echo", "hello")
    assert next(me.messages()).text == "HELLO"
    peer.until(lambda relay: relay.cursors.get(("echo", "bot"), {}).get("alice@echo", 0) >= 1)


def test_a_bot_answers_calls(peer: Peer, bot: Bot, start: Start, me: Client) -> None:
    @bot.method("add")
    def add(call: Call, a: int, b: int) -> int:
        return a + b

    @bot.method("whoami")
    def whoami(call: Call) -> str:
        return f"{call.sender} on {call.sender_device}"

    start(bot)
    online(peer, "add", "whoami")
    assert me.call("echo", "add", 1, 2) == 3 and me.call("echo", "whoami") == "alice on laptop"
    with pytest.raises(errors.CallFailed, match=r"add\(a: int, b: int\)"):
        me.call("echo", "add", 1)


def test_a_bot_answers_signals(peer: Peer, bot: Bot, start: Start, me: Client) -> None:
    @bot.on_signal
    def shout(signal: Signal) -> None:
        signal.reply(signal.text.upper())

    start(bot)
    online(peer)
    me.signal("echo", "hello")
    assert next(me.signals()).text == "HELLO"


def test_a_bot_does_not_hear_itself(peer: Peer, bot: Bot, start: Start, me: Client) -> None:
    heard: list[str] = []

    @bot.on_message
    def note(message: Message) -> None:
        heard.append(message.sender)

    @bot.on_signal
    def note_signal(signal: Signal) -> None:
        heard.append(signal.sender)

    start(bot)
    online(peer)
    with Client(peer.url("echo"), "other") as other:
        other.send("echo", "a note to myself")
        other.send("alice", "from another device")
        other.signal("echo", "hello")
        until(lambda: bot.client.connected)
        bot.signal("echo", "to myself")
        bot.send("echo", "to myself")
    me.signal("echo", "hello")
    me.send("echo", "hello")
    until(lambda: len(heard) >= 2)
    peer.until(lambda relay: relay.cursors["echo", "bot"].get("alice@echo") == 2)
    assert heard == ["alice", "alice"]


def test_handlers_may_use_the_bot(peer: Peer, bot: Bot, start: Start, me: Client) -> None:
    me.serve("name", lambda call: "Alice")

    @bot.on_message
    def greet(message: Message) -> None:
        name = bot.call(message.sender_session, "name")
        bot.post(message.sender, f"hello, {name}").wait()
        bot.send(message.sender, f"{len(bot.who())} are online")
        bot.signal(message.sender, "done")

    start(bot)
    me.send("echo", "hello")
    assert [m.text for m in me.messages(count=2)] == ["hello, Alice", "2 are online"]
    assert next(me.signals()).text == "done"


def test_a_slow_handler_holds_up_its_own_conversation_only(peer: Peer, bot: Bot, start: Start, me: Client) -> None:
    finish = threading.Event()
    done: list[str] = []

    @bot.on_message
    def handle(message: Message) -> None:
        if message.text == "slow":
            finish.wait(DEADLINE_S)
        done.append(message.text)

    start(bot)
    me.send("echo", "slow")
    me.send("echo", "behind it")
    with Client(peer.url("carol")) as carol:
        carol.send("echo", "quick")
    until(lambda: done == ["quick"])
    finish.set()
    until(lambda: done == ["quick", "slow", "behind it"])


def test_a_bot_starts_before_its_relay(peer: Peer, bot: Bot, start: Start) -> None:
    started = threading.Event()
    bot.on_start(started.set)
    peer.vanish()
    start(bot)
    assert not started.is_set()
    peer.listen()
    assert started.wait(DEADLINE_S)


def test_a_start_handler_may_run_for_as_long_as_the_bot(peer: Peer, bot: Bot, start: Start, me: Client) -> None:
    stopped = threading.Event()

    @bot.on_start
    def say_hello_now_and_then() -> None:
        bot.send("alice", "hello")
        stopped.wait(DEADLINE_S)

    start(bot)
    assert next(me.messages()).text == "hello"
    stopped.set()


def test_a_bot_whose_password_is_wrong_ends_with_the_reason(peer: Peer) -> None:
    with pytest.raises(errors.LoginFailed):
        Bot(peer.url("echo", password="wrong")).run()


def test_a_bot_that_is_sent_away_ends_with_the_reason(peer: Peer, bot: Bot) -> None:
    @bot.on_start
    def send_away() -> None:
        with peer.use() as relay:
            relay.sessions["echo/bot"].close(CloseCode.ACCOUNT_ENDED, "the account was disabled")

    with pytest.raises(errors.ConnectionEnded, match="disabled"):
        bot.run()


def test_a_bot_can_stop_itself_and_run_again(peer: Peer, bot: Bot) -> None:
    starts: list[int] = []

    @bot.on_start
    def stop() -> None:
        starts.append(1)
        bot.stop()

    bot.run()
    bot.run()
    assert len(starts) == 2


def test_a_bot_stopped_before_it_runs_does_not_run(peer: Peer, bot: Bot) -> None:
    peer.vanish()
    bot.stop()
    bot.run()


def test_a_bot_needs_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RELAY_URL", raising=False)
    with pytest.raises(errors.BadUrl, match="RELAY_URL"):
        Bot().run()


def test_the_url_may_come_from_the_environment(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_URL", peer.url("echo"))
    bot = Bot()
    bot.on_start(bot.stop)
    bot.run()
    assert peer.connections == 1


def test_outside_its_run_a_bot_says_so(bot: Bot) -> None:
    with pytest.raises(errors.NotConnected, match="does not run"):
        bot.send("alice", "hello")
    assert "not running" in repr(bot)


def test_there_is_one_handler_of_each_kind(bot: Bot) -> None:
    for decorate in (bot.on_message, bot.on_signal):
        decorate(lambda received: None)
        with pytest.raises(ValueError, match="already"):
            decorate(lambda received: None)


# As a process.

PROGRAM = """
import sys, threading
from relay_client import Bot
bot = Bot(sys.argv[1])
@bot.on_message
def slow(message):
    print("begun", flush=True)
    threading.Event().wait(0.3)
    message.reply("done")
bot.on_start(lambda: print("online", flush=True))
bot.run()
print("left", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("mode", [["-c"], ["-m", "gevent.monkey", "FILE"]], ids=["threads", "gevent"])
def test_a_signal_ends_a_bot_when_its_handler_is_through(
    peer: Peer, tmp_path: Path, number: int, mode: list[str]
) -> None:
    file = tmp_path / "bot.py"
    file.write_text(PROGRAM)
    command = [str(file) if word == "FILE" else word for word in mode] + ([PROGRAM] if mode == ["-c"] else [])
    process = subprocess.Popen(
        [sys.executable, *command, peer.url("echo")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "online\n"
        with peer.use() as relay:
            relay.say("alice/laptop", "echo", "hello")
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        rest, errors_said = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
    assert (process.returncode, rest) == (0, "left\n"), errors_said
    assert "Traceback" not in errors_said and "is online" in errors_said
    assert [m.body for m in peer.relay.logs["alice@echo"]] == [b"hello", b"done"]
    assert peer.relay.cursors["echo", "bot"]["alice@echo"] >= 1


def test_a_bot_without_a_relay_can_be_stopped(peer: Peer) -> None:
    peer.vanish()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, peer.url("echo")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        assert "connecting again" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        process.communicate()


# Files.

BOT = """
from relay_client import Bot
from beside import NAME
bot = Bot()
same = bot
@bot.method("name")
def name(call):
    return NAME
"""


@pytest.fixture
def bot_file(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    (tmp_path / "beside.py").write_text("NAME = 'beside'")
    path = list(sys.path)

    def write(text: str) -> Path:
        file = tmp_path / "my-bot.py"
        file.write_text(text)
        return file

    yield write
    sys.path[:] = path
    sys.modules.pop("beside", None)


@pytest.mark.parametrize("end", ["", "bot.run()", "if __name__ == '__main__':\n    bot.run()", "bot.run()\n1 / 0"])
def test_a_bot_file_is_loaded_and_not_run(
    bot_file: Callable[[str], Path], peer: Peer, start: Start, me: Client, end: str
) -> None:
    bot = load(bot_file(BOT + end))
    thread = threading.Thread(target=bot.run, args=(peer.url("echo"),))
    thread.start()
    online(peer, "name")
    assert me.call("echo", "name") == "beside"
    bot.stop()
    thread.join(DEADLINE_S)


def test_of_several_bots_the_one_that_runs_is_meant(bot_file: Callable[[str], Path]) -> None:
    bot = load(
        bot_file("from relay_client import Bot\nfirst = Bot(device='a')\nsecond = Bot(device='b')\nsecond.run()")
    )
    assert repr(bot) == "<Bot b, not running>"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("x = 1", "holds no bot"),
        ("from relay_client import Bot\na = Bot()\nb = Bot()", "holds 2 bots"),
        ("def (:", "not a Python program.*line 1"),
    ],
)
def test_a_file_without_one_bot_is_explained(bot_file: Callable[[str], Path], text: str, hint: str) -> None:
    with pytest.raises(errors.BotFileError, match=hint):
        load(bot_file(text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(errors.BotFileError, match="cannot be read: No such file"):
        load(tmp_path / "none.py")


def test_what_a_file_raises_is_its_own(bot_file: Callable[[str], Path]) -> None:
    with pytest.raises(ZeroDivisionError):
        load(bot_file("1 / 0"))


def test_after_loading_bots_run_again(bot_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    load(bot_file(BOT))
    monkeypatch.delenv("RELAY_URL", raising=False)
    with pytest.raises(errors.BadUrl):
        Bot().run()


def test_codes_of_methods_reach_the_caller(peer: Peer, bot: Bot, start: Start, me: Client) -> None:
    @bot.method("print")
    def out_of_paper(call: Call) -> None:
        raise errors.MethodError("out of paper", 1234)

    @bot.method("fail")
    def fail(call: Call) -> Any:
        return os.environ["NO_SUCH_VARIABLE"]

    start(bot)
    online(peer, "print", "fail")
    for method, code in (("print", 1234), ("fail", ErrorCode.METHOD_FAILED)):
        with pytest.raises(errors.CallFailed) as caught:
            me.call("echo", method)
        assert caught.value.code == code and "NO_SUCH_VARIABLE" not in str(caught.value)
