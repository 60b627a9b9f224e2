"""What the generator has to know about a server: how it is started, how one logs in, and which bytes mean what.

A dialect is pure: it makes and reads bytes and never touches a socket. Everything that repeats is encoded before the
measured loop begins; what comes back is counted by its size, not decoded.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import ClassVar, NamedTuple

# A login in progress: yields bytes to send (perhaps none), is sent what arrived, and returns once the peer is in.
Login = Generator[bytes, bytes, None]

# Counts the acknowledgements in the bytes that arrived on one connection.
AckCounter = Callable[[bytes], int]


class DialectError(Exception):
    """The server answered something else than expected; the text says what."""


class Seat(NamedTuple):
    """A connection's place: device `device` of user `user`, who is in the room `room` if that is not empty."""

    user: str
    device: str = "d"
    room: str = ""

    @property
    def inbox(self) -> str:
        """What others write to: the room, or the user."""
        return self.room or self.user


class Wire(NamedTuple):
    """A message as its sender writes it, and the size of what its receiver reads."""

    sent: bytes
    received_bytes: int


class Exchange(NamedTuple):
    """A request and its answer, as each of the two sides writes and reads it."""

    request: bytes
    arrives: bytes
    answer: bytes
    answered_bytes: int


class Place(NamedTuple):
    """Where a server may put its files, where it shall listen, and who will connect."""

    directory: Path
    port: int
    seats: tuple[Seat, ...]
    kind: str


class Dialect(ABC):
    """One kind of server. The defaults say that it cannot do a work."""

    name: ClassVar[str]
    # How to install it, as one command.
    install: ClassVar[str]
    # Kinds of work (works.Work.kind) it can do.
    kinds: ClassVar[frozenset[str]] = frozenset({"pipe", "spread", "pingpong", "fan", "paced", "idle", "storm"})
    # Whether the first answer on standard output names the port; otherwise `Place.port` is what it listens on.
    announces_port: ClassVar[bool] = False
    # A server that asks every new connection once whether it is there does so within this time, and hears `pong`.
    settle_s: ClassVar[float] = 0.0
    pong: ClassVar[bytes] = b""

    @abstractmethod
    def version(self) -> str | None:
        """The installed version, or None if it is not installed. May take a second."""

    @abstractmethod
    def command(self, place: Place) -> list[str]:
        """The command that starts the server in the foreground; writes the files it needs into the directory."""

    @abstractmethod
    def login(self, seat: Seat, listen: bool) -> Login:
        """Come in as `seat`; with `listen` receive what is sent to its inbox."""

    @abstractmethod
    def signal(self, sender: Seat, to: Seat, payload: bytes) -> Wire:
        """A message that is not stored, to everybody with the inbox of `to`."""

    def prepare(self, seats: Iterable[Seat]) -> list[Login]:
        """What has to happen on connections of its own before stored messages can be sent to these seats."""
        return []

    def message(self, sender: Seat, to: Seat, payload: bytes) -> Callable[[int], bytes]:
        """The sender's n-th stored message, counted from 1, as a function of n."""
        raise NotImplementedError

    def receive(self, seat: Seat) -> Login:
        """Come in as `seat` and be given stored messages."""
        raise NotImplementedError

    def delivered_bytes(self, frame: bytes, sender: Seat, to: Seat) -> int:
        """The size of what a receiver reads of a stored message."""
        raise NotImplementedError

    def acks(self) -> AckCounter:
        """A counter for a connection that sends stored messages. Acknowledgements come in order."""
        raise NotImplementedError

    def resume(self, seat: Seat) -> Login:
        """Come in as `seat` by what the login before left behind."""
        raise NotImplementedError

    def serve(self, seat: Seat) -> Login:
        """Come in as `seat` and answer requests."""
        raise NotImplementedError

    def request(self, caller: Seat, bot: Seat, payload: bytes, number: int) -> Exchange:
        """One of the requests that a caller makes in turn; those with different numbers have one size."""
        raise NotImplementedError


def until(ending: bytes, data: bytes) -> Login:
    """Wait until what arrives ends with `ending`; `data` has arrived already."""
    while not data.endswith(ending):
        data += yield b""
