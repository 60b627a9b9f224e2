"""Where the fields of a packet lie in its bytes: what the fast paths need of msgpack, without decoding anything."""

_EMPTY_STRING = 0xA0
_SHORT_STRING_END = 0xC0
_STRING_8 = 0xD9

# The markers of binary data: with a length of one byte, and of more.
_BINARY_8 = 0xC4
_LONG_BINARIES = {0xC5: 2, 0xC6: 4}


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
    if start + 2 > stop:
        return None
    marker, begin = data[start], start + 2
    if marker == _BINARY_8:
        return begin if data[start + 1] == stop - begin else None
    begin = start + 1 + _LONG_BINARIES.get(marker, stop)
    return begin if begin <= stop and int.from_bytes(data[start + 1 : begin], "big") == stop - begin else None
