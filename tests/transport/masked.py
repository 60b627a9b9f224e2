"""Test tool: WebSocket frames as a client sends them, right or wrong."""

import os


def client_frame(
    payload: bytes = b"",
    opcode: int = 2,
    *,
    fin: bool = True,
    rsv: int = 0,
    key: bytes | None = b"\x11\x22\x33\x44",
    length: int | None = None,
    width: int | None = None,
) -> bytes:
    """One frame. `key` None: not masked. `length`: another one than the payload's. `width`: its bytes."""
    size = len(payload) if length is None else length
    if width is None:
        width = 0 if size < 126 else 2 if size < 65_536 else 8
    short = size if width == 0 else 126 if width == 2 else 127
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode, (0 if key is None else 0x80) | short])
    head += size.to_bytes(width, "big") if width else b""
    if key is None:
        return head + payload
    return head + key + bytes(byte ^ key[at & 3] for at, byte in enumerate(payload))


def random_key() -> bytes:
    return os.urandom(4)
