"""The cases: what a client sends through an established session's WebSocket, and what RFC 6455 has the relay answer.

The data that frames carry here is a row of Relay's PINGs, so that what the relay has understood comes back as PONGs
with the same tokens. Where the relay is stricter than the RFC demands (no text, bounds), section 2 of
docs/protocol.md says so.
"""

import itertools
import random
from collections.abc import Iterator
from typing import NamedTuple

from relay.protocol.packets import Ping, encode
from tests.transport.masked import client_frame

BINARY, TEXT, CONTINUATION, CLOSE, PING, PONG = 2, 1, 0, 8, 9, 10
OPEN = None

KEYS = {
    "zero": b"\0\0\0\0",
    "ones": b"\xff\xff\xff\xff",
    "one byte": b"\0\0\1\0",
    "text": b"mask",
    "mixed": b"\x9a\x01\x80\x7f",
}


class Case(NamedTuple):
    """`tokens`: of the PINGs that get through. `code`: of the close frame, or OPEN. `step`: bytes per write."""

    group: str
    name: str
    data: bytes
    tokens: list[int]
    code: int | None
    pongs: list[bytes] | None = None
    step: int | None = None


def row(size: int) -> tuple[bytes, list[int]]:
    """PINGs in at least `size` bytes, and their tokens. Each has 7 bytes."""
    tokens = [number % 127 for number in range(-(-size // 7))]
    return b"".join(encode(Ping(token)) for token in tokens), tokens


def cut(data: bytes, *sizes: int) -> list[bytes]:
    """The data in pieces of these sizes, and the rest."""
    ends = list(itertools.accumulate(sizes))
    return [data[start:end] for start, end in itertools.pairwise([0, *ends])] + [data[sum(sizes) :]]


DATA, TOKENS = row(21)


def lengths() -> Iterator[Case]:
    """Section 5.2: the payload length in each of its forms, at its borders."""
    for size in (0, 1, 2, 6, 7, 8, 64, 124, 125, 126, 127, 128, 1000, 16384, 65534, 65535, 65536, 65537, 200_000):
        data, tokens = row(size)
        first, rest = cut(data, size)
        yield Case("lengths", f"{size} bytes", client_frame(first) + client_frame(rest), tokens, OPEN)
    for size in (0, 1, 125, 126, 127):
        data, tokens = row(size)
        first, rest = cut(data, size)
        frames = client_frame(first) + client_frame(rest)
        yield Case("lengths", f"{size} bytes, one at a time", frames, tokens, OPEN, step=1)
    for size in (0, 1, 7, 125):
        yield Case("lengths", f"{size} in 16 bits", client_frame(bytes(size), width=2), [], 1002)
    for size in (0, 1, 125, 126, 65535):
        yield Case("lengths", f"{size} in 64 bits", client_frame(bytes(size), width=8), [], 1002)
    for size in (1 << 63, (1 << 64) - 1):
        yield Case("lengths", f"{size} (highest bit)", client_frame(length=size, width=8), [], 1002)
    yield Case("lengths", "a control frame with 16 bits", client_frame(bytes(5), PING, width=2), [], 1002)
    yield Case("lengths", "a control frame with 64 bits", client_frame(bytes(5), PING, width=8), [], 1002)


def masking() -> Iterator[Case]:
    """Section 5.3: everything from a client is masked, with any key."""
    for name, key in KEYS.items():
        yield Case("masking", f"key of {name}", client_frame(DATA, key=key), TOKENS, OPEN)
        data, tokens = row(70_000)
        yield Case("masking", f"key of {name}, long", client_frame(data, key=key), tokens, OPEN)
        halves = cut(DATA, 9)
        frames = client_frame(halves[0], fin=False, key=key) + client_frame(halves[1], 0, key=key[::-1])
        yield Case("masking", f"key of {name}, fragments", frames, TOKENS, OPEN)
        yield Case("masking", f"key of {name}, byte by byte", client_frame(DATA, key=key), TOKENS, OPEN, step=1)
        frame = client_frame(b"hello", PING, key=key)
        yield Case("masking", f"key of {name}, ping", frame, [], OPEN, [b"hello"])
    for name, opcode in {"binary": BINARY, "text": TEXT, "ping": PING, "pong": PONG, "close": CLOSE}.items():
        for size in (0, 7, 125):
            payload = (b"\x03\xe8" + bytes(size))[:size] if opcode == CLOSE else row(size)[0][:size]
            yield Case("masking", f"{name} of {size} without", client_frame(payload, opcode, key=None), [], 1002)
    for size in (126, 65536):
        yield Case("masking", f"binary of {size} without", client_frame(bytes(size), key=None), [], 1002)
    begun = client_frame(DATA, fin=False)
    yield Case("masking", "continuation without", begun + client_frame(DATA, 0, key=None), TOKENS, 1002)
    yield Case("masking", "after good ones", client_frame(DATA) + client_frame(b"", key=None), TOKENS, 1002)


def reserved_bits() -> Iterator[Case]:
    """Section 5.2: RSV1 to RSV3 belong to extensions, and none is agreed to."""
    for rsv in range(1, 8):
        for name, opcode in {"binary": BINARY, "text": TEXT, "ping": PING, "pong": PONG, "close": CLOSE}.items():
            payload = b"" if opcode == CLOSE else DATA
            yield Case("reserved bits", f"{rsv:03b} on {name}", client_frame(payload, opcode, rsv=rsv), [], 1002)
        frames = client_frame(DATA, fin=False) + client_frame(DATA, 0, rsv=rsv)
        yield Case("reserved bits", f"{rsv:03b} on continuation", frames, TOKENS, 1002)
    yield Case("reserved bits", "after a good message", client_frame(DATA) + client_frame(DATA, rsv=4), TOKENS, 1002)


def opcodes() -> Iterator[Case]:
    """Section 5.2: 3 to 7 and 11 to 15 are reserved."""
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        for name, payload in {"empty": b"", "with payload": DATA}.items():
            yield Case("opcodes", f"{opcode}, {name}", client_frame(payload, opcode), [], 1002)
        yield Case("opcodes", f"{opcode} after a message", client_frame(DATA) + client_frame(b"", opcode), TOKENS, 1002)
        begun = client_frame(DATA, fin=False)
        yield Case("opcodes", f"{opcode} inside a message", begun + client_frame(b"", opcode), TOKENS, 1002)


def fragments() -> Iterator[Case]:
    """Section 5.4."""
    for sizes in ((0,), (1,), (20,), (21,), (0, 0, 0), (3, 3, 3), (1,) * 20, (7, 0, 7), (0, 21), (10, 1, 10)):
        pieces = cut(DATA, *sizes)
        frames = [client_frame(piece, 0 if at else BINARY, fin=False) for at, piece in enumerate(pieces[:-1])]
        frames.append(client_frame(pieces[-1], 0))
        name = "+".join(str(len(piece)) for piece in pieces) if len(pieces) < 8 else f"{len(pieces)} pieces"
        yield Case("fragments", name, b"".join(frames), TOKENS, OPEN)
        yield Case("fragments", f"{name}, byte by byte", b"".join(frames), TOKENS, OPEN, step=1)
        pings = [frame + client_frame(bytes([at]), PING) for at, frame in enumerate(frames)]
        last = [bytes([len(frames) - 1])]
        yield Case("fragments", f"{name}, pings between", b"".join(pings), TOKENS, OPEN, last)
    data, tokens = row(150_000)
    large = client_frame(data[:70_000], fin=False) + client_frame(data[70_000:], 0)
    yield Case("fragments", "70000 and the rest of 150000", large, tokens, OPEN)
    yield Case("fragments", "a continuation of nothing", client_frame(DATA, 0), [], 1002)
    yield Case("fragments", "an unfinished continuation of nothing", client_frame(DATA, 0, fin=False), [], 1002)
    again = client_frame(DATA) + client_frame(DATA, 0)
    yield Case("fragments", "a continuation of a whole message", again, TOKENS, 1002)
    begun = client_frame(DATA, fin=False)
    yield Case("fragments", "a message inside another", begun + client_frame(DATA), TOKENS, 1002)
    yield Case("fragments", "a beginning inside another", begun + begun, TOKENS, 1002)
    yield Case("fragments", "a text inside another", begun + client_frame(b"x", TEXT), TOKENS, 1003)
    ended = begun + client_frame(DATA, 0) + client_frame(DATA, 0)
    yield Case("fragments", "a continuation behind the end", ended, TOKENS * 2, 1002)
    for count, code in ((1000, OPEN), (1024, OPEN), (1025, 1008), (3000, 1008)):
        frames = [client_frame(b"", BINARY if at == 0 else 0, fin=at == count - 1) for at in range(count)]
        yield Case("fragments", f"{count} empty ones", b"".join(frames), [], code)


def control() -> Iterator[Case]:
    """Sections 5.5.2 and 5.5.3."""
    for size in (0, 1, 2, 7, 64, 124, 125):
        payload = random.Random(size).randbytes(size)
        yield Case("control", f"ping of {size}", client_frame(payload, PING), [], OPEN, [payload])
        yield Case("control", f"ping of {size}, byte by byte", client_frame(payload, PING), [], OPEN, [payload], 1)
        yield Case("control", f"pong of {size} that nobody asked for", client_frame(payload, PONG), [], OPEN, [])
    for size in (126, 127, 65535, 65536):
        for name, opcode in {"ping": PING, "pong": PONG, "close": CLOSE}.items():
            yield Case("control", f"{name} of {size}", client_frame(bytes(size), opcode), [], 1002)
    for name, opcode in {"ping": PING, "pong": PONG, "close": CLOSE}.items():
        yield Case("control", f"{name} in fragments", client_frame(b"", opcode, fin=False), [], 1002)
        frames = client_frame(DATA, fin=False) + client_frame(b"", opcode, fin=False)
        yield Case("control", f"{name} in fragments inside a message", frames, TOKENS, 1002)
    many = b"".join(client_frame(bytes([number]), PING) for number in range(10))
    yield Case("control", "ten pings at once: the last is answered", many, [], OPEN, [b"\x09"])
    around = client_frame(b"a", PING) + client_frame(DATA) + client_frame(b"b", PING)
    yield Case("control", "pings around a message", around, TOKENS, OPEN, [b"b"])
    yield Case("control", "a pong between messages", client_frame(b"x", PONG) + client_frame(DATA), TOKENS, OPEN, [])


UTF8_RIGHT = {
    "letters": b"goodbye",
    "Greek": "κόσμε".encode(),
    "Chinese": "再见".encode(),
    "emoji": "👋".encode(),
    "the last code point": b"\xf4\x8f\xbf\xbf",
    "a noncharacter": b"\xef\xbf\xbf",
    "zero": b"\0",
}
UTF8_WRONG = {
    "a lone continuation": b"\x80",
    "an impossible byte": b"\xfe",
    "a sequence cut short": b"\xce",
    "a long sequence cut short": b"\xf0\x9f\x91",
    "an overlong slash": b"\xc0\xaf",
    "an overlong zero": b"\xe0\x80\x80",
    "a surrogate": b"\xed\xa0\x80",
    "a pair of surrogates": b"\xed\xa0\x80\xed\xb0\x80",
    "beyond the last code point": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "right and then wrong": b"ok\xff",
    "Latin-1": b"adi\xf3s",
}


def closing() -> Iterator[Case]:
    """Sections 5.5.1 and 7.4: the close frame is echoed, if it is one."""
    yield Case("closing", "without a code", client_frame(b"", CLOSE), [], 1005)
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4001, 4999):
        yield Case("closing", f"{code}", client_frame(code.to_bytes(2, "big"), CLOSE), [], code)
    for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 65535):
        yield Case("closing", f"{code}, which must not be sent", client_frame(code.to_bytes(2, "big"), CLOSE), [], 1002)
    yield Case("closing", "half a code", client_frame(b"\x03", CLOSE), [], 1002)
    yield Case("closing", "the longest reason", client_frame(b"\x03\xe8" + b"x" * 123, CLOSE), [], 1000)
    yield Case("closing", "a reason too long", client_frame(b"\x03\xe8" + b"x" * 124, CLOSE), [], 1002)
    for name, reason in UTF8_RIGHT.items():
        yield Case("closing", f"a reason: {name}", client_frame(b"\x03\xe8" + reason, CLOSE), [], 1000)
    for name, reason in UTF8_WRONG.items():
        yield Case("closing", f"a reason: {name}", client_frame(b"\x03\xe8" + reason, CLOSE), [], 1007)
    goodbye = client_frame(b"\x03\xe8", CLOSE)
    yield Case("closing", "behind a message", client_frame(DATA) + goodbye, TOKENS, 1000)
    yield Case("closing", "inside a message", client_frame(DATA, fin=False) + goodbye, TOKENS, 1000)
    yield Case("closing", "a ping behind it is not answered", goodbye + client_frame(b"x", PING), [], 1000, [])
    yield Case("closing", "a message behind it is not read", goodbye + client_frame(DATA), [], 1000)
    yield Case("closing", "twice", goodbye + goodbye, [], 1000)
    yield Case("closing", "byte by byte", goodbye, [], 1000, step=1)


def texts() -> Iterator[Case]:
    """Section 7.4.1: a type of data that is not taken is 1003, whatever it holds."""
    for name, payload in ({"nothing": b"", "JSON": b'{"a": 1}', "PINGs": DATA} | UTF8_WRONG).items():
        yield Case("text", name, client_frame(payload, TEXT), [], 1003)
    yield Case("text", "in fragments", client_frame(b"a", TEXT, fin=False) + client_frame(b"b", 0), [], 1003)
    yield Case("text", "behind a message", client_frame(DATA) + client_frame(b"a", TEXT), TOKENS, 1003)


def bounds() -> Iterator[Case]:
    """What is too large is refused when it is announced."""
    limit = 16 * 1024 * 1024
    for size in (limit + 1, 1 << 32, (1 << 63) - 1):
        yield Case("bounds", f"a message of {size}", client_frame(length=size), [], 1009)
        yield Case("bounds", f"a first fragment of {size}", client_frame(length=size, fin=False), [], 1009)
        frames = client_frame(DATA, fin=False) + client_frame(b"", 0, length=size)
        yield Case("bounds", f"a second fragment of {size}", frames, TOKENS, 1009)
    frames = client_frame(DATA, fin=False) + client_frame(b"", 0, length=limit - len(DATA) + 1)
    yield Case("bounds", "fragments of a byte too much", frames, TOKENS, 1009)


def all_cases() -> list[Case]:
    """Every case, in the order of the groups."""
    groups = (lengths, masking, reserved_bits, opcodes, fragments, control, closing, texts, bounds)
    return [case for group in groups for case in group()]
