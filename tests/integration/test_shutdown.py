"""How the relay ends: told to, told twice, killed; and what is still true when it is started again."""

import signal
import socket
from pathlib import Path

import pytest

from relay.protocol.codes import CloseCode, Retry, retry_after_close
from relay.protocol.packets import Ack, Close, Message, Stored
from relay.protocol.scram import ClientLogin
from tests.integration.peer import PASSWORD, Peer, eventually, message_in
from tests.integration.stage import RelayProcess
from tests.process import run


def session(relay: RelayProcess, user: str | None = None, receive_buffer_bytes: int | None = None) -> Peer:
    peer = Peer(relay.address, receive_buffer_bytes=receive_buffer_bytes)
    peer.log_in(user or relay.user())
    return peer


def listens(relay: RelayProcess) -> bool:
    try:
        Peer(relay.address).close()
    except ConnectionRefusedError:
        return False
    return True


def stored_until_the_end(sender: Peer) -> dict[int, int]:
    """Offsets by message id of all that is acknowledged until the connection ends, however it ends."""
    stored = {}
    try:
        while True:
            packet = sender.packet()
            if isinstance(packet, Stored):
                stored[packet.id] = packet.offset
    except (AssertionError, ConnectionError):
        sender.close()
        return stored


def log_of(relay: RelayProcess, user: str, number: int) -> list[bytes]:
    """The bodies of a user's first `number` messages, by a device that has acknowledged nothing yet."""
    peer = session(relay, user)
    peer.receive_messages()
    bodies = []
    for offset in range(1, number + 1):
        delivery = peer.expect_delivery()
        assert delivery.offset == offset
        bodies.append(message_in(delivery).body)
    peer.alive()
    return bodies


def test_everybody_is_told_to_come_back_at_another_time(tmp_path: Path) -> None:
    with RelayProcess(tmp_path, drain_spread_s=5) as relay:
        sessions = [session(relay) for _ in range(20)]
        relay.process.process.send_signal(signal.SIGTERM)
        closes = [peer.closing() for peer in sessions]
        assert {close.code for close in closes} == {CloseCode.SHUTTING_DOWN}
        assert retry_after_close(CloseCode.SHUTTING_DOWN) is Retry.LATER
        delays = [close.retry_ms for close in closes]
        assert all(delay is not None and 0 <= delay <= 5000 for delay in delays)
        assert len(set(delays)) > 5
        assert relay.process.wait() == 0
        assert not listens(relay)
        relay.check_log()


def test_a_login_under_way_is_told_too(tmp_path: Path) -> None:
    with RelayProcess(tmp_path) as relay:
        silent, challenged = Peer(relay.address), Peer(relay.address)
        challenged.hello(ClientLogin("somebody", PASSWORD), "somebody")
        relay.process.process.send_signal(signal.SIGTERM)
        for peer in (silent, challenged):
            close = peer.closing()
            assert close.code == CloseCode.SHUTTING_DOWN
            assert close.retry_ms is not None
        assert relay.process.wait() == 0
        relay.check_log()


def test_what_was_acknowledged_before_the_end_is_there_afterwards(tmp_path: Path) -> None:
    with RelayProcess(tmp_path, drain_spread_s=0) as relay:
        sender, user = session(relay), relay.user()
        number = 20_000
        sender.send(*(Message(sender.address, user, i, "", b"%d" % i) for i in range(1, number + 1)))
        assert sender.expect(Stored).offset == 1
        relay.process.process.send_signal(signal.SIGTERM)
        stored = {1: 1} | stored_until_the_end(sender)
        assert stored == {i: i for i in range(1, len(stored) + 1)}
        assert sender.payloads[-1][1] == 7  # the last packet is CLOSE
        assert relay.process.wait() == 0
        relay.check_log()
        relay.start()
        again = session(relay, sender.user)
        assert again.welcome is not None
        last = again.welcome.last_message_id
        # What was stored was acknowledged, too: told to stop, the relay finishes what it has taken.
        assert last == len(stored)
        assert log_of(relay, user, last) == [b"%d" % i for i in range(1, last + 1)]


def test_one_who_does_not_read_keeps_nobody_waiting_for_long(tmp_path: Path) -> None:
    with RelayProcess(tmp_path, drain_timeout_s=1, drain_spread_s=0) as relay:
        slow, other = full_session(relay), session(relay)
        relay.process.process.send_signal(signal.SIGTERM)
        assert other.closing().code == CloseCode.SHUTTING_DOWN
        assert relay.process.wait() == 0
        relay.check_log()
        slow.close()


def full_session(relay: RelayProcess) -> Peer:
    """One that does not read, with its outbox full."""
    slow, sender = session(relay, receive_buffer_bytes=4096), session(relay)
    for _ in range(20):
        sender.signal(slow.address, bytes(1_000_000))
    sender.alive()
    sender.close()
    return slow


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with RelayProcess(tmp_path, drain_timeout_s=300, drain_spread_s=0) as relay:
        slow, other = full_session(relay), session(relay)
        stored = other.store(relay.user(), 1)
        relay.process.process.send_signal(signal.SIGTERM)
        assert other.closing().code == CloseCode.SHUTTING_DOWN
        assert relay.process.process.poll() is None
        relay.process.process.send_signal(signal.SIGTERM)
        assert relay.process.wait() == 1
        assert relay.process.seen("WARNING", "second signal")
        relay.check_log()
        relay.start()
        assert stored.offset == 1
        again = session(relay, other.user)
        assert again.welcome is not None
        assert again.welcome.last_message_id == 1
        slow.close()


