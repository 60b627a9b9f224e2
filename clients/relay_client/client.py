"""The blocking client, for plain threads and, patched, for gevent: a thin shell on the core."""

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

from relay.protocol.payloads import Value
from relay_client.received import Call, Online, ReceivedMessage, ReceivedSignal, Stored


class Message(ReceivedMessage):
    """A received message."""

    def reply(self, value: Value) -> Stored:
        """Send an answer to where this came from; returns once it is on the relay's disk."""
        raise NotImplementedError

    def ack(self) -> None:
        """Tell the relay that this message is dealt with. Does not wait."""
        raise NotImplementedError


class Signal(ReceivedSignal):
    """A received signal."""

    def reply(self, value: Value) -> None:
        """Send a signal back to the session it came from."""
        raise NotImplementedError


class Posted:
    """A message under way."""

    id: int

    def wait(self, timeout: float | None = None) -> Stored:
        """Wait until it is on the relay's disk (at most `timeout` seconds; None: the client's). Raises Refused, TimedOut."""
        raise NotImplementedError

    @property
    def done(self) -> bool:
        """Whether `wait` returns at once."""
        raise NotImplementedError


class Client:
    """One device of one user. The constructor connects and logs in, or raises LoginFailed or ConnectFailed.

    `device=None` uses a temporary device. `timeout` (seconds) holds for everything that names none of its own.
    `start`: how many earlier messages per conversation a device new to the relay gets.
    `patience_s`: how long to keep trying if the relay cannot be reached at first (None: for ever).
    """

    session: str  # "alice/laptop"

    def __init__(
        self,
        url: str,
        device: str | None = None,
        timeout: float = 10,
        *,
        password: str | None = None,
        start: int | None = None,
        patience_s: float | None = 0,
        threads: int = 8,
    ) -> None:
        raise NotImplementedError

    def send(self, to: str, value: Value, *, timeout: float | None = None) -> Stored:
        """Send a message; returns once it is on the relay's disk. Raises Refused, TimedOut, ConnectionEnded."""
        raise NotImplementedError

    def post(self, to: str, value: Value, *, timeout: float | None = None) -> Posted:
        """Send a message without waiting for the disk. Waits only while 256 are under way."""
        raise NotImplementedError

    def signal(self, to: str, value: Value) -> None:
        """Send to the live sessions of `to`, at most once. Raises NotConnected."""
        raise NotImplementedError

    def call(self, to: str, method: str, *args: Value, timeout: float | None = None, **kwargs: Value) -> Value:
        """Call a method. Raises CallFailed, TimedOut, ConnectionLost."""
        raise NotImplementedError

    def who(self, *, timeout: float | None = None) -> list[Online]:
        """Who is online now."""
        raise NotImplementedError

    def receive(self) -> None:
        """Begin to receive messages without asking for one yet; `messages` does it by itself."""
        raise NotImplementedError

    def messages(self, timeout: float | None = None, count: int | None = None) -> Iterator[Message]:
        """Messages as they come; ends after `count`, or after `timeout` seconds without one. See ack rules."""
        raise NotImplementedError

    def signals(self, timeout: float | None = None, count: int | None = None) -> Iterator[Signal]:
        """Signals as they come; ends as `messages` does."""
        raise NotImplementedError

    def serve(self, method: str, function: Callable[..., Value]) -> None:
        """Answer calls of `method` with `function(call, *args, **kwargs)`, in a pool of threads."""
        raise NotImplementedError

    def on_message(self, function: Callable[[Message], Any]) -> None:
        """Hand every message to `function`, in a pool of threads, in order per conversation; begins to receive."""
        raise NotImplementedError

    def on_signal(self, function: Callable[[Signal], Any]) -> None:
        """Hand every signal to `function`, in a pool of threads."""
        raise NotImplementedError

    def on_event(self, function: Callable[[Any], Any]) -> None:
        """Hand Connected, Disconnected, GapNoticed (relay_client.events) to `function`."""
        raise NotImplementedError

    def close(self, timeout: float | None = None) -> None:
        """Wait for what is under way, tell the relay what was dealt with, and say goodbye."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


__all__ = ["Call", "Client", "Message", "Posted", "Signal"]
