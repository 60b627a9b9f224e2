"""Streams through a real relay: real bytes, real connections, as fast as the receiver takes them."""

import hashlib
import os
import threading

from relay.protocol.codes import ErrorCode
from relay.protocol.limits import CHUNK_MAX_BYTES, CREDIT_MAX_BYTES
from relay.protocol.packets import Accept, Credit, Data, Finish, Open, Reset, Result, Signal
from tests.integration.peer import Peer
from tests.integration.stage import Stage


def opened(stage: Stage) -> tuple[Peer, Peer]:
    """Alice with a stream (id 4) to bob, who offers the service."""
    alice, bob = stage.session(), stage.session()
    assert isinstance(bob.ask("services.announce", {"services": ["bytes"]}), Result)
    alice.send(Open(alice.address, bob.user, 4, "bytes", 5000, "", b"hello"))
    asked = bob.expect(Open)
    assert (asked.sender, asked.body) == (alice.address, b"hello")
    bob.send(Accept(bob.address, alice.address, 5, "", b""))
    assert alice.expect(Accept).sender == bob.address
    return alice, bob


def grant(peer: Peer, to: str, id: int, times: int) -> None:
    peer.send(*[Credit(peer.address, to, id, CREDIT_MAX_BYTES)] * times)


def upload(sender: Peer, to: str, size: int, digest: "hashlib._Hash") -> None:
    """Send random bytes as credit comes, then finish."""
    credit = 0
    while size:
        while not credit:
            credit += sender.expect(Credit).size
        body = os.urandom(min(CHUNK_MAX_BYTES, size, credit))
        digest.update(body)
        sender.send(Data(sender.address, to, 4, body))
        size, credit = size - len(body), credit - len(body)
    sender.send(Finish(sender.address, to, 4))


def test_many_bytes_arrive_as_they_were_sent(stage: Stage) -> None:
    alice, bob = opened(stage)
    sent, received = hashlib.sha256(), hashlib.sha256()
    thread = threading.Thread(target=upload, args=(alice, bob.address, 8_000_001, sent))
    thread.start()
    grant(bob, alice.address, 5, 4)
    total = 0
    while not isinstance(packet := bob.packet(), Finish):
        assert isinstance(packet, Data)
        received.update(packet.body)
        total += len(packet.body)
        if total % CREDIT_MAX_BYTES < CHUNK_MAX_BYTES:
            grant(bob, alice.address, 5, 1)
    thread.join()
    assert total == 8_000_001 and received.digest() == sent.digest()
    bob.send(Finish(bob.address, alice.address, 5))
    while isinstance(packet := alice.packet(), Credit):
        pass  # granted, and not needed
    assert packet == Finish(bob.address, alice.address, 5)


def test_chat_goes_on_beside_a_stream_that_nobody_reads(stage: Stage) -> None:
    alice, bob = opened(stage)
    grant(bob, alice.address, 5, 16)
    credit = 0
    while credit < 16 * CREDIT_MAX_BYTES:
        credit += alice.expect(Credit).size
    alice.send(*[Data(alice.address, bob.address, 4, bytes(CHUNK_MAX_BYTES))] * 16)
    carol = stage.session()
    carol.signal(alice.user, b"are you there?")
    assert alice.expect(Signal).body == b"are you there?"


def test_what_is_said_to_somebody_who_is_sent_much_does_not_stand_behind_all_of_it(stage: Stage) -> None:
    """A slow line: the kernel would take megabytes of the stream ahead."""
    alice, bob = stage.session(), stage.session(receive_buffer_bytes=16 * 1024)
    alice.send(Open(alice.address, bob.address, 4, "bytes", 5000, "", b""))
    bob.expect(Open)
    bob.send(Accept(bob.address, alice.address, 5, "", b""))
    alice.expect(Accept)
    chunk = Data(alice.address, bob.address, 4, bytes(CHUNK_MAX_BYTES))
    grant(bob, alice.address, 5, 64)
    while is_credited(alice):
        alice.send(chunk)
    stage.session().signal(bob.user, b"are you there?")
    chunks = 0
    while not isinstance(bob.packet(), Signal):
        chunks += 1
    assert chunks * CHUNK_MAX_BYTES < 1024 * 1024


def is_credited(peer: Peer) -> bool:
    """Whether a CREDIT comes. Without one for a while, none will."""
    peer.sock.settimeout(0.5)
    try:
        peer.expect(Credit)
    except AssertionError:
        return False
    return True


def test_more_than_was_granted_ends_the_stream_for_both(stage: Stage) -> None:
    alice, bob = opened(stage)
    alice.send(Data(alice.address, bob.address, 4, b"nobody asked"))
    assert (alice.expect(Reset).code, bob.expect(Reset).code) == (ErrorCode.FLOW_CONTROL, ErrorCode.FLOW_CONTROL)


def test_who_is_cut_off_is_missed_at_once(stage: Stage) -> None:
    alice, bob = opened(stage)
    bob.close()
    gone = alice.expect(Reset)
    assert (gone.id, gone.code) == (5, ErrorCode.SESSION_GONE)
