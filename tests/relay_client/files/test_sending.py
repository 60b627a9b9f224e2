"""What a sender does with receivers that break the rules."""

import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from relay_client import Client, Stream
from relay_client.errors import BadValue, FileFailed, RelayError, WrongContent

from relay.protocol.limits import FILE_CHUNK_BYTES
from relay.protocol.transfer import RECEIVE, Done, End, RecordReader, encode_record
from tests.relay_client.peer import DEADLINE_S
from tests.relay_client.town import Town

CONTENT = b"x" * FILE_CHUNK_BYTES + b"end"
SHA256 = hashlib.sha256(CONTENT).digest()


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    town = Town(tmp_path_factory.mktemp("town"))
    town.add("alice", "bob")
    with town.open():
        yield town


@pytest.fixture
def send(town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """`send(handler)`: a file, or what is given, to a receiver that behaves so."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    source = tmp_path / "a.bin"
    source.write_bytes(CONTENT)
    with Client(town.url("alice"), timeout=DEADLINE_S) as alice, Client(town.url("bob"), timeout=DEADLINE_S) as bob:

        def run(handler: Callable[[Stream], Any], what: Any = source) -> Any:
            bob.serve_stream(RECEIVE, handler)
            return alice.files.send(what, "bob", name="a.bin", direct=True, patience_s=0)

        yield run
        assert not [message for message in bob.history("alice") if message.file and message.file.hash != SHA256]


def accepting(answer: Any) -> Callable[[Stream], None]:
    """A receiver that accepts so, and takes everything."""

    def handle(stream: Stream) -> None:
        stream.accept(answer)
        stream.read()

    return handle


def ending(done: Done) -> Callable[[Stream], None]:
    """A receiver that says this once it has read everything."""

    def handle(stream: Stream) -> None:
        stream.accept({"offset": 0, "chunk": FILE_CHUNK_BYTES})
        reader = RecordReader()
        while not isinstance(record := reader.next_record(), End):
            if record is None:
                reader.feed(stream.read1())
        stream.write(encode_record(done))
        stream.read()

    return handle


def test_an_honest_receiver(send: Callable[..., Any]) -> None:
    assert send(ending(Done("", len(CONTENT), SHA256))).hash == SHA256
    assert send(ending(Done("", len(CONTENT), SHA256)), io.BytesIO(CONTENT)).size == len(CONTENT)


@pytest.mark.parametrize(
    "answer",
    [None, 5, {}, {"offset": "0"}, {"offset": -1}, {"offset": 0, "done": 1}, {"offset": 0, "done": ["", 3, "x"]}],
    ids=repr,
)
def test_an_answer_that_is_none(send: Callable[..., Any], answer: Any) -> None:
    with pytest.raises(BadValue, match="does not know"):
        send(accepting(answer))


def test_a_receiver_that_claims_to_have_more_than_there_is(send: Callable[..., Any]) -> None:
    for what in ({}, {"what": io.BytesIO(CONTENT)}):
        with pytest.raises(FileFailed):
            send(accepting({"offset": 10 * FILE_CHUNK_BYTES}), **what)


@pytest.mark.parametrize("done", [Done("", len(CONTENT), bytes(32)), Done("", 3, SHA256)], ids=["hash", "size"])
def test_a_receiver_that_has_something_else(send: Callable[..., Any], done: Done) -> None:
    for handler in (ending(done), accepting({"offset": done.size, "done": list(done)})):
        with pytest.raises(WrongContent, match="another content"):
            send(handler)
    with pytest.raises(WrongContent, match="another content"):
        send(ending(done._replace(hash=bytes(32))), io.BytesIO(CONTENT))


def test_a_receiver_that_leaves_in_the_middle(send: Callable[..., Any]) -> None:
    def leave(stream: Stream) -> None:
        stream.accept({"offset": 0})
        stream.read(1000)

    with pytest.raises(RelayError):
        send(leave)
