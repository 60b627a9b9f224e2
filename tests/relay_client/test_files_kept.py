"""Files that the relay keeps, through both clients and a real relay."""

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from relay_client import Client
from relay_client.errors import CallFailed, FileFailed, FileThere, StreamReset, WrongContent

from relay.protocol.codes import ErrorCode
from relay.protocol.limits import FILE_CHUNK_BYTES
from tests.relay_client.bridge import Bridge
from tests.relay_client.driver import AioClient
from tests.relay_client.peer import DEADLINE_S
from tests.relay_client.town import Town

ClientOf = Callable[..., Any]
LARGE = os.urandom(4 * FILE_CHUNK_BYTES + 12345)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    town = Town(tmp_path_factory.mktemp("town"))
    with town.open():
        yield town


@pytest.fixture(params=[Client, AioClient], ids=["blocking", "aio"])
def client_of(request: pytest.FixtureRequest, short_pauses: None) -> ClientOf:
    return request.param  # type: ignore[no-any-return]


class Stage:
    """Alice, who sends from behind a bridge; `connect` makes others."""

    def __init__(self, town: Town, client_of: ClientOf, home: Path, number: int) -> None:
        self.town = town
        self.home = home
        self.names = [f"{name}{number}" for name in ("alice", "bob", "carol")]
        town.add(*self.names)
        self.bridge = Bridge(town.address)
        self._client_of = client_of
        self.clients: list[Any] = []
        self.alice = self.connect(0)
        self.source = home / "data.bin"
        self.source.write_bytes(LARGE)
        self.inbox = home / "inbox"
        self.inbox.mkdir()

    @property
    def bob(self) -> str:
        return self.names[1]

    def connect(self, index: int) -> Any:
        url = self.town.url(self.names[index]).replace(self.town.address, self.bridge.address)
        self.clients.append(self._client_of(url, timeout=DEADLINE_S))
        return self.clients[-1]


@pytest.fixture
def stage(
    shared: Town, client_of: ClientOf, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stage]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    stage = Stage(shared, client_of, tmp_path, abs(hash(request.node.nodeid)) % 10**9)
    yield stage
    for client in stage.clients:
        client._abandon()
    stage.bridge.__exit__(None, None, None)
    assert [path for path in (tmp_path / "state").rglob("*") if path.is_file()] == []


def test_a_file_waits_for_somebody_who_is_not_there(stage: Stage) -> None:
    sent = stage.alice.files.send(stage.source, stage.bob)
    bob = stage.connect(1)
    (message,) = bob.history(stage.names[0])
    assert message.file == sent[:5] and message.file.hash == hashlib.sha256(LARGE).digest()
    received = bob.files.get(message.file.id, stage.inbox)
    assert received.path == stage.inbox / "data.bin" and received.path.read_bytes() == LARGE
    assert (received.sender, received.type) == (stage.names[0], "application/octet-stream")
    assert len(list(stage.inbox.iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"x", bytes(2 * FILE_CHUNK_BYTES)], ids=["empty", "one byte", "zeros"])
def test_sizes_at_the_edges(stage: Stage, content: bytes) -> None:
    stage.source.write_bytes(content)
    sent = stage.alice.files.send(stage.source, stage.bob, name="ä b.txt")
    assert sent.type == "text/plain"
    assert stage.connect(1).files.get(sent.id, stage.inbox).path.read_bytes() == content


def test_what_comes_from_and_goes_to_file_objects(stage: Stage) -> None:
    sent = stage.alice.files.send(io.BytesIO(LARGE), stage.bob, name="stream", content_type="image/x-own")
    assert (sent.size, sent.type) == (len(LARGE), "image/x-own")
    target = io.BytesIO()
    received = stage.connect(1).files.get(sent.id, target)
    assert target.getvalue() == LARGE and received.path is None


def test_cuts_up_and_down_are_survived_and_it_is_announced_once(stage: Stage) -> None:
    offsets: list[int] = []
    stage.bridge.cut_after(500_000, FILE_CHUNK_BYTES, 2_000_000)
    sent = stage.alice.files.send(stage.source, stage.bob, progress=lambda done, size: offsets.append(done))
    assert stage.bridge.cuts == 3
    bob = stage.connect(1)
    assert len(list(bob.history(stage.names[0]))) == 1
    offsets.clear()
    stage.bridge.cut_after(500_000, FILE_CHUNK_BYTES, 2_000_000)
    received = bob.files.get(sent.id, stage.inbox, progress=lambda done, size: offsets.append(done))
    assert stage.bridge.cuts == 6 and received.path.read_bytes() == LARGE
    assert offsets == sorted(offsets) and len(list(stage.inbox.iterdir())) == 1


def test_a_later_call_goes_on_up_and_down(stage: Stage) -> None:
    def stop(done: int, size: int | None) -> None:
        if done >= 2 * FILE_CHUNK_BYTES:
            raise ZeroDivisionError

    begins: list[int] = []
    with pytest.raises(ZeroDivisionError):
        stage.alice.files.send(stage.source, stage.bob, progress=stop)
    sent = stage.alice.files.send(stage.source, stage.bob, progress=lambda done, size: begins.append(done))
    assert begins[0] >= FILE_CHUNK_BYTES
    bob = stage.connect(1)
    assert len(list(bob.history(stage.names[0]))) == 1
    with pytest.raises(ZeroDivisionError):
        bob.files.get(sent.id, stage.inbox, progress=stop)
    begins.clear()
    bob.files.get(sent.id, stage.inbox, progress=lambda done, size: begins.append(done))
    assert begins[0] == 2 * FILE_CHUNK_BYTES and (stage.inbox / "data.bin").read_bytes() == LARGE


