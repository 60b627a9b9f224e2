"""Streams of the SDK through a real relay process."""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from relay_client import Bot, Client, MethodError, Stream, errors
from relay_client.core.streams import WINDOW_BYTES

from relay.protocol.codes import ErrorCode
from tests.relay_client.conftest import Start
from tests.relay_client.peer import DEADLINE_S, until
from tests.relay_client.town import Town

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    town = Town(tmp_path_factory.mktemp("town"))
    town.add("alice", "bob")
    with town.open():
        yield town


@pytest.fixture
def alice(shared: Town) -> Iterator[Client]:
    with Client(shared.url("alice"), timeout=DEADLINE_S) as client:
        yield client


@pytest.fixture
def bob(shared: Town) -> Iterator[Client]:
    with Client(shared.url("bob"), timeout=DEADLINE_S) as client:
        yield client


def echo(stream: Stream) -> None:
    for chunk in stream:
        stream.write(chunk)


def test_an_echo(alice: Client, bob: Client) -> None:
    bob.serve_stream("echo", echo)
    with alice.streams.open("bob", "echo") as stream:
        assert stream.peer == bob.session and stream.service == "echo"
        stream.write(b"hello ")
        assert stream.read(6) == b"hello "
        stream.write(bytearray(b"world"))
        stream.finish()
        assert stream.read() == b"world" and stream.read() == b""
        stream.wait_over()
        with pytest.raises(errors.StreamClosed):
            stream.write(b"more")


def test_what_is_said_with_the_opening_and_the_acceptance(alice: Client, bob: Client) -> None:
    def greet(stream: Stream) -> None:
        stream.accept({"you": stream.opening})

    bob.serve_stream("greet", greet)
    assert alice.streams.open(bob.session, "greet", ["it's", "me"]).answer == {"you": ["it's", "me"]}
    assert alice.streams.open("bob", "greet").answer == {"you": None}


def test_fifty_megabytes_there_and_back_while_chat_goes_on(alice: Client, bob: Client) -> None:
    bob.serve_stream("echo", echo)
    sent, received = hashlib.sha256(), hashlib.sha256()
    stream = alice.streams.open("bob", "echo")

    def upload() -> None:
        for _ in range(50):
            block = os.urandom(MEGABYTE)
            sent.update(block)
            stream.write(block)
        stream.finish()

    thread = threading.Thread(target=upload)
    thread.start()
    total = 0
    for chunk in stream:
        total += len(chunk)
        received.update(chunk)
    thread.join(DEADLINE_S)
    assert total == 50 * MEGABYTE and received.digest() == sent.digest()
    assert alice.send("bob", "all there").offset > 0


def test_a_slow_reader_holds_the_writer_back(alice: Client, bob: Client) -> None:
    written = 0
    ended = threading.Event()

    def pour(stream: Stream) -> None:
        nonlocal written
        stream.timeout = 0.2
        try:
            while True:
                written += stream.write(bytes(16 * 1024))
        except errors.TimedOut:
            stream.finish()
            ended.set()

    bob.serve_stream("pour", pour)
    with alice.streams.open("bob", "pour") as stream:
        stream.accept()
        assert ended.wait(DEADLINE_S)
        assert written == WINDOW_BYTES
        assert len(stream.read()) == WINDOW_BYTES


def test_half_closed_the_other_half_goes_on(alice: Client, bob: Client) -> None:
    def count(stream: Stream) -> None:
        stream.write(str(len(stream.read())).encode())

    bob.serve_stream("count", count)
    with alice.streams.open("bob", "count") as stream:
        stream.write(bytes(700_001))
        stream.finish()
        assert stream.read() == b"700001"


def test_reading_in_vain_loses_nothing(alice: Client, bob: Client) -> None:
    release = threading.Event()

    def halves(stream: Stream) -> None:
        stream.write(b"one ")
        release.wait(DEADLINE_S)
        stream.write(b"two")

    bob.serve_stream("halves", halves)
    with alice.streams.open("bob", "halves") as stream:
        stream.timeout = 0.1
        with pytest.raises(errors.TimedOut, match="sent nothing within"):
            stream.read(7)
        stream.timeout = None
        release.set()
        buffer = bytearray(2)
        assert stream.readinto(buffer) == 2 and buffer == b"on"
        assert stream.read() == b"e two"


