"""Files through a real relay: kept for who is not there, resumed after SIGKILL, on a full disk, beside chat."""

import hashlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.protocol.codes import ErrorCode
from relay.protocol.limits import FILE_CHUNK_BYTES
from relay.protocol.packets import Fault, Reset, Result
from relay.protocol.transfer import chunk_head
from tests.integration.peer import Peer, eventually, value_in
from tests.integration.stage import RelayProcess, Stage
from tests.integration.test_disk import SmallDisk, mount
from tests.integration.transfers import RefusedError, RelayStream, get, opening, put
from tests.process import run

C = FILE_CHUNK_BYTES


def contents(relay: RelayProcess) -> list[str]:
    return sorted(path.name for path in (relay.data / "blobs").iterdir())


def partials(relay: RelayProcess) -> list[Path]:
    return sorted((relay.data / "partial").iterdir())


def stored_bytes(relay: RelayProcess) -> int:
    """What is kept of the only upload: the chunks whose hashes are there."""
    hashes = sum(path.stat().st_size for path in partials(relay) if path.suffix == ".chunks")
    return min(hashes // 32 * C, sum(path.stat().st_size for path in partials(relay) if not path.suffix))


def someone(relay: RelayProcess, user: str = "") -> Peer:
    peer = Peer(relay.address)
    peer.log_in(user or relay.user())
    return peer


def test_a_file_waits_for_who_is_not_there(stage: Stage, relay: RelayProcess) -> None:
    alice, data, bob = stage.session(), os.urandom(5 * C + 77), relay.user()
    done = put(alice, bob, data)
    bobs = someone(relay, bob)
    (found,) = value_in(bobs.ask("files.list"))["files"]
    assert found == value_in(bobs.ask("files.info", {"file": done.id}))
    expected = {"id": done.id, "name": "a.bin", "size": len(data), "type": "", "from": alice.user, "to": bob}
    assert {key: found[key] for key in expected} == expected
    assert found["hash"] == hashlib.sha256(data).digest()
    assert found["expires_ms"] - found["time_ms"] == 30 * 24 * 3600 * 1000
    assert get(bobs, done.id) == data
    assert get(bobs, done.id, 4 * C, 4) == data[4 * C :]
    usage = value_in(alice.ask("files.usage"))
    assert usage == {"used_bytes": len(data), "quota_bytes": 1024 * 1024 * 1024, "file_bytes": 0}
    assert value_in(alice.ask("files.list", {"conversation": bob})) == {"files": [found], "more": False}
    answer = bobs.ask("files.remove", {"file": done.id})
    assert isinstance(answer, Fault)
    assert answer.code == ErrorCode.NOT_ALLOWED
    assert isinstance(alice.ask("files.remove", {"file": done.id}), Result)
    assert value_in(bobs.ask("files.list"))["files"] == []
    eventually(lambda: hashlib.sha256(data).hexdigest() not in contents(relay), lambda: "the end of the content")
    bobs.close()


def test_somebody_else_s_file_is_none(stage: Stage) -> None:
    alice, bob, eve = stage.session(), stage.session(), stage.session()
    done = put(alice, bob.user, b"for bob")
    with pytest.raises(RefusedError) as refused:
        RelayStream(eve, "files.get", {"file": done.id, "offset": 0})
    assert refused.value.code == ErrorCode.NO_SUCH_FILE
    for method in ("files.info", "files.remove"):
        answer = eve.ask(method, {"file": done.id})
        assert isinstance(answer, Fault)
        assert answer.code == ErrorCode.NO_SUCH_FILE
    answer = eve.ask("files.list", {"conversation": f"{min(alice.user, bob.user)}@{max(alice.user, bob.user)}"})
    assert isinstance(answer, Fault)
    assert answer.code == ErrorCode.NO_SUCH_CONVERSATION
    answer = eve.ask("files.list", {"after": done.id[::-1]})
    assert isinstance(answer, Fault)
    assert answer.code == ErrorCode.NO_SUCH_FILE


def test_a_service_that_the_relay_does_not_offer(stage: Stage) -> None:
    with pytest.raises(RefusedError) as refused:
        RelayStream(stage.session(), "echo", {})
    assert refused.value.code == ErrorCode.NO_SUCH_SERVICE


def test_chat_goes_on_beside_uploads(stage: Stage, relay: RelayProcess) -> None:
    """The stage's bystanders exchange messages and signals all the while, and must notice nothing."""
    alice, bob = stage.session(), stage.session()
    for number in range(3):
        data = os.urandom(8 * C)
        done = put(alice, bob.user, data, f"u{number}", 2 + 2 * number)
        assert get(bob, done.id, stream_id=2 + 2 * number) == data


def test_a_thousand_uploads_that_are_dropped_leave_no_descriptor(stage: Stage, relay: RelayProcess) -> None:
    """The stage compares the relay's descriptors at its end."""
    alice, bob = stage.session(), stage.session()
    for number in range(1, 1001):
        value = opening(f"u{number}", bob.user, None)
        RelayStream(alice, "files.put", value, 2 * number)
        alice.send(Reset(alice.address, "relay", 2 * number, ErrorCode.CANCELLED, "enough"))
    assert value_in(_asked(alice))["used_bytes"] == 0


def _asked(peer: Peer) -> Result | Fault:
    """The answer to files.usage behind what is still coming for streams that are over."""
    peer.call_relay("files.usage")
    while not isinstance(answer := peer.packet(), Result | Fault):
        pass
    return answer


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RelayProcess]:
    with RelayProcess(tmp_path, drain_spread_s=0) as process:
        yield process
        process.check_log()


