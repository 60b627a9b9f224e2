"""One handler for each packet that a client may send; tests/session/test_session.py has them at work."""

from relay.protocol.packets import Ping, Pong, encode
from relay.protocol.states import FROM_CLIENT, State
from relay.session.handlers import HANDLERS
from tests.session.wire import Wire


def test_every_packet_that_may_arrive_has_a_handler_and_no_other() -> None:
    assert set(HANDLERS) == {kind for state, kind in FROM_CLIENT if state is State.OPEN}


def test_a_ping_is_answered_with_its_own_token(wire: Wire) -> None:
    session, client = wire.connect("alice")
    session.receive(encode(Ping(2**53 - 1)))
    assert client.receive() == Pong(2**53 - 1)
