"""What the two ends of a run say to each other on a stream of the service `exec`. Pure: bytes in, records out.

A record is a frame like all others here: a 4-byte big-endian length, then a flat msgpack array `[type, ...]`. Two rules
let versions meet: records of unknown types, and fields behind the known ones, are ignored. docs/agent.md is the
specification.
"""

from collections.abc import Iterator, Mapping
from enum import IntEnum, unique
from typing import Any, NamedTuple, get_type_hints

import msgpack

from relay.protocol.errors import RemoteError
from relay.protocol.frames import FrameReader, encode_frame
from relay.protocol.payloads import Value

SERVICE = "exec"
LIST_METHOD = "exec.commands"

# A record of output and its frame fit into one DATA packet of 65536 bytes.
DATA_MAX_BYTES = 65_000
RECORD_MAX_BYTES = 65_536

# What the caller may send of standard input before the command has read any of it.
STDIN_WINDOW_BYTES = 256 * 1024

ARGUMENTS_MAX = 256
ARGUMENTS_MAX_BYTES = 64 * 1024  # all of them together; Linux takes 128 KiB for a single one
SIZE_MAX = 9999  # rows or columns of a terminal

# What a caller may send to the command's process group, by name: numbers differ between systems.
SIGNALS = frozenset({"INT", "TERM", "HUP", "QUIT", "KILL", "USR1", "USR2", "TSTP", "CONT"})


@unique
class AgentCode(IntEnum):
    """Why an agent refused a run (1000 to 1019, as the code of the RESET), or ended one (from 1020, in EXIT)."""

    NO_SUCH_COMMAND = 1000
    BAD_ARGUMENTS = 1001
    USER_NOT_ALLOWED = 1002
    BUSY = 1003
    NO_TERMINAL = 1004
    CANNOT_START = 1005
    NO_PROGRAM = 1006
    BAD_REQUEST = 1007
    STOPPING = 1008
    NO_AUDIT = 1009

    TIME_LIMIT = 1020
    OUTPUT_LIMIT = 1021
    PROCESS_LIMIT = 1022
    AGENT_STOPPED = 1023
    KEEPER_LOST = 1024


class RecordError(ValueError):
    """The other end said what is no record, or no request."""


class Stdin(NamedTuple):
    """Caller: bytes for standard input, not more than were granted."""

    data: bytes


class Eof(NamedTuple):
    """Caller: standard input ends here."""


class Signal(NamedTuple):
    """Caller: send this signal to the command's process group; KILL ends all its processes."""

    name: str


class Resize(NamedTuple):
    """Caller: the terminal has this size now."""

    rows: int
    columns: int


class Stdout(NamedTuple):
    """Agent: bytes from standard output, or from the terminal."""

    data: bytes


class Stderr(NamedTuple):
    """Agent: bytes from standard error."""

    data: bytes


class Grant(NamedTuple):
    """Agent: the caller may send so many bytes of standard input more."""

    size: int


class Exit(NamedTuple):
    """Agent, last: how the command ended. `signal` is a name ("KILL") or empty, `code` then 128 + its number. `reason`
    is 0, or the AgentCode for which the agent ended it, and `sentence` says it to a person."""

    code: int
    signal: str
    reason: int
    sentence: str


Record = Stdin | Eof | Signal | Resize | Stdout | Stderr | Grant | Exit

TYPES: dict[int, type[Record]] = {
    1: Stdin, 2: Eof, 3: Signal, 4: Resize,
    16: Stdout, 17: Stderr, 18: Grant, 19: Exit,
}  # fmt: skip
NUMBERS = {kind: number for number, kind in TYPES.items()}
FIELDS = {kind: tuple(get_type_hints(kind).values()) for kind in NUMBERS}


def encode(record: Record) -> bytes:
    """The record as a frame."""
    return encode_frame(msgpack.packb([NUMBERS[type(record)], *record], use_bin_type=True))


