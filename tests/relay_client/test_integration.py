"""The SDK against the real relay process: threads, gevent and asyncio, restarts and kills."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from relay_client import Client, errors

from relay.protocol.codes import CloseCode, ErrorCode
from relay.store.sqlite import SqliteStore
from tests.relay_client.driver import AioClient
from tests.relay_client.peer import DEADLINE_S, until
from tests.relay_client.town import Town

both_shells = pytest.mark.parametrize("client_of", [Client, AioClient], ids=["blocking", "aio"])
ClientOf = Callable[..., Any]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    town = Town(tmp_path_factory.mktemp("town"))
    with town.open():
        yield town


@pytest.fixture
def town(tmp_path: Path) -> Town:
    return Town(tmp_path)


@pytest.fixture
def users(shared: Town, request: pytest.FixtureRequest) -> tuple[str, str]:
    """Two users of the test's own, on a relay that many tests share."""
    number = abs(hash(request.node.nodeid)) % 10**9
    names = (f"alice{number}", f"bob{number}")
    shared.add(*names)
    return names


@both_shells
def test_a_conversation(shared: Town, users: tuple[str, str], client_of: ClientOf) -> None:
    alice, bob = users
    with client_of(shared.url(alice), "laptop") as me:
        assert me.send(bob, "hello").offset == 1
        with client_of(shared.url(bob), "phone") as other:
            message = next(other.messages())
            assert (message.sender, message.sender_device, message.text) == (alice, "laptop", "hello")
            message.reply({"text": "HELLO", "at": [1, 2.5, None, b"\xff"]})
        assert [m.value for m in me.messages(count=1)] == [{"text": "HELLO", "at": [1, 2.5, None, b"\xff"]}]
    with client_of(shared.url(bob), "phone") as other:
        assert list(other.messages(timeout=0.05)) == []


@both_shells
def test_the_answer_comes_also_to_a_device_without_a_name(
    shared: Town, users: tuple[str, str], client_of: ClientOf
) -> None:
    alice, bob = users
    with client_of(shared.url(bob), "phone") as other:
        other.on_message(lambda message: message.reply(message.text.upper()))
        for text in ("one", "two", "three"):
            with client_of(shared.url(alice)) as me:
                me.send(bob, text)
                assert [m.text for m in me.messages(count=1)] == [text.upper()]


@both_shells
def test_all_devices_of_a_user(shared: Town, users: tuple[str, str], client_of: ClientOf) -> None:
    alice, bob = users
    with (
        client_of(shared.url(alice), "laptop", receive=True) as laptop,
        client_of(shared.url(alice), "phone", receive=True) as phone,
        client_of(shared.url(bob), "desk") as other,
    ):
        phone.who(), laptop.who()
        laptop.send(bob, "from my laptop")
        other.send(alice, "to both")
        assert [m.text for m in phone.messages(count=2)] == ["from my laptop", "to both"]
        assert [m.text for m in laptop.messages(count=1)] == ["to both"]


@both_shells
def test_calls_and_signals(shared: Town, users: tuple[str, str], client_of: ClientOf) -> None:
    alice, bob = users
    with client_of(shared.url(alice), "laptop") as me, client_of(shared.url(bob), "phone") as other:
        other.serve("add", lambda call, a, b: a + b)
        assert me.call(bob, "add", 1, 2) == 3 and me.call(f"{bob}/phone", "add", a=1, b=2) == 3
        me.signal(bob, "typing")
        assert next(other.signals()).text == "typing"
        online = {entry.user: entry.sessions for entry in me.who()}
        assert online[alice] == ("laptop",) and online[bob] == ("phone",)
        assert me.call("relay", "relay.info")["version"] == 1
        for to, method, code in (
            (bob, "subtract", ErrorCode.NO_SUCH_METHOD),
            (f"{bob}/desk", "add", ErrorCode.NO_SUCH_SESSION),
            ("relay", "no.such", ErrorCode.NO_SUCH_METHOD),
            ("#ops", "add", ErrorCode.BAD_ADDRESS),
        ):
            with pytest.raises(errors.CallFailed) as caught:
                me.call(to, method)
            assert caught.value.code == code


