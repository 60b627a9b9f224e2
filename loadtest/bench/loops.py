"""The measured loops: what is sent when, and how the answers are counted. Nothing in here decodes a message.

Each loop runs on connections that are logged in, warms up until the span begins, counts until it ends, and then waits
until all that was sent has arrived. Every loop is closed (a message in flight makes room for the next), so that no
server has a reason to drop anything; only `paced` sends by the clock.
"""

import contextlib
import select
import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import NamedTuple

from loadtest.bench.dialects.base import AckCounter, Exchange, Wire
from loadtest.bench.links import Entrance, Link

# After the span everything has to arrive within this time; what has not is lost.
DRAIN_S = 5.0

# `paced` reads and writes by turns, so many at a time: what is due is not kept waiting by a crowd of arrivals.
_PACED_READS, _PACED_WRITES = 64, 16

_BUFFER = bytearray(256 * 1024)
_clock = time.monotonic


class LostConnectionError(Exception):
    """A server hung up in the middle of a measurement."""


class Span(NamedTuple):
    """The counted time, as instants of the monotonic clock, which all processes share."""

    begin_at: float
    end_at: float


@dataclass
class Tally:
    """What one process counted. `messages` within `seconds` of the span; `sent` and `received` in all."""

    messages: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    sent: int = 0
    received: int = 0
    latencies_ms: "array[float]" = field(default_factory=lambda: array("d"))
    # How late `paced` was with its own sending.
    lags_ms: "array[float]" = field(default_factory=lambda: array("d"))


class _Gauge:
    """Takes the tally's figures where the span begins and ends. `due_at` is the next of those instants."""

    def __init__(self, span: Span) -> None:
        self.tally = Tally()
        self.due_at = span.begin_at
        self.over = False
        self._span = span
        self._first: tuple[float, int, float] | None = None

    def read(self, now: float, received: int) -> None:
        """To be called when `due_at` has come."""
        cpu_s = time.process_time()
        if self._first is None:
            self._first = (now, received, cpu_s)
            self.due_at = self._span.end_at
            del self.tally.latencies_ms[:], self.tally.lags_ms[:]
        else:
            tally, (began_at, before, cpu_before_s) = self.tally, self._first
            tally.messages, tally.seconds, tally.cpu_s = received - before, now - began_at, cpu_s - cpu_before_s
            self.over = True

    def close(self, sent: int, received: int) -> Tally:
        """The tally, complete."""
        tally = self.tally
        tally.sent, tally.received = sent, received
        for values in (tally.latencies_ms, tally.lags_ms):
            for index, value in enumerate(values):
                values[index] = value * 1000
        return tally


class Stream:
    """One sender and its receivers. A batch counts as done when every receiver has its part of it."""

    def __init__(  # noqa: PLR0913, PLR0917
        self, sender: Link, receivers: Sequence[Link], frames: bytes, message_bytes: int, each: int, depth: int
    ) -> None:
        """A batch is `frames`; every receiver gets `each` messages of `message_bytes` of it. `depth` batches are under
        way at most.
        """
        self.sender = sender
        self.receivers = receivers
        self.message_bytes = message_bytes
        self.each = each
        self.depth = depth
        self.sent = 0
        self.done = 0
        self.batch_bytes = message_bytes * each
        self._frames = frames
        self._rest = memoryview(b"")
        self._waiting: deque[int] = deque()
        self._started: deque[float] = deque()

    def push(self, now: float) -> bool:
        """Send while there is room; whether the kernel took everything."""
        while True:
            if self._rest:
                try:
                    self._rest = self._rest[self.sender.sock.send(self._rest) :]
                except BlockingIOError:
                    return False
                if self._rest:
                    return False
            if self.sent - self.done >= self.depth:
                return True
            self.sent += 1
            self._waiting.append(len(self.receivers))
            self._started.append(now)
            self._rest = memoryview(self.batch())

    def batch(self) -> bytes:
        """The frames of the batch that is number `sent`, counted from 1."""
        return self._frames

    def complete(self, batch: int, now: float, latencies: "array[float]") -> bool:
        """A receiver has all of the batch with this number, counted from 0; whether that completed one."""
        waiting = self._waiting
        waiting[batch - self.done] -= 1
        if waiting[0]:
            return False
        waiting.popleft()
        self.done += 1
        latencies.append(now - self._started.popleft())
        return True


