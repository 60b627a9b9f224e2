"""A core and a simulated relay wired together in memory, with a clock that stands still until it is moved.

Bytes travel when the test says so, as many as it says, and a cut loses what is under way.
"""

from typing import TypeVar

from relay_client.core import Core, Identity, Pending, Phase
from relay_client.errors import RelayError
from relay_client.events import Event

from tests.relay_client.simulated import PASSWORD, Session, SimulatedRelay

E = TypeVar("E", bound=Event)
T = TypeVar("T")


def identity(user: str = "alice", device: str = "laptop", password: str = PASSWORD) -> Identity:
    return Identity(user, password, device, "127.0.0.1:7450", "test/1")


class Wire:
    """One client. `now` is its clock."""

    def __init__(  # type: ignore[no-untyped-def]
        self, relay: SimulatedRelay | None = None, user: str = "alice", device: str = "laptop", **options
    ) -> None:
        self.relay = relay or SimulatedRelay()
        self.now = 1000.0
        options.setdefault("jitter", lambda: 0.5)
        password = options.pop("password", PASSWORD)
        self.core = Core(identity(user, device, password), self.now, **options)
        self.session: Session | None = None
        self.events: list[Event] = []
        self._to_relay = bytearray()
        self._to_client = bytearray()

    def dial(self) -> None:
        """Make the connection that the core wants."""
        assert self.core.should_dial(self.now)
        self.core.dialing()
        self.core.connected(self.now)
        self.session = self.relay.connect()
        self._to_relay.clear()
        self._to_client.clear()
        self._collect()

    def open(self) -> "Wire":
        """Dial and log in."""
        self.dial()
        self.run()
        assert self.core.phase is Phase.OPEN
        return self

    def carry(self, to_relay: int | None = None, to_client: int | None = None) -> int:
        """Let so many bytes arrive each way (None: all). Returns how many did."""
        self._collect()
        if self.session is None:
            return 0
        up = self._to_relay[: len(self._to_relay) if to_relay is None else to_relay]
        del self._to_relay[: len(up)]
        if up:
            self.session.receive(bytes(up))
        self._collect()
        down = self._to_client[: len(self._to_client) if to_client is None else to_client]
        del self._to_client[: len(down)]
        if down:
            self.core.receive_data(bytes(down), self.now)
        self._collect()
        return len(up) + len(down)

    def run(self) -> None:
        """Let everything arrive until nothing moves any more."""
        while self.carry():
            pass

    def wait(self, seconds: float) -> None:
        """Move the clock, and let the core and the bytes follow it. Does not dial."""
        until = self.now + seconds
        while (wake_at := self.core.wake_at) is not None and wake_at <= until and not self.core.should_dial(self.now):
            self.now = max(self.now, wake_at)
            self.core.tick(self.now)
            self.run()
        self.now = until
        self.core.tick(self.now)
        self.run()

    def cut(self, reason: str = "cut") -> None:
        """The connection breaks, and what is under way is lost."""
        assert self.session is not None
        self.session.leave()
        self._hang_up()
        self.core.lost(reason, self.now)
        self._collect()

    def reconnect(self) -> None:
        """Wait for as long as the core wants to, then dial and log in."""
        assert self.core.phase is Phase.PAUSED and self.core.wake_at is not None
        self.now = max(self.now, self.core.wake_at)
        self.core.tick(self.now)
        if self.core.phase is Phase.PAUSED and not self.core.should_dial(self.now):
            self.reconnect()
        else:
            self.open()

    def seen(self, kind: type[E]) -> list[E]:
        """The events of this type so far."""
        self._collect()
        return [event for event in self.events if isinstance(event, kind)]

    def _collect(self) -> None:
        self._to_relay += self.core.data_to_send()
        if self.session is not None:
            self._to_client += self.session.take_out()
        self.events += self.core.take_events()
        if not self.core.has_connection and self.session is not None:
            self.session.receive(bytes(self._to_relay))
            self.session.leave()
            self._hang_up()

    def _hang_up(self) -> None:
        self.session = None
        self._to_relay.clear()
        self._to_client.clear()


def outcome(pending: Pending[T]) -> T | RelayError:
    """What became of a request, which must be settled."""
    assert pending.done
    return pending.error or pending.result()
