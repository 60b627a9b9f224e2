"""Where the fields of a packet lie in its bytes: what the fast paths need of msgpack, without decoding anything."""

_EMPTY_STRING = 0xA0
_SHORT_STRING_END = 0xC0
_STRING_8 = 0xD9

# The markers of binary data, and how many bytes its length takes.
_BINARIES = ((0xC4, 1), (0xC5, 2), (0xC6, 4))


def string_bounds(data: bytes, start: int, stop: int) -> tuple[int, int]:
    """Where the characters of the msgpack string at `start` begin and end; (stop, stop) if there is no short string."""
    if start + 1 >= stop:
        return stop, stop
    first = data[start]
    if _EMPTY_STRING <= first < _SHORT_STRING_END:
        begin, size = start + 1, first - _EMPTY_STRING
    elif first == _STRING_8:
        begin, size = start + 2, data[start + 1]
    else:
        return stop, stop
    return begin, min(begin + size, stop)


def body_start(data: bytes, start: int, stop: int) -> int | None:
    """Where the binary body that fills the rest of the frame begins; None if there is no such body."""
    for marker, width in _BINARIES:
        begin = start + 1 + width
        if begin <= stop and data[start] == marker:
            return begin if int.from_bytes(data[start + 1 : begin], "big") == stop - begin else None
    return None