@both_shells
def test_a_call_that_takes_too_long(shared: Town, users: tuple[str, str], client_of: ClientOf) -> None:
    alice, bob = users
    with client_of(shared.url(alice), "laptop") as me, Client(shared.url(bob), "phone") as other:
        finish = threading.Event()
        other.serve("slow", lambda call: finish.wait(DEADLINE_S))
        with pytest.raises(errors.CallTimedOut, match="did not answer"):
            me.call(bob, "slow", timeout=0.1)
        finish.set()


@both_shells
def test_a_callee_that_leaves(shared: Town, users: tuple[str, str], client_of: ClientOf) -> None:
    alice, bob = users
    with client_of(shared.url(alice), "laptop") as me:
        other = Client(shared.url(bob), "phone")
        other.serve("leave", lambda call: other._abandon())
        with pytest.raises(errors.CallFailed) as caught:
            me.call(bob, "leave")
        assert caught.value.code == ErrorCode.SESSION_GONE


@both_shells
def test_refusals(shared: Town, users: tuple[str, str], client_of: ClientOf) -> None:
    alice, _ = users
    with pytest.raises(errors.LoginFailed):
        client_of(shared.url(alice), password="wrong")
    with pytest.raises(errors.LoginFailed):
        client_of(shared.url("nobody-of-this-name"))
    with client_of(shared.url(alice)) as me:
        with pytest.raises(errors.Refused) as caught:
            me.send("nobody-of-this-name", "hello")
        assert caught.value.code == ErrorCode.NO_SUCH_USER and not caught.value.retryable


@both_shells
def test_the_same_device_twice(shared: Town, users: tuple[str, str], client_of: ClientOf) -> None:
    alice, bob = users
    first = client_of(shared.url(alice), "laptop", receive=True)
    with client_of(shared.url(alice), "laptop") as second:
        with pytest.raises(errors.Replaced) as caught:
            next(first.messages())
        assert caught.value.code == CloseCode.REPLACED
        assert second.send(bob, "hello").offset == 1
    first._abandon()


@both_shells
def test_many_messages_both_ways(shared: Town, users: tuple[str, str], client_of: ClientOf) -> None:
    alice, bob = users
    with (
        client_of(shared.url(alice), "laptop", receive=True) as me,
        client_of(shared.url(bob), "phone", receive=True) as other,
    ):
        posted = [(me.post(bob, f"a{n}"), other.post(alice, f"b{n}")) for n in range(1000)]
        offsets = [post.wait().offset for pair in posted for post in pair]
        assert sorted(offsets) == list(range(1, 2001))
        assert [m.text for m in other.messages(count=1000)] == [f"a{n}" for n in range(1000)]
        assert [m.text for m in me.messages(count=1000)] == [f"b{n}" for n in range(1000)]


@both_shells
def test_a_long_absence(shared: Town, users: tuple[str, str], client_of: ClientOf) -> None:
    """A backlog comes while own messages are stored ahead of it."""
    alice, bob = users
    with client_of(shared.url(bob), "phone") as other, client_of(shared.url(alice), "laptop"):
        for number in range(3000):
            other.post(alice, str(number))
    with client_of(shared.url(alice), "laptop", receive=True) as me:
        for number in range(100):
            me.post(bob, f"mine {number}")
        assert [m.text for m in me.messages(count=3000)] == [str(number) for number in range(3000)]
        with client_of(shared.url(bob), "phone") as other:
            other.send(alice, "last")
        assert [m.text for m in me.messages(count=1)] == ["last"]


def test_a_unix_socket(tmp_path: Path) -> None:
    town = Town(tmp_path)
    town.address = f"unix:{tmp_path}/socket"
    town.add("alice")
    with town.open(), Client(f"relay+unix://alice:secret@{tmp_path}/socket") as me:
        assert me.send("alice", "to myself").offset == 1


@both_shells
def test_a_restart_is_survived(town: Town, client_of: ClientOf) -> None:
    town.add("alice", "bob")
    with town.open():
        me = client_of(town.url("alice"), "laptop", timeout=DEADLINE_S)
        bob = client_of(town.url("bob"), "phone", timeout=DEADLINE_S, receive=True)
        me.send("bob", "before")
        assert town.process is not None and town.process.stop() == 0
    until(lambda: not me.connected and not bob.connected)
    post = me.post("bob", "meanwhile")
    with town.open():
        assert post.wait().offset == 2
        assert [m.text for m in bob.messages(count=2)] == ["before", "meanwhile"]
        bob.close()
        me.close()
        me._abandon(), bob._abandon()


