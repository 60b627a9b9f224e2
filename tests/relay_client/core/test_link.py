"""One connection after the other: what each end of one means, by close code and by silence."""

import pytest
from relay_client import errors
from relay_client.core import Phase
from relay_client.core.link import Link
from relay_client.events import Connected, Disconnected, Ended

from relay.protocol.codes import CloseCode
from relay.protocol.connection import ServerConnection
from relay.protocol.limits import FRAME_MAX
from relay.protocol.packets import Challenge, Close, Hello, Ping, Pong, Proof, Welcome, encode
from relay.protocol.scram import MECHANISM as SCRAM
from relay.protocol.tickets import MECHANISM as TICKET
from relay.protocol.tickets import Presented, is_proven, read_presented, relay_proof
from tests.relay_client.simulated import CREDENTIALS, TIME_MS, SimulatedRelay, ignore
from tests.relay_client.wire import Wire, identity


@pytest.fixture
def wire() -> Wire:
    return Wire().open()


def close(wire: Wire, code: int, retry_ms: int | None = None) -> None:
    assert wire.session is not None
    wire.session.close(code, "because", retry_ms)
    wire.run()


# What a close code means, known or not.


@pytest.mark.parametrize("code", [4000, 4001, 4099])
def test_after_a_close_of_the_40xx_range_it_connects_at_once(wire: Wire, code: int) -> None:
    close(wire, code)
    assert wire.core.should_dial(wire.now)
    wire.open()


@pytest.mark.parametrize("code", [4100, 4101, 4107, 4199])
def test_after_a_close_of_the_41xx_range_it_connects_later(wire: Wire, code: int) -> None:
    close(wire, code)
    assert wire.core.phase is Phase.PAUSED and not wire.core.should_dial(wire.now)
    wire.reconnect()


@pytest.mark.parametrize("code", [4200, 4201, 4202, 4203, 4299, 4300, 4305, 4399, 4400, 4999, 0, 1000, 3999])
def test_after_any_other_close_it_gives_up(wire: Wire, code: int) -> None:
    close(wire, code)
    assert wire.core.phase is Phase.ENDED and wire.core.wake_at is None
    error = wire.core.error
    assert isinstance(error, errors.ConnectionEnded) and error.code == code
    assert "because" in str(error) or code == CloseCode.REPLACED


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (CloseCode.LOGIN_FAILED, errors.LoginFailed),
        (CloseCode.REPLACED, errors.Replaced),
        (CloseCode.ACCOUNT_ENDED, errors.ConnectionEnded),
    ],
)
def test_an_end_for_good_has_a_type(wire: Wire, code: int, kind: type) -> None:
    close(wire, code)
    assert type(wire.core.error) is kind


@pytest.mark.parametrize("code", [4000, 4100])
def test_the_relays_advice_when_to_return_is_kept_to(wire: Wire, code: int) -> None:
    close(wire, code, retry_ms=7000)
    assert not wire.core.should_dial(wire.now + 6.99) and wire.core.should_dial(wire.now + 7)


def test_a_relay_that_always_says_normal_is_not_hammered(wire: Wire) -> None:
    close(wire, CloseCode.NORMAL)
    wire.open()
    close(wire, CloseCode.NORMAL)
    assert not wire.core.should_dial(wire.now)


def test_pauses_grow_while_it_fails_and_start_again_after_a_good_connection(wire: Wire) -> None:
    def pause() -> float:
        return wire.seen(Disconnected)[-1].retry_s

    wire.cut()
    pauses = [pause()]
    for _ in range(9):
        wire.now = wire.core.wake_at or 0
        wire.core.dialing()
        wire.core.lost("nobody listens there", wire.now)
        pauses.append(pause())
    assert pauses == sorted(pauses) and pauses[0] <= 0.5 and 15 <= pauses[-1] <= 30
    wire.reconnect()
    wire.cut()
    assert pause() > 10, "a connection that broke at once was no good one"
    wire.reconnect()
    wire.wait(61)
    wire.cut()
    assert pause() <= 0.5


# The first connection.


def test_a_first_connection_that_fails_is_not_tried_again() -> None:
    wire = Wire()
    wire.core.dialing()
    wire.core.lost("nobody listens there", wire.now)
    error = wire.core.error
    assert isinstance(error, errors.ConnectFailed) and isinstance(error, ConnectionError)
    assert "127.0.0.1:7450" in str(error) and "nobody listens there" in str(error)


def test_a_patient_client_goes_on_trying_until_its_time_is_up() -> None:
    wire = Wire(patience_s=5)
    failures = 0
    while wire.core.phase is not Phase.ENDED:
        wire.now = wire.core.wake_at or 0
        wire.core.dialing()
        wire.core.lost("nobody listens there", wire.now)
        failures += 1
    assert failures > 2 and wire.now >= 1005


