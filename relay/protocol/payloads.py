"""What bodies hold: text, bytes, or structured data as msgpack, told apart by a content type.

The relay forwards bodies unread. Clients, and the relay for calls to itself, encode and decode them here. The usual
types are IANA media types; any other travels as it is and arrives as bytes.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgpack

from relay.protocol.limits import BODY_DEPTH_MAX, BODY_MAX

TEXT = "text/plain"
BYTES = ""
MSGPACK = "application/msgpack"

# What msgpack can say and every language can read.
Value = None | bool | int | float | str | bytes | Sequence["Value"] | Mapping[str, "Value"]


class PayloadError(ValueError):
    """A value cannot be sent, or a received body is not what its content type says."""


_CONTAINERS = (dict, list, tuple)


def encode_body(value: Value | bytearray | memoryview, limit: int = BODY_MAX) -> tuple[str, bytes]:
    """(content type, body) for a value: str as text, bytes as they are, anything else as msgpack.

    Raises PayloadError for what msgpack cannot say, or for a body over `limit` bytes.
    """
    try:
        if isinstance(value, str):
            content_type, body = TEXT, value.encode()
        elif isinstance(value, bytes | bytearray | memoryview):
            content_type, body = BYTES, bytes(value)
        else:
            _check_depth(value)
            content_type, body = MSGPACK, msgpack.packb(value, use_bin_type=True)
    except (TypeError, ValueError, OverflowError) as error:
        raise PayloadError(f"this value cannot be sent: {error}") from None
    if len(body) > limit:
        raise PayloadError(f"a body holds at most {limit} bytes; this one has {len(body)}")
    return content_type, body


def decode_body(content_type: str, body: bytes) -> Value:
    """The value in a body: str for text, the structure for msgpack, bytes for every other content type.

    Raises PayloadError if the body is not what its content type says. A structure is skipped over once before it is
    decoded: what only claims to be large is refused there. What is there costs at most about 80 bytes of memory per
    byte of the body (empty lists). A msgpack timestamp becomes a float, seconds since 1970.
    """
    if content_type.startswith(TEXT):
        try:
            return body.decode()
        except UnicodeDecodeError as error:
            raise PayloadError(f"the text is not UTF-8: {error.reason}") from None
    if content_type != MSGPACK:
        return body
    try:
        _check_complete(body)
        value: Value = msgpack.unpackb(body, raw=False, strict_map_key=True, timestamp=1, ext_hook=_refuse_ext)
        _check_depth(value)
    except Exception as error:  # msgpack's errors are no family: see its documentation
        raise PayloadError(f"the body is not msgpack: {str(error)[:80] or type(error).__name__}") from None
    return value


def _check_complete(body: bytes) -> None:
    """Raises unless everything that the body's headers announce is there: decoding allocates what they announce."""
    unpacker = msgpack.Unpacker(max_buffer_size=max(1, len(body)))
    unpacker.feed(body)
    unpacker.skip()


def _check_depth(value: object) -> None:
    """Raises for a structure so deep that printing it, or turning it into JSON, would exhaust the stack."""
    level = [value]
    for _ in range(BODY_DEPTH_MAX):
        level = [child for container in level for child in _children(container) if isinstance(child, _CONTAINERS)]
        if not level:
            return
    raise PayloadError(f"it is nested more than {BODY_DEPTH_MAX} deep")


def _children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, _CONTAINERS) else ()


def _refuse_ext(code: int, data: bytes) -> Value:
    raise PayloadError(f"msgpack extension type {code} is not accepted")