@both_shells
@pytest.mark.parametrize("good", [True, False], ids=["good", "revoked"])
def test_after_a_kill_a_client_comes_back_by_its_ticket_and_by_password_if_that_is_void(
    town: Town, client_of: ClientOf, good: bool, short_pauses: None
) -> None:
    town.add("alice")
    with town.open():
        me = client_of(town.url("alice"), "laptop", timeout=DEADLINE_S)
        assert town.process is not None
        town.process.stop(signal.SIGKILL)
    until(lambda: not me.connected)
    if not good:
        store = SqliteStore(town.data)
        store.set_disabled("alice", True)
        store.set_disabled("alice", False)
        store.close()
    with town.open():
        assert town.process is not None
        how = "TICKET" if good else "SCRAM-SHA-256"
        assert "alice/laptop logged in from 127.0.0.1" in town.process.await_line(f"by {how} with")
        assert bool(town.process.seen("this ticket was revoked")) is not good
        assert me.send("alice", "back").offset == 1
        me.close()
        me._abandon()


@both_shells
def test_kills_lose_nothing_and_repeat_nothing(town: Town, client_of: ClientOf, short_pauses: None) -> None:
    town.add("alice", "bob")
    count = 2000
    texts: list[str] = []
    with town.open():
        address = town.address
        me = client_of(town.url("alice"), "laptop", timeout=DEADLINE_S)
        bob = client_of(town.url("bob"), "phone", timeout=DEADLINE_S)
        bob.on_message(lambda message: texts.append(message.text))
        posted: list[Any] = []
        sender = threading.Thread(target=lambda: posted.extend(me.post("bob", str(n)) for n in range(count)))
        sender.start()
        until(lambda: len(texts) > 100)
        assert town.process is not None
        os.kill(town.process.process.pid, signal.SIGKILL)
    for so_far in (600, 1100):
        with town.open():
            assert town.address == address
            until(lambda so_far=so_far: len(texts) > so_far)  # type: ignore[misc]
            os.kill(town.process.process.pid, signal.SIGKILL)
    with town.open():
        sender.join(DEADLINE_S)
        assert [post.wait().offset for post in posted] == list(range(1, count + 1))
        until(lambda: len(texts) >= count)
        assert texts == [str(number) for number in range(count)]
        me._abandon(), bob._abandon()


PROGRAM = """
import sys
url, other = sys.argv[1:]
from relay_client import Bot, Client
import threading

bot = Bot(other)

@bot.on_message
def shout(message):
    message.reply(message.text.upper())

@bot.method("add")
def add(call, a, b):
    return a + b

ready = threading.Event()
bot.on_start(ready.set)
running = threading.Thread(target=bot.run)
running.start()
assert ready.wait(20)

with Client(url) as me:
    name = bot.client.user
    posts = [me.post(name, f"m{n}") for n in range(500)]
    assert [post.wait().offset for post in posts]
    assert [m.text for m in me.messages(count=500)] == [f"M{n}" for n in range(500)]
    assert me.call(name, "add", 1, 2) == 3
    assert sorted(online.user for online in me.who()) == sorted([name, me.user])
bot.stop()
running.join(20)
assert not running.is_alive()
print("done", "gevent" in sys.modules)
"""


@pytest.mark.parametrize(
    ("before", "command", "gevent"),
    [
        ("", [], False),
        ("", ["-m", "gevent.monkey"], True),
        ("from gevent import monkey; monkey.patch_all()", [], True),
        ("import relay_client; from gevent import monkey; monkey.patch_all()", [], True),
    ],
    ids=["threads", "gevent.monkey", "patched first", "patched after the import"],
)
def test_the_same_program_under_threads_and_gevent(town: Town, before: str, command: list[str], gevent: bool) -> None:
    town.add("alice", "echo")
    file = town.home / "program.py"
    file.write_text(f"{before}\n{PROGRAM}")
    with town.open():
        arguments = [sys.executable, *command, str(file), town.url("alice"), town.url("echo")]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == f"done {gevent}\n", done.stderr
    assert done.returncode == 0 and "Traceback" not in done.stderr
