"""Files over a stream: the records of a transfer, and what their keeper accepts in which order. Pure code.

The sender of a file writes CHUNKs and one END, the keeper (the relay, or a session that receives) answers with HAVE and
DONE on the other lane. A record is a frame like everywhere; it need not begin or end with a DATA.

Chunks are large and copied as little as possible: what arrived stays the pieces it came in, until it is hashed and
written. Hashing takes half a millisecond per chunk, so it is left to the caller, who may have threads for it.
"""

import hashlib
import unicodedata
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import msgpack

from relay.protocol.codes import ErrorCode
from relay.protocol.limits import (
    CONTENT_TYPE_MAX_BYTES,
    FILE_CHUNK_BYTES,
    FILE_NAME_MAX_BYTES,
    HEADER_BYTES,
    INTEGER_MAX,
    SENTENCE_MAX_BYTES,
    UPLOAD_MAX_BYTES,
)

PUT = "files.put"
GET = "files.get"
RECEIVE = "files.receive"

# The content type of the message that tells a conversation of a file.
FILE = "application/vnd.relay.file"

HASH_BYTES = 32

# What a CHUNK has in front of its body at most: array header, type, offset, hash, the body's own header.
_HEAD_MAX_BYTES = 1 + 1 + 9 + 2 + HASH_BYTES + 5
RECORD_MAX_BYTES = _HEAD_MAX_BYTES + FILE_CHUNK_BYTES

_SMALL_BYTES = 4096

_CHUNK, _END, _HAVE, _DONE = range(1, 5)
_CHUNK_START = bytes((0x94, _CHUNK))
_HASH_HEAD = bytes((0xC4, HASH_BYTES))
_BODY_WIDTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4}

Piece = bytes | memoryview