def test_a_client_that_says_goodbye_gets_one_and_its_messages_are_kept(tmp_path: Path) -> None:
    with RelayProcess(tmp_path) as relay:
        sender, user = session(relay), relay.user()
        sender.send(Message(sender.address, user, 1, "", b"last words"), Close(CloseCode.NORMAL, "bye", None))
        assert sender.closing().code == CloseCode.NORMAL
        assert log_of(relay, user, 1) == [b"last words"]


def test_killed_again_and_again_it_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    """Each life takes a burst and is killed in the middle; the sender goes on as clients do, with the same ids."""
    with RelayProcess(tmp_path) as relay:
        sender_name, user = relay.user(), relay.user()
        acknowledged: dict[int, int] = {}
        pending: list[int] = []
        next_id = 1
        for life in range(4):
            sender = session(relay, sender_name)
            assert sender.welcome is not None
            assert sender.welcome.last_message_id >= max(acknowledged, default=0)
            pending += range(next_id, next_id + 200 - len(pending))
            next_id = pending[-1] + 1
            sender.send(*(Message(sender.address, user, i, "", b"%d" % i) for i in pending))
            for _ in range(20 * life):
                stored = sender.expect(Stored)
                acknowledged[stored.id] = stored.offset
            relay.process.stop(signal.SIGKILL)
            acknowledged |= stored_until_the_end(sender)
            pending = [i for i in pending if i not in acknowledged]
            relay.start()
        sender = session(relay, sender_name)
        for i in pending:
            acknowledged[i] = sender.store(user, i, b"%d" % i).offset
        recent = sorted(acknowledged)[-200:]
        again = {i: sender.store(user, i, b"%d" % i).offset for i in recent}
        assert again == {i: acknowledged[i] for i in recent}
        bodies = log_of(relay, user, len(acknowledged))
        assert sorted(map(int, bodies)) == sorted(acknowledged)
        assert {int(body): offset for offset, body in enumerate(bodies, 1)} == acknowledged
        relay.check_log()


def test_after_a_kill_the_same_id_is_the_same_message(tmp_path: Path) -> None:
    with RelayProcess(tmp_path) as relay:
        sender, user = session(relay), relay.user()
        stored = sender.store(user, 5, b"once")
        relay.process.stop(signal.SIGKILL)
        relay.start()
        again = session(relay, sender.user)
        assert again.welcome is not None
        assert again.welcome.last_message_id == 5
        assert again.store(user, 5, b"once") == stored
        again.message(user, 5, b"twice")
        assert "5" in str(again.packet())
        assert log_of(relay, user, 1) == [b"once"]


def test_after_a_kill_what_was_synced_does_not_come_again(tmp_path: Path) -> None:
    with RelayProcess(tmp_path) as relay:
        sender, user = session(relay), relay.user()
        peer = session(relay, user)
        peer.receive_messages()
        for number in range(1, 6):
            sender.store(user, number, b"%d" % number)
        last = [peer.expect_delivery() for _ in range(5)][-1]
        peer.send(Ack(last.conversation, 3, None))
        peer.ask("messages.sync")
        relay.process.stop(signal.SIGKILL)
        relay.start()
        again = session(relay, user)
        again.receive_messages()
        assert [message_in(again.expect_delivery()).body for _ in range(2)] == [b"4", b"5"]
        again.alive()


def test_made_up_salts_survive_a_restart(tmp_path: Path) -> None:
    """Otherwise a restart would tell who exists."""
    with RelayProcess(tmp_path) as relay:

        def salt() -> bytes:
            return Peer(relay.address).hello(ClientLogin("nobody", PASSWORD), "nobody").data.split(b",")[1]

        before = salt()
        relay.process.stop(signal.SIGKILL)
        relay.start()
        assert salt() == before


def test_a_second_relay_on_the_same_data_is_refused(tmp_path: Path) -> None:
    with RelayProcess(tmp_path) as relay:
        peer = session(relay)
        done = run("serve", "--data", str(relay.data), "--listen", "127.0.0.1:0", home=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"relay: a relay is running on {relay.data} already (process {relay.pid}); ")
        assert done.stderr.count("\n") == 1
        peer.store(relay.user(), 1)
        relay.process.stop(signal.SIGKILL)
        relay.start()
        session(relay, peer.user).alive()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_port_is_free_again(tmp_path: Path, number: int) -> None:
    with RelayProcess(tmp_path, drain_spread_s=0) as relay:
        peer, address = session(relay), relay.address
        relay.process.process.send_signal(number)
        assert peer.closing().code == CloseCode.SHUTTING_DOWN
        assert relay.process.wait() == 0
        host, _, port = address.rpartition(":")
        eventually(lambda: bindable(host, int(port)), lambda: f"{address} is free")


def bindable(host: str, port: int) -> bool:
    try:
        socket.create_server((host, port)).close()
    except OSError:
        return False
    return True