class NumberedStream(Stream):
    """A stream whose messages differ, and whose sender is answered; the answers are read and thrown away."""

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        sender: Link,
        receivers: Sequence[Link],
        message: Callable[[int], bytes],
        message_bytes: int,
        each: int,
        depth: int,
    ) -> None:
        """`message` makes the n-th message, counted from 1."""
        super().__init__(sender, receivers, b"", message_bytes, each, depth)
        self._message = message

    def push(self, now: float) -> bool:
        with contextlib.suppress(BlockingIOError):
            self.sender.sock.recv_into(_BUFFER)
        return super().push(now)

    def batch(self) -> bytes:
        first = (self.sent - 1) * self.each + 1
        return b"".join([self._message(n) for n in range(first, first + self.each)])


def flow(streams: Sequence[Stream], span: Span) -> Tally:
    """Send as fast as the receivers take it. Latencies are those of whole batches."""
    gauge = _Gauge(span)
    crowd = _Crowd(streams, gauge.tally.latencies_ms)
    give_up_at = span.end_at + DRAIN_S
    while (now := _clock()) < give_up_at and not (gauge.over and crowd.is_idle()):
        if now >= gauge.due_at and not gauge.over:
            gauge.read(now, crowd.total_bytes // crowd.message_bytes)
            if gauge.over:
                crowd.stop()
        crowd.step(now)
    sent = sum(stream.sent * stream.each * len(stream.receivers) for stream in streams)
    return gauge.close(sent, _whole(crowd.total_bytes, crowd.message_bytes))


class _Crowd:
    """All streams of a flow, and how many bytes each receiver has."""

    def __init__(self, streams: Sequence[Stream], latencies: "array[float]") -> None:
        self.total_bytes = 0
        self.message_bytes = streams[0].message_bytes
        self._streams = streams
        self._latencies = latencies
        self._poller = select.epoll()
        self._receivers = {link.fd: (link.sock.recv_into, stream) for stream in streams for link in stream.receivers}
        self._got = dict.fromkeys(self._receivers, 0)
        self._blocked: dict[int, Stream] = {}
        for fd in self._receivers:
            self._poller.register(fd, select.EPOLLIN)
        for stream in streams:
            self._push(stream, _clock())

    def is_idle(self) -> bool:
        """Whether all that was sent has arrived."""
        return not self._blocked and all(stream.done == stream.sent for stream in self._streams)

    def stop(self) -> None:
        """Begin no more batches."""
        for stream in self._streams:
            stream.depth = 0

    def step(self, now: float) -> None:
        """Read what has arrived, and send in return."""
        receivers, got, latencies = self._receivers, self._got, self._latencies
        for fd, _ in self._poller.poll(0.05):
            if fd in self._blocked:
                self._push(self._blocked[fd], now)
                continue
            read, stream = receivers[fd]
            count = read(_BUFFER)
            if not count:
                raise LostConnectionError(f"the server hung up on {stream.receivers[0].seat.user}")
            self.total_bytes += count
            before = got[fd]
            got[fd] = after = before + count
            first, last = before // stream.batch_bytes, after // stream.batch_bytes
            if first != last:
                now = _clock()
                for batch in range(first, last):
                    if stream.complete(batch, now, latencies):
                        self._push(stream, now)

    def _push(self, stream: Stream, now: float) -> None:
        fd = stream.sender.fd
        if stream.push(now):
            if self._blocked.pop(fd, None):
                self._poller.unregister(fd)
        elif fd not in self._blocked:
            self._blocked[fd] = stream
            self._poller.register(fd, select.EPOLLOUT)


def pingpong(pairs: Sequence[tuple[Link, Link]], wires: Sequence[tuple[Wire, Wire]], span: Span, both: bool) -> Tally:
    """Answer every message with one. `both` sides begin, or only the first."""
    poller, gauge = select.epoll(), _Gauge(span)
    partner, frames, sent_at, rest = _pair_tables(pairs, wires, poller)
    reads = {link.fd: link.sock.recv_into for pair in pairs for link in pair}
    sends = {link.fd: link.sock.send for pair in pairs for link in pair}
    size = wires[0][0].received_bytes
    latencies, received, sent = gauge.tally.latencies_ms, 0, 0
    for first, second in pairs:
        for link in (first, second) if both else (first,):
            sends[link.fd](frames[link.fd])
            sent_at[link.fd].append(_clock())
            sent += 1
    give_up_at = span.end_at + DRAIN_S
    while (now := _clock()) < give_up_at:
        if now >= gauge.due_at and not gauge.over:
            gauge.read(now, received)
        if gauge.over and received >= sent:
            break
        for fd, _ in poller.poll(0.05):
            count = _take(reads[fd](_BUFFER), fd, rest, size)
            now = _clock()
            for _ in range(count):
                received += 1
                latencies.append(now - sent_at[partner[fd]].popleft())
                if not gauge.over:
                    _send_whole(sends[fd], frames[fd])
                    sent_at[fd].append(now)
                    sent += 1
    poller.close()
    return gauge.close(sent, received - any(rest.values()))


def paced(pairs: Sequence[tuple[Link, Link]], wires: Sequence[tuple[Wire, Wire]], span: Span, rate: float) -> Tally:
    """Send `rate` messages a second, each connection in its turn, whatever comes back.

    A latency counts from the instant the message was due, not from when it was sent: who is late, this generator
    included, cannot hide it.
    """
    poller, gauge = select.epoll(), _Gauge(span)
    partner, frames, _, rest = _pair_tables(pairs, wires, poller)
    reads = {link.fd: link.sock.recv_into for pair in pairs for link in pair}
    turns = [(link.sock.send, frames[link.fd]) for pair in zip(*pairs, strict=True) for link in pair]
    places = {link.fd: place for place, link in enumerate(link for pair in zip(*pairs, strict=True) for link in pair)}
    heard = dict.fromkeys(reads, 0)
    size, number = wires[0][0].received_bytes, len(turns)
    latencies, lags, received, sent = gauge.tally.latencies_ms, gauge.tally.lags_ms, 0, 0
    base_at = _clock()
    give_up_at = span.end_at + DRAIN_S
    while (now := _clock()) < give_up_at:
        if now >= gauge.due_at and not gauge.over:
            gauge.read(now, received)
        if gauge.over and received >= sent:
            break
        due = 0 if gauge.over else min(int((now - base_at) * rate) + 1, sent + _PACED_WRITES)
        while sent < due:
            send, frame = turns[sent % number]
            _send_whole(send, frame)
            lags.append(_clock() - base_at - sent / rate)
            sent += 1
        for fd, _ in poller.poll(0, _PACED_READS):
            count = _take(reads[fd](_BUFFER), fd, rest, size)
            now = _clock()
            for _ in range(count):
                latencies.append(now - base_at - (heard[fd] * number + places[partner[fd]]) / rate)
                heard[fd] += 1
                received += 1
    poller.close()
    return gauge.close(sent, received - any(rest.values()))


class StoredSender(NamedTuple):
    """A connection that sends stored messages, its n-th message, and how its acknowledgements are counted."""

    link: Link
    message: Callable[[int], bytes]
    count: AckCounter


def stored(senders: Sequence[StoredSender], span: Span, in_flight: int) -> Tally:
    """Each sender keeps `in_flight` messages unacknowledged; a message counts when its acknowledgement arrives."""
    poller, gauge = select.epoll(), _Gauge(span)
    by_fd = {sender.link.fd: sender for sender in senders}
    numbers = dict.fromkeys(by_fd, 0)
    sent_at: dict[int, deque[float]] = {fd: deque() for fd in by_fd}
    latencies, received = gauge.tally.latencies_ms, 0

    def send(fd: int, count: int, now: float) -> None:
        sender, first = by_fd[fd], numbers[fd] + 1
        frames = b"".join([sender.message(n) for n in range(first, first + count)])
        _send_whole(sender.link.sock.send, frames)
        numbers[fd] += count
        sent_at[fd].extend([now] * count)

    for fd in by_fd:
        poller.register(fd, select.EPOLLIN)
        send(fd, in_flight, _clock())
    give_up_at = span.end_at + DRAIN_S
    while (now := _clock()) < give_up_at:
        if now >= gauge.due_at and not gauge.over:
            gauge.read(now, received)
        if gauge.over and received >= sum(numbers.values()):
            break
        for fd, _ in poller.poll(0.05):
            data = by_fd[fd].link.sock.recv(65536)
            if not data:
                raise LostConnectionError(f"the server hung up on {by_fd[fd].link.seat.user}")
            count = by_fd[fd].count(data)
            now = _clock()
            for _ in range(count):
                latencies.append(now - sent_at[fd].popleft())
            received += count
            if count and not gauge.over:
                send(fd, count, now)
    poller.close()
    return gauge.close(sum(numbers.values()), received)


def call(callers: Sequence[tuple[Link, Sequence[Exchange]]], bot: Link, span: Span) -> Tally:
    """Each caller has one request in flight, its exchanges in turn, which are of one size. A message is a request with
    its answer.
    """
    poller, gauge = select.epoll(), _Gauge(span)
    answers = {exchange.arrives: exchange.answer for _, exchanges in callers for exchange in exchanges}
    links = {link.fd: (link.sock, cycle([each.request for each in exchanges])) for link, exchanges in callers}
    sent_at: dict[int, float] = {}
    rest = dict.fromkeys(links, 0)
    size, arrives_bytes = callers[0][1][0].answered_bytes, len(callers[0][1][0].arrives)
    latencies, received, sent, waiting = gauge.tally.latencies_ms, 0, 0, b""
    for fd in (*links, bot.fd):
        poller.register(fd, select.EPOLLIN)
    for fd, (sock, requests) in links.items():
        sent_at[fd] = _clock()
        _send_whole(sock.send, next(requests))
        sent += 1
    give_up_at = span.end_at + DRAIN_S
    while (now := _clock()) < give_up_at:
        if now >= gauge.due_at and not gauge.over:
            gauge.read(now, received)
        if gauge.over and received >= sent:
            break
        for fd, _ in poller.poll(0.05):
            if fd == bot.fd:
                waiting += bot.sock.recv(1 << 20)
                whole = len(waiting) - len(waiting) % arrives_bytes
                asked = [waiting[at : at + arrives_bytes] for at in range(0, whole, arrives_bytes)]
                _send_whole(bot.sock.send, b"".join([answers[request] for request in asked]))
                waiting = waiting[whole:]
                continue
            sock, requests = links[fd]
            if not _take(sock.recv_into(_BUFFER), fd, rest, size):
                continue
            now = _clock()
            received += 1
            latencies.append(now - sent_at[fd])
            if not gauge.over:
                sent_at[fd] = now
                _send_whole(sock.send, next(requests))
                sent += 1
    poller.close()
    return gauge.close(sent, received)


def storm(entrance: Entrance, span: Span, open_max: int) -> tuple[Tally, list[Link]]:
    """Log in one after another. A latency is that of connecting and logging in.

    The connections stay, up to `open_max`, then the oldest are closed; those still open are returned.
    """
    gauge, stay, done = _Gauge(span), deque[Link](), 0
    entrance.durations_s = gauge.tally.latencies_ms
    while not gauge.over:
        entrance.step(0.05)
        done += len(entrance.links)
        stay.extend(link for _, link in entrance.links)
        entrance.links.clear()
        while len(stay) > open_max:
            stay.popleft().close()
        if (now := _clock()) >= gauge.due_at:
            gauge.read(now, done)
    entrance.drop_rest()
    return gauge.close(done, done), list(stay)


def _pair_tables(
    pairs: Sequence[tuple[Link, Link]], wires: Sequence[tuple[Wire, Wire]], poller: select.epoll
) -> tuple[dict[int, int], dict[int, bytes], dict[int, deque[float]], dict[int, int]]:
    """By descriptor: the partner's, the frame to send, when frames were sent, and bytes of a frame not yet whole."""
    partner, frames = {}, {}
    for (first, second), (there, back) in zip(pairs, wires, strict=True):
        partner[first.fd], partner[second.fd] = second.fd, first.fd
        frames[first.fd], frames[second.fd] = there.sent, back.sent
    for fd in partner:
        poller.register(fd, select.EPOLLIN)
    return partner, frames, {fd: deque() for fd in partner}, dict.fromkeys(partner, 0)


def _take(count: int, fd: int, rest: dict[int, int], size: int) -> int:
    """How many messages became whole with `count` more bytes."""
    if count == size and not rest[fd]:
        return 1
    if not count:
        raise LostConnectionError("the server hung up")
    messages, rest[fd] = divmod(rest[fd] + count, size)
    return messages


def _send_whole(send: Callable[[bytes], int], frame: bytes) -> None:
    """Send what always fits into the kernel's buffer, because little is in flight."""
    if send(frame) != len(frame):
        raise LostConnectionError("the server does not read: what is in flight did not fit into the kernel's buffer")


def _whole(total: int, size: int) -> int:
    """Bytes as messages. A remainder means that something unexpected arrived: count it as a loss."""
    return total // size - (total % size > 0)
