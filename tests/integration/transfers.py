"""Test tool: one stream of a peer to the relay, as records."""

import hashlib
from collections import deque
from typing import Any

from relay.protocol.limits import CHUNK_MAX_BYTES, CREDIT_MAX_BYTES, FILE_CHUNK_BYTES
from relay.protocol.packets import Accept, Credit, Data, Finish, Open, Ping, Pong, Reset
from relay.protocol.payloads import Value, decode_body, encode_body
from relay.protocol.transfer import Chunk, Done, End, Piece, Record, RecordReader, chunk_head, encode_record
from tests.integration.peer import Peer


class RefusedError(Exception):
    """The relay reset the stream."""

    def __init__(self, reset: Reset) -> None:
        super().__init__(f"{reset.code} {reset.sentence}")
        self.code = reset.code
        self.sentence = reset.sentence


class RelayStream:
    """A stream that `peer` has opened to the relay. Raises RefusedError when it is reset."""

    def __init__(self, peer: Peer, service: str, value: Value, id: int = 2) -> None:
        self.peer = peer
        self.id = id
        self.credit = 0
        self.finished = False
        self._reader = RecordReader()
        self._records: deque[Record] = deque()
        self._consumed = 0
        peer.send(Open(peer.address, "relay", id, service, 20_000, *encode_body(value)))
        self.accepted: Any = None
        while self.accepted is None:
            self.take()

    def take(self) -> None:
        """Deal with one packet."""
        packet = self.peer.packet()
        if isinstance(packet, Ping):
            self.peer.send(Pong(packet.token))
        elif isinstance(packet, Accept):
            self.accepted = decode_body(packet.content_type, packet.body)
        elif isinstance(packet, Credit):
            self.credit += packet.size
        elif isinstance(packet, Data):
            self._consume(packet.body)
        elif isinstance(packet, Finish):
            self.finished = True
        else:
            assert isinstance(packet, Reset), packet
            raise RefusedError(packet)

    def _consume(self, body: bytes) -> None:
        self._consumed += len(body)
        if self._consumed >= CREDIT_MAX_BYTES:
            self._consumed -= CREDIT_MAX_BYTES
            self.grant(1)
        self._reader.feed(body)
        while (record := self._reader.next_record()) is not None:
            self._records.append(record)

    def grant(self, times: int) -> None:
        self.peer.send(*[Credit(self.peer.address, "relay", self.id, CREDIT_MAX_BYTES)] * times)

    def write(self, data: Piece) -> None:
        """Send bytes as the relay takes them."""
        rest = memoryview(data)
        while rest:
            while not self.credit:
                self.take()
            size = min(len(rest), self.credit, CHUNK_MAX_BYTES)
            self.peer.send(Data(self.peer.address, "relay", self.id, bytes(rest[:size])))
            self.credit -= size
            rest = rest[size:]

    def write_chunk(self, offset: int, body: bytes) -> None:
        self.write(chunk_head(offset, hashlib.sha256(body).digest(), len(body)) + body)

    def record(self) -> Record:
        while not self._records:
            self.take()
        return self._records.popleft()

    def finish(self) -> None:
        """Both ends finish."""
        while not self.finished:
            self.take()
        self.peer.send(Finish(self.peer.address, "relay", self.id))


def opening(upload: str, to: str, size: int | None, **more: Value) -> dict[str, Value]:
    """What a `files.put` is opened with."""
    return {"upload": upload, "to": to, "name": "a.bin", "size": size, "type": "", "hash": None, **more}


def put(peer: Peer, to: str, data: bytes, upload: str = "u1", id: int = 2) -> Done:
    """A whole upload, or the rest of one."""
    stream = RelayStream(peer, "files.put", opening(upload, to, len(data)), id)
    if "done" in stream.accepted:
        stream.finish()
        return Done(*stream.accepted["done"])
    stream.grant(1)
    for offset in range(stream.accepted["offset"], len(data), FILE_CHUNK_BYTES):
        stream.write_chunk(offset, data[offset : offset + FILE_CHUNK_BYTES])
    stream.write(encode_record(End(len(data), hashlib.sha256(data).digest())))
    while not isinstance(done := stream.record(), Done):
        pass
    stream.finish()
    return done


def get(peer: Peer, id: str, offset: int = 0, stream_id: int = 2) -> bytes:
    """A whole download, checked."""
    stream = RelayStream(peer, "files.get", {"file": id, "offset": offset}, stream_id)
    stream.grant(16)
    data = b""
    while isinstance(record := stream.record(), Chunk):
        record.verify()
        data += record.body()
    assert isinstance(record, End)
    assert offset + len(data) == record.size
    stream.finish()
    return data
