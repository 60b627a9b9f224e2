"""From the program's addresses, values and arguments to those of packets, and back, with this package's errors."""

from collections.abc import Mapping, Sequence

from relay.protocol.addresses import Address, AddressError, parse_address
from relay.protocol.limits import CONTENT_TYPE_MAX_BYTES, METHOD_MAX_BYTES
from relay.protocol.payloads import BYTES, MSGPACK, PayloadError, Value, decode_body, encode_body
from relay_client.errors import BadAddress, BadValue
from relay_client.events import Event, typed_event


def checked_address(text: str) -> Address:
    """The address, with its names prepared. Raises BadAddress."""
    try:
        return parse_address(text)
    except AddressError as error:
        raise BadAddress(f"{text!r} is not an address: {error}") from None


def message_address(text: str) -> str:
    """The address of somebody who can get messages. Raises BadAddress."""
    address = checked_address(text)
    if address.device is not None:
        raise BadAddress(
            f"a message goes to a user or a room, not to one session: send it to {address.user!r}, or send a signal"
        )
    return str(address)


def encode_value(value: Value, content_type: str | None = None) -> tuple[str, bytes]:
    """(content type, body). With a content type of the program's own the value is bytes, or a text to be sent as
    UTF-8. Raises BadValue."""
    try:
        natural, body = encode_body(value)
    except PayloadError as error:
        raise BadValue(str(error)) from None
    if content_type is None:
        return natural, body
    if natural == MSGPACK:
        raise BadValue(f"a body of content type {content_type!r} is given as bytes or as a text")
    if len(content_type.encode()) > CONTENT_TYPE_MAX_BYTES:
        raise BadValue(f"a content type has at most {CONTENT_TYPE_MAX_BYTES} bytes")
    return content_type, body


def opening_body(value: Value) -> tuple[str, bytes]:
    """(content type, body) of an OPEN or an ACCEPT: both empty for None. Raises BadValue."""
    return ("", b"") if value is None else encode_value(value)


def checked_method(method: str) -> str:
    """The method's name. Raises BadValue if it is none."""
    if not 0 < len(method.encode()) <= METHOD_MAX_BYTES:
        raise BadValue(f"the name of a method has 1 to {METHOD_MAX_BYTES} bytes; {method!r} has {len(method.encode())}")
    return method


def checked_service(service: str) -> str:
    """The service's name. Raises BadValue if it is none."""
    if not 0 < len(service.encode()) <= METHOD_MAX_BYTES:
        raise BadValue(f"the name of a service has 1 to {METHOD_MAX_BYTES} bytes; this one has {len(service.encode())}")
    return service


def encode_arguments(args: Sequence[Value], kwargs: Mapping[str, Value]) -> tuple[str, bytes]:
    """(content type, body) of a CALL: an array for positional arguments, a map for named ones, nothing for none.

    Raises BadValue, also when there are both: a call has one kind.
    """
    if args and kwargs:
        raise BadValue("the arguments of a call are all positional or all named, not both")
    if not args and not kwargs:
        return BYTES, b""
    return encode_value(list(args) if args else dict(kwargs))


def decode_arguments(content_type: str, body: bytes) -> tuple[list[Value], dict[str, Value]]:
    """(args, kwargs) of a CALL: what is neither an array nor a map is the one argument. Raises BadValue."""
    if not body and content_type in (BYTES, MSGPACK):
        return [], {}
    try:
        value = decode_body(content_type, body)
    except PayloadError as error:
        raise BadValue(str(error)) from None
    if isinstance(value, dict):
        return [], value
    return (value if isinstance(value, list) else [value]), {}


def decode_notice(content_type: str, body: bytes) -> Event | None:
    """What a signal of the relay's own says; None if it is none that this version can read."""
    try:
        value = decode_body(content_type, body)
    except PayloadError:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("event"), str):
        return None
    return typed_event(value["event"], {name: detail for name, detail in value.items() if name != "event"})
