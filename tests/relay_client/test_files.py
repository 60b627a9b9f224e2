"""Files through both clients and a real relay: directly, with cuts, and what is refused."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from relay_client import Client, MethodError
from relay_client.errors import BadAddress, FileBusy, FileChanged, FileFailed, StreamReset
from relay_client.files.fetching import ReceivedFile

from relay.protocol.codes import ErrorCode
from relay.protocol.limits import FILE_CHUNK_BYTES
from tests.relay_client.bridge import Bridge
from tests.relay_client.driver import AioClient
from tests.relay_client.peer import DEADLINE_S
from tests.relay_client.town import Town

ClientOf = Callable[..., Any]
LARGE = os.urandom(5 * FILE_CHUNK_BYTES + 12345)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    town = Town(tmp_path_factory.mktemp("town"))
    with town.open():
        yield town


@pytest.fixture(params=[Client, AioClient], ids=["blocking", "aio"])
def client_of(request: pytest.FixtureRequest, short_pauses: None) -> ClientOf:
    return request.param  # type: ignore[no-any-return]


class Stage:
    """Alice, who sends, and Bob, who receives into `inbox`; a bridge for each."""

    def __init__(self, town: Town, client_of: ClientOf, home: Path, number: int) -> None:
        self.names = f"alice{number}", f"bob{number}"
        town.add(*self.names)
        self.bridges = Bridge(town.address), Bridge(town.address)
        self.alice, self.bob = (self._connect(client_of, town, index) for index in (0, 1))
        self.inbox = home / "inbox"
        self.inbox.mkdir()
        self.source = home / "data.bin"
        self.source.write_bytes(LARGE)
        self.received: list[ReceivedFile] = []

    def _connect(self, client_of: ClientOf, town: Town, index: int) -> Any:
        url = town.url(self.names[index]).replace(town.address, self.bridges[index].address)
        return client_of(url, timeout=DEADLINE_S)

    def serve(self, **options: Any) -> None:
        self.bob.files.serve(self.inbox, **{"on_file": self.received.append} | options)

    def send(self, source: Any = None, **options: Any) -> Any:
        return self.alice.files.send(source or self.source, self.names[1], direct=True, **options)

    def arrived(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.inbox.iterdir()}

    def announced(self) -> list[str]:
        return [message.file.name for message in self.bob.history(self.names[0]) if message.file]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def stage(
    shared: Town, client_of: ClientOf, tmp_path: Path, state: Path, request: pytest.FixtureRequest
) -> Iterator[Stage]:
    stage = Stage(shared, client_of, tmp_path, abs(hash(request.node.nodeid)) % 10**9)
    yield stage
    for client in (stage.alice, stage.bob):
        client._abandon()
    for bridge in stage.bridges:
        bridge.__exit__(None, None, None)


def left_over(state: Path) -> list[Path]:
    return [path for path in state.rglob("*") if path.is_file()]


def test_a_file_goes_directly(stage: Stage, state: Path) -> None:
    stage.serve()
    seen: list[tuple[int, int | None]] = []
    sent = stage.send(progress=lambda done, size: seen.append((done, size)))
    assert stage.arrived() == {"data.bin": LARGE} and left_over(state) == []
    assert (sent.id, sent.name, sent.size, sent.hash) == ("", "data.bin", len(LARGE), hashlib.sha256(LARGE).digest())
    assert seen[0] == (0, len(LARGE)) and seen[-1] == (len(LARGE), len(LARGE)) and seen == sorted(seen)
    (received,) = stage.received
    assert received.path == stage.inbox / "data.bin" and received.sender == stage.alice.session
    (message,) = stage.bob.history(stage.names[0])
    assert message.file == sent[:5] and message.offset == sent.stored.offset


@pytest.mark.parametrize("content", [b"", b"x", bytes(2 * FILE_CHUNK_BYTES)], ids=["empty", "one byte", "zeros"])
def test_sizes_at_the_edges(stage: Stage, content: bytes) -> None:
    stage.serve()
    stage.source.write_bytes(content)
    stage.send(name="other name.bin")
    assert stage.arrived() == {"other name.bin": content}


def test_a_file_object_without_a_known_size(stage: Stage, tmp_path: Path) -> None:
    stage.serve()
    reading, writing = os.pipe()
    writer = threading.Thread(target=lambda: Path(f"/proc/self/fd/{writing}").write_bytes(LARGE) and os.close(writing))
    writer.start()
    with os.fdopen(reading, "rb") as pipe:
        assert stage.send(pipe, name="stream").size == len(LARGE)
    writer.join(DEADLINE_S)
    assert stage.arrived() == {"stream": LARGE}


@pytest.mark.parametrize("whose", [0, 1], ids=["sender", "receiver"])
@pytest.mark.parametrize("kind", ["file", "object"])
def test_cuts_of_either_end_are_survived_and_nothing_comes_twice(stage: Stage, whose: int, kind: str) -> None:
    offsets: list[int] = []
    stage.serve(progress=lambda offered, done: offsets.append(done))
    bridge = stage.bridges[whose]
    bridge.cut_after(300_000, 2 * FILE_CHUNK_BYTES, 1_500_000)
    if kind == "file":
        stage.send()
    else:
        with stage.source.open("rb") as file:
            stage.send(file)
    assert stage.arrived() == {"data.bin": LARGE} and stage.announced() == ["data.bin"]
    assert bridge.cuts == 3 and len(stage.received) == 1
    assert offsets == sorted(offsets), "a chunk that was there came again"


def test_a_later_call_goes_on_where_the_first_one_stopped(stage: Stage, state: Path) -> None:
    stage.serve()

    def stop(done: int, size: int | None) -> None:
        if done >= 3 * FILE_CHUNK_BYTES:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stage.send(progress=stop)
    assert stage.announced() == [] and left_over(state)
    begins: list[int] = []
    stage.send(progress=lambda done, size: begins.append(done))
    assert begins[0] >= 2 * FILE_CHUNK_BYTES
    assert stage.arrived() == {"data.bin": LARGE} and stage.announced() == ["data.bin"] and left_over(state) == []


def test_the_same_file_twice_at_once(stage: Stage) -> None:
    stage.serve()
    second: list[str] = []

    def progress(done: int, size: int | None) -> None:
        if done and not second:
            with pytest.raises(FileBusy) as caught:
                send_beside(stage)
            second.append(str(caught.value))

    stage.send(progress=progress)
    assert stage.arrived() == {"data.bin": LARGE}
    assert "data.bin is being sent to" in second[0]


def send_beside(stage: Stage) -> None:
    """A second sender of the same file, on a connection of its own."""
    url = f"relay://{stage.names[0]}:secret@{stage.bridges[0].address}"
    with Client(url, timeout=DEADLINE_S) as other:
        other.files.send(stage.source, stage.names[1], direct=True)


def test_a_file_that_changes_is_given_up(stage: Stage) -> None:
    stage.serve()

    def change(done: int, size: int | None) -> None:
        if done == FILE_CHUNK_BYTES:
            with stage.source.open("ab") as file:
                file.write(b"more")

    with pytest.raises(FileChanged, match="changed while it was sent"):
        stage.send(progress=change)
    assert stage.announced() == [] and "data.bin" not in stage.arrived()


def test_an_existing_file_is_refused_in_words_for_the_sender(stage: Stage) -> None:
    (stage.inbox / "data.bin").write_text("old")
    stage.serve()
    with pytest.raises(StreamReset, match="has a file of this name already") as caught:
        stage.send()
    assert str(stage.inbox) not in str(caught.value)
    assert stage.arrived() == {"data.bin": b"old"} and stage.announced() == []


def test_an_existing_file_is_kept_beside_or_replaced_if_asked(stage: Stage) -> None:
    (stage.inbox / "data.bin").write_text("old")
    stage.serve(numbered=True)
    stage.send()
    stage.serve(overwrite=True)
    stage.send(name="data (1).bin")
    assert stage.arrived() == {"data.bin": b"old", "data (1).bin": LARGE}


def test_the_receiver_may_refuse(stage: Stage) -> None:
    stage.serve(accept=lambda offered: offered.size < 100)
    with pytest.raises(StreamReset, match="does not want it") as caught:
        stage.send()
    assert caught.value.code == ErrorCode.NOT_ALLOWED

    def never(offered: Any) -> bool:
        raise MethodError("not on Sundays", 1007)

    stage.serve(accept=never)
    with pytest.raises(StreamReset, match="not on Sundays"):
        stage.send()
    assert stage.arrived() == {}


def test_a_receiver_whose_program_fails_on_the_file_has_it_all_the_same(stage: Stage) -> None:
    def fail(received: ReceivedFile) -> None:
        raise ZeroDivisionError

    stage.serve(on_file=fail)
    stage.send()
    assert stage.arrived() == {"data.bin": LARGE}


def test_nobody_receives(stage: Stage) -> None:
    with pytest.raises(StreamReset) as caught:
        stage.send()
    assert caught.value.code == ErrorCode.NO_SUCH_SERVICE


def test_what_cannot_be_sent(stage: Stage, tmp_path: Path) -> None:
    stage.serve()
    for name in ("../x", "/x", "a/b", "", "..", "a\x1bb", "x" * 256, "a\\b"):
        with pytest.raises(FileFailed), stage.source.open("rb") as file:
            stage.send(file, name=name or None) if name else stage.send(_Nameless(file))
    with pytest.raises(FileFailed, match="is a directory"):
        stage.send(tmp_path)
    with pytest.raises(BadAddress):
        stage.alice.files.send(stage.source, "#ops", direct=True)
    with pytest.raises(FileFailed, match="none"):
        stage.bob.files.serve(tmp_path / "none")
    assert stage.arrived() == {}


class _Nameless:
    def __init__(self, file: Any) -> None:
        self.read = file.read
