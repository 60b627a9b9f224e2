"""Retention on a real relay: what is deleted, who is told, and that a kill in the middle of it loses nothing else."""

from pathlib import Path

from relay.protocol.codes import ErrorCode
from relay.protocol.packets import Delivery, Error, Gap, Stored
from relay.store.sqlite.verify import verify
from tests.integration.peer import PASSWORD, Peer, eventually, value_in
from tests.integration.stage import RelayProcess
from tests.process import run

BODY = bytes(500)
COUNT = 4000


def session(relay: RelayProcess, user: str, device: str = "device") -> Peer:
    peer = Peer(relay.address)
    peer.log_in(user, device)
    return peer


def page(peer: Peer, other: str, after: int) -> dict[str, object]:
    found = value_in(peer.ask("history.read", {"conversation": other, "after": after, "limit": 500}))
    assert isinstance(found, dict)
    return found


def send(sender: Peer, to: str, numbers: range) -> None:
    for at in range(0, len(numbers), 200):
        some = numbers[at : at + 200]
        for number in some:
            sender.message(to, number, BODY)
        assert [sender.expect(Stored).id for _ in some] == list(some)


def kept_by(peer: Peer, other: str) -> int:
    kept = page(peer, other, 0)["kept"]
    assert isinstance(kept, int)
    return kept


def test_short_retention_and_a_kill_in_the_middle_of_it(tmp_path: Path) -> None:
    with RelayProcess(tmp_path, retention_bytes=50_000) as relay:
        alice, bob = relay.user(), relay.user()
        phone = session(relay, bob, "phone")
        phone.receive_messages()
        phone.close()
        sender = session(relay, alice)
        send(sender, bob, range(1, COUNT + 1))
        eventually(lambda: kept_by(sender, bob) > 1)
        relay.process.process.kill()
        relay.process.wait()
        assert verify(relay.data / "relay.db").findings == []
        relay.start()
        sender = session(relay, alice)
        # 500 bytes and a header of some dozens: 50,000 bytes are 80 to 100 of them.
        eventually(lambda: COUNT - 100 < kept_by(sender, bob) <= COUNT - 80)
        kept = kept_by(sender, bob)
        assert sender.store(bob, COUNT + 1, BODY).offset == COUNT + 1
        found = page(sender, bob, 0)["messages"]
        assert isinstance(found, list)
        first = found[0]["offset"]
        assert first in (kept, kept + 1)
        assert [message["offset"] for message in found] == list(range(first, COUNT + 2))
        phone = session(relay, bob, "phone")
        phone.receive_messages()
        gap = phone.expect(Gap)
        assert (gap.first, gap.last) == (1, gap.last)
        assert [phone.expect(Delivery).offset for _ in range(COUNT + 1 - gap.last)] == list(
            range(gap.last + 1, COUNT + 2)
        )
        told = run("history", bob, "--after", "0", home=tmp_path, env={"RELAY_URL": url(relay, alice)})
        assert told.returncode == 0
        assert told.stderr == f"messages 1-{kept_by(sender, bob) - 1} are no longer kept\n"
        for peer in (sender, phone):
            peer.close()
        relay.check_log()


def test_a_quota_is_told_with_its_numbers_and_holds_after_a_restart(tmp_path: Path) -> None:
    with RelayProcess(tmp_path, user_quota_bytes=3000) as relay:
        alice, bob = relay.user(), relay.user()
        sender = session(relay, alice)
        for number in range(1, 6):
            assert sender.store(bob, number, BODY).offset == number
        sender.message(bob, 6, BODY)
        refused = sender.expect(Error)
        assert (refused.id, refused.code) == (6, ErrorCode.QUOTA_EXCEEDED)
        assert "3000 are allowed" in refused.sentence
        assert sender.store(bob, 7, b"little").offset == 6
        relay.process.process.kill()
        relay.process.wait()
        relay.start()
        sender = session(relay, alice)
        sender.message(bob, 8, BODY)
        assert sender.expect(Error).code == ErrorCode.QUOTA_EXCEEDED
        sender.message(bob, 7, b"little")
        assert sender.expect(Stored).offset == 6
        sender.close()
        relay.check_log()


def url(relay: RelayProcess, user: str) -> str:
    return f"relay://{user}:{PASSWORD}@{relay.address}"
