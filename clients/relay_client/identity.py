"""From what a program names, a URL and perhaps a device, to who logs in where."""

import os

from relay import __version__
from relay.protocol.addresses import TEMPORARY, AddressError, prepare_name
from relay.protocol.scram import ClientLogin
from relay_client.core import Identity
from relay_client.errors import BadAddress, BadUrl
from relay_client.url import Endpoint, parse_url

AGENT = f"relay-client-python/{__version__}"

_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"


def identify(url: str, device: str | None, password: str | None) -> tuple[Identity, Endpoint]:
    """Raises BadUrl, and BadAddress for a device name that is none."""
    target = parse_url(url, password)
    try:
        name = temporary_device() if device is None else prepare_name(device)
    except AddressError as error:
        raise BadAddress(f"{device!r} cannot name a device: {error}") from None
    try:
        ClientLogin(target.user, target.password)
    except ValueError as error:
        raise BadUrl(f"the user or the password cannot be used to log in: {error}") from None
    return Identity(target.user, target.password, name, target.endpoint.place, AGENT), target.endpoint


def temporary_device() -> str:
    """A new device name for a program that did not choose one: `~` and 8 random letters, 40 bits."""
    return TEMPORARY + "".join(_LETTERS[byte % 32] for byte in os.urandom(8))
