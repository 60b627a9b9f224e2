"""What a tunnel is called: `USER/NAME`, and on the wire the service `tunnel.NAME` of that user."""

import re
from typing import NamedTuple

from relay_client import BadAddress

from relay.protocol.addresses import AddressError, prepare_name

SERVICE_PREFIX = "tunnel."

# With the prefix it fits into a service's name, which is at most 64 bytes.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,55}")


class TunnelAddress(NamedTuple):
    """A tunnel of a user. `to` is the user, or one session of theirs."""

    to: str
    name: str

    def __str__(self) -> str:
        return f"{self.to}/{self.name}"


def checked_name(name: str) -> str:
    """The name, if a tunnel may be called so. Raises BadAddress."""
    if not _NAME.fullmatch(name):
        raise BadAddress(f"{name!r} is no name for a tunnel: take 1 to 56 of a-z, A-Z, 0-9, '.', '_' and '-'")
    return name


def service_of(name: str) -> str:
    """The service that streams for a tunnel are opened to."""
    return SERVICE_PREFIX + checked_name(name)


def parse_tunnel(text: str) -> TunnelAddress:
    """The tunnel that `USER/NAME` means, or `USER/DEVICE/NAME` for that of one device. Raises BadAddress."""
    user, *device, name = text.split("/") if "/" in text else (text, "", "", "")
    if len(device) > 1:
        raise BadAddress(f"{text!r} is no tunnel; expected USER/NAME, such as alice-server/web")
    try:
        to = "/".join(prepare_name(part) for part in (user, *device))
    except AddressError as error:
        raise BadAddress(f"{text!r} is no tunnel: {error}") from None
    return TunnelAddress(to, checked_name(name))
