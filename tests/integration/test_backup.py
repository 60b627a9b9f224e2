"""Backups of a relay under traffic, by the real commands; a relay on what was restored, and its clients."""

import json
import threading
from pathlib import Path

import pytest

from relay.protocol.packets import Delivery, Stored
from tests.integration.peer import Peer
from tests.integration.stage import RelayProcess
from tests.process import run


@pytest.fixture
def source(tmp_path: Path) -> RelayProcess:
    return RelayProcess(tmp_path, drain_spread_s=0)


class Writer:
    """Sends without a pause and notes what was acknowledged."""

    def __init__(self, peer: Peer, to: str) -> None:
        self.acknowledged = 0
        self._peer, self._to = peer, to
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _write(self) -> None:
        while not self._stopping.is_set():
            number = self.acknowledged + 1
            for ahead in range(20):
                self._peer.message(self._to, number + ahead, b"message %d" % (number + ahead))
            for _ in range(20):
                self.acknowledged = self._peer.expect(Stored).id

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(30)
        assert not self._thread.is_alive()


def read_all(relay: RelayProcess, user: str, device: str, total: int) -> list[Delivery]:
    peer = Peer(relay.address)
    peer.log_in(user, device)
    peer.receive_messages()
    found = [peer.expect_delivery() for _ in range(total)]
    peer.alive()
    peer.close()
    return found


def test_a_backup_under_traffic_holds_what_was_acknowledged_before_it(source: RelayProcess, tmp_path: Path) -> None:
    with source:
        alice, bob = source.user(), source.user()
        receiver = Peer(source.address)
        generation = receiver.log_in(bob, "phone").generation
        receiver.receive_messages()
        receiver.close()
        peer = Peer(source.address)
        peer.log_in(alice)
        writer = Writer(peer, bob)
        backups = []
        for number in range(3):
            before = writer.acknowledged
            done = run("backup", f"copy{number}.db", "--data", str(source.data), home=tmp_path)
            assert done.returncode == 0, done.stderr
            backups.append((before, writer.acknowledged + 20))
            verified = run("verify", "--data", str(source.data), "--json", home=tmp_path)
            assert verified.returncode == 0, verified.stdout
        refused = run("restore", "copy0.db", "--force", "--data", str(source.data), home=tmp_path)
        assert refused.returncode == 1 and "a relay is running" in refused.stderr
        writer.stop()
        assert writer.acknowledged > backups[-1][0]
        peer.close()
        assert source.process.stop() == 0
    for number, (at_least, at_most) in enumerate(backups):
        home = tmp_path / f"restored{number}"
        done = run("restore", f"copy{number}.db", "--data", str(home / "data"), home=tmp_path)
        assert done.returncode == 0, done.stderr
        total = json.loads(run("verify", "--data", str(home / "data"), "--json", home=tmp_path).stdout)["messages"]
        assert at_least <= total <= at_most
        with RelayProcess(home, drain_spread_s=0) as restored:
            deliveries = read_all(restored, bob, "phone", total)
            assert [delivery.offset for delivery in deliveries] == list(range(1, total + 1))
            assert all(b"message %d" % delivery.offset in delivery.packet for delivery in deliveries)
            again = Peer(restored.address)
            welcome = again.log_in(alice)
            assert (welcome.last_message_id, welcome.generation == generation) == (total, False)
            assert again.store(bob, total + 1, b"new").offset == total + 1
            again.close()
            assert restored.process.stop() == 0
