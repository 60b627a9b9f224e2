"""The mask on everything that a WebSocket client sends (RFC 6455 section 5.3): an XOR with four bytes.

It touches every byte that a browser uploads, so it is done by the C function that the library `websockets` brings:
1.5 us for 64 KiB, where the best that pure Python can do takes 52 us. Where that library comes without its compiled
part, ours does the same (docs/decisions/websocket.md).
"""

from collections.abc import Callable

# Below this, XOR of two large integers is faster than translating every fourth byte four times.
_TRANSLATE_FROM_BYTES = 600
_TABLES = [bytes(byte ^ key for byte in range(256)) for key in range(256)]


def unmask_slowly(data: bytes, key: bytes) -> bytes:
    """The data under its mask; masking is the same operation."""
    size = len(data)
    if size < _TRANSLATE_FROM_BYTES:
        mask = key * (size >> 2) + key[: size & 3]
        return (int.from_bytes(data, "little") ^ int.from_bytes(mask, "little")).to_bytes(size, "little")
    plain = bytearray(data)
    for lane in range(4):
        plain[lane::4] = plain[lane::4].translate(_TABLES[key[lane]])
    return bytes(plain)


unmask: Callable[[bytes, bytes], bytes]
try:
    from websockets.speedups import apply_mask as unmask
except ImportError:
    unmask = unmask_slowly