def kill(relay: RelayProcess) -> None:
    os.kill(relay.pid, signal.SIGKILL)
    relay.process.wait()


@pytest.mark.parametrize("chunks", [0, 1, 3])
def test_an_upload_goes_on_after_the_relay_was_killed(own: RelayProcess, chunks: int) -> None:
    data, alice, bob = os.urandom(4 * C + 5), someone(own), own.user()
    stream = RelayStream(alice, "files.put", opening("u1", bob, len(data)))
    for number in range(chunks):
        stream.write_chunk(number * C, data[number * C : (number + 1) * C])
    eventually(lambda: stored_bytes(own) == chunks * C, lambda: "the chunks on the disk")
    if chunks == 3:
        stream.write(b"\x00\x10\x00\x32\x94\x01")
    kill(own)
    own.start()
    again = someone(own, alice.user)
    stream = RelayStream(again, "files.put", opening("u1", bob, len(data)))
    assert stream.accepted["offset"] == chunks * C
    again.close()
    done = put(someone(own, alice.user), bob, data)
    kill(own)
    own.start()
    assert get(someone(own, bob), done.id) == data
    assert partials(own) == []
    assert put(someone(own, alice.user), bob, data) == done
    assert own.process.stop() == 0


def test_uploads_under_way_take_little_memory(own: RelayProcess) -> None:
    """Each holds a chunk that is all but complete; twice that is allowed."""
    count, bob, user = 16, own.user(), own.user()
    put(someone(own, user), bob, os.urandom(8 * C), "warm")
    peers = [Peer(own.address) for _ in range(count)]
    for number, peer in enumerate(peers):
        peer.log_in(user, f"d{number}")
    before = own.resident_bytes()
    for number, peer in enumerate(peers):
        stream = RelayStream(peer, "files.put", opening(f"u{number}", bob, None))
        body = os.urandom(C)
        stream.write(chunk_head(0, hashlib.sha256(body).digest(), C) + body[:-1])
    grown = own.resident_bytes() - before
    assert grown < 2 * C * count
    for peer in peers:
        peer.close()
    assert own.process.stop() == 0


def test_a_relay_that_ends_lets_uploads_go_on_later(own: RelayProcess) -> None:
    data, alice, bob = os.urandom(3 * C), someone(own), own.user()
    stream = RelayStream(alice, "files.put", opening("u1", bob, len(data)))
    stream.write_chunk(0, data[:C])
    eventually(lambda: stored_bytes(own) == C)
    own.process.process.terminate()
    with pytest.raises(RefusedError) as refused:
        while True:
            stream.take()
    assert refused.value.code == ErrorCode.SHUTTING_DOWN
    alice.close()
    assert own.process.wait() == 0
    own.start()
    again = someone(own, alice.user)
    assert RelayStream(again, "files.put", opening("u1", bob, len(data))).accepted["offset"] == C
    again.close()
    put(someone(own, alice.user), bob, data)
    assert own.process.stop() == 0


def test_what_expires_and_what_is_left_over_is_deleted(own: RelayProcess) -> None:
    alice, bob = someone(own), own.user()
    done = put(alice, bob, b"content")
    name = hashlib.sha256(b"content").hexdigest()
    own.process.stop()
    (own.data / "blobs" / hashlib.sha256(b"orphan").hexdigest()).write_bytes(b"orphan")
    (own.data / "partial" / "left").write_bytes(b"left")
    own.start()
    eventually(lambda: contents(own) == [name] and not partials(own), lambda: "the end of what was left over")
    assert get(someone(own, bob), done.id) == b"content"
    removed = run("user", "remove", alice.user, "--data", str(own.data), "--yes", home=own.home)
    assert removed.returncode == 0, removed
    eventually(lambda: contents(own) == [], lambda: "the end of what a removed user has sent")
    assert own.process.stop() == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    path = tmp_path / "disk"
    mount(path, "size=60m,mode=700")
    yield SmallDisk(path)
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_is_said_leaves_nothing_and_is_survived(disk: SmallDisk) -> None:
    with RelayProcess(disk.path, drain_spread_s=0) as relay:
        alice, bob, data = someone(relay), relay.user(), os.urandom(40 * C)
        with pytest.raises(RefusedError, match="the relay's disk has room for") as refused:
            put(alice, bob, data)
        assert refused.value.code == ErrorCode.STORE_FAILED
        stream = RelayStream(alice, "files.put", opening("u2", bob, None), 4)
        with pytest.raises(RefusedError, match="no room") as refused:
            for number in range(100):
                stream.write_chunk(number * C, os.urandom(C))
                if number == 2:
                    disk.fill()
        assert refused.value.code == ErrorCode.STORE_FAILED
        eventually(lambda: not partials(relay), lambda: "the end of the partial file")
        disk.free()
        alice = someone(relay, alice.user)
        done = put(alice, bob, data[: 3 * C], "u3")
        assert get(someone(relay, bob), done.id) == data[: 3 * C]
        assert relay.process.stop() == 0
        assert contents(relay) == sorted(
            hashlib.sha256(data[: 3 * C]).hexdigest() + suffix for suffix in ("", ".chunks")
        )
        assert partials(relay) == []


@pytest.mark.parametrize("name", ["blobs", "partial"])
def test_a_symbolic_link_for_a_directory_is_refused_at_the_start(tmp_path: Path, name: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "data" / name).symlink_to(tmp_path / "outside")
    done = run("serve", "--data", str(tmp_path / "data"), "--listen", "127.0.0.1:0", home=tmp_path)
    assert done.returncode != 0
    assert "symbolic link" in done.stderr
    assert list((tmp_path / "outside").iterdir()) == []