class TransferError(Exception):
    """The other end, or the caller, broke a rule of transfers; the stream is reset with `code` and the sentence."""

    def __init__(self, code: ErrorCode, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


class Chunk(NamedTuple):
    """Bytes of the file from `offset` on, in pieces, and their SHA-256."""

    offset: int
    hash: bytes
    pieces: tuple[Piece, ...]

    @property
    def size(self) -> int:
        """How many bytes of the file it holds."""
        return sum(map(len, self.pieces))

    def body(self) -> bytes:
        """The bytes in one piece."""
        return b"".join(self.pieces)

    def verify(self) -> None:
        """Raises TransferError (WRONG_HASH) unless the bytes have the hash. Takes half a millisecond."""
        digest = hashlib.sha256()
        for piece in self.pieces:
            digest.update(piece)
        if digest.digest() != self.hash:
            raise TransferError(
                ErrorCode.WRONG_HASH,
                f"the chunk at offset {self.offset} does not have the SHA-256 that was sent with it; send it again",
            )


class End(NamedTuple):
    """The file is complete: its size, and the SHA-256 of the whole."""

    size: int
    hash: bytes


class Have(NamedTuple):
    """The keeper has stored everything before this offset."""

    offset: int


class Done(NamedTuple):
    """The file is verified, durable, and under its name. `id` is empty where no relay keeps it."""

    id: str
    size: int
    hash: bytes


Record = Chunk | End | Have | Done

_TYPES: dict[int, tuple[type[End] | type[Have] | type[Done], tuple[type, ...]]] = {
    _END: (End, (int, bytes)),
    _HAVE: (Have, (int,)),
    _DONE: (Done, (str, int, bytes)),
}


def chunk_head(offset: int, hash: bytes, size: int) -> bytes:
    """What goes in front of the `size` bytes of a chunk: send this, then the bytes."""
    head = b"".join(
        (_CHUNK_START, _pack(offset), _HASH_HEAD, hash, _body_head(size)),
    )
    return (len(head) + size).to_bytes(HEADER_BYTES, "big") + head


def encode_record(record: Record) -> bytes:
    """The record as one frame."""
    if isinstance(record, Chunk):
        return chunk_head(record.offset, record.hash, record.size) + record.body()
    number = {End: _END, Have: _HAVE, Done: _DONE}[type(record)]
    payload = _pack((number, *record))
    return len(payload).to_bytes(HEADER_BYTES, "big") + payload


class RecordReader:
    """Cuts what a lane of a stream carries into records: `feed` what came, then `next_record` until it is None.

    `size` bytes are in here; at most one record's and what was fed behind it. Pieces are kept as they are, so they
    must not change.
    """

    __slots__ = ("_gathered", "_pieces", "_wanted", "size")

    def __init__(self) -> None:
        self._pieces: deque[memoryview] = deque()
        # Small pieces at the end, put together: one byte at a time must not cost a hundred times its size.
        self._gathered = bytearray()
        self._wanted = HEADER_BYTES
        self.size = 0

    @property
    def ready(self) -> bool:
        """Whether `next_record` may have something to say."""
        return self.size >= self._wanted

    def feed(self, data: Piece) -> None:
        """Take in what was received."""
        self.size += len(data)
        if len(data) < _SMALL_BYTES:
            self._gathered += data
        else:
            self._put_down()
            self._pieces.append(memoryview(data))

    def next_record(self) -> Record | None:
        """The next whole record; None until more was fed. Raises TransferError (BAD_CHUNK) for what is none; the
        reader must not be used any more then.
        """
        if self.size < self._wanted:
            return None
        self._put_down()
        size = int.from_bytes(self._peek(HEADER_BYTES), "big")
        if not 0 < size <= RECORD_MAX_BYTES:
            raise _bad(f"a record of {size} bytes was announced; one has 1 to {RECORD_MAX_BYTES}")
        self._wanted = HEADER_BYTES + size
        if self.size < self._wanted:
            return None
        self._wanted = HEADER_BYTES
        self._take(HEADER_BYTES)
        head = self._peek(min(size, _HEAD_MAX_BYTES))
        if head.startswith(_CHUNK_START):
            offset, hash, start = _read_chunk_head(head, size)
            self._take(start)
            return Chunk(offset, hash, self._take(size - start))
        return _read_short(b"".join(self._take(size)))

    def _put_down(self) -> None:
        if self._gathered:
            self._pieces.append(memoryview(bytes(self._gathered)))
            self._gathered.clear()

    def _peek(self, size: int) -> bytes:
        first = self._pieces[0]
        if len(first) >= size:
            return bytes(first[:size])
        found = bytearray()
        for piece in self._pieces:
            found += piece[: size - len(found)]
            if len(found) == size:
                break
        return bytes(found)

    def _take(self, size: int) -> tuple[memoryview, ...]:
        self.size -= size
        taken = []
        while size:
            piece = self._pieces.popleft()
            if len(piece) > size:
                self._pieces.appendleft(piece[size:])
                piece = piece[:size]
            size -= len(piece)
            taken.append(piece)
        return tuple(taken)


def _read_chunk_head(head: bytes, size: int) -> tuple[int, bytes, int]:
    """Offset, hash, and where the body begins, of a CHUNK of `size` bytes that begins with `head`."""
    try:
        unpacker = msgpack.Unpacker(max_array_len=0, max_map_len=0, max_ext_len=0, max_buffer_size=_HEAD_MAX_BYTES)
        unpacker.feed(memoryview(head)[len(_CHUNK_START) :])
        offset, hash = unpacker.unpack(), unpacker.unpack()
        at = len(_CHUNK_START) + unpacker.tell()
        width = _BODY_WIDTHS[head[at]]
        start = at + 1 + width
        length = int.from_bytes(head[at + 1 : start], "big")
    except Exception:  # msgpack's errors are no family: see its documentation
        raise _bad("a CHUNK could not be decoded; it is [1, offset, hash, body]") from None
    _check_fields("CHUNK", (offset, hash), (int, bytes))
    if not length or start + length != size:
        raise _bad(f"a CHUNK's body has 1 to {FILE_CHUNK_BYTES} bytes and fills its record; this one says {length}")
    if length > FILE_CHUNK_BYTES:
        raise _bad(f"a chunk has at most {FILE_CHUNK_BYTES} bytes; this one has {length}")
    return offset, hash, start


def _read_short(payload: bytes) -> Record:
    """The record that is no CHUNK."""
    try:
        elements = msgpack.unpackb(payload, use_list=False, max_array_len=15, max_map_len=0, max_ext_len=0)
        number, *fields = elements
    except Exception:  # msgpack's errors are no family: see its documentation
        raise _bad("a record could not be decoded; it is one msgpack array of scalars") from None
    kind, types = _TYPES.get(number, (None, ())) if type(number) is int else (None, ())
    if kind is None:
        raise _bad(f"there is no record of type {str(number)[:20]}")
    if len(fields) < len(types):
        raise _bad(f"an {kind.__name__.upper()} record has {len(types)} fields, not {len(fields)}")
    _check_fields(kind.__name__.upper(), fields, types)
    return kind(*fields[: len(types)])


def _check_fields(name: str, fields: tuple[object, ...] | list[object], types: tuple[type, ...]) -> None:
    for value, wanted in zip(fields, types, strict=False):
        fits = type(value) is wanted
        if fits and isinstance(value, int):
            fits = 0 <= value <= INTEGER_MAX
        elif fits and isinstance(value, bytes):
            fits = len(value) == HASH_BYTES
        if not fits:
            raise _bad(f"a field of a record {name} is not what it has to be")


class Intake:
    """What a keeper accepts next of one file: chunks without gap or overlap, then an END that fits them.

    It is told of each record before the record is stored, and knows nothing of hashes of chunks.
    """

    def __init__(self, offset: int = 0, size: int | None = None, limit_bytes: int = INTEGER_MAX) -> None:
        """`offset`: what the keeper has from earlier. `size`: what was declared, if it was; the file never has more
        than `limit_bytes`.
        """
        self.offset = offset
        self.ended = False
        self._size = size
        self._limit_bytes = limit_bytes

    def take(self, chunk: Chunk) -> None:
        """The next chunk came. Raises TransferError."""
        size = chunk.size
        if self.ended:
            raise _bad("a chunk came after the file's END")
        if chunk.offset != self.offset:
            what = "leaves a gap" if chunk.offset > self.offset else "overlaps what was received"
            raise _bad(f"a chunk at offset {chunk.offset} {what}: the next one begins at {self.offset}")
        if self.offset % FILE_CHUNK_BYTES:
            raise _bad(f"the chunk before offset {self.offset} was short; only the last one of a file may be")
        if self._size is not None and self.offset + size > self._size:
            raise _bad(f"the file was declared to have {self._size} bytes, and more came")
        if self.offset + size > self._limit_bytes:
            raise TransferError(ErrorCode.TOO_LARGE, f"the file has more than the {self._limit_bytes} bytes allowed")
        self.offset += size

    def finish(self, end: End) -> None:
        """The END came. Raises TransferError. Whether the hash is right remains to be seen."""
        if self.ended:
            raise _bad("a second END came")
        if end.size != self.offset:
            raise _bad(f"END says that the file has {end.size} bytes; {self.offset} were received")
        if self._size is not None and end.size != self._size:
            raise _bad(f"the file was declared to have {self._size} bytes, and ends after {end.size}")
        self.ended = True


class Upload(NamedTuple):
    """What the opening of `files.put` and `files.receive` says of a file.

    `upload`: the sender's name for this upload, the same when it is resumed. `to`: the user or room that may read it;
    empty for `files.receive`. `size` and `hash` where they are known beforehand.
    """

    upload: str
    name: str
    type: str
    size: int | None = None
    hash: bytes | None = None
    to: str = ""

    def value(self) -> dict[str, str | int | bytes | None]:
        """The opening value."""
        return self._asdict() if self.to else {key: value for key, value in self._asdict().items() if key != "to"}


def read_upload(value: object) -> Upload:
    """The upload that an opening value asks for. Raises TransferError (BAD_ARGUMENTS, BAD_FILE_NAME, TOO_LARGE)."""
    if not isinstance(value, dict):
        raise _arguments("the opening value is a map with upload, name, type, size and hash")
    upload = _text(value, "upload", UPLOAD_MAX_BYTES)
    kind = _text(value, "type", CONTENT_TYPE_MAX_BYTES, least=0)
    size, hash, to = value.get("size"), value.get("hash"), value.get("to", "")
    if size is not None and (type(size) is not int or size < 0):
        raise _arguments("`size` is the file's number of bytes, or nil")
    if size is not None and size > INTEGER_MAX:
        raise TransferError(ErrorCode.TOO_LARGE, f"a file has at most {INTEGER_MAX} bytes; this one declares {size}")
    if hash is not None and (type(hash) is not bytes or len(hash) != HASH_BYTES):
        raise _arguments(f"`hash` is the file's SHA-256, {HASH_BYTES} bytes, or nil")
    if type(to) is not str:
        raise _arguments("`to` is a user or a room")
    return Upload(upload, check_file_name(value.get("name")), kind, size, hash, to)


def check_file_name(name: object) -> str:
    """The name, if it is one that a file may have: a last path component. Raises TransferError (BAD_FILE_NAME).

    Receivers check again what they are told: a name is what somebody else chose.
    """
    if type(name) is not str or not name:
        raise _bad_name("a file needs a name")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise _bad_name("a file's name is text in UTF-8") from None
    if size > FILE_NAME_MAX_BYTES:
        raise _bad_name(f"a file's name has at most {FILE_NAME_MAX_BYTES} bytes; this one has {size}")
    if name in (".", ".."):
        raise _bad_name(f"{name!r} is no name for a file")
    for letter in name:
        if letter in "/\\":
            raise _bad_name(f"a file's name has no {letter!r}: it is the last part of a path only")
        if unicodedata.category(letter) in ("Cc", "Zl", "Zp"):
            raise _bad_name(f"a file's name has no control characters; this one has {letter!r}")
    return name


def _text(value: dict[object, object], key: str, most: int, least: int = 1) -> str:
    text = value.get(key, "")
    if type(text) is not str or not least <= len(text.encode("utf-8", "replace")) <= most:
        raise _arguments(f"`{key}` is a text of {least} to {most} bytes")
    return text


def _bad(sentence: str) -> TransferError:
    return TransferError(ErrorCode.BAD_CHUNK, sentence)


def _bad_name(sentence: str) -> TransferError:
    return TransferError(ErrorCode.BAD_FILE_NAME, sentence[:SENTENCE_MAX_BYTES])


def _arguments(sentence: str) -> TransferError:
    return TransferError(ErrorCode.BAD_ARGUMENTS, sentence)


def _body_head(size: int) -> bytes:
    if size < 1 << 8:
        return bytes((0xC4, size))
    return b"\xc5" + size.to_bytes(2, "big") if size < 1 << 16 else b"\xc6" + size.to_bytes(4, "big")


_pack: Callable[[object], bytes] = msgpack.Packer(use_bin_type=True, autoreset=True).pack