def test_both_learn_that_the_other_is_gone(shared: Town, bob: Client) -> None:
    failures: list[Exception] = []
    learned = threading.Event()

    def wait(stream: Stream) -> None:
        stream.write(b"x")
        try:
            stream.read()
        except errors.StreamReset as error:
            failures.append(error)
            learned.set()

    bob.serve_stream("wait", wait)
    alice = Client(shared.url("alice"))
    stream = alice.streams.open("bob", "wait")
    assert stream.read(1) == b"x"
    alice._abandon()
    assert learned.wait(DEADLINE_S)
    [gone] = failures
    assert isinstance(gone, errors.StreamReset) and gone.code == ErrorCode.SESSION_GONE
    with pytest.raises(errors.ClientClosed):
        stream.read()


READER = """
import sys
if sys.argv[2] == "gevent":
    from gevent import monkey
    monkey.patch_all()
from relay_client import Client
with Client(sys.argv[1]) as me:
    stream = me.streams.open("bob", "watch")
    stream.write(b"here")
    print(len(stream.read()))
"""


@pytest.mark.parametrize("kind", ["threads", "gevent"])
def test_one_whose_program_is_killed_is_missed(shared: Town, bob: Client, kind: str) -> None:
    failures: list[Exception] = []
    began = threading.Event()

    def watch(stream: Stream) -> None:
        assert stream.read(4) == b"here"
        began.set()
        try:
            stream.read()
        except errors.RelayError as error:
            failures.append(error)

    bob.serve_stream("watch", watch)
    reader = subprocess.Popen([sys.executable, "-c", READER, shared.url("alice"), kind])
    try:
        assert began.wait(DEADLINE_S)
    finally:
        reader.kill()
        reader.wait()
    until(lambda: len(failures) == 1)
    [gone] = failures
    assert isinstance(gone, errors.StreamReset) and gone.code == ErrorCode.SESSION_GONE


def test_what_a_handler_raises(alice: Client, bob: Client) -> None:
    def fail(stream: Stream) -> None:
        if stream.opening == "own":
            raise MethodError("the shop is closed", 1234)
        stream.write(b"begun")
        raise RuntimeError("a secret")

    bob.serve_stream("fail", fail)
    with pytest.raises(errors.StreamReset, match="the shop is closed") as refusal:
        alice.streams.open("bob", "fail", "own")
    assert refusal.value.code == 1234
    stream = alice.streams.open("bob", "fail")
    assert stream.read(5) == b"begun"
    with pytest.raises(errors.StreamReset, match="its log says why") as failure:
        stream.read()
    assert failure.value.code == ErrorCode.METHOD_FAILED and "secret" not in str(failure.value)


def test_an_exception_in_a_with_block_resets(alice: Client, bob: Client) -> None:
    codes: list[int] = []

    def note(stream: Stream) -> None:
        try:
            stream.read()
        except errors.StreamReset as error:
            codes.append(error.code)

    bob.serve_stream("note", note)
    with pytest.raises(ZeroDivisionError), alice.streams.open("bob", "note"):
        raise ZeroDivisionError
    until(lambda: codes == [ErrorCode.CANCELLED])


def test_nobody_takes_it(alice: Client, bob: Client) -> None:
    for to, service, code in (
        ("bob", "nothing", ErrorCode.NO_SUCH_SERVICE),
        (bob.session, "nothing", ErrorCode.NO_SUCH_SERVICE),
        ("nobody", "nothing", ErrorCode.NO_SUCH_SESSION),
    ):
        with pytest.raises(errors.StreamReset) as refusal:
            alice.streams.open(to, service)
        assert refusal.value.code == code


def test_nobody_accepts_in_time(alice: Client, bob: Client) -> None:
    release = threading.Event()
    bob.serve_stream("later", lambda stream: release.wait(DEADLINE_S))
    with pytest.raises(errors.StreamTimedOut):
        alice.streams.open("bob", "later", timeout=0.1)
    release.set()
    with pytest.raises(errors.BadValue):
        alice.streams.open("bob", "later", timeout=61)


def test_a_bot_offers_a_stream_again_after_a_restart(tmp_path: Path, start: Start) -> None:
    town = Town(tmp_path)
    town.add("alice", "bob")
    online = threading.Event()
    with town.open():
        bot = Bot(town.url("bob"))
        bot.stream("echo")(echo)
        bot.on_start(online.set)
        start(bot)
        assert online.wait(DEADLINE_S)
        alice = Client(town.url("alice"), timeout=DEADLINE_S)
        stream = alice.streams.open("bob", "echo")
    with pytest.raises(errors.ConnectionLost):
        stream.read()
    with town.open():
        until(lambda: _echoed(alice))
        alice.close()
        bot.stop()


def _echoed(client: Client) -> bool:
    try:
        with client.streams.open("bob", "echo") as stream:
            stream.write(b"again")
            return stream.read(5) == b"again"
    except (errors.StreamReset, ConnectionError):
        return False
