"""Test tools: a file service with a store in memory and a real directory, and clients that speak to it in packets."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import gevent

from relay.files.service import FileService, TransferLimits
from relay.protocol.limits import CHUNK_MAX_BYTES, CREDIT_MAX_BYTES, FILE_CHUNK_BYTES, HEADER_BYTES
from relay.protocol.packets import Accept, Credit, Data, Finish, Open, Packet, Reset, Unknown, decode, encode
from relay.protocol.payloads import Value, decode_body, encode_body
from relay.protocol.transfer import Chunk, Done, End, Piece, Record, RecordReader, Upload, encode_record
from relay.router.directory import Directory
from relay.router.gate import Lane
from relay.router.streams import StreamLimits, StreamTable
from relay.store.base import Reader, Store, StoreError
from relay.store.blobs import BlobDirectory
from relay.store.files import FileTerms
from relay.store.memory import MemoryStore
from tests.router.recording import RecordingSubscriber
from tests.store.samples import add_users

T = TypeVar("T")

C = FILE_CHUNK_BYTES
MIB = 1024 * 1024
DEADLINE_S = 30.0


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def eventually(condition: Callable[[], object], what: str = "it") -> None:
    """Let the other greenlets run until the condition holds."""
    with gevent.Timeout(DEADLINE_S, AssertionError(f"{what} does not happen")):
        while not condition():
            gevent.sleep(0.001)


class PromptLog:
    """The store's asynchronous face; answers come in the next turn of the loop. `broken` is raised instead."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.broken: StoreError | None = None

    def append(self, item: object) -> bool:
        raise AssertionError("no messages here")

    def write(self, operation: Callable[[Store], T], done: Callable[[T | StoreError], None]) -> None:
        gevent.get_hub().loop.run_callback(done, self.broken or operation(self.store))

    def read(self, operation: Callable[[Reader], T], done: Callable[[T | StoreError], None]) -> None:
        gevent.get_hub().loop.run_callback(done, self.broken or operation(self.store))


class Stage:
    """A service, its store with alice, bob and carol, and a clock."""

    def __init__(self, data: Path, *, store: Store | None = None, **limits: Any) -> None:
        terms = FileTerms(limits.pop("quota_bytes", 100 * MIB), limits.pop("file_bytes", 0), 10_000, 5_000)
        self.data = data
        self.time_ms = 100_000
        self.store = store or MemoryStore()
        if store is None:
            add_users(self.store, "alice", "bob", "carol")
        self.log = PromptLog(self.store)
        self.table = StreamTable(Directory(32), StreamLimits())
        self.directory = BlobDirectory(data)
        limits = {"patience_s": DEADLINE_S, **limits}
        self.service = FileService(
            self.table,
            self.log,
            self.directory,
            terms=terms,
            limits=TransferLimits(**limits),
            clock_ms=lambda: self.time_ms,
        )

    def close(self) -> None:
        with gevent.Timeout(DEADLINE_S):
            self.service.stop()
        self.directory.close()

    def settle(self) -> None:
        """Until no transfer runs."""
        eventually(lambda: not len(self.service), "the end of all transfers")

    def names(self) -> list[str]:
        """All files beneath the data directory."""
        return sorted(str(path.relative_to(self.data)) for path in self.data.rglob("*") if not path.is_dir())


class ClientStream:
    """What a client knows of one of its streams."""

    def __init__(self) -> None:
        self.credit = 0
        self.accepted: Any = None
        self.records: list[Record] = []
        self.reader = RecordReader()
        self.received = 0
        self.reset: Reset | None = None
        self.finished = False


