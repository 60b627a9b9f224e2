"""How each kind of work is played: which connections a process opens, and the loop it runs on them."""

from collections.abc import Iterator, Sequence
from itertools import count, cycle

from loadtest.bench import loops
from loadtest.bench.dialects.base import Dialect, Exchange, Wire
from loadtest.bench.links import Entrance, Link, Task
from loadtest.bench.loops import NumberedStream, Span, StoredSender, Stream, Tally
from loadtest.bench.works import (
    FANS,
    SPREAD,
    STORED_IN_FLIGHT,
    STORM_OPEN_MAX,
    Work,
    seats,
    stored_to,
    storm_seat,
    window,
)

# These have one sender or one bot for all, so one process plays them.
_UNDIVIDED = {*FANS, "call", "storm", "resume"}


# So many calls of a caller have ids of their own. They are made in advance: about 15 MB for 100 callers.
_CALLS_IN_TURN = 256


def shares_of(work: Work, wanted: int) -> int:
    """Into how many processes a work can be divided, `wanted` at most."""
    return 1 if work.kind in _UNDIVIDED else min(wanted, max(1, work.number // 2))


class Play:
    """One process's share of a work: number `share` of `shares`."""

    def __init__(self, dialect: Dialect, work: Work, share: int = 0, shares: int = 1) -> None:
        self.work = work
        self._dialect = dialect
        self._share = share
        self._shares = shares

    def tasks(self) -> list[Task]:
        """The connections to open, in the order in which `run` wants them."""
        if self.work.kind in ("storm", "resume"):
            return []
        own = [(n, seat) for n, seat in enumerate(seats(self.work)) if n // self._group % self._shares == self._share]
        login, serve = self._dialect.login, self._dialect.serve
        if self.work.kind == "call":
            return [Task(n, seat, login(seat, True) if n else serve(seat)) for n, seat in own]
        if self.work.kind == "stored-fan":
            return [Task(n, seat, self._dialect.receive(seat) if n else login(seat, False)) for n, seat in own]
        return [Task(n, seat, login(seat, self._listens(n))) for n, seat in own]

    @property
    def _group(self) -> int:
        """Connections that have to be in one process: a sender and its receivers, or two partners."""
        return 1 + SPREAD if self.work.kind == "spread" else 2

    def _listens(self, n: int) -> bool:
        """Senders that hear nothing back need not listen."""
        kind = self.work.kind
        return not (kind in ("pipe", "spread") and n % self._group == 0) and not (kind == "fan" and n == 0)

    def run(self, kind: str, links: Sequence[Link], span: Span, rate: float) -> Tally:
        """Play. `kind` is the work's own, or another that the same connections can play. `rate` is this share's."""
        match kind:
            case "pipe" | "spread":
                starts = range(0, len(links), self._group)
                return loops.flow([self._stream(links[n], links[n + 1 : n + self._group]) for n in starts], span)
            case "fan":
                return loops.flow([self._stream(links[0], links[1:])], span)
            case "stored-fan":
                return loops.flow([self._stored_stream(links[0], links[1:])], span)
            case "pingpong":
                return loops.pingpong(_pairs(links), self._pair_wires(links), span, both=self.work.number > 1)
            case "paced":
                return loops.paced(_pairs(links), self._pair_wires(links), span, rate)
            case "stored":
                return loops.stored([self._stored_sender(link) for link in links], span, STORED_IN_FLIGHT)
            case "call":
                bot, callers = links[0], links[1:]
                return loops.call([(link, self._exchanges(link, bot)) for link in callers], bot, span)
            case _:
                raise ValueError(f"{kind} has no loop")

    def storm_tasks(self) -> Iterator[Task]:
        """Logins without end."""
        if self.work.kind == "resume":
            for n, seat in enumerate(cycle(seats(self.work))):
                yield Task(n, seat, self._dialect.resume(seat))
        for n in count():
            seat = storm_seat(n)
            yield Task(n, seat, self._dialect.login(seat, True))

    def run_storm(self, address: tuple[str, int], span: Span) -> tuple[Tally, list[Link]]:
        """Log in; the connections that are still open are returned, too."""
        entrance = Entrance(address, self.storm_tasks())
        return loops.storm(entrance, span, STORM_OPEN_MAX)

    def _wire(self, sender: Link, receiver: Link) -> Wire:
        return self._dialect.signal(sender.seat, receiver.seat, self.work.payload)

    def _stream(self, sender: Link, receivers: Sequence[Link]) -> Stream:
        """One receiver, or several: then each message goes to all (`fan`), or to one of them in turn (`spread`)."""
        wires = [self._wire(sender, receiver) for receiver in receivers]
        burst, depth = window(self.work, wires[0].received_bytes)
        if self.work.kind == "spread":
            return Stream(sender, receivers, b"".join(wire.sent for wire in wires), wires[0].received_bytes, 1, depth)
        return Stream(sender, receivers, wires[0].sent * burst, wires[0].received_bytes, burst, depth)

    def _stored_stream(self, sender: Link, receivers: Sequence[Link]) -> Stream:
        message = self._dialect.message(sender.seat, receivers[0].seat, self.work.payload)
        size = self._dialect.delivered_bytes(message(1), sender.seat, receivers[0].seat)
        burst, depth = window(self.work, size)
        return NumberedStream(sender, receivers, message, size, burst, depth)

    def _exchanges(self, caller: Link, bot: Link) -> list[Exchange]:
        request, payload = self._dialect.request, self.work.payload
        return [request(caller.seat, bot.seat, payload, number) for number in range(_CALLS_IN_TURN)]

    def _pair_wires(self, links: Sequence[Link]) -> list[tuple[Wire, Wire]]:
        return [(self._wire(first, second), self._wire(second, first)) for first, second in _pairs(links)]

    def _stored_sender(self, link: Link) -> StoredSender:
        message = self._dialect.message(link.seat, stored_to(link.seat), self.work.payload)
        return StoredSender(link, message, self._dialect.acks())


def _pairs(links: Sequence[Link]) -> list[tuple[Link, Link]]:
    return list(zip(links[::2], links[1::2], strict=True))