def decode(payload: bytes) -> Record | None:
    """The record in a frame's payload; None for a type that this version does not know. Raises RecordError."""
    try:
        fields = msgpack.unpackb(payload, raw=False, max_map_len=0, max_ext_len=0, max_array_len=16)
    except Exception as error:  # msgpack's errors are no family
        raise RecordError(f"a record is not msgpack: {str(error)[:80] or type(error).__name__}") from None
    if not isinstance(fields, list) or not fields or type(fields[0]) is not int:
        raise RecordError("a record is an array that begins with its type")
    kind = TYPES.get(fields[0])
    if kind is None:
        return None
    values = fields[1 : 1 + len(FIELDS[kind])]
    if [type(value) for value in values] != list(FIELDS[kind]):
        raise RecordError(f"a {kind.__name__.upper()} record has the fields {', '.join(kind._fields) or 'none'}")
    return kind(*values)


class RecordReader:
    """Cuts what comes on the stream into records."""

    def __init__(self) -> None:
        self._frames = FrameReader(RECORD_MAX_BYTES)

    def feed(self, data: bytes) -> Iterator[Record]:
        """The records that `data` completes. Raises RecordError."""
        self._frames.feed(data)
        try:
            while (payload := self._frames.next_payload()) is not None:
                if (record := decode(payload)) is not None:
                    yield record
        except RemoteError as error:
            raise RecordError(f"this is no record: {error}") from None


class Terminal(NamedTuple):
    """The caller's terminal: its size and what TERM says."""

    rows: int
    columns: int
    term: str


class Request(NamedTuple):
    """What a run is opened with. `terminal`: asked for a pseudo-terminal of this kind."""

    command: str
    arguments: tuple[str, ...]
    terminal: Terminal | None = None

    def to_value(self) -> Value:
        """The value for the OPEN packet's body."""
        terminal = None if self.terminal is None else self.terminal._asdict()
        return {"command": self.command, "arguments": list(self.arguments), "terminal": terminal}


def request_from(value: Value) -> Request:
    """The request in an OPEN's body. Raises RecordError."""
    if not isinstance(value, Mapping):
        raise RecordError("a run is opened with a map of `command`, `arguments` and `terminal`")
    command, arguments, terminal = value.get("command"), value.get("arguments", []), value.get("terminal")
    if not isinstance(command, str) or not 0 < len(command) <= 64:
        raise RecordError("`command` is a text of 1 to 64 characters")
    if not isinstance(arguments, list) or not all(isinstance(argument, str) for argument in arguments):
        raise RecordError("`arguments` is an array of texts")
    return Request(command, _checked_arguments(tuple(map(str, arguments))), _terminal_from(terminal))


def _checked_arguments(arguments: tuple[str, ...]) -> tuple[str, ...]:
    if len(arguments) > ARGUMENTS_MAX:
        raise RecordError(f"there are at most {ARGUMENTS_MAX} arguments; these are {len(arguments)}")
    if sum(len(argument.encode()) for argument in arguments) > ARGUMENTS_MAX_BYTES:
        raise RecordError(f"the arguments have at most {ARGUMENTS_MAX_BYTES} bytes together")
    if any("\0" in argument for argument in arguments):
        raise RecordError("an argument must not contain a zero byte")
    return arguments


def _terminal_from(value: Any) -> Terminal | None:
    if value is None:
        return None
    term = value.get("term", "") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or not isinstance(term, str):
        raise RecordError("`terminal` is null, or a map of `rows`, `columns` and `term`")
    if not is_term(term):
        raise RecordError("`term` has up to 64 letters, digits, and any of . _ + -")
    rows, columns = value.get("rows"), value.get("columns")
    if not (isinstance(rows, int) and isinstance(columns, int) and is_size(rows) and is_size(columns)):
        raise RecordError(f"`rows` and `columns` are numbers from 0 to {SIZE_MAX}")
    return Terminal(rows, columns, term)


def is_size(value: object) -> bool:
    """Whether a terminal may have so many rows or columns; 0 means unknown."""
    return type(value) is int and 0 <= value <= SIZE_MAX


def is_term(text: str) -> bool:
    """Whether a variable TERM may say this."""
    return len(text) <= 64 and all(char.isascii() and (char.isalnum() or char in "._+-") for char in text)
