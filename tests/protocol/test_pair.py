"""A client and a relay's end wired together, with bytes that arrive in any pieces at any time (hypothesis stateful)."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from relay.protocol.limits import MESSAGE_WINDOW
from relay.protocol.packets import Packet, Ping, Stored, StoredRun, Unknown, Welcome, encode
from relay.protocol.states import State
from tests.protocol.pair import SESSION, Pair
from tests.protocol.strategies import packets_from_client, packets_from_relay

sizes = st.integers(1, 400)


class WiredPair(RuleBasedStateMachine):
    """Whatever one end sends arrives at the other, once, whole and in order; nothing else does."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair()
        self.sent_by_client: list[Packet] = []
        self.sent_by_relay: list[Packet] = []

    def client_is_open(self) -> bool:
        return self.pair.client.state is State.OPEN

    def relay_is_open(self) -> bool:
        return self.pair.relay.connection.state is State.OPEN

    @rule(size=sizes)
    def carry_to_relay(self, size: int) -> None:
        self.pair.carry_to_relay(size)

    @rule(size=sizes)
    def carry_to_client(self, size: int) -> None:
        self.pair.carry_to_client(size)

    @rule()
    def settle(self) -> None:
        self.pair.settle()

    @precondition(client_is_open)
    @rule(packet=packets_from_client)
    def client_sends(self, packet: Packet) -> None:
        self.pair.client.send(packet)
        self.sent_by_client.append(packet)

    @precondition(relay_is_open)
    @rule(packet=packets_from_relay)
    def relay_sends(self, packet: Packet) -> None:
        if isinstance(packet, StoredRun):
            packet = packet._replace(total=1 + packet.total % MESSAGE_WINDOW)
        self.pair.relay_sends(packet)
        if isinstance(packet, StoredRun):
            self.sent_by_relay += [
                Stored(packet.id + step, packet.conversation, packet.offset + step, packet.time_ms)
                for step in range(packet.total)
            ]
        elif not isinstance(packet, Ping):
            self.sent_by_relay.append(packet)

    @precondition(relay_is_open)
    @rule(number=st.integers(48, 63), size=st.integers(0, 50))
    def relay_sends_what_this_version_does_not_know(self, number: int, size: int) -> None:
        frame = bytes([0, 0, 0, 4 + size, 0x92, number, 0xC4, size]) + bytes(size)
        self.pair.to_client += self.pair.relay.connection.data_to_send() + frame
        self.sent_by_relay.append(Unknown(number, None))  # type: ignore[arg-type]

    def arrived_at_client(self) -> list[Packet | Unknown]:
        return [packet for packet in self.pair.received if not isinstance(packet, Welcome)]

    def arrived_at_relay(self) -> list[Packet | Unknown]:
        return self.pair.relay.received

    @invariant()
    def the_client_is_never_ahead(self) -> None:
        if self.client_is_open():
            assert self.relay_is_open()

    @invariant()
    def what_arrived_was_sent(self) -> None:
        at_client = self.arrived_at_client()
        assert at_client == self.sent_by_relay[: len(at_client)]

    def teardown(self) -> None:
        self.pair.settle()
        assert self.client_is_open()
        assert self.relay_is_open()
        assert [p.session for p in self.pair.received if isinstance(p, Welcome)] == [SESSION]
        assert self.arrived_at_client() == self.sent_by_relay
        # The client answers PINGs by itself, between what it was told to send.
        sent = iter(self.arrived_at_relay())
        assert all(packet in sent for packet in self.sent_by_client)


WiredPair.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestWiredPair = WiredPair.TestCase


def test_a_pong_for_every_ping() -> None:
    pair = Pair()
    pair.settle()
    for token in range(5):
        pair.relay_sends(Ping(token))
    pair.settle(3)
    assert [encode(packet) for packet in pair.relay.received] == [  # type: ignore[arg-type]
        bytes([0, 0, 0, 3, 0x92, 6, token]) for token in range(5)
    ]
