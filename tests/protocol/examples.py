"""The examples of docs/protocol.md: packets, other frames, and one whole login, each as the text of a marked block.

`python -m tests.protocol.examples` says which blocks of the document are out of date; with `--write` it renews them.
A block begins with a fence line "```packet LABEL" or "```login LABEL"; everything up to the closing fence is ours.
"""

import base64
import hashlib
import hmac
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgpack

from relay.protocol.codes import CloseCode, ErrorCode
from relay.protocol.limits import FRAME_MAX, HEADER_BYTES
from relay.protocol.packets import (
    NUMBERS,
    PACKETS,
    Accept,
    Ack,
    Call,
    Challenge,
    Close,
    Credit,
    Data,
    Delivery,
    Error,
    Fault,
    Finish,
    Gap,
    Hello,
    Message,
    Open,
    Packet,
    Ping,
    Pong,
    Proof,
    Reset,
    Result,
    Signal,
    Stored,
    StoredRun,
    Unknown,
    Welcome,
    encode_payload,
    name_of,
)
from relay.protocol.payloads import MSGPACK, TEXT, Value, decode_body, encode_body
from relay.protocol.scram import MECHANISM, Credentials
from relay.protocol.tickets import MECHANISM as TICKET

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"

USER, PASSWORD, DEVICE = "alice", "correct horse", "laptop"
SESSION = f"{USER}/{DEVICE}"
GENERATION = "5f1c0a9be27d4483"
TIME_MS = 1_767_225_600_000  # 2026-01-01 00:00 UTC


class Login(NamedTuple):
    """Every value of one SCRAM-SHA-256 login, computed by the formulas of RFC 5802 section 3 and nothing else."""

    client_nonce: str
    server_nonce: str
    salt: bytes
    iterations: int
    client_first: str
    server_first: str
    client_final_without_proof: str
    auth_message: str
    salted_password: bytes
    client_key: bytes
    stored_key: bytes
    server_key: bytes
    client_signature: bytes
    client_proof: bytes
    server_signature: bytes
    client_final: str
    server_final: str

    @property
    def credentials(self) -> Credentials:
        """What a relay stores of this password."""
        return Credentials(self.salt, self.iterations, self.stored_key, self.server_key)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def log_in(user: str, password: str, nonces: tuple[str, str], salt: bytes, iterations: int) -> Login:
    """The login of `user`, who types ASCII only, with the given client and server nonces."""

    def sign(key: bytes, text: str) -> bytes:
        return hmac.digest(key, text.encode(), hashlib.sha256)

    client_first_bare = f"n={user},r={nonces[0]}"
    server_first = f"r={nonces[0]}{nonces[1]},s={_base64(salt)},i={iterations}"
    client_final_without_proof = f"c={_base64(b'n,,')},r={nonces[0]}{nonces[1]}"
    auth_message = f"{client_first_bare},{server_first},{client_final_without_proof}"
    salted_password = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client_key, server_key = sign(salted_password, "Client Key"), sign(salted_password, "Server Key")
    stored_key = hashlib.sha256(client_key).digest()
    client_signature, server_signature = sign(stored_key, auth_message), sign(server_key, auth_message)
    client_proof = bytes(a ^ b for a, b in zip(client_key, client_signature, strict=True))
    return Login(
        *nonces,
        salt,
        iterations,
        f"n,,{client_first_bare}",
        server_first,
        client_final_without_proof,
        auth_message,
        salted_password,
        client_key,
        stored_key,
        server_key,
        client_signature,
        client_proof,
        server_signature,
        f"{client_final_without_proof},p={_base64(client_proof)}",
        f"v={_base64(server_signature)}",
    )


LOGIN = log_in(USER, PASSWORD, ("Zm9yIGV4YW1wbGU", "b25seSB0aGlzIG9uZQ"), bytes(range(32)), 16_384)

TICKETS = [
    bytes([1]) + hashlib.sha256(name).digest()[:16] + hashlib.sha256(name[::-1]).digest() for name in (b"a1", b"b2")
]
TICKET_NONCE = bytes(range(16))


def _ticket_proof(role: str) -> bytes:
    """Section 7, "Resume tickets", for the first of the two tickets."""
    return hmac.digest(LOGIN.server_key, f"ticket {role}".encode() + TICKET_NONCE + TICKETS[0], "sha256")


_MESSAGE = Message(SESSION, "bob", 7, TEXT, b"hello bob")


def _call(message_id: int, method: str, arguments: Value) -> Call:
    return Call(SESSION, "relay", message_id, method, 10_000, *encode_body(arguments))


