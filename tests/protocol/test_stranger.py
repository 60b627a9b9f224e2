"""A client written from docs/protocol.md alone, with a msgpack library and HMAC, meets the real relay.

Nothing of ours may be imported here: where this client and the relay disagree, the document is wrong.
"""

import base64
import hashlib
import hmac
import secrets
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from tests.process import run, running

PASSWORD = "correct horse"
MSGPACK = "application/msgpack"


def sign(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


class Stranger:
    """Sections 3 and 7, nothing more."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=30)
        self.received = b""

    def send(self, *elements: object) -> None:
        payload = msgpack.packb(elements)
        self.socket.sendall(struct.pack(">I", len(payload)) + payload)

    def receive(self) -> list[Any] | None:
        """The next packet; None when the relay has closed."""
        while len(self.received) < 4 or len(self.received) < 4 + struct.unpack(">I", self.received[:4])[0]:
            data = self.socket.recv(65536)
            if not data:
                return None
            self.received += data
        end = 4 + struct.unpack(">I", self.received[:4])[0]
        payload, self.received = self.received[4:end], self.received[end:]
        packet: list[Any] = msgpack.unpackb(payload)
        return packet

    def log_in(self, user: str, device: str, password: str = PASSWORD) -> list[Any]:
        """WELCOME, checked, or CLOSE."""
        nonce = secrets.token_hex(18)
        first = f"n={user},r={nonce}"
        self.send(1, 1, 1, user, device, "SCRAM-SHA-256", f"n,,{first}".encode(), "stranger/1")
        number, version, data = self.receive() or []
        assert (number, version) == (2, 1)
        challenge = data.decode()
        fields = dict(part.split("=", 1) for part in challenge.split(","))
        assert fields["r"].startswith(nonce)
        salt, rounds = base64.b64decode(fields["s"]), int(fields["i"])
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
        client_key = sign(salted, "Client Key")
        final = f"c=biws,r={fields['r']}"
        message = f"{first},{challenge},{final}"
        signature = sign(hashlib.sha256(client_key).digest(), message)
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature, strict=True))).decode()
        self.send(3, f"{final},p={proof}".encode())
        answer = self.receive()
        assert answer is not None
        if answer[0] == 4:
            self.server_key = sign(salted, "Server Key")
            assert answer[3] == b"v=" + base64.b64encode(sign(self.server_key, message))
            self.address = answer[2]
        return answer

    def come_back(self, user: str, device: str, server_key: bytes, ticket: bytes) -> list[Any]:
        """WELCOME, checked, or CLOSE: "Resume tickets"."""
        nonce = secrets.token_bytes(16)
        proof = hmac.digest(server_key, b"ticket client" + nonce + ticket, "sha256")
        self.send(1, 1, 1, user, device, "TICKET", nonce + proof + ticket, "stranger/1")
        answer = self.receive()
        assert answer is not None
        if answer[0] == 4:
            assert answer[3] == hmac.digest(server_key, b"ticket relay" + nonce + ticket, "sha256")
        return answer

    def ask_relay(self, identifier: int, method: str, **arguments: object) -> Any:
        self.send(24, self.address, "relay", identifier, method, 10_000, MSGPACK, msgpack.packb(arguments))
        number, sender, to, answered, content_type, body = self.receive() or []
        assert (number, sender, to, answered, content_type) == (25, "relay", self.address, identifier, MSGPACK)
        return msgpack.unpackb(body)


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    home: Path = tmp_path_factory.mktemp("relay")
    data = ("--data", str(home / "data"))
    for user in ("alice", "bob"):
        added = run("user", "add", user, "--password-stdin", *data, home=home, stdin=PASSWORD.encode())
        assert added.returncode == 0, added.stderr
    with running("serve", "--listen", "127.0.0.1:0", *data, home=home) as process:
        host, _, port = process.line().removeprefix("listening on ").rpartition(":")
        yield host, int(port)
        assert process.stop() == 0


@pytest.fixture
def alice(relay: tuple[str, int]) -> Iterator[Stranger]:
    stranger = Stranger(relay)
    assert stranger.log_in("alice", "~stranger")[:3] == [4, 1, "alice/~stranger"]
    yield stranger
    stranger.socket.close()


@pytest.fixture
def bob(relay: tuple[str, int]) -> Iterator[Stranger]:
    stranger = Stranger(relay)
    assert stranger.log_in("bob", "phone")[0] == 4
    stranger.ask_relay(1, "messages.receive", start=None)
    yield stranger
    stranger.socket.close()


def test_welcome_holds_what_the_table_says(relay: tuple[str, int]) -> None:
    stranger = Stranger(relay)
    number, version, session, data, keepalive_ms, time_ms, *rest = stranger.log_in("alice", "new")
    last_message_id, frame_max, ticket, agent, generation = rest
    assert (number, version, session, last_message_id, frame_max) == (4, 1, "alice/new", 0, 1048576)
    assert 0 < len(ticket) <= 1024
    assert data.startswith(b"v=")
    assert agent.startswith("relay/")
    assert len(generation) == 16
    assert keepalive_ms > 0
    assert time_ms > 1_700_000_000_000
    stranger.socket.close()


@pytest.mark.parametrize("user", ["alice", "nobody"])
def test_a_failed_login(relay: tuple[str, int], user: str) -> None:
    answer = Stranger(relay).log_in(user, "laptop", password="wrong")
    assert answer[:2] == [7, 4200]


def test_coming_back_by_ticket(relay: tuple[str, int]) -> None:
    stranger = Stranger(relay)
    ticket = stranger.log_in("alice", "returning")[8]
    stranger.socket.close()
    back = Stranger(relay)
    number, version, session, *rest = back.come_back("alice", "returning", stranger.server_key, ticket)
    assert (number, version, session) == (4, 1, "alice/returning")
    assert rest[5] not in (None, ticket)
    again = Stranger(relay)
    number, code, sentence, _ = again.come_back("alice", "returning", stranger.server_key, ticket)
    assert (number, code) == (7, 4001)
    assert sentence
    assert again.receive() is None


def test_messages(alice: Stranger, bob: Stranger) -> None:
    first = 1
    message = (17, alice.address, "bob", first, "text/plain", b"hello bob")
    alice.send(*message)
    stored = alice.receive()
    assert stored is not None
    number, identifier, conversation, offset, time_ms = stored
    assert (number, identifier, conversation) == (18, first, "alice@bob")
    assert bob.receive() == [19, "alice@bob", offset, time_ms, msgpack.packb(message)]
    alice.send(*message)
    assert alice.receive() == stored
    alice.send(17, alice.address, "bob", first, "text/plain", b"something else")
    assert (alice.receive() or [])[:4] == [8, 17, first, 106]
    alice.send(17, alice.address, "nobody", first + 1, "", b"")
    assert (alice.receive() or [])[:4] == [8, 17, first + 1, 200]
    bob.send(20, "alice@bob", offset, offset)
    assert bob.ask_relay(2, "messages.sync") == {}


def test_signals(alice: Stranger, bob: Stranger) -> None:
    for receiver in ("bob", "bob/phone"):
        signal = [16, alice.address, receiver, None, "", b"now"]
        alice.send(*signal)
        assert bob.receive() == signal
    alice.send(16, alice.address, "nobody", None, "", b"")
    alice.send(16, alice.address, "nobody", 3, "", b"")
    assert (alice.receive() or [])[:4] == [8, 16, 3, 201]


def test_calls(alice: Stranger, bob: Stranger) -> None:
    bob.ask_relay(2, "methods.announce", methods=["add"])
    for receiver, method in (("bob", "add"), ("bob/phone", "anything")):
        call = [24, alice.address, receiver, 7, method, 10_000, MSGPACK, msgpack.packb([2, 3])]
        alice.send(*call)
        assert bob.receive() == call
        result = [25, bob.address, alice.address, 7, MSGPACK, msgpack.packb(5)]
        bob.send(*result)
        assert alice.receive() == result


def test_calls_that_nobody_answers(alice: Stranger, bob: Stranger) -> None:
    for receiver, method, timeout_ms, code in (
        ("nobody", "add", 1000, 201),
        ("bob/laptop", "add", 1000, 201),
        ("bob", "sub", 1000, 203),
        ("relay", "nonsense", 1000, 203),
        ("bob/phone", "add", 50, 302),
    ):
        alice.send(24, alice.address, receiver, 8, method, timeout_ms, "", b"")
        assert (alice.receive() or [])[:5] == [26, "relay", alice.address, 8, code]
    assert (bob.receive() or [])[0] == 24
    bob.send(26, bob.address, alice.address, 8, 1000, "too late")
    assert (bob.receive() or [])[:4] == [8, 26, 8, 302]


def test_calls_to_the_relay(alice: Stranger) -> None:
    info = alice.ask_relay(1, "relay.info")
    assert info["version"] == 1
    users = {user["user"]: user for user in alice.ask_relay(2, "presence.list")["users"]}
    assert users["alice"]["bot"] is False
    assert "~stranger" in users["alice"]["sessions"]


def test_what_is_refused_and_what_is_ignored(alice: Stranger) -> None:
    alice.send(17, "bob/phone", "bob", 9, "", b"")
    assert (alice.receive() or [])[:4] == [8, 17, 9, 102]
    alice.send(24, "bob/phone", "relay", 9, "relay.info", 1000, "", b"")
    assert (alice.receive() or [])[:4] == [8, 24, 9, 102]
    alice.send(17, alice.address, "Bob", 9, "", b"")
    assert (alice.receive() or [])[:4] == [8, 17, 9, 103]
    alice.send(40, alice.address, "bob", 9, True)
    assert (alice.receive() or [])[:4] == [8, 40, 9, 101]
    alice.send(5, 42, "a field of a later version", None)
    assert alice.receive() == [6, 42]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x00\x00\x00\x00", 4302),
        (b"\x00\x10\x00\x01", 4302),
        (b"\x00\x00\x00\x03\x92\x05\xc0", 4303),
        (b"\x00\x00\x00\x03\x92\x05\x90", 4303),
        (b"\x00\x00\x00\x04\x92\x05\x2a\x00", 4303),
        (b"\x00\x00\x00\x03\x92\x03\xa0", 4303),
        (b"\x00\x00\x00\x04\x92\x03\xc4\x00", 4304),
    ],
)
def test_what_ends_a_connection(alice: Stranger, data: bytes, code: int) -> None:
    alice.socket.sendall(data)
    assert (alice.receive() or [])[:2] == [7, code]
    assert alice.receive() is None


def test_goodbye(alice: Stranger) -> None:
    alice.send(7, 4000, "bye", None)
    assert (alice.receive() or [])[:2] == [7, 4000]
    assert alice.receive() is None


def test_the_same_device_again(alice: Stranger, relay: tuple[str, int]) -> None:
    second = Stranger(relay)
    assert second.log_in("alice", "~stranger")[0] == 4
    assert (alice.receive() or [])[:2] == [7, 4202]
    assert alice.receive() is None
    second.socket.close()
