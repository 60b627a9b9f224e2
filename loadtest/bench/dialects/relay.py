"""This relay. Accounts are written into its database before it starts; the login is SCRAM with keys derived once."""

import base64
import hashlib
import hmac
import itertools
import sys
import time
from collections.abc import Callable, Generator, Sequence
from functools import lru_cache
from typing import ClassVar, TypeVar

import msgpack

import relay
from loadtest.bench.dialects.base import AckCounter, Dialect, DialectError, Exchange, Login, Place, Seat, Wire
from relay.auth.tickets import Tickets
from relay.protocol.frames import FrameReader
from relay.protocol.limits import FRAME_MAX, HEADER_BYTES, VERSION_MAX, VERSION_MIN
from relay.protocol.packets import (
    Call,
    Challenge,
    Delivery,
    Hello,
    Message,
    Packet,
    Proof,
    Result,
    Signal,
    Stored,
    StoredRun,
    Welcome,
    decode,
    encode,
)
from relay.protocol.scram import ITERATIONS_MIN, MECHANISM, Credentials, make_credentials
from relay.protocol.tickets import MECHANISM as TICKET
from relay.protocol.tickets import ClientTicket, Resume
from relay.store.base import Append, Role
from relay.store.sqlite import SqliteStore

PASSWORD = "benchmark"  # noqa: S105 - of accounts in a temporary directory
METHOD = "work"
# From here on an id takes four bytes, so that all messages or calls of a sender have one size.
FIRST_ID = 1 << 17
# So many messages are in a room before it is measured: up to 65,535 an offset takes two bytes then.
OFFSETS_USED = 255
_TIMEOUT_MS = 60_000
_LIFETIME_S = 3600.0
P = TypeVar("P", bound=Packet)
_nonces = itertools.count()