def _answer(message_id: int, value: Value) -> Result:
    return Result("relay", SESSION, message_id, *encode_body(value))


# Label of the block -> the packet it shows. The label begins with the packet's name.
EXAMPLES: dict[str, Packet] = {
    "HELLO": Hello(1, 1, USER, DEVICE, MECHANISM, LOGIN.client_first.encode(), "example/1.0"),
    "CHALLENGE": Challenge(1, LOGIN.server_first.encode()),
    "PROOF": Proof(LOGIN.client_final.encode()),
    "WELCOME": Welcome(
        1, SESSION, LOGIN.server_final.encode(), 25_000, TIME_MS, 6, FRAME_MAX, TICKETS[0], "relay/0.1.0", GENERATION
    ),
    "HELLO with a ticket": Hello(
        1, 1, USER, DEVICE, TICKET, TICKET_NONCE + _ticket_proof("client") + TICKETS[0], "example/1.0"
    ),
    "WELCOME after a ticket": Welcome(
        1, SESSION, _ticket_proof("relay"), 25_000, TIME_MS, 6, FRAME_MAX, TICKETS[1], "relay/0.1.0", GENERATION
    ),
    "PING": Ping(42),
    "PONG": Pong(42),
    "CLOSE": Close(CloseCode.SHUTTING_DOWN, "the relay restarts", 3000),
    "ERROR": Error(NUMBERS[Message], 8, ErrorCode.NO_SUCH_USER, "there is no user 'bbo'"),
    "SIGNAL": Signal(SESSION, "bob", None, TEXT, b"typing"),
    "SIGNAL with an id": Signal(SESSION, "bob/phone", 3, "", b"\x00\x01\x02"),
    "MESSAGE": _MESSAGE,
    "STORED": Stored(7, "alice@bob", 41, TIME_MS + 250),
    "DELIVERY": Delivery("alice@bob", 41, TIME_MS + 250, encode_payload(_MESSAGE)),
    "ACK": Ack("alice@bob", 41, None),
    "ACK with a receipt": Ack("alice@bob", 41, 40),
    "GAP": Gap("alice@bob", 1, 30),
    "STOREDRUN": StoredRun(8, "alice@bob", 42, 1_767_225_600_250, 3),
    "CALL": Call(SESSION, "calculator", 12, "add", 5000, *encode_body([2, 3])),
    "RESULT": Result("calculator/~k3x9q", SESSION, 12, *encode_body(5)),
    "FAULT": Fault(
        "relay", SESSION, 12, ErrorCode.TIMED_OUT, "calculator/~k3x9q did not answer within the call's time"
    ),
    "OPEN": Open(SESSION, "bob", 4, "echo", 5000, "", b""),
    "ACCEPT": Accept("bob/pc", SESSION, 5, "", b""),
    "DATA": Data(SESSION, "bob/pc", 4, b"some bytes"),
    "CREDIT": Credit("bob/pc", SESSION, 5, 65_536),
    "FINISH": Finish(SESSION, "bob/pc", 4),
    "RESET": Reset("relay", SESSION, 5, ErrorCode.SESSION_GONE, "bob/pc left"),
    "CALL of messages.receive": _call(1, "messages.receive", {"start": None}),
    "RESULT of messages.receive": _answer(1, {}),
    "CALL of messages.sync": _call(2, "messages.sync", {}),
    "CALL of methods.announce": _call(3, "methods.announce", {"methods": ["add", "sub"]}),
    "RESULT of presence.list": _answer(4, {"users": [{"user": "alice", "sessions": ["laptop"], "bot": False}]}),
    "RESULT of relay.info": _answer(5, {"agent": "relay/0.1.0", "version": 1, "time_ms": TIME_MS}),
}


class Unusual(NamedTuple):
    """A frame that no encoder of ours makes: its elements with their names, and what a receiver of version 1 sees."""

    elements: Sequence[object]
    names: Sequence[str]
    decoded: Packet | Unknown


UNUSUAL: dict[str, Unusual] = {
    "PING with a field of a later version": Unusual((5, 42, "later"), ("token", "unknown, ignored"), Ping(42)),
    "of an unknown type": Unusual(
        (48, SESSION, "bob", 9, 65_536), ("unknown", "unknown", "unknown, the id", "unknown"), Unknown(48, 9)
    ),
}


def payload_of(label: str) -> bytes:
    """The payload that the block with this label shows."""
    return encode_payload(EXAMPLES[label]) if label in EXAMPLES else msgpack.packb(UNUSUAL[label].elements)