def test_what_the_relay_has_from_us_is_not_sent_again(stage: Stage) -> None:
    first = stage.alice.files.send(stage.source, stage.bob)
    before = stage.bridge.passed
    again = stage.alice.files.send(stage.source, stage.names[2], name="other.bin")
    assert stage.bridge.passed - before < 100_000
    assert again.hash == first.hash and again.id != first.id
    assert stage.connect(2).files.get(again.id, stage.inbox).path.read_bytes() == LARGE


def test_of_a_file_that_is_gone_nothing_is_kept(stage: Stage) -> None:
    def stop(done: int, size: int | None) -> None:
        if done:
            raise ZeroDivisionError

    sent = stage.alice.files.send(stage.source, stage.bob)
    with pytest.raises(ZeroDivisionError):
        stage.alice.files.get(sent.id, stage.inbox, progress=stop)
    assert len(list(stage.inbox.iterdir())) == 1
    stage.alice.files.remove(sent.id)
    with pytest.raises(CallFailed) as caught:
        stage.alice.files.get(sent.id, stage.inbox)
    assert caught.value.code == ErrorCode.NO_SUCH_FILE and list(stage.inbox.iterdir()) == []


def test_a_room_gets_a_file_and_others_do_not(stage: Stage) -> None:
    room = f"#{stage.names[0]}"
    stage.alice.rooms.create(room, public=False)
    stage.alice.rooms.invite(room, stage.bob)
    bob, carol = stage.connect(1), stage.connect(2)
    bob.rooms.join(room)
    sent = stage.alice.files.send(stage.source, room)
    assert [file.id for file in bob.files.list(room)] == [sent.id]
    assert bob.files.get(sent.id, stage.inbox).path.read_bytes() == LARGE
    with pytest.raises(CallFailed) as caught:
        carol.files.get(sent.id, stage.inbox)
    assert caught.value.code == ErrorCode.NO_SUCH_FILE
    assert carol.files.list() == ()


def test_listing_describing_and_removing(stage: Stage) -> None:
    stage.source.write_bytes(b"small")
    ids = [stage.alice.files.send(stage.source, stage.bob, name=f"{number}.txt").id for number in range(3)]
    bob = stage.connect(1)
    assert [file.id for file in bob.files.list()] == ids[::-1]
    assert [file.id for file in bob.files.list(stage.names[0], limit=2)] == ids[:0:-1]
    file = bob.files.info(ids[0])
    assert (file.name, file.size, file.sender) == ("0.txt", 5, stage.names[0]) and file.conversation.count("@") == 1
    assert stage.alice.files.usage().used_bytes > 0
    with pytest.raises(CallFailed) as caught:
        bob.files.remove(ids[0])
    assert caught.value.code == ErrorCode.NOT_ALLOWED
    stage.alice.files.remove(ids[0])
    with pytest.raises(CallFailed) as caught:
        bob.files.info(ids[0])
    assert caught.value.code == ErrorCode.NO_SUCH_FILE and len(bob.files.list()) == 2


def test_an_existing_file_is_left_alone_numbered_or_replaced(stage: Stage) -> None:
    (stage.inbox / "data.bin").write_text("old")
    sent = stage.alice.files.send(stage.source, stage.bob)
    before = stage.bridge.passed
    with pytest.raises(FileThere):
        stage.alice.files.get(sent.id, stage.inbox)
    assert stage.bridge.passed - before < 100_000, "it is refused before anything is fetched"
    assert stage.alice.files.get(sent.id, stage.inbox, numbered=True).path.name == "data (1).bin"
    assert stage.alice.files.get(sent.id, stage.inbox, name="mine.bin").path.read_bytes() == LARGE
    assert stage.alice.files.get(sent.id, stage.inbox, overwrite=True).path.read_bytes() == LARGE
    assert len(list(stage.inbox.iterdir())) == 3


def test_names_stay_in_the_directory(stage: Stage) -> None:
    sent = stage.alice.files.send(stage.source, stage.bob)
    for name in ("../x", "/x", "..", "", "a\nb"):
        with pytest.raises(FileFailed):
            stage.alice.files.get(sent.id, stage.inbox, name=name)
        with pytest.raises(FileFailed):
            stage.alice.files.send(io.BytesIO(b"x"), stage.bob, name=name)
    assert list(stage.inbox.iterdir()) == []


def test_to_nobody(stage: Stage) -> None:
    for to in ("nobody-there", "#no-room"):
        with pytest.raises(StreamReset):
            stage.alice.files.send(io.BytesIO(b"x"), to, name="x")


def test_a_relay_whose_disk_has_changed_a_byte_is_found_out(stage: Stage) -> None:
    sent = stage.alice.files.send(stage.source, stage.bob)
    (blob,) = [path for path in (stage.town.data / "blobs").rglob(f"{sent.hash.hex()}*") if path.stat().st_size > 2**20]
    with blob.open("r+b") as file:
        file.seek(2 * FILE_CHUNK_BYTES + 5)
        file.write(bytes([LARGE[2 * FILE_CHUNK_BYTES + 5] ^ 1]))
    target = io.BytesIO()
    with pytest.raises(WrongContent, match="SHA-256") as caught:
        stage.alice.files.get(sent.id, stage.inbox)
    assert caught.value.code == ErrorCode.WRONG_HASH and list(stage.inbox.iterdir()) == []
    with pytest.raises(WrongContent):
        stage.alice.files.get(sent.id, target)
    assert target.getvalue() == LARGE[: 2 * FILE_CHUNK_BYTES], "only what was verified went through"
    stage.alice.files.remove(sent.id)