def test_a_client_of_endless_patience_never_gives_up() -> None:
    wire = Wire(patience_s=None)
    for _ in range(20):
        wire.now = wire.core.wake_at or 0
        wire.core.dialing()
        wire.core.lost("nobody listens there", wire.now)
    assert wire.core.phase is Phase.PAUSED
    wire.reconnect()


def test_a_relay_that_is_full_fails_the_first_connection_with_its_sentence() -> None:
    wire = Wire()
    wire.relay.refusal = Close(CloseCode.TOO_MANY_CONNECTIONS, "come back in a minute", 60_000)
    wire.dial()
    wire.run()
    assert isinstance(wire.core.error, errors.ConnectFailed) and "come back in a minute" in str(wire.core.error)


def test_what_is_no_relay_fails_the_first_connection() -> None:
    wire = Wire()
    wire.dial()
    assert wire.session is not None
    wire.session.push_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    wire.carry(to_relay=0)
    assert isinstance(wire.core.error, errors.ConnectionEnded) and wire.core.error.code == CloseCode.BAD_FRAME


def test_what_is_no_relay_is_waited_out_if_there_was_one_before(wire: Wire) -> None:
    wire.cut()
    wire.now = wire.core.wake_at or 0
    wire.dial()
    assert wire.session is not None
    wire.session.push_bytes(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
    wire.carry(to_relay=0)
    assert wire.core.phase is Phase.PAUSED
    wire.reconnect()


def test_a_welcome_without_proof_is_refused() -> None:
    wire = Wire()
    wire.dial()
    assert wire.session is not None
    wire.session.push_bytes(encode(Welcome(1, "alice/laptop", b"", 1000, TIME_MS, 0, 2**20, None, "thief/1", "g1")))
    wire.carry(to_relay=0)
    assert isinstance(wire.core.error, errors.ConnectionEnded)


def test_the_relays_name_for_the_session_is_used() -> None:
    assert Wire(SimulatedRelay(), "zoë", "téléphone").open().core.session == "zoë/téléphone"


def test_bytes_that_break_the_protocol_end_the_connection_but_not_the_client(wire: Wire) -> None:
    assert wire.session is not None
    wire.session.push_bytes(b"\0\0\0\0")
    wire.run()
    assert wire.core.phase is Phase.PAUSED and "length 0" in wire.core.reason
    assert wire.relay.sent(Close)[0].code == CloseCode.BAD_FRAME
    wire.reconnect()


def test_a_packet_of_a_later_version_is_ignored(wire: Wire) -> None:
    assert wire.session is not None
    wire.session.push_bytes(b"\0\0\0\x02\x91\x2a")
    wire.run()
    assert wire.core.phase is Phase.OPEN


# Silence.


def test_a_login_without_an_answer_is_given_up() -> None:
    wire = Wire()
    wire.dial()
    wire.now += 15
    wire.core.tick(wire.now)
    assert isinstance(wire.core.error, errors.ConnectFailed) and "login" in str(wire.core.error)


def test_a_connection_on_which_nothing_is_heard_is_pinged_then_given_up(wire: Wire) -> None:
    wire.relay.hook = ignore(Ping)
    wire.wait(24)
    assert wire.relay.sent(Ping) == []
    wire.wait(1)
    assert len(wire.relay.sent(Ping)) == 1
    wire.wait(9)
    assert wire.core.phase is Phase.OPEN
    wire.wait(1)
    assert wire.core.phase is Phase.PAUSED and "nothing was heard" in wire.core.reason


def test_any_byte_is_a_sign_of_life(wire: Wire) -> None:
    wire.wait(1000)
    assert wire.core.phase is Phase.OPEN and len(wire.relay.sent(Ping)) == 40
    assert wire.session is not None
    wire.relay.hook = ignore(Ping)
    for _ in range(10):
        wire.session.push(Ping(1))
        wire.wait(20)
    assert wire.core.phase is Phase.OPEN


def test_the_relays_ping_is_answered(wire: Wire) -> None:
    assert wire.session is not None
    wire.session.push(Ping(42))
    wire.run()
    assert wire.relay.sent(Pong) == [Pong(42)]


def test_a_keepalive_of_nothing_does_not_make_it_ping_for_ever() -> None:
    relay = SimulatedRelay()
    relay.keepalive_ms = 0
    wire = Wire(relay).open()
    wire.wait(10)
    assert len(relay.sent(Ping)) == 10


def test_bytes_of_a_connection_that_was_given_up_mean_nothing(wire: Wire) -> None:
    wire.cut()
    wire.core.receive_data(encode(Close(CloseCode.REPLACED, "late", None)), wire.now)
    wire.core.lost("once more", wire.now)
    assert wire.core.phase is Phase.PAUSED and len(wire.seen(Disconnected)) == 1


def test_after_the_end_nothing_happens_any_more(wire: Wire) -> None:
    close(wire, CloseCode.REPLACED)
    error = wire.core.error
    wire.core.lost("late", wire.now)
    wire.core.tick(wire.now + 100)
    wire.core.connected(wire.now)
    assert wire.core.error is error and wire.core.phase is Phase.ENDED and not wire.core.has_connection
    assert [type(event) for event in wire.events] == [Connected, Ended]


# Tickets.

KEY = CREDENTIALS.server_key


def link_with_ticket() -> Link:
    """A link that was open and lost its connection; it has the ticket "first"."""
    link = Link(identity(), None, 0.0, lambda: 0.5)
    relay = greet(link)
    hello = relay.next_packet()
    assert isinstance(hello, Hello) and hello.mechanism == SCRAM
    relay.challenge("alice", CREDENTIALS, hello.data)
    say(link, relay)
    proof = relay.next_packet()
    assert isinstance(proof, Proof)
    welcome(link, relay, relay.prove(proof), b"first")
    link.fail("cut", 1.0)
    return link


def greet(link: Link) -> ServerConnection:
    """Connect the link to a relay; the HELLO has arrived there."""
    link.dialing()
    link.connected(2.0)
    relay = ServerConnection()
    relay.receive_data(link.data_to_send())
    return relay


def say(link: Link, relay: ServerConnection) -> None:
    """What the relay has to say reaches the link, and the answer the relay."""
    link.receive_data(relay.data_to_send(), 2.0)
    link.next_packet(2.0)
    relay.receive_data(link.data_to_send())


def welcome(link: Link, relay: ServerConnection, data: bytes, ticket: bytes | None) -> None:
    relay.welcome(Welcome(1, "alice/laptop", data, 25_000, TIME_MS, 0, FRAME_MAX, ticket, "relay/test", "generation"))
    say(link, relay)


def presented(relay: ServerConnection) -> Presented:
    hello = relay.next_packet()
    assert isinstance(hello, Hello) and hello.mechanism == TICKET
    found = read_presented(hello.data)
    assert found is not None and is_proven(KEY, found)
    return found


def mechanism(relay: ServerConnection) -> str:
    hello = relay.next_packet()
    assert isinstance(hello, Hello)
    return hello.mechanism


def test_a_ticket_is_used_for_the_next_connection_and_the_new_one_for_that_after() -> None:
    link = link_with_ticket()
    for ticket, following in ((b"first", b"second"), (b"second", b"third")):
        relay = greet(link)
        shown = presented(relay)
        assert shown.ticket == ticket
        welcome(link, relay, relay_proof(KEY, shown.nonce, shown.ticket), following)
        assert link.phase is Phase.OPEN
        link.fail("cut", 3.0)


def test_without_a_new_ticket_the_password_is_next() -> None:
    link = link_with_ticket()
    relay = greet(link)
    shown = presented(relay)
    welcome(link, relay, relay_proof(KEY, shown.nonce, shown.ticket), None)
    link.fail("cut", 3.0)
    assert mechanism(greet(link)) == SCRAM


@pytest.mark.parametrize("code", [CloseCode.TICKET_REFUSED, CloseCode.UNSUPPORTED_MECHANISM])
def test_after_a_refused_ticket_the_password_is_tried_at_once_and_nobody_is_told(code: CloseCode) -> None:
    link = link_with_ticket()
    told = len(link.events)
    relay = greet(link)
    presented(relay)
    relay.close(code, "no")
    say(link, relay)
    assert link.phase is Phase.PAUSED and link.dial_at == 2.0 and not link.has_connection
    assert len(link.events) == told
    assert mechanism(greet(link)) == SCRAM


def test_a_ticket_that_was_not_answered_is_tried_again_with_another_proof() -> None:
    link = link_with_ticket()
    first = presented(greet(link))
    link.fail("cut", 3.0)
    second = presented(greet(link))
    assert (first.ticket, first.nonce == second.nonce) == (second.ticket, False)


def test_a_relay_that_takes_a_ticket_without_knowing_the_key_is_not_believed() -> None:
    link = link_with_ticket()
    relay = greet(link)
    shown = presented(relay)
    welcome(link, relay, shown.proof, b"second")
    assert isinstance(link.error, errors.LoginFailed)


def test_a_relay_that_answers_a_ticket_with_a_challenge_gets_no_proof() -> None:
    link = link_with_ticket()
    relay = greet(link)
    presented(relay)
    link.receive_data(encode(Challenge(1, b"r=x,s=AAAA,i=4096")), 2.0)
    assert link.next_packet(2.0) is None
    assert link.phase is Phase.PAUSED
    assert mechanism(greet(link)) == SCRAM
