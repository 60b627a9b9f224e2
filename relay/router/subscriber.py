"""A live session as the router sees it: an address, and an outlet for bytes that never yields."""

from typing import TYPE_CHECKING, Protocol

from relay.protocol.codes import CloseCode

if TYPE_CHECKING:
    from relay.router.feed import Feed
    from relay.router.gate import Lane
    from relay.router.streams import Side


class Outlet(Protocol):
    """Where bytes for one session go. No method yields; sending happens at the end of the loop turn."""

    def signal(self, frames: bytes, count: int) -> None:
        """Send `count` whole frames, or drop them all and count them if the session's queue is over its bound."""

    def push(self, frames: bytes) -> None:
        """Send whole frames that must not be dropped. A session that lets them pile up far over its bound is closed."""

    def stream(self, frame: bytes | memoryview, lane: "Lane", size: int) -> None:
        """Send a frame of a stream in its order, behind everything of the other verbs; tell the lane when its `size`
        bytes of data are with the kernel.
        """

    def has_room(self, size: int) -> bool:
        """Whether `size` more bytes stay within the bound."""

    def call_when_drained(self) -> None:
        """Have the session's feed continue once the queue has fallen below half its bound."""


class Subscriber(Protocol):
    """One live session."""

    user: str
    device: str
    address: str
    bot: bool
    # What tells whether the account is still the one that was logged in to.
    login_key: bytes
    # Whether the person says that she is not looking.
    away: bool
    methods: frozenset[str]
    services: frozenset[str]
    streams: "Side | None"
    # Calls this session is answering, its calls that the relay is answering, and its messages that wait for the disk.
    serving: int
    asking: int
    storing: int
    feed: "Feed | None"

    @property
    def outlet(self) -> Outlet:
        """Where bytes for this session go."""

    def end(self, code: CloseCode, sentence: str, retry_ms: int | None = None) -> None:
        """Close the session: it has left the directory when this returns."""

    def forget_routes(self) -> None:
        """Find out anew where signals go: what this session may reach has changed."""

    def pause(self) -> None:
        """Take no more packets from the client until `resume`."""

    def resume(self) -> None:
        """Take packets again."""