def render_packet(label: str) -> str:
    """The block's text: the frame in hexadecimal, one element to a line, with what it is."""
    if label in UNUSUAL:
        elements, names = UNUSUAL[label].elements, UNUSUAL[label].names
    else:
        packet = EXAMPLES[label]
        elements = (NUMBERS[type(packet)], *packet)
        names = ["from" if name == "sender" else name for name in packet._fields]
    number = elements[0]
    kind = name_of(PACKETS[number]) if number in PACKETS else "unknown"
    payload = payload_of(label)
    lines = [
        *_hex_lines(len(payload).to_bytes(HEADER_BYTES, "big"), f"{len(payload)} bytes follow"),
        *_hex_lines(payload[:1], f"array of {len(elements)} elements"),
        *_hex_lines(msgpack.packb(number), f"type: {number}, {kind}"),
    ]
    for name, value in zip(names, elements[1:], strict=True):
        lines += _hex_lines(msgpack.packb(value), f"{name}: {_describe(name, value, elements)}")
    return "".join(f"{line}\n" for line in lines)


_BYTES_PER_LINE = 16


def _hex_lines(data: bytes, comment: str) -> Iterator[str]:
    for start in range(0, len(data), _BYTES_PER_LINE):
        chunk = data[start : start + _BYTES_PER_LINE].hex(" ")
        yield f"{chunk:<{3 * _BYTES_PER_LINE}} {comment}" if start == 0 else chunk


def _describe(name: str, value: object, elements: Sequence[object]) -> str:
    if value is None:
        return "nil"
    if not isinstance(value, bytes):
        return f'"{value}"' if isinstance(value, str) else str(value)
    if name == "packet":
        return f"{len(value)} bytes, the MESSAGE above from its array header on"
    size = "1 byte" if len(value) == 1 else f"{len(value)} bytes"
    if name == "body" and elements[-2] == MSGPACK:
        return f"{size}, {json.dumps(decode_body(MSGPACK, value))} as msgpack"
    return f"{size}, {_quote(value)}"


def _quote(data: bytes) -> str:
    text = data.decode(errors="replace")
    return f'"{text}"' if text.isprintable() else "as they are"


def render_login(label: str) -> str:
    """The worked login, one value to a line: text as it is, bytes in hexadecimal."""
    values = {"user": USER, "password": PASSWORD, **LOGIN._asdict()}
    width = max(map(len, values))
    return "".join(
        f"{name:<{width}}  {value.hex() if isinstance(value, bytes) else value}\n" for name, value in values.items()
    )


# The fence's first word -> (what makes the text of such a block, its labels).
_RENDERERS = {
    "packet": (render_packet, [*EXAMPLES, *UNUSUAL]),
    "login": (render_login, ["alice"]),
}
_BLOCK = re.compile(r"^```(packet|login) (.+)\n((?:(?!```).*\n)*)```$", re.MULTILINE)


class Block(NamedTuple):
    """A marked block as it stands in the document."""

    kind: str
    label: str
    text: str


def blocks(document: str) -> list[Block]:
    """All marked blocks, in order."""
    return [Block(*match.groups()) for match in _BLOCK.finditer(document)]


def frame_in(block: Block) -> bytes:
    """The bytes that a packet block shows, read back from its hexadecimal columns."""
    return bytes.fromhex(" ".join(line[: 3 * _BYTES_PER_LINE] for line in block.text.splitlines()))


def renew(document: str) -> str:
    """The document with every marked block made anew. Raises KeyError for a label that does not exist."""

    def fresh(match: re.Match[str]) -> str:
        render, _ = _RENDERERS[match[1]]
        return f"```{match[1]} {match[2]}\n{render(match[2])}```"

    return _BLOCK.sub(fresh, document)


def missing(document: str) -> list[str]:
    """Labels of examples that no block of the document shows."""
    shown = {(block.kind, block.label) for block in blocks(document)}
    return [
        f"{kind} {label}" for kind, (_, labels) in _RENDERERS.items() for label in labels if (kind, label) not in shown
    ]


def main() -> int:
    """Compare or write; returns the exit code."""
    document = DOCUMENT.read_text()
    renewed = renew(document)
    for label in missing(document):
        print(f"{DOCUMENT.name} has no block ```{label}")
    if "--write" in sys.argv[1:]:
        DOCUMENT.write_text(renewed)
        return 0
    for old, new in zip(blocks(document), blocks(renewed), strict=True):
        if old != new:
            print(f"{DOCUMENT.name}: the block {old.label!r} is out of date; run with --write")
    return int(document != renewed or bool(missing(document)))


if __name__ == "__main__":
    raise SystemExit(main())
