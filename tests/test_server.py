"""The relay put together: several in one process, from start to stop, with clients on real sockets."""

import logging
import threading
from _queue import SimpleQueue
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import gevent
import pytest
from gevent import socket

from relay.config import Settings
from relay.protocol.codes import CloseCode, ErrorCode
from relay.protocol.connection import ClientConnection
from relay.protocol.packets import (
    Ack,
    Call,
    Challenge,
    Close,
    Delivery,
    Error,
    Hello,
    Message,
    Packet,
    Ping,
    Pong,
    Result,
    Signal,
    Stored,
    Unknown,
    Welcome,
    encode,
)
from relay.protocol.payloads import decode_body
from relay.protocol.scram import ITERATIONS_MIN, make_credentials
from relay.server import Relay, StartError
from relay.store.base import StoreBrokenError, StoreError
from relay.store.sqlite import SqliteStore
from relay.transport import connection as connection_module
from tests.loop import deadline, turn, until
from tests.session.wire import Client

WONDERLAND = make_credentials("wonderland", ITERATIONS_MIN)


class Person:
    """A client of a relay."""

    def __init__(self, address: str, user: str, device: str = "phone", password: str = "wonderland") -> None:
        self.me = f"{user}/{device}"
        if address.startswith("unix:"):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(address.removeprefix("unix:"))
        else:
            host, _, port = address.rpartition(":")
            sock = socket.create_connection((host.strip("[]"), int(port)))
        self.client = Client(sock)
        ends = ClientConnection(user, password, device, "test/1")
        with deadline("the login"):
            while True:
                sock.sendall(ends.data_to_send())
                data = sock.recv(4096)
                assert data, "the relay hung up without a word"
                ends.receive_data(data)
                if (packet := ends.next_packet()) is not None:
                    break
        self.client.unread(ends._frames.take_rest())
        self.greeting: Packet | Unknown = packet

    def send(self, *packets: Packet) -> None:
        self.client.send(*packets)

    def receive(self) -> Packet | Unknown:
        return self.client.receive()

    def message(self, to: str, id: int, body: bytes = b"hi") -> Stored:
        self.send(Message(self.me, to, id, "", body))
        stored = self.receive()
        assert isinstance(stored, Stored)
        return stored

    def call(self, method: str) -> object:
        self.send(Call(self.me, "relay", 1, method, 5000, "", b""))
        result = self.receive()
        assert isinstance(result, Result), result
        return decode_body(result.content_type, result.body)

    def close(self) -> None:
        self.client.close()


