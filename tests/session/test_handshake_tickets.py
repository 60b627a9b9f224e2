"""Coming back by ticket: one round trip, and what happens to those whose ticket is no good."""

import logging
import time
from collections.abc import Callable

import pytest
from gevent.event import Event

from relay.protocol.codes import CloseCode
from relay.protocol.packets import Challenge, Close, Packet, Ping, Pong, Unknown, Welcome
from relay.protocol.tickets import ClientTicket, Resume
from relay.store.base import Account
from tests.loop import turn, until
from tests.session.gate import ALICE, Gate, hello, raw
from tests.session.wire import Client


def come_back(
    gate: Gate, resume: Resume, device: str = "phone", host: str = "10.0.0.1"
) -> tuple[Client, Packet | Unknown]:
    """Present a ticket; the relay's answer."""
    client = gate.knock(host)
    client.send(hello(device=device, mechanism="TICKET", data=ClientTicket(resume).first()))
    return client, client.receive()


def first_ticket(gate: Gate) -> Resume:
    client, welcome = gate.login()
    assert isinstance(welcome, Welcome) and welcome.ticket
    client.close()
    gate.until_empty()
    return Resume(welcome.ticket, ALICE.server_key)


def test_a_ticket_is_a_login_in_one_round_trip(gate: Gate) -> None:
    client, welcome = come_back(gate, first_ticket(gate))
    assert isinstance(welcome, Welcome)
    assert (welcome.session, welcome.last_message_id) == ("alice/phone", 41)
    client.send(Ping(1))
    assert client.receive() == Pong(1)


def test_who_brings_a_ticket_goes_before_those_who_do_not(gates: Callable[..., Gate]) -> None:
    gate = gates(at_once_max=1)
    resume = first_ticket(gate)
    served: list[str] = []
    answer = Event()

    def look_up(name: str) -> Account | None:
        served.append("password")
        answer.wait()
        return gate.accounts.get(name)

    def prepare(user: str, device: str) -> int:
        served.append("ticket")
        return 41

    gate.look_up, gate.prepare = look_up, prepare
    for _ in range(2):
        gate.knock().send(hello(device="other"))
    until(lambda: served)
    client = gate.knock()
    client.send(hello(mechanism="TICKET", data=ClientTicket(resume).first()))
    turn()
    assert served == ["password"]
    answer.set()
    assert isinstance(client.receive(), Welcome)
    until(lambda: len(served) == 3)
    assert served == ["password", "ticket", "password"]


def test_a_ticket_that_is_no_good_leaves_the_session_of_its_device_alone(gate: Gate) -> None:
    used = first_ticket(gate)
    owner, welcome = come_back(gate, used)
    assert isinstance(welcome, Welcome)
    _, close = come_back(gate, used)
    assert isinstance(close, Close) and close.code == CloseCode.TICKET_REFUSED
    owner.send(Ping(1))
    assert owner.receive() == Pong(1)


def test_a_good_ticket_takes_the_place_of_the_session_of_its_device(gate: Gate) -> None:
    older, welcome = gate.login()
    assert isinstance(welcome, Welcome) and welcome.ticket
    _, answer = come_back(gate, Resume(welcome.ticket, ALICE.server_key))
    assert isinstance(answer, Welcome)
    assert older.closing().code == CloseCode.REPLACED


def test_an_expired_ticket_costs_no_delay_and_a_forged_one_does(gates: Callable[..., Gate]) -> None:
    gate = gates(delay_max_s=60.0)
    resume = first_ticket(gate)
    gate.now_ms += 60_000
    _, close = come_back(gate, resume)
    assert isinstance(close, Close) and (close.code, "expired" in close.sentence) == (CloseCode.TICKET_REFUSED, True)
    assert len(gate.throttle) == 0
    client, close = come_back(gate, resume, device="another")
    assert isinstance(close, Close) and close.code == CloseCode.TICKET_REFUSED
    assert len(gate.throttle) == 2
    client.close()


def test_who_has_to_wait_after_failed_logins_waits_with_a_ticket_too(gates: Callable[..., Gate]) -> None:
    gate = gates(delay_max_s=60.0)
    resume = first_ticket(gate)
    for _ in range(12):
        gate.throttle.fail("10.0.0.1", "bob", time.monotonic())
    _, close = come_back(gate, resume)
    assert isinstance(close, Close) and close.code == CloseCode.TOO_MANY_ATTEMPTS
    _, welcome = come_back(gate, resume, host="10.0.0.2")
    assert isinstance(welcome, Welcome)


@pytest.mark.parametrize("data", [b"", b"x", bytes(48), bytes(49), bytes(97), bytes(1072), bytes(1073), bytes(3000)])
def test_what_is_no_ticket_is_refused_as_one(gate: Gate, data: bytes) -> None:
    assert raw(gate, hello(mechanism="TICKET", data=data)).code == CloseCode.TICKET_REFUSED


def test_a_ticket_of_an_account_that_changes_meanwhile_lets_nobody_in(gate: Gate) -> None:
    resume = first_ticket(gate)

    def prepare(user: str, device: str) -> int:
        gate.wire.town.router.end_outdated("alice", b"another")
        return 0

    gate.prepare = prepare
    _, close = come_back(gate, resume)
    assert isinstance(close, Close) and close.code == CloseCode.TICKET_REFUSED


def test_without_room_on_the_disk_passwords_go_on_and_tickets_wait(
    gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    resume = first_ticket(gate)
    gate.store.full = True
    _, close = come_back(gate, resume)
    assert isinstance(close, Close) and close.code == CloseCode.TICKET_REFUSED
    client, welcome = gate.login()
    assert isinstance(welcome, Welcome) and welcome.ticket is None
    assert "no room on the disk" in caplog.text
    client.close()
    gate.store.full = False
    _, welcome = come_back(gate, resume)
    assert isinstance(welcome, Welcome)


@pytest.mark.parametrize(("agent", "fits"), [("x" * 64, True), ("x" * 65, False), ("é" * 32, True), ("é" * 33, False)])
def test_the_agent_is_logged_and_has_an_end(
    gate: Gate, agent: str, fits: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client = gate.knock()
    client.send(hello(agent=agent))
    answer = client.receive()
    assert isinstance(answer, Challenge if fits else Close)
    if isinstance(answer, Close):
        assert (answer.code, "64 bytes" in answer.sentence) == (CloseCode.BAD_PACKET, True)


def test_an_agent_cannot_write_lines_into_the_log(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    resume, client = first_ticket(gate), gate.knock()
    client.send(hello(mechanism="TICKET", data=ClientTicket(resume).first(), agent="evil\n2026 root logged in"))
    assert isinstance(client.receive(), Welcome)
    assert r"by TICKET with 'evil\n2026 root logged in'" in caplog.text
