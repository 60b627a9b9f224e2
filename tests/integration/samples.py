"""Bad input as bytes, each with what it gets: samples for a connection that has not logged in, and for one that has."""

import struct
from collections.abc import Callable
from typing import NamedTuple

import msgpack

from relay.protocol.codes import CloseCode
from relay.protocol.limits import FRAME_MAX, FRAME_MAX_BEFORE_LOGIN, INTEGER_MAX

HELLO, PROOF, PING, SIGNAL, MESSAGE, ACK, CALL = 1, 3, 5, 16, 17, 20, 24
FIRST = b"n,,n=stranger,r=0123456789abcdefghijklmn"


class Sample(NamedTuple):
    """What is sent, and the CLOSE for it: its code, and words of its sentence."""

    name: str
    data: bytes
    code: CloseCode
    words: str


def frame(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


def array(*elements: bytes) -> bytes:
    """A msgpack array of elements that are msgpack already."""
    return bytes([0x90 | len(elements)]) + b"".join(elements)


def packed(value: object) -> bytes:
    data: bytes = msgpack.packb(value)
    return data


def hello(**changes: object) -> list[object]:
    """The elements of an acceptable HELLO, apart from `changes`."""
    fields: dict[str, object] = {
        "version_min": 1,
        "version_max": 1,
        "user": "stranger",
        "device": "device",
        "mechanism": "SCRAM-SHA-256",
        "data": FIRST,
        "agent": "test/1",
    }
    return [HELLO, *(fields | changes).values()]


# Elements that no packet may hold, wherever they stand.
NO_SCALARS = {
    "an array": packed([1, 2]),
    "an empty array": b"\x90",
    "a map": packed({"a": 1}),
    "an empty map": b"\x80",
    "an array that claims four billion elements": b"\xdd\xff\xff\xff\xff",
    "a map that claims four billion elements": b"\xdf\xff\xff\xff\xff",
    "arrays in arrays": b"\x91" * 500 + b"\xc0",
    "an ext type": b"\xc7\x03\x05abc",
    "an empty ext type": b"\xc7\x00\x05",
    "a timestamp": b"\xd6\xff\x00\x00\x00\x01",
    "a float": b"\xcb" + struct.pack(">d", 1.0),
    "a string that claims 4 GiB": b"\xdb\xff\xff\xff\xff",
    "a binary that claims 4 GiB": b"\xc6\xff\xff\xff\xff",
    "a string that is not UTF-8": b"\xa2\xc3\x28",
    "half a surrogate pair": b"\xa3\xed\xa0\x80",
    "the byte that msgpack never uses": b"\xc1",
}

NO_INTEGERS = {
    "a negative number": packed(-1),
    "the lowest number": packed(-(2**63)),
    "a number over the highest": packed(INTEGER_MAX + 1),
    "the highest 64-bit number": packed(2**64 - 1),
    "text for a number": packed("1"),
    "binary for a number": packed(b"1"),
    "true for a number": packed(True),
    "nil for a number": packed(None),
}

NO_PACKETS = {
    "nil": b"\xc0",
    "a number": b"\x05",
    "text": packed("HELLO"),
    "a map": packed({"type": 1}),
    "an empty array": b"\x90",
    "an array of 16": b"\xdc\x00\x10" + b"\x01" * 16,
    "a long form of an array": b"\xdc\x00\x02\x05\x01",
    "an array that ends early": b"\x93\x05\x01",
    "a type that is text": packed(["HELLO", 1]),
    "a type that is negative": packed([-1, 1]),
    "a type that is nil": packed([None, 1]),
    "a type that is true": packed([True, 1]),
    "too few fields": packed([PING]),
    "a byte behind the packet": packed([PING, 1]) + b"\x00",
    "a packet behind the packet": packed([PING, 1]) * 2,
}

FOREIGN = {
    "TLS 1.3": (bytes.fromhex("16030100f8010000f40303") + bytes(range(200)), "TLS"),
    "SSH": (b"SSH-2.0-OpenSSH_9.7\r\n", "SSH"),
}

LENGTHS = {"0": 0, "2^32 - 1": 2**32 - 1, "2^31": 2**31}


def _rest(elements: list[object]) -> list[bytes]:
    return [packed(element) for element in elements]


def _replaced(elements: list[object], position: int, value: bytes) -> bytes:
    parts = _rest(elements)
    parts[position] = value
    return frame(array(*parts))


def _bad_frames(limit: int) -> list[Sample]:
    lengths = LENGTHS | {"one over the limit": limit + 1}
    return [
        Sample(f"a length of {name}", struct.pack(">I", length), CloseCode.BAD_FRAME, f" {length}")
        for name, length in lengths.items()
    ]


def _bad_packets(elements: list[object], text_at: int, number_at: int) -> list[Sample]:
    """Spoilt forms of one good packet."""
    code = CloseCode.BAD_PACKET
    samples = [Sample(f"{name} for a packet", frame(data), code, "") for name, data in NO_PACKETS.items()]
    samples += [
        Sample(f"{name} in a packet", _replaced(elements, text_at, data), code, "") for name, data in NO_SCALARS.items()
    ]
    samples += [Sample(name, _replaced(elements, number_at, data), code, "") for name, data in NO_INTEGERS.items()]
    extra = frame(array(*_rest(elements), b"\x81\xa1a\x01"))
    samples.append(Sample("a map behind the known fields", extra, code, ""))
    samples.append(Sample("a number for text", _replaced(elements, text_at, packed(7)), code, "string"))
    samples.append(Sample("binary for text", _replaced(elements, text_at, packed(b"bob")), code, "string"))
    return samples


def before_login() -> list[Sample]:
    """Everything for a connection that has just been made."""
    samples = _bad_frames(FRAME_MAX_BEFORE_LOGIN)
    samples += _bad_packets(hello(), text_at=3, number_at=1)
    samples += [Sample(name, data, CloseCode.NOT_THE_PROTOCOL, protocol) for name, (data, protocol) in FOREIGN.items()]
    for number, name in ((PROOF, "PROOF"), (PING, "PING"), (48, "48")):
        data = frame(packed([number, b"x" if number == PROOF else 1]))
        samples.append(Sample(f"{name} first", data, CloseCode.NOT_ALLOWED_NOW, name))
    for name in ("Alice", "a/b", "#ops", "a@b", "", "a b", "a" * 65, "a" * 3000, "a\x00", "e\u0301", "\U0001f600"):
        words = "canonical form"
        for field in ("user", "device"):
            data = frame(packed(hello(**{field: name})))
            samples.append(Sample(f"{field} {name[:8]!a} x {len(name)}", data, CloseCode.BAD_PACKET, words))
    data = frame(packed(hello(version_min=2, version_max=9)))
    samples.append(Sample("versions 2 to 9", data, CloseCode.UNSUPPORTED_VERSION, "versions 1 to 1"))
    data = frame(packed(hello(version_min=2, version_max=1)))
    samples.append(Sample("versions 2 to 1", data, CloseCode.UNSUPPORTED_VERSION, "versions 1 to 1"))
    data = frame(packed(hello(mechanism="PLAIN")))
    samples.append(Sample("another mechanism", data, CloseCode.UNSUPPORTED_MECHANISM, "'PLAIN'"))
    return samples


# A later field may be any scalar, and a signal's id may be nil.
ALLOWED = {"SIGNAL: nil for a number", "PING: a number for text", "PING: binary for text"}


def after_login() -> list[tuple[str, Callable[[str], Sample]]]:
    """Everything for an established session: names, and functions of the session's address."""
    kinds = {
        "PING": (lambda address: [PING, 1, "later"], 2, 1),
        "SIGNAL": (lambda address: [SIGNAL, address, "nobody", 1, "", b"body"], 4, 3),
        "MESSAGE": (lambda address: [MESSAGE, address, "nobody", 1, "", b"body"], 4, 3),
        "CALL": (lambda address: [CALL, address, "nobody", 1, "work", 1000, "", b"body"], 4, 5),
        "a long CALL": (lambda address: [CALL, address, "nobody", 1, "work", 1000, "", bytes(4000)], 4, 5),
        "ACK": (lambda address: [ACK, "nobody@nobody", 1, None], 1, 2),
    }
    found: list[tuple[str, Callable[[str], Sample]]] = []

    def add(name: str, build: Callable[[str], Sample]) -> None:
        found.append((name, build))

    for position, sample in enumerate(_bad_frames(FRAME_MAX)):
        add(sample.name, lambda _, at=position: _bad_frames(FRAME_MAX)[at])  # type: ignore[misc]
    for kind, (elements, text_at, number_at) in kinds.items():
        names = [sample.name for sample in _bad_packets(elements("a/b"), text_at, number_at)]
        # What is no packet at all has no kind.
        for position, name in enumerate(names):
            if (kind == "MESSAGE" or not name.endswith("for a packet")) and f"{kind}: {name}" not in ALLOWED:
                add(
                    f"{kind}: {name}",
                    lambda address, e=elements, t=text_at, n=number_at, at=position: (  # type: ignore[misc]
                        _bad_packets(e(address), t, n)[at]
                    ),
                )
    deep = frame(b"\x9f" * FRAME_MAX)
    add("arrays in arrays, 1 MiB of them", lambda _: Sample("", deep, CloseCode.BAD_PACKET, ""))
    claims = frame(array(b"\x05", b"\xdd\x00\x0f\xff\xf0" * 200_000))
    add("claims in claims", lambda _: Sample("", claims, CloseCode.BAD_PACKET, ""))
    for number, fields, name in NOT_FROM_A_CLIENT:
        data = frame(packed([number, *fields]))
        add(f"a {name}", lambda _, data=data, name=name: Sample("", data, CloseCode.NOT_ALLOWED_NOW, name))  # type: ignore[misc]
    return found


# Packets that are well-formed, and wrong from a client whose login is complete.
NOT_FROM_A_CLIENT = [
    (HELLO, hello()[1:], "HELLO"),
    (2, [1, b"r=x"], "CHALLENGE"),
    (PROOF, [b"x"], "PROOF"),
    (4, [1, "a/b", b"", 1, 1, 1, 1, None, "", ""], "WELCOME"),
    (8, [1, None, 100, "no"], "ERROR"),
    (18, [1, "a@b", 1, 1], "STORED"),
    (19, ["a@b", 1, 1, b"x"], "DELIVERY"),
    (21, ["a@b", 1, 1], "GAP"),
]
