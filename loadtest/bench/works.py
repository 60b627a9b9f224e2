"""What can be measured: the works by name, who takes part in each, and how much is in flight."""

import re
from typing import NamedTuple

from loadtest.bench.dialects.base import Seat

PAYLOAD_BYTES = 128

DEFAULT = (
    "pipe-1",
    "pipe-50",
    "spread-50",
    "pingpong-1",
    "pingpong-1000",
    "fan-500",
    "paced-5000",
    "stored-100",
    "stored-fan-500",
    "idle-10000",
    "login-storm",
    "login-storm-tickets",
    "call-100",
)
QUICK = (
    "pipe-1",
    "pipe-50",
    "spread-50",
    "pingpong-1",
    "pingpong-1000",
    "fan-500",
    "paced-500",
    "stored-100",
    "stored-fan-500",
    "idle-1000",
    "login-storm",
    "login-storm-tickets",
    "call-100",
)

PACED_FRACTIONS = (0.25, 0.5, 0.75)
STORED_IN_FLIGHT = 20

# A sender writes this many messages at once and has this many such writes under way. Longer bursts flatter every
# server, and this relay most: it forwards a run of equal headers as one piece.
BURST = 16
_DEPTH = 8

# One message at a time to a whole room, and this many under way.
_FAN_DEPTH = 32

# The most that is under way to one receiver: half of what this relay queues before it drops signals to a slow reader.
_WINDOW_BYTES = 512 * 1024

# In `spread` each sender writes to this many receivers in turn.
SPREAD = 10

_STORM_USERS = 1000
STORM_OPEN_MAX = 12_000

# So many devices come back by ticket in turn: more than stay open, so that none takes the place of its own session.
_RESUMING = 16_000

EXPLAINED = {
    "pipe-N": f"N senders, a receiver each; {BURST} messages a write (--burst), {BURST * _DEPTH} under way",
    "spread-N": f"the same, but each sender has {SPREAD} receivers and writes to them in turn",
    "pingpong-N": "N connections in pairs, one message in flight each (pingpong-1: one message between two)",
    "fan-N": f"one sender to a room of N others, {_FAN_DEPTH} messages under way",
    "paced-N": "N connections send by the clock, at 25, 50 and 75 % of what pingpong-N reached; "
    "latency counts from the instant a message was due",
    "stored-N": f"N senders with {STORED_IN_FLIGHT} acknowledged messages in flight each, no receiver online",
    "stored-fan-N": f"one sender of acknowledged messages to a room of N live devices, {_FAN_DEPTH} under way; "
    "counted are deliveries",
    "idle-N": "N connections, logged in and reachable: memory each",
    "login-storm": f"connect and log in, 128 at a time; up to {STORM_OPEN_MAX:,} connections stay",
    "login-storm-tickets": "the same with resume tickets, each of which was handed out by the login before",
    "call-N": "N callers with one request in flight each, answered by one bot",
}


# Works without a number in their names, by kind.
_STORMS = {"storm": "login-storm", "resume": "login-storm-tickets"}

# Works with one sender to a room.
FANS = ("fan", "stored-fan")


class WorkError(ValueError):
    """There is no such work; the text says which there are."""


class Work(NamedTuple):
    """One work: its kind, how many take part, and the size of a message's payload."""

    kind: str
    number: int
    payload_bytes: int = PAYLOAD_BYTES
    burst: int = BURST

    @property
    def name(self) -> str:
        return _STORMS.get(self.kind) or f"{self.kind}-{self.number}"

    @property
    def payload(self) -> bytes:
        """Nothing in it can be taken for the end of a line or of a frame."""
        return b"x" * self.payload_bytes


def parse_work(name: str, payload_bytes: int = PAYLOAD_BYTES, burst: int = BURST) -> Work:
    """The work with this name. Raises WorkError."""
    for kind, storm in _STORMS.items():
        if name == storm:
            return Work(kind, _STORM_USERS, payload_bytes, burst)
    match = re.fullmatch(r"(pipe|spread|pingpong|fan|paced|stored|stored-fan|idle|call)-([1-9][0-9]{0,5})", name)
    if match is None:
        raise WorkError(f"there is no work {name!r}; there are {', '.join(EXPLAINED)}")
    return Work(match[1], int(match[2]), payload_bytes, burst)


def window(work: Work, frame_bytes: int) -> tuple[int, int]:
    """(messages in a write, writes under way) for a sender whose messages have that size on the wire."""
    burst, depth = (1, _FAN_DEPTH) if work.kind in FANS else (work.burst, _DEPTH)
    burst = max(1, min(burst, _WINDOW_BYTES // frame_bytes))
    return burst, max(1, min(depth, _WINDOW_BYTES // (frame_bytes * burst)))


def seats(work: Work) -> list[Seat]:
    """Everybody who takes part, in a fixed order. Names of one role have one length, so frames have one size."""
    many = range(work.number)
    match work.kind:
        case "pipe":
            return [Seat(f"{role}{n:06}") for n in many for role in "sr"]
        case "spread":
            return [Seat(f"{role}{n:06}") for n in many for role in ("s", *(f"r{place}-" for place in range(SPREAD)))]
        case "pingpong" | "paced":
            return [Seat(f"p{n:06}") for n in range(max(2, work.number - work.number % 2))]
        case "fan" | "stored-fan":
            return [Seat("sender", room="fan"), *(Seat(f"f{n:06}", room="fan") for n in many)]
        case "stored":
            return [Seat(f"s{n:06}") for n in many]
        case "call":
            return [Seat("bot"), *(Seat(f"c{n:06}") for n in many)]
        case "storm":
            return [storm_seat(n) for n in many]
        case "resume":
            return [storm_seat(n) for n in range(_RESUMING)]
        case _:
            return [Seat(f"i{n:06}") for n in many]


def everybody(work: Work) -> list[Seat]:
    """`seats`, and those who are written to without being there."""
    here = seats(work)
    return [*here, *map(stored_to, here)] if work.kind == "stored" else here


def stored_to(sender: Seat) -> Seat:
    """Whom a sender of stored messages writes to."""
    return Seat("m" + sender.user[1:])


def storm_seat(n: int) -> Seat:
    """Who logs in as the n-th in a login storm: many users, several devices each."""
    return Seat(f"u{n % _STORM_USERS:06}", f"d{n // _STORM_USERS:06}")
