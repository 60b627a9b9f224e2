"""Where a relay is and who logs in there, as one URL.

    relay://alice:secret@relay.example.org:7450      the port may be left out: 7450
    relay://alice:secret@[::1]:7450                  IPv6
    relays://alice:secret@relay.example.org          TLS; the certificate has to be good for the host name
    relays://alice:secret@10.0.0.7?ca=/etc/ca.pem    TLS, and whom to trust instead of the system's authorities
    relay+unix://alice:secret@/run/relay/socket      a Unix socket

Letters that have a meaning in URLs are percent-encoded in user, password and path: `p@ss` is `p%40ss`. Texts of errors
never show the password, which is why they never show the URL.
"""

from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from relay.protocol.addresses import AddressError, prepare_name
from relay_client.errors import BadUrl

DEFAULT_PORT = 7450

_FORM = "a relay's URL looks like relay://user:password@host:7450, relays:// for TLS, or relay+unix://user:password@/path/to/socket"
_TCP = "relay://"
_TLS = "relays://"
_UNIX = "relay+unix://"


class Endpoint(NamedTuple):
    """Where to connect: `path` of a Unix socket, or `host` and `port`. `ca`: certificates to trust with TLS."""

    host: str
    port: int
    path: str | None = None
    tls: bool = False
    ca: str | None = None

    @property
    def place(self) -> str:
        """The endpoint in words: `127.0.0.1:7450`, `[::1]:7450`, `unix:/run/relay/socket`."""
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Target(NamedTuple):
    """What a URL says. Its repr hides the password."""

    user: str
    password: str
    endpoint: Endpoint

    def __repr__(self) -> str:
        return f"<Target {self.user}:***@{self.endpoint.place}>"


def parse_url(url: str, password: str | None = None) -> Target:
    """The target a URL names. `password` replaces the one in the URL, which may then have none. Raises BadUrl."""
    scheme = next((scheme for scheme in (_TCP, _TLS, _UNIX) if url.lower().startswith(scheme)), None)
    if scheme is None:
        raise BadUrl(f"this is not a relay's URL: {_FORM}")
    login, at, place = url[len(scheme) :].rpartition("@")
    user, colon, url_password = login.partition(":")
    if not at or not user:
        raise BadUrl(f"the URL names no user: {_FORM}")
    if password is None and not colon:
        raise BadUrl(f"the URL has no password, and none was given beside it: {_FORM}")
    secret = password if password is not None else _decode(url_password, "password")
    if not secret:
        raise BadUrl(f"the password is empty: {_FORM}")
    endpoint = {_UNIX: _unix_endpoint, _TCP: _tcp_endpoint, _TLS: _tls_endpoint}[scheme](place)
    return Target(_user(_decode(user, "user name")), secret, endpoint)


def _user(text: str) -> str:
    try:
        return prepare_name(text)
    except AddressError as error:
        raise BadUrl(f"the user in the URL is not one: {error}") from None


def _unix_endpoint(place: str) -> Endpoint:
    path = _decode(place, "path")
    if not path.startswith("/") or "\0" in path:
        raise BadUrl(f"the URL has no absolute path of a Unix socket behind the @: {_FORM}")
    return Endpoint("", 0, path)


def _tcp_endpoint(place: str) -> Endpoint:
    host, port = _split_port(place.removesuffix("/"))
    if not host or any(character in host for character in "/?#[]") or any(map(str.isspace, host)):
        raise BadUrl(f"the URL has no host behind the @ (an IPv6 address stands in brackets): {_FORM}")
    return Endpoint(_decode(host, "host"), _port(port))


def _tls_endpoint(place: str) -> Endpoint:
    place, question, query = place.partition("?")
    name, _, value = query.partition("=")
    if question and (name != "ca" or not value):
        raise BadUrl("behind the ? of a relays:// URL stands ca=FILE, the certificates to trust, and nothing else")
    ca = _decode(value, "name of the CA file") if question else None
    return _tcp_endpoint(place)._replace(tls=True, ca=ca)


def _split_port(place: str) -> tuple[str, str | None]:
    if place.startswith("["):
        host, bracket, rest = place[1:].partition("]")
        if not bracket or ":" not in host or (rest and not rest.startswith(":")):
            raise BadUrl(f"the URL has brackets that do not hold an IPv6 address: {_FORM}")
        return host, rest[1:] if rest else None
    host, colon, port = place.partition(":")
    return host, port if colon else None


def _port(text: str | None) -> int:
    if text is None:
        return DEFAULT_PORT
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise BadUrl(f"the port in the URL is not a number from 1 to 65535 (a : in a password is written %3A): {_FORM}")
    return int(text)


def _decode(text: str, what: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise BadUrl(f"the {what} in the URL is not UTF-8 behind its percent signs: {_FORM}") from None