class Client(RecordingSubscriber):
    """A session that opens streams to the relay. It takes at once what it has granted credit for."""

    def __init__(self, stage: Stage, user: str = "alice", device: str = "pc") -> None:
        super().__init__(user, device)
        self.stage = stage
        self.streams_by_id: dict[int, ClientStream] = {}
        # Bytes of DATA on all streams.
        self.sent = 0
        self._next_id = 0
        self.outlet.push = self._take  # type: ignore[method-assign]
        self.outlet.stream = self._take_stream  # type: ignore[method-assign]

    def open(self, service: str, value: Value, to: str = "relay") -> ClientStream | tuple[Any, str]:
        """Ask for a stream; what the service says at once, if it refuses."""
        self._next_id += 2
        packet = Open(self.address, to, self._next_id, service, 20_000, *encode_body(value))
        end = self.stage.service.end_for(self, packet)
        if isinstance(end, tuple):
            return end
        stream = self.streams_by_id[self._next_id] = ClientStream()
        self.stage.table.open(self, packet, encode(packet), 0.0, end)
        return stream

    def begin(self, service: str, value: Value) -> ClientStream:
        """Ask for a stream, and wait until it is accepted or refused."""
        stream = self.open(service, value)
        assert isinstance(stream, ClientStream), stream
        eventually(lambda: stream.accepted or stream.reset, "an answer")
        return stream

    def put(self, upload: Upload) -> ClientStream:
        return self.begin("files.put", upload.value())

    def get(self, id: str, offset: int = 0) -> ClientStream:
        return self.begin("files.get", {"file": id, "offset": offset})

    def send(self, stream: ClientStream, data: Piece) -> None:
        """Send bytes as the relay takes them, until the stream is reset."""
        rest = memoryview(data)
        while rest and not stream.reset:
            eventually(lambda: stream.credit or stream.reset, "credit")
            size = min(len(rest), stream.credit, CHUNK_MAX_BYTES)
            if size and not stream.reset:
                stream.credit -= size
                self.sent += size
                packet = Data(self.address, "relay", self._id_of(stream), bytes(rest[:size]))
                self.stage.table.data(self, "relay", packet.id, size, encode(packet))
                rest = rest[size:]

    def send_record(self, stream: ClientStream, record: Record) -> None:
        self.send(stream, encode_record(record))

    def send_file(self, stream: ClientStream, data: bytes, start: int = 0) -> None:
        """All chunks from an offset on, and the END."""
        for chunk in chunks(data, start):
            self.send_record(stream, chunk)
        self.send_record(stream, End(len(data), sha(data)))

    def grant(self, stream: ClientStream, times: int = 16) -> None:
        for _ in range(times):
            packet = Credit(self.address, "relay", self._id_of(stream), CREDIT_MAX_BYTES)
            self.stage.table.credit(self, packet, encode(packet))

    def finish(self, stream: ClientStream) -> None:
        packet = Finish(self.address, "relay", self._id_of(stream))
        self.stage.table.finish(self, packet, encode(packet))

    def give_up(self, stream: ClientStream) -> None:
        packet = Reset(self.address, "relay", self._id_of(stream), 211, "enough")
        self.stage.table.reset(self, packet, encode(packet))

    def leave_streams(self) -> None:
        """The connection ends."""
        self.stage.table.leave(self)

    def upload(self, upload: Upload, data: bytes) -> Done:
        """A whole upload."""
        stream = self.put(upload)
        assert stream.accepted, stream.reset
        if "done" in stream.accepted:
            self.finish(stream)
            return Done(*stream.accepted["done"])
        self.grant(stream, 1)
        self.send_file(stream, data, stream.accepted["offset"])
        eventually(lambda: stream.finished or stream.reset, "DONE")
        assert not stream.reset, stream.reset
        self.finish(stream)
        done = stream.records[-1]
        assert isinstance(done, Done)
        return done

    def download(self, id: str, offset: int = 0) -> bytes:
        """A whole download from an offset on, its hashes checked."""
        stream = self.get(id, offset)
        assert stream.accepted, stream.reset
        self.grant(stream)
        while not stream.finished:
            held = stream.received
            eventually(lambda: stream.received > held or stream.finished or stream.reset, "more")  # noqa: B023
            assert not stream.reset, stream.reset
            if not stream.finished:
                self.grant(stream, 2)
        self.finish(stream)
        *found, end = stream.records
        assert isinstance(end, End)
        data = b""
        for chunk in found:
            assert isinstance(chunk, Chunk)
            chunk.verify()
            assert chunk.offset == offset + len(data)
            data += chunk.body()
        assert offset + len(data) == end.size == stream.accepted["size"]
        assert stream.accepted["hash"] == end.hash
        return data

    def _id_of(self, stream: ClientStream) -> int:
        return next(id for id, known in self.streams_by_id.items() if known is stream)

    def _take_stream(self, frame: bytes, lane: Lane, size: int) -> None:
        lane.handle_sent(size)
        self._take(frame)

    def _take(self, frames: bytes) -> None:
        packet: Packet | Unknown = decode(frames[HEADER_BYTES:])
        assert isinstance(packet, Accept | Credit | Data | Finish | Reset), packet
        assert packet.sender == "relay" and packet.to == self.address and packet.id & 1
        stream = self.streams_by_id[packet.id - 1]
        if isinstance(packet, Accept):
            stream.accepted = decode_body(packet.content_type, packet.body)
        elif isinstance(packet, Credit):
            stream.credit += packet.size
        elif isinstance(packet, Data):
            stream.received += len(packet.body)
            stream.reader.feed(packet.body)
            while (record := stream.reader.next_record()) is not None:
                stream.records.append(record)
        elif isinstance(packet, Finish):
            stream.finished = True
        else:
            stream.reset = stream.reset or packet


def chunks(data: bytes, start: int = 0) -> Iterator[Chunk]:
    for offset in range(start, len(data), C):
        body = data[offset : offset + C]
        yield Chunk(offset, sha(body), (body,))


def upload_of(data: bytes, upload: str = "u1", **changes: Any) -> Upload:
    return Upload(upload, "a.bin", "", len(data), None, "bob")._replace(**changes)


def sample(size: int) -> bytes:
    return os.urandom(size)