class RelayDialect(Dialect):
    """relay serve, with its defaults but for caps on sessions and connections."""

    name: ClassVar[str] = "relay"
    install: ClassVar[str] = "pip install --editable ."
    kinds: ClassVar[frozenset[str]] = Dialect.kinds | {"stored", "stored-fan", "call", "resume"}
    announces_port: ClassVar[bool] = True

    def __init__(self) -> None:
        self._resumes: dict[Seat, Resume] = {}

    def version(self) -> str | None:
        return relay.__version__

    def command(self, place: Place) -> list[str]:
        data = place.directory / "data"
        data.mkdir()
        self._resumes = _fill(SqliteStore(data), place.seats, place.kind)
        many = "1000000"
        settings = {
            "listen": "127.0.0.1:0",
            "data": str(data),
            "connections-max": many,
            "connections-per-address-max": many,
            "sessions-per-user-max": many,
            "keepalive-interval-s": "3600",
            "handshake-timeout-s": "60",
            "log-level": "warning",
        }
        flags = [text for name, value in settings.items() for text in (f"--{name}", value)]
        return [sys.executable, "-m", "relay", "serve", *flags]

    def login(self, seat: Seat, listen: bool) -> Login:
        reader = FrameReader(FRAME_MAX)
        nonce = f"bench{next(_nonces)}"
        bare = f"n={seat.user},r={nonce}"
        hello = Hello(VERSION_MIN, VERSION_MAX, seat.user, seat.device, MECHANISM, b"n,," + bare.encode(), "bench")
        challenge = yield from _ask(reader, encode(hello), Challenge)
        proof, signature = answer(bare, challenge.data.decode())
        welcome = yield from _ask(reader, encode(Proof(proof)), Welcome)
        if welcome.data != signature:
            raise DialectError("the relay's signature is wrong")

    def resume(self, seat: Seat) -> Login:
        kept = self._resumes[seat]
        ticket = ClientTicket(kept)
        hello = Hello(VERSION_MIN, VERSION_MAX, seat.user, seat.device, TICKET, ticket.first(), "bench")
        welcome = yield from _ask(FrameReader(FRAME_MAX), encode(hello), Welcome)
        ticket.check(welcome.data)
        if welcome.ticket is None:
            raise DialectError("the relay gave no ticket for the next time")
        self._resumes[seat] = kept._replace(ticket=welcome.ticket)

    def signal(self, sender: Seat, to: Seat, payload: bytes) -> Wire:
        frame = encode(Signal(_address(sender), _inbox(to), None, "", payload))
        return Wire(frame, len(frame))

    def message(self, sender: Seat, to: Seat, payload: bytes) -> Callable[[int], bytes]:
        # The id stands in the middle; the rest of the frame is made once.
        first = encode(Message(_address(sender), _inbox(to), FIRST_ID, "", payload))
        marked = b"\xce" + FIRST_ID.to_bytes(4, "big")
        head, tail = first.split(marked, 1)

        def numbered(n: int) -> bytes:
            return head + b"\xce" + (FIRST_ID - 1 + n).to_bytes(4, "big") + tail

        return numbered

    def receive(self, seat: Seat) -> Login:
        yield from self.login(seat, True)
        yield from _ask(FrameReader(FRAME_MAX), self.receive_call(seat), Result)

    def receive_call(self, seat: Seat) -> bytes:
        """The call that begins the deliveries to a seat that is logged in."""
        body = msgpack.packb({})
        return encode(Call(_address(seat), "relay", 1, "messages.receive", _TIMEOUT_MS, "application/msgpack", body))

    def delivered_bytes(self, frame: bytes, sender: Seat, to: Seat) -> int:
        payload = frame[HEADER_BYTES:]
        return len(encode(Delivery(_inbox(to), OFFSETS_USED + 1, time.time_ns() // 1_000_000, payload)))

    def acks(self) -> AckCounter:
        rest = b""

        def count(data: bytes) -> int:
            nonlocal rest
            data = rest + data
            start, end, found = 0, len(data), 0
            while end - start >= HEADER_BYTES:
                stop = start + HEADER_BYTES + int.from_bytes(data[start : start + HEADER_BYTES], "big")
                if stop > end:
                    break
                packet = decode(data[start + HEADER_BYTES : stop])
                if isinstance(packet, Stored | StoredRun):
                    found += packet.total if isinstance(packet, StoredRun) else 1
                else:
                    raise DialectError(f"instead of STORED came {packet!r}")
                start = stop
            rest = data[start:]
            return found

        return count

    def serve(self, seat: Seat) -> Login:
        yield from self.login(seat, True)
        body = msgpack.packb({"methods": [METHOD]})
        call = Call(_address(seat), "relay", 1, "methods.announce", _TIMEOUT_MS, "application/msgpack", body)
        yield from _ask(FrameReader(FRAME_MAX), encode(call), Result)

    def request(self, caller: Seat, bot: Seat, payload: bytes, number: int) -> Exchange:
        call_id = FIRST_ID + number
        call = encode(Call(_address(caller), bot.user, call_id, METHOD, _TIMEOUT_MS, "", payload))
        answer_frame = encode(Result(_address(bot), _address(caller), call_id, "", payload))
        return Exchange(call, call, answer_frame, len(answer_frame))


def answer(bare: str, challenge: str) -> tuple[bytes, bytes]:
    """The client-final message, and the server-final message it has to be answered with (RFC 5802 section 3).

    Written out here because a library that derives the key each time would be slower than the relay it measures.
    """
    parts = dict(part.split("=", 1) for part in challenge.split(","))
    client_key, stored_key, server_key = _keys(base64.b64decode(parts["s"]), int(parts["i"]))
    without_proof = f"c=biws,r={parts['r']}"
    said = f"{bare},{challenge},{without_proof}".encode()
    signature = hmac.digest(stored_key, said, hashlib.sha256)
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    final = f"{without_proof},p={base64.b64encode(proof).decode()}"
    return final.encode(), b"v=" + base64.b64encode(hmac.digest(server_key, said, hashlib.sha256))


@lru_cache(maxsize=1024)
def _keys(salt: bytes, iterations: int) -> tuple[bytes, bytes, bytes]:
    salted = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", hashlib.sha256)
    return client_key, hashlib.sha256(client_key).digest(), hmac.digest(salted, b"Server Key", hashlib.sha256)


def _ask(reader: FrameReader, request: bytes, kind: type[P]) -> Generator[bytes, bytes, P]:
    """Send a frame and wait for the answer, which is returned."""
    data = yield request
    while True:
        reader.feed(data)
        payload = reader.next_payload()
        if payload is not None:
            packet = decode(payload)
            if not isinstance(packet, kind):
                raise DialectError(f"the relay answered {packet!r}")
            return packet
        data = yield b""


@lru_cache(maxsize=1)
def _credentials() -> Credentials:
    return make_credentials(PASSWORD, ITERATIONS_MIN)


def _fill(store: SqliteStore, seats: Sequence[Seat], kind: str) -> dict[Seat, Resume]:
    """Make the accounts and rooms of these seats. The first in a room owns it, and has sent to it before the others
    came if messages to it will be stored. Returns what an earlier login would have left those who come by ticket.
    """
    now_ms, tickets = time.time_ns() // 1_000_000, Tickets(store.secret(), _LIFETIME_S)
    resumes: dict[Seat, Resume] = {}
    messages = OFFSETS_USED if kind == "stored-fan" else 0
    try:
        with store.group():
            for user in dict.fromkeys(seat.user for seat in seats):
                store.add_account(user, _credentials(), False, now_ms)
            owners = {seat.room: seat for seat in reversed(seats) if seat.room}
            for seat in owners.values():
                store.create_room(_inbox(seat), "", False, seat.user, now_ms)
        for seat in owners.values():
            numbers = range(1, messages + 1)
            store.append([Append(_inbox(seat), seat.user, seat.device, n, b"x") for n in numbers], now_ms)
        with store.group():
            for seat in seats:
                if seat.room and owners[seat.room] != seat:
                    store.set_role(_inbox(seat), seat.user, Role.MEMBER, now_ms)
            for seat in seats if kind == "resume" else ():
                ticket = tickets.issue(seat.user, seat.device, now_ms)
                store.hold_ticket(seat.user, seat.device, _credentials().stored_key, ticket.held)
                resumes[seat] = Resume(ticket.data, _credentials().server_key)
    finally:
        store.close()
    return resumes


def _inbox(seat: Seat) -> str:
    return f"#{seat.room}" if seat.room else seat.user


def _address(seat: Seat) -> str:
    return f"{seat.user}/{seat.device}"
