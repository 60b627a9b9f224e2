"""A disk that is full, broken, read-only or holds something else: what is refused, what goes on, what is said."""

import os
import resource
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.protocol.codes import CloseCode, ErrorCode
from relay.protocol.packets import NUMBERS, Call, Error, Message, Result, Signal, Stored
from tests.integration.peer import Peer, message_in, value_in
from tests.integration.stage import RelayProcess, make_accounts
from tests.process import run

BODY = bytes(20_000)


class SmallDisk:
    """A file system of its own with little room. `fill` takes what is left of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        chunk = bytes(4096)
        with self._ballast.open("ab", buffering=0) as file:
            try:
                while file.write(chunk):
                    pass
            except OSError:
                return

    def free(self) -> None:
        self._ballast.unlink()


def mount(path: Path, options: str) -> None:
    """Mount a file system in memory; skips the test where that is not allowed."""
    path.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError:
        pytest.skip("there is no mount command")
    if done.returncode != 0:
        pytest.skip("file systems cannot be mounted here; it needs root")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    path = tmp_path / "disk"
    mount(path, "size=8m,mode=700")
    yield SmallDisk(path)
    subprocess.run(["umount", "-l", str(path)], check=True)


def send_until_refused(sender: Peer, user: str, first_id: int) -> tuple[int, Error]:
    """Messages stored one after the other until one is not: its id and the refusal."""
    for message_id in range(first_id, first_id + 1000):
        sender.message(user, message_id, message_id.to_bytes(4, "big") + BODY)
        answer = sender.packet()
        if isinstance(answer, Error):
            return message_id, answer
        assert isinstance(answer, Stored)
    raise AssertionError("the disk is never full")


def test_a_full_disk_refuses_messages_and_recovers(disk: SmallDisk) -> None:
    with RelayProcess(disk.path) as relay:
        sender, receiver, bystander = Peer(relay.address), Peer(relay.address), Peer(relay.address)
        for peer in (sender, receiver, bystander):
            peer.log_in(relay.user())
        receiver.receive_messages()
        disk.fill()
        refused, error = send_until_refused(sender, receiver.user, 1)
        assert (error.refused, error.id, error.code) == (NUMBERS[Message], refused, ErrorCode.STORE_FAILED)
        assert ErrorCode(error.code).retryable
        assert "no room on the disk" in error.sentence
        for number in range(refused, refused + 20):
            sender.message(receiver.user, number, BODY * 10)
            assert sender.expect(Error).code == ErrorCode.STORE_FAILED
        relay.process.await_line("ERROR", "messages are refused")

        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"http://{relay.address}/readyz", timeout=15)
        assert caught.value.code == 503
        assert caught.value.read().startswith(b"messages are refused: no room on the disk")

        # Everything that needs no disk goes on, and so do logins.
        bystander.signal(sender.address, b"still there?")
        assert sender.expect(Signal).body == b"still there?"
        assert value_in(bystander.ask("relay.info"))["version"] == 1
        bystander.call(sender.address, 1)
        call = sender.expect(Call)
        sender.send(Result(sender.address, call.sender, call.id, "", b"yes"))
        assert bystander.expect(Result).body == b"yes"
        late = Peer(relay.address)
        late.log_in(relay.user())
        late.alive()

        disk.free()
        offset = sender.store(receiver.user, refused, refused.to_bytes(4, "big") + BODY).offset
        assert offset == refused
        for number in range(1, refused + 1):
            delivery = receiver.expect_delivery()
            assert (delivery.offset, message_in(delivery).body[:4]) == (number, number.to_bytes(4, "big"))
        receiver.alive()
        with urllib.request.urlopen(f"http://{relay.address}/readyz", timeout=15) as ready:
            assert ready.read() == b"ready\n"
        assert relay.process.stop() == 0
        relay.check_log()
        lines = [line.partition(" relay: ")[2] for line in relay.process.seen(" relay: ", "messages are refused")]
        assert len(lines) == 2
        assert lines[0].startswith(f"messages are refused: no room on the disk for {relay.data}")
        assert lines[1] == "over: messages are refused"


def test_what_was_stored_before_the_disk_was_full_survives(disk: SmallDisk) -> None:
    with RelayProcess(disk.path) as relay:
        sender, user = Peer(relay.address), relay.user()
        sender.log_in(relay.user())
        disk.fill()
        refused, _ = send_until_refused(sender, user, 1)
        relay.process.process.kill()
        relay.process.wait()
        disk.free()
        relay.start()
        again, receiver = Peer(relay.address), Peer(relay.address)
        assert again.log_in(sender.user).last_message_id == refused - 1
        receiver.log_in(user)
        receiver.receive_messages()
        assert [receiver.expect_delivery().offset for _ in range(refused - 1)] == list(range(1, refused))
        receiver.alive()


def test_a_full_disk_at_the_start_is_a_sentence(disk: SmallDisk) -> None:
    disk.fill()
    done = run("serve", "--data", str(disk.path / "data"), "--listen", "127.0.0.1:0", home=disk.path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("relay: ") and done.stderr.count("\n") == 1, done.stderr
    assert "No space left" in done.stderr or "no room on the disk" in done.stderr


def test_a_disk_that_fails_ends_the_relay_without_a_lie(tmp_path: Path) -> None:
    """A write that fails for another reason than lack of room leaves the disk's content unknown."""
    with RelayProcess(tmp_path) as relay:
        sender, user, other = Peer(relay.address), relay.user(), Peer(relay.address)
        sender.log_in(relay.user())
        other.log_in(relay.user())
        for number in range(1, 11):
            sender.store(user, number, BODY)
        # From here on, no file of the process may grow.
        size = (relay.data / "relay.db-wal").stat().st_size
        resource.prlimit(relay.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        stored = 10
        close = None
        for number in range(11, 1011):
            try:
                sender.message(user, number, BODY)
                packet = sender.packet()
            except (OSError, AssertionError):
                break
            if not isinstance(packet, Stored):
                close = packet
                break
            stored = number
        assert stored < 1010
        assert close is not None
        assert close[0] == CloseCode.STORE_FAILED
        assert other.closing().code == CloseCode.STORE_FAILED
        assert relay.process.wait() == 1
        relay.process.await_line("CRITICAL", "reading or writing", "check the disk")
        relay.check_log()
        relay.start()
        again, receiver = Peer(relay.address), Peer(relay.address)
        assert again.log_in(sender.user).last_message_id >= stored
        receiver.log_in(user)
        receiver.receive_messages()
        assert [receiver.expect_delivery().offset for _ in range(stored)] == list(range(1, stored + 1))


def refusal(data: Path, home: Path) -> str:
    done = run("serve", "--data", str(data), "--listen", "127.0.0.1:0", home=home)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("relay: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr.strip().removeprefix("relay: ")


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A directory that cannot be written, with a relay's data in it."""
    path = tmp_path / "read-only"
    if os.geteuid() != 0:
        make_accounts(path / "data")
        for entry in (path / "data" / "relay.db", path / "data", path):
            entry.chmod(0o500 if entry.is_dir() else 0o400)
        yield path
        path.chmod(0o700)
        (path / "data").chmod(0o700)
        return
    mount(path, "size=8m")
    make_accounts(path / "data")
    subprocess.run(["mount", "-o", "remount,ro", str(path)], check=True)
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.parametrize("name", ["new", "data"])
def test_a_directory_that_cannot_be_written(read_only: Path, tmp_path: Path, name: str) -> None:
    sentence = refusal(read_only / name, tmp_path)
    assert sentence.startswith(f"the data directory {read_only / name} cannot be used: ")
    assert sentence.endswith("make it writable for this user, or choose another with --data")


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "relay.db").write_bytes(b"Dear diary, " * 1000)
    sentence = refusal(data, tmp_path)
    assert str(data / "relay.db") in sentence
    assert "is not a database of a relay; move it away" in sentence
    assert (data / "relay.db").read_bytes() == b"Dear diary, " * 1000


def test_a_database_that_is_cut_short(tmp_path: Path) -> None:
    data = tmp_path / "data"
    make_accounts(data)
    whole = (data / "relay.db").read_bytes()
    (data / "relay.db").write_bytes(whole[: len(whole) // 2])
    sentence = refusal(data, tmp_path)
    assert str(data / "relay.db") in sentence
    assert "restore it from a backup" in sentence
