"""Coming back by ticket to a real relay: once, also if it was killed meanwhile; never after a changed password."""

import threading
from pathlib import Path

import pytest

from relay.protocol.codes import CloseCode
from relay.protocol.connection import ClientConnection
from relay.protocol.packets import Close, Packet, Unknown, Welcome
from relay.protocol.tickets import Resume
from tests.integration.peer import PASSWORD, Peer, eventually
from tests.integration.stage import RelayProcess, Stage
from tests.process import run


def attempt(peer: Peer, user: str, resume: Resume | None, device: str = "device") -> tuple[Packet | Unknown, Resume]:
    """Log in, by ticket if there is one; the answer, and what to come back with."""
    ends = ClientConnection(user, PASSWORD, device, "test/1", resume)
    while True:
        peer.send_bytes(ends.data_to_send())
        data = peer.sock.recv(65536)
        assert data, "the relay hung up without a word"
        ends.receive_data(data)
        packet = ends.next_packet()
        if packet is not None:
            return packet, ends.resume or Resume(b"", b"")


def welcomed(peer: Peer, user: str, resume: Resume | None = None) -> Resume:
    packet, following = attempt(peer, user, resume)
    assert isinstance(packet, Welcome), packet
    assert following.ticket
    return following


def refused(peer: Peer, user: str, resume: Resume, device: str = "device") -> str:
    """The sentence of the refusal; the connection is over."""
    packet, _ = attempt(peer, user, resume, device)
    assert isinstance(packet, Close), packet
    assert packet.code == CloseCode.TICKET_REFUSED
    assert packet.sentence.endswith("log in with the password")
    return packet.sentence


def test_each_ticket_brings_the_next(stage: Stage) -> None:
    user = stage.user()
    resume = welcomed(stage.connect(), user)
    seen = {resume.ticket}
    for _ in range(3):
        resume = welcomed(stage.connect(), user, resume)
        seen.add(resume.ticket)
    assert len(seen) == 4


def test_a_used_ticket_is_refused_and_disturbs_nobody(stage: Stage) -> None:
    user = stage.user()
    first = welcomed(stage.connect(), user)
    peer = stage.connect()
    second = welcomed(peer, user, first)
    assert "used before" in refused(stage.connect(), user, first)
    peer.alive()
    welcomed(stage.connect(), user, second)


def test_of_many_who_race_with_one_ticket_one_gets_in(stage: Stage) -> None:
    user = stage.user()
    resume = welcomed(stage.connect(), user)
    peers = [stage.connect() for _ in range(8)]
    answers: list[Packet | Unknown] = []
    together = threading.Barrier(len(peers))

    def race(peer: Peer) -> None:
        together.wait()
        answers.append(attempt(peer, user, resume)[0])

    racers = [threading.Thread(target=race, args=(peer,)) for peer in peers]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert len(answers) == len(peers)
    assert sum(isinstance(answer, Welcome) for answer in answers) == 1
    assert all(answer.code == CloseCode.TICKET_REFUSED for answer in answers if isinstance(answer, Close))


def test_a_ticket_is_of_no_use_to_another_device_or_user_or_without_the_key(stage: Stage) -> None:
    user, other = stage.user(), stage.user()
    resume = welcomed(stage.connect(), user)
    assert "this user and device" in refused(stage.connect(), user, resume, "another")
    assert "this user and device" in refused(stage.connect(), other, resume)
    assert "proof" in refused(stage.connect(), user, resume._replace(server_key=bytes(32)))
    welcomed(stage.connect(), user, resume)


@pytest.mark.parametrize("change", [["password", "--password-stdin"], ["disable"], ["remove", "--yes"]])
def test_a_ticket_is_revoked_with_what_it_stands_for(relay: RelayProcess, stage: Stage, change: list[str]) -> None:
    user = stage.user()
    resume = welcomed(stage.connect(), user)
    verb, *flags = change
    done = run("user", verb, user, *flags, "--data", str(relay.data), home=relay.home, stdin=PASSWORD.encode())
    assert done.returncode == 0, done.stderr
    assert "revoked" in refused(stage.connect(), user, resume)
    if verb == "disable":
        assert run("user", "enable", user, "--data", str(relay.data), home=relay.home).returncode == 0
        assert "revoked" in refused(stage.connect(), user, resume)


def test_a_newer_login_by_password_takes_the_place_of_the_ticket(stage: Stage) -> None:
    user = stage.user()
    older = welcomed(stage.connect(), user)
    newer = welcomed(stage.connect(), user)
    assert "later login" in refused(stage.connect(), user, older)
    welcomed(stage.connect(), user, newer)


def test_the_log_tells_how_and_with_what_each_came(stage: Stage, relay: RelayProcess) -> None:
    user = stage.user()
    resume = welcomed(stage.connect(), user)
    welcomed(stage.connect(), user, resume)
    refused(stage.connect(), user, resume)
    eventually(lambda: relay.process.seen(f"login as '{user}' failed: this ticket was used"), lambda: "the refusal")
    assert relay.process.seen("by SCRAM-SHA-256 with 'test/1'")
    assert relay.process.seen("by TICKET with 'test/1'")


@pytest.fixture
def own_relay(tmp_path: Path) -> RelayProcess:
    return RelayProcess(tmp_path)


@pytest.mark.parametrize("kill", [False, True])
def test_tickets_outlive_the_relay_and_used_ones_stay_used(own_relay: RelayProcess, kill: bool) -> None:
    with own_relay as relay:
        users = [relay.user() for _ in range(20)]
        first = [welcomed(Peer(relay.address), user) for user in users]
        second = [welcomed(Peer(relay.address), user, resume) for user, resume in zip(users, first, strict=True)]
        if kill:
            relay.process.process.kill()
            relay.process.wait()
        else:
            assert relay.process.stop() == 0
        relay.start()
        for user, used, good in zip(users, first, second, strict=True):
            assert "used before" in refused(Peer(relay.address), user, used)
            welcomed(Peer(relay.address), user, good)
        relay.check_log()


def test_tickets_can_be_turned_off(tmp_path: Path) -> None:
    with RelayProcess(tmp_path, ticket_lifetime_s=0) as relay:
        user = relay.user()
        packet, resume = attempt(Peer(relay.address), user, None)
        assert isinstance(packet, Welcome)
        assert packet.ticket is None
        assert "takes no tickets" in refused(Peer(relay.address), user, Resume(b"x" * 49, resume.server_key))


def test_a_ticket_lives_as_long_as_its_session_and_a_while_longer(tmp_path: Path) -> None:
    with RelayProcess(tmp_path, ticket_lifetime_s=1) as relay:
        stays, here = relay.user(), Peer(relay.address)
        kept = welcomed(here, stays)
        left = []
        for user in (relay.user() for _ in range(200)):
            peer = Peer(relay.address)
            left.append((user, welcomed(peer, user)))
            peer.close()

        def is_expired() -> bool:
            user, resume = left.pop()
            packet, _ = attempt(Peer(relay.address), user, resume)
            return isinstance(packet, Close) and "expired" in packet.sentence

        eventually(is_expired, lambda: "the end of a ticket whose session is over")
        welcomed(Peer(relay.address), stays, kept)
        here.close()