class House:
    """A place for relays: each with a directory of its own, and accounts alice, bob and carol."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.relays: list[Relay] = []
        self.people: list[Person] = []

    def settings(self, name: str = "data", **changes: object) -> Settings:
        chosen = {
            "listen": ("127.0.0.1:0",),
            "data": self.root / name,
            "scram_iterations": ITERATIONS_MIN,
            "drain_timeout_s": 10.0,
            "drain_spread_s": 3.0,
        }
        return Settings(**(chosen | changes))  # type: ignore[arg-type]

    def accounts(self, name: str = "data") -> None:
        (self.root / name).mkdir(exist_ok=True)
        store = SqliteStore(self.root / name)
        for user in ("alice", "bob", "carol"):
            store.add_account(user, WONDERLAND, user == "carol", 0)
        store.close()

    def start(self, name: str = "data", **changes: object) -> Relay:
        if not (self.root / name).exists():
            self.accounts(name)
        relay = Relay(self.settings(name, **changes))
        with deadline("the start"):
            relay.start()
        self.relays.append(relay)
        return relay

    def stop(self, relay: Relay) -> None:
        self.relays.remove(relay)
        with deadline("the stop"):
            relay.stop()

    def person(self, relay: Relay, user: str, device: str = "phone") -> Person:
        self.people.append(Person(relay.addresses[0], user, device))
        assert isinstance(self.people[-1].greeting, Welcome)
        return self.people[-1]

    def close(self) -> None:
        for person in self.people:
            person.close()
        for relay in list(self.relays):
            self.stop(relay)


@pytest.fixture
def house() -> Iterator[House]:
    with TemporaryDirectory(prefix="relay") as root:
        made = House(Path(root))
        yield made
        made.close()


def native_threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def descriptors() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


def test_three_relays_in_one_process_know_nothing_of_each_other(house: House) -> None:
    relays = [house.start(name) for name in ("one", "two", "three")]
    assert len({relay.addresses[0] for relay in relays}) == 3
    people = [house.person(relay, "alice") for relay in relays]
    others = [house.person(relay, "bob") for relay in relays]
    for number, (alice, bob) in enumerate(zip(people, others, strict=True)):
        body = bytes([number])
        alice.send(Signal("alice/phone", "bob", None, "", body))
        assert bob.receive() == Signal("alice/phone", "bob", None, "", body)
        assert alice.message("bob", 1, body).offset == 1
    house.stop(relays[1])
    people[0].send(Ping(1))
    assert people[0].receive() == Pong(1)
    assert len(relays[2].registry) == 2


def test_a_message_is_stored_delivered_and_still_there_after_a_restart(house: House) -> None:
    relay = house.start()
    alice, bob = house.person(relay, "alice"), house.person(relay, "bob")
    bob.call("messages.receive")
    assert alice.message("bob", 1).conversation == "alice@bob"
    delivery = bob.receive()
    assert isinstance(delivery, Delivery)
    assert delivery.packet == encode(Message("alice/phone", "bob", 1, "", b"hi"))[4:]
    bob.send(Ack("alice@bob", 1, None))
    bob.call("messages.sync")
    bob.close()
    alice.message("bob", 2, b"while you were out")
    alice.close()
    house.stop(relay)

    relay = house.start()
    alice, bob = house.person(relay, "alice"), house.person(relay, "bob")
    assert isinstance(alice.greeting, Welcome)
    assert alice.greeting.last_message_id == 2
    bob.call("messages.receive")
    delivery = bob.receive()
    assert isinstance(delivery, Delivery)
    assert (delivery.offset, b"while you were out" in delivery.packet) == (2, True)
    assert alice.message("bob", 2, b"while you were out").offset == 2


def test_every_kind_of_endpoint_leads_to_the_same_relay(house: House) -> None:
    path = house.root / "relay.sock"
    relay = house.start(listen=("127.0.0.1:0", f"unix:{path}"), unix_mode=0o600)
    assert relay.addresses[1] == f"unix:{path}"
    assert path.stat().st_mode & 0o777 == 0o600
    alice, bob = Person(relay.addresses[0], "alice"), Person(relay.addresses[1], "bob")
    house.people += [alice, bob]
    alice.send(Signal("alice/phone", "bob", None, "", b"x"))
    assert isinstance(bob.receive(), Signal)
    bob.close()
    alice.close()
    house.stop(relay)
    assert not path.exists()


def test_starting_and_stopping_leaves_nothing_behind(house: House) -> None:
    house.stop(house.start())
    gevent.sleep(0)
    before, threads, watchers = descriptors(), native_threads(), gevent.get_hub().loop.activecnt
    for _ in range(3):
        relay = house.start()
        house.person(relay, "alice").close()
        house.stop(relay)
    turn()
    until(lambda: native_threads() <= threads)
    assert descriptors() == before
    assert gevent.get_hub().loop.activecnt <= watchers


def failing(house: House, match: str, **changes: object) -> str:
    """Start a relay that cannot; what it says. Afterwards the same directory is free for one that can."""
    turn()
    before, threads = descriptors(), native_threads()
    with pytest.raises(StartError, match=match) as caught, deadline():
        Relay(house.settings(**changes)).start()
    until(lambda: native_threads() <= threads)
    # Another relay may have had a file open for a moment before, or has one now.
    until(lambda: descriptors() <= before)
    return str(caught.value)


def test_a_port_in_use_is_said_and_everything_closed_again(house: House) -> None:
    house.start("other")
    taken = house.relays[0].addresses[0]
    assert taken in failing(house, "another process is listening", listen=("127.0.0.1:0", taken))
    house.start()


def test_an_endpoint_that_is_none_is_said(house: House) -> None:
    failing(house, "HOST:PORT", listen=("nonsense",))
    house.start()


def test_a_socket_file_of_the_listener_before_the_bad_one_is_removed(house: House) -> None:
    path = house.root / "relay.sock"
    failing(house, "HOST:PORT", listen=(f"unix:{path}", "nonsense"))
    assert not path.exists()


def test_a_directory_that_cannot_be_used_is_said(house: House) -> None:
    (house.root / "file").touch()
    assert "--data" in failing(house, "is no directory", data=house.root / "file" / "data")


def test_a_second_relay_on_the_same_directory_is_refused(house: House) -> None:
    relay = house.start()
    alice = house.person(relay, "alice")
    failing(house, "running on")
    assert alice.message("bob", 1).offset == 1
    alice.close()
    house.stop(relay)
    house.start()


def test_a_database_that_is_none_is_said(house: House) -> None:
    (house.root / "data").mkdir()
    (house.root / "data" / "relay.db").write_bytes(b"this is not a database, whatever its name says" * 100)
    failing(house, "relay.db")


def test_a_store_that_fails_on_its_first_question_is_said(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(store: SqliteStore) -> bytes:
        raise StoreError("the disk is gone; look after it")

    house.accounts()
    with monkeypatch.context() as patch:
        patch.setattr(SqliteStore, "secret", fail)
        failing(house, "the disk is gone")
    house.start()


def test_stopping_tells_everybody_to_come_back_after_a_while(house: House) -> None:
    relay = house.start()
    people = [house.person(relay, user) for user in ("alice", "bob", "carol")]
    stopping = gevent.spawn(house.stop, relay)
    for person in people:
        close = person.client.closing()
        assert close.code == CloseCode.SHUTTING_DOWN
        assert close.retry_ms is not None
        assert 0 <= close.retry_ms <= 3000
        person.close()
    with deadline():
        stopping.get()
    with pytest.raises(ConnectionRefusedError):
        Person(relay.addresses[0], "alice")


def test_a_message_under_way_is_answered_before_the_goodbye(house: House) -> None:
    relay = house.start()
    alice = house.person(relay, "alice")
    # The store's thread waits until the relay is told to stop.
    gate: SimpleQueue[None] = SimpleQueue()
    held: list[None] = []
    relay._worker.write(lambda store: held.append(None) or gate.get(timeout=20), lambda outcome: None)
    until(lambda: held)
    alice.send(*(Message("alice/phone", "bob", id, "", b"") for id in range(1, 201)))
    until(lambda: next(iter(relay.registry.sessions())).storing)
    stopping = gevent.spawn(house.stop, relay)
    gevent.sleep(0)
    gate.put(None)
    *answers, close = alice.client.rest()
    assert isinstance(close, Close)
    ids = [answer.id for answer in answers if isinstance(answer, Stored)]
    assert ids == list(range(1, len(ids) + 1))
    assert ids
    alice.close()
    with deadline():
        stopping.get()
    again = house.person(house.start(), "alice")
    assert isinstance(again.greeting, Welcome)
    assert again.greeting.last_message_id == len(ids)


def test_a_login_under_way_ends_with_the_relay(house: House) -> None:
    relay = house.start()
    host, _, port = relay.addresses[0].rpartition(":")
    stranger = Client(socket.create_connection((host, int(port))))
    stranger.send(Hello(1, 1, "alice", "phone", "SCRAM-SHA-256", b"n,,n=alice,r=abcdefghijklmnopqrst", "x"))
    assert isinstance(stranger.receive(), Challenge)
    stopping = gevent.spawn(house.stop, relay)
    assert stranger.closing().code == CloseCode.SHUTTING_DOWN
    stranger.close()
    with deadline():
        stopping.get()
    assert relay.registry.connections == 0


def test_a_client_that_stays_does_not_keep_the_relay(house: House) -> None:
    relay = house.start(drain_timeout_s=0.05)
    alice = house.person(relay, "alice")
    house.stop(relay)
    assert len(relay.registry) == 0
    assert alice.client.closing().code == CloseCode.SHUTTING_DOWN


def test_a_client_that_does_not_hang_up_is_left_after_a_moment(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "LINGER_S", 0.01)
    relay = house.start()
    house.person(relay, "alice")
    house.stop(relay)
    assert relay.registry.connections == 0


@pytest.mark.parametrize("change", ["disable", "password", "remove"])
def test_a_changed_account_ends_its_sessions_and_no_others(house: House, change: str) -> None:
    relay = house.start()
    alice, bob = house.person(relay, "alice"), house.person(relay, "bob")

    def act() -> None:
        store = SqliteStore(house.root / "data")
        if change == "disable":
            store.set_disabled("alice", True)
        elif change == "password":
            store.set_credentials("alice", make_credentials("looking glass", ITERATIONS_MIN))
        else:
            store.remove_account("alice")
        store.close()

    gevent.get_hub().threadpool.apply(act)
    assert alice.client.closing().code == CloseCode.ACCOUNT_ENDED
    refused = Person(relay.addresses[0], "alice")
    assert isinstance(refused.greeting, Close)
    assert refused.greeting.code == CloseCode.LOGIN_FAILED
    refused.close()
    bob.send(Ping(1))
    assert bob.receive() == Pong(1)


def test_a_login_with_the_new_password_stays_when_the_old_sessions_end(house: House) -> None:
    relay = house.start()
    old = house.person(relay, "alice", "old")

    def act() -> None:
        store = SqliteStore(house.root / "data")
        store.set_credentials("alice", make_credentials("looking glass", ITERATIONS_MIN))
        store.close()

    gevent.get_hub().threadpool.apply(act)
    new = Person(relay.addresses[0], "alice", "new", "looking glass")
    house.people.append(new)
    assert old.client.closing().code == CloseCode.ACCOUNT_ENDED
    new.send(Ping(1))
    assert new.receive() == Pong(1)


def test_a_broken_disk_ends_the_relay_and_acknowledges_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    relay = house.start()
    alice = house.person(relay, "alice")

    def fail(store: SqliteStore, items: object, time_ms: int) -> list[object]:
        raise StoreBrokenError("a write failed; see to the disk")

    with monkeypatch.context() as patch, caplog.at_level(logging.CRITICAL):
        patch.setattr(SqliteStore, "append", fail)
        alice.send(Message("alice/phone", "bob", 1, "", b""))
        with deadline():
            relay.stopped.wait()
    assert "a write failed" in caplog.text
    assert isinstance(relay.broken, StoreBrokenError)
    packets = alice.client.rest()
    assert not any(isinstance(packet, Stored) for packet in packets)
    assert isinstance(packets[-1], Close)
    assert packets[-1].code == CloseCode.STORE_FAILED
    alice.close()
    house.stop(relay)
    house.start()


def test_a_refused_message_leaves_the_session_open(house: House) -> None:
    alice = house.person(house.start(), "alice")
    alice.send(Message("alice/phone", "nobody", 1, "", b""))
    error = alice.receive()
    assert isinstance(error, Error)
    assert error[:3] == (17, 1, ErrorCode.NO_SUCH_USER)
    assert alice.message("bob", 2).offset == 1


def test_the_cap_on_connections_holds(house: House) -> None:
    relay = house.start(connections_max=1)
    alice = house.person(relay, "alice")
    host, _, port = relay.addresses[0].rpartition(":")
    stranger = Client(socket.create_connection((host, int(port))))
    assert stranger.closing().code == CloseCode.TOO_MANY_CONNECTIONS
    stranger.close()
    alice.close()
    until(lambda: relay.registry.connections == 0)
    house.person(relay, "bob")


def test_calls_between_clients_and_to_the_relay(house: House) -> None:
    relay = house.start()
    alice, carol = house.person(relay, "alice"), house.person(relay, "carol", "bot")
    call = Call("alice/phone", "carol/bot", 9, "add", 5000, "", b"")
    alice.send(call)
    assert carol.receive() == call
    carol.send(Result("carol/bot", "alice/phone", 9, "", b"5"))
    assert alice.receive() == Result("carol/bot", "alice/phone", 9, "", b"5")
    assert alice.call("presence.list") == {
        "users": [
            {"user": "alice", "sessions": ["phone"], "bot": False},
            {"user": "carol", "sessions": ["bot"], "bot": True},
        ]
    }


def test_a_call_that_nobody_answers_ends_by_the_clock(house: House) -> None:
    relay = house.start()
    alice, bob = house.person(relay, "alice"), house.person(relay, "bob")
    alice.send(Call("alice/phone", "bob/phone", 9, "add", 1, "", b""))
    bob.receive()
    fault = alice.receive()
    assert isinstance(fault, tuple)
    assert fault[2:4] == (9, ErrorCode.TIMED_OUT)


def test_cursors_are_written_without_being_asked_for(house: House) -> None:
    relay = house.start()
    alice, bob = house.person(relay, "alice"), house.person(relay, "bob")
    bob.call("messages.receive")
    alice.message("bob", 1)
    bob.receive()
    bob.send(Ack("alice@bob", 1, 1))
    reader = SqliteStore(house.root / "data")
    until(lambda: reader.backlog("bob", "phone") == [])
    reader.close()


def test_no_native_thread_runs_python_but_the_stores(house: House) -> None:
    """Callbacks and handlers all run on the event loop's thread."""
    relay = house.start()
    seen: set[int] = set()
    handle: Callable[..., None] = relay.router.conversations.handle_appended

    def note(*arguments: object) -> None:
        seen.add(threading.get_ident())
        handle(*arguments)

    relay.router.conversations.handle_appended = note  # type: ignore[method-assign]
    house.person(relay, "alice").message("bob", 1)
    assert seen == {threading.get_ident()}
