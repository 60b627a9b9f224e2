"""What all users of one process share: the plan, the clock, the books' totals, and where each stands."""

import random
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import Event

from loadtest.books.histogram import Timeline
from loadtest.books.tally import Tally
from loadtest.crowd.schedule import Schedule
from loadtest.scenarios.scenario import Scenario

if TYPE_CHECKING:
    from loadtest.crowd.person import Person

# Acknowledgements are cumulative and go out together, as the SDK does it.
_ACK_EVERY_S = 0.05

# A kernel has 28,000 ports per source address, and the relay by default takes 1,000 connections from one.
_USERS_PER_ADDRESS = 100

CRASHES_MAX = 5
NOTES_MAX = 5


@dataclass(frozen=True)
class Plan:
    """What a worker process has to know. It takes the users `worker`, `worker + workers`, and so on."""

    scenario: Scenario
    host: str
    port: int
    users: int
    worker: int
    workers: int


def user_name(index: int) -> str:
    """The account of a user."""
    return f"load{index}"


def room_name(room: int) -> str:
    """The address of a room, and the name of its conversation."""
    return f"#load{room}"


def room_number(name: str) -> int | None:
    """The room of that address or conversation; None for a user or a direct conversation."""
    return int(name[5:]) if name.startswith("#") else None


def room_members(room: int, scenario: Scenario, users: int) -> range:
    """Who is in a room: users that follow each other, fewer in the last one."""
    return range(room * scenario.room_members, min(users, (room + 1) * scenario.room_members))


def source_address(index: int) -> str:
    """The loopback address a user comes from, spread over 127.0.0.0/8."""
    group = index // _USERS_PER_ADDRESS + 1
    return f"127.{group % 250 + 1}.{group // 250 % 250}.1"


def every(share: float) -> int:
    """Every how many users one is of a share (0 to 1) of them."""
    return max(1, round(1 / share)) if share else 1


def is_among(index: int, share: float) -> bool:
    """Whether the user is of that share of all."""
    return bool(share) and index % every(share) == 0


class Crowd:
    """One process's users. `report(kind, time_ms, error)` is called for everything that ends, well or not."""

    def __init__(self, plan: Plan, report: Callable[[str, float, str | None], None]) -> None:
        self.plan = plan
        self.scenario = plan.scenario
        self.tally = Tally()
        self.timeline = Timeline()
        self.schedule = Schedule()
        self.random = random.Random(plan.worker)
        self.people: list[Person] = []
        self.to_acknowledge: dict[Person, None] = {}
        self.crashes: list[str] = []
        self.notes: list[str] = []
        self.online = 0
        self.given_up = 0
        self.begun = Event()
        self.over = False
        self.begin_at = 0.0
        self.until_at = 0.0
        self.all_in_at = 0.0
        # While the traffic lasts, slow readers are slow and churning users leave.
        self.busy = False
        self._report = report

    def is_slow(self, index: int) -> bool:
        """Whether the user is a slow reader."""
        return is_among(index, self.scenario.slow_users / self.plan.users)

    def body_bytes(self, receiver: int) -> int:
        """How long bodies to that user are."""
        return self.scenario.slow_body_bytes if self.is_slow(receiver) else self.scenario.body_bytes

    def address_of(self, peer: int) -> str:
        """Where to send what is for a peer: a user or a room."""
        return user_name(peer) if peer >= 0 else room_name(-1 - peer)

    def receivers(self, sender: int, peer: int) -> int:
        """How many others receive what `sender` sends there."""
        if peer < 0:
            return len(room_members(-1 - peer, self.scenario, self.plan.users)) - 1
        return int(peer != sender)

    def next_index(self) -> int:
        """The number of this process's next user."""
        return self.plan.worker + len(self.people) * self.plan.workers

    def begin(self, begin_at: float) -> None:
        """Let the users come, from `begin_at` on."""
        self.begin_at = begin_at
        for greenlet in (gevent.spawn(self.schedule.run), gevent.spawn(self._acknowledge)):
            greenlet.link_exception(lambda dead: self.crashed(repr(dead.exception)))
        self.begun.set()

    def start_traffic(self, from_at: float, until_at: float) -> None:
        """Everybody does things between these instants."""
        self.until_at = until_at
        self.busy = True
        for person in self.people:
            person.start_doing(from_at)

    def drain(self) -> None:
        """Nobody begins anything any more; everybody is there and reads."""
        self.busy = False
        for person in self.people:
            person.settle_down()

    def finish(self) -> None:
        """Everybody leaves; what is open now stays open for ever."""
        self.over = True
        for person in self.people:
            person.finish()

    def standing(self) -> dict[str, int]:
        """Where the process stands, for the conductor."""
        names = ("messages_expected", "messages_received", "signals_expected", "signals_received")
        open_doings = sum(person.open_doings() for person in self.people)
        standing = {name: self.tally[name] for name in names}
        return standing | {
            "people": len(self.people),
            "online": self.online,
            "given_up": self.given_up,
            "open_doings": open_doings,
            "crashes": len(self.crashes),
        }

    def record(self, kind: str, intended_at: float, now: float) -> None:
        """Something went well that was meant to begin at `intended_at`."""
        took_s = max(0.0, now - intended_at)
        self.timeline.record(kind, int(intended_at), int(took_s * 1e6))
        self._report(kind, took_s * 1000, None)

    def fail(self, kind: str, count: str, intended_at: float, reason: str) -> None:
        """Something went wrong; it is counted under `count`."""
        self.tally[count] += 1
        self._report(kind, (time.monotonic() - intended_at) * 1000, reason)

    def crashed(self, what: str) -> None:
        """The load test itself has a bug: remember it, so that the run fails with it."""
        if len(self.crashes) < CRASHES_MAX:
            self.crashes.append(what)

    def unexpected(self, address: str, packet: object) -> None:
        """The relay sent a user what it had no reason to send."""
        self.tally["packets_unexpected"] += 1
        self.note(f"{address} got {packet!r}")

    def note(self, what: str) -> None:
        """Something is wrong with what arrived: keep what it was, of the first few."""
        if len(self.notes) < NOTES_MAX:
            self.notes.append(what)

    def to_plain(self) -> dict[str, Any]:
        """All books of the process, for msgpack."""
        return {
            "tally": dict(self.tally),
            "timeline": self.timeline.to_plain(),
            "books": {person.index: person.books.to_plain() for person in self.people},
            "crashes": self.crashes,
            "notes": self.notes,
            "all_in_at": self.all_in_at,
        }

    def connect(self, index: int, buffer_bytes: int | None) -> socket.socket:
        """A connection of a user to the relay, with a receive buffer of that size; waits. Raises OSError."""
        sock = gevent.socket.socket()
        try:
            if buffer_bytes is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if sys.platform == "linux":  # elsewhere only 127.0.0.1 is there
                # The kernel picks the port once it knows where we connect to: ports are not used up by address.
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_BIND_ADDRESS_NO_PORT, 1)
                sock.bind((source_address(index), 0))
            sock.connect((self.plan.host, self.plan.port))
        except BaseException:
            sock.close()
            raise
        return sock  # type: ignore[no-any-return]

    def _acknowledge(self) -> None:
        while True:
            gevent.sleep(_ACK_EVERY_S)
            people, self.to_acknowledge = self.to_acknowledge, {}
            for person in people:
                person.messages.acknowledge()
