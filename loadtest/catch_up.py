"""How fast a device that was away gets what it missed, and what a live pair notices: `python -m loadtest.catch_up`.

A relay begins with a backlog for one device. Two others talk at a steady pace, and the time from the instant a message
was due until it is delivered is taken, first alone, then while the device catches up.
"""

import argparse
import os
import select
import sys
import time
from array import array
from collections import deque
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from loadtest.bench.dialects.base import Place, Seat
from loadtest.bench.dialects.relay import RelayDialect
from loadtest.bench.links import Link, Task, allow_descriptors, connect_all
from loadtest.bench.runner import percentiles, share_cores
from loadtest.bench.server import Server, Usage
from relay.protocol.frames import FrameReader, encode_frame
from relay.protocol.limits import FRAME_MAX
from relay.protocol.packets import Delivery, Message, decode, encode_payload
from relay.protocol.runs import deliveries
from relay.store.base import Append
from relay.store.sqlite import SqliteStore

PAYLOAD = b"x" * 128
AWAY, WRITER, SPEAKER, HEARER = Seat("away"), Seat("writer"), Seat("speaker"), Seat("hearer")
CONVERSATION = "away@writer"
PACE_S = 0.005
ALONE_S = 2.0
_GIVE_UP_S = 60.0
_GROUP = 2_000
_clock = time.monotonic


class CatchUpDialect(RelayDialect):
    """A relay whose database holds `messages` for a device that has not come yet, stored in runs of `run_length`."""

    def __init__(self, messages: int, run_length: int) -> None:
        self.backlog = backlog(messages, run_length)
        self.time_ms = time.time_ns() // 1_000_000

    def command(self, place: Place) -> list[str]:
        command = super().command(place)
        store = SqliteStore(place.directory / "data")
        try:
            store.open_device(AWAY.user, AWAY.device, None, self.time_ms)
            for start in range(0, len(self.backlog), _GROUP):
                store.append(self.backlog[start : start + _GROUP], self.time_ms)
                store.maintain(idle=False)
        finally:
            store.close()
        return command

    def backlog_bytes(self) -> int:
        """What the device reads of it."""
        offset, size = 1, 0
        for item in self.backlog:
            size += len(deliveries(CONVERSATION, offset, self.time_ms, item.packet, item.total))
            offset += item.total
        return size


def backlog(messages: int, run_length: int) -> list[Append]:
    """Messages of 128 bytes from the writer, in runs."""
    sender, items = f"{WRITER.user}/{WRITER.device}", []
    first_id = 1 << 17
    for start in range(0, messages, run_length):
        numbers = range(first_id + start, first_id + min(start + run_length, messages))
        payloads = [encode_payload(Message(sender, AWAY.user, number, "", PAYLOAD)) for number in numbers]
        packet = payloads[0] if len(payloads) == 1 else b"".join(map(encode_frame, payloads))
        items.append(
            Append(CONVERSATION, WRITER.user, WRITER.device, numbers[0], packet, total=len(payloads)),
        )
    return items


class Figures(NamedTuple):
    """One round. Latencies in seconds."""

    messages_per_s: float
    cpu_us_per_message: float
    alone_s: list[float]
    beside_s: list[float]


class Talk:
    """The live pair: one speaks by the clock, the other hears."""

    def __init__(self, speaker: Link, hearer: Link, dialect: RelayDialect) -> None:
        self._speaker = speaker
        self._hearer = hearer
        self._frame = dialect.message(SPEAKER, HEARER, PAYLOAD)
        self._reader = FrameReader(FRAME_MAX)
        # When the next message is due, and when those were that are not heard yet.
        self._due_at = _clock()
        self._waiting: deque[float] = deque()
        self._spoken = 0
        self.latencies_s: list[float] = []

    @property
    def finished(self) -> bool:
        """Whether everything spoken was heard."""
        return not self._waiting

    def begin(self) -> None:
        """After a pause: the next message is due now."""
        self._due_at = _clock()

    def speak(self) -> None:
        """Send what is due."""
        while _clock() >= self._due_at:
            self._spoken += 1
            self._speaker.sock.send(self._frame(self._spoken))
            self._waiting.append(self._due_at)
            self._due_at += PACE_S

    def handle(self, fd: int) -> None:
        """Something arrived for one of the two."""
        if fd == self._speaker.fd:
            self._speaker.sock.recv(65_536)
            return
        self._reader.feed(self._hearer.sock.recv(65_536))
        while (payload := self._reader.next_payload()) is not None:
            if isinstance(decode(payload), Delivery):
                self.latencies_s.append(_clock() - self._waiting.popleft())


def measure(messages: int, run_length: int, server_cores: Sequence[int]) -> Figures:
    """One round on a fresh relay. Raises TimeoutError if the backlog does not arrive as it is."""
    dialect = CatchUpDialect(messages, run_length)
    seats = [AWAY, WRITER, SPEAKER, HEARER]
    with Server(dialect, "stored", seats, server_cores) as server:
        logins = [dialect.login(AWAY, True), dialect.login(SPEAKER, False), dialect.receive(HEARER)]
        there = zip((AWAY, SPEAKER, HEARER), logins, strict=True)
        tasks = [Task(n, seat, login) for n, (seat, login) in enumerate(there)]
        away, speaker, hearer = connect_all(server.address, tasks, lambda number: None, _GIVE_UP_S)
        talk = Talk(speaker, hearer, dialect)
        _run(talk, [speaker, hearer], None, 0, ALONE_S)
        alone = len(talk.latencies_s)
        expected_bytes = dialect.backlog_bytes()
        before, began_at = server.usage(), _clock()
        away.sock.send(dialect.receive_call(AWAY))
        # The answer to the call is fewer bytes than one message, so all but the last bytes of the last have arrived.
        _run(talk, [speaker, hearer], away, expected_bytes, _GIVE_UP_S)
        taken_s, used = _clock() - began_at, server.usage().since(before)
        for link in (away, speaker, hearer):
            link.close()
    return Figures(messages / taken_s, _us(used, messages), talk.latencies_s[:alone], talk.latencies_s[alone:])


def _us(used: Usage, messages: int) -> float:
    return used.cpu_s / messages * 1e6


def _run(talk: Talk, pair: Sequence[Link], away: Link | None, expected_bytes: int, limit_s: float) -> None:
    """Let the pair talk: until the other device has so many bytes, or for so long."""
    poller = select.epoll()
    buffer = bytearray(1 << 18)
    for link in (*pair, *([away] if away else [])):
        poller.register(link.fd, select.EPOLLIN)
    talk.begin()
    end_at = _clock() + limit_s
    while not (talk.finished and (_clock() >= end_at if away is None else expected_bytes <= 0)):
        if away is not None and _clock() > end_at:
            raise TimeoutError(f"{expected_bytes} bytes of the backlog did not arrive within {limit_s:g} s")
        if _clock() < end_at and (away is None or expected_bytes > 0):
            talk.speak()
        for fd, _ in poller.poll(0.001):
            if away is not None and fd == away.fd:
                expected_bytes -= away.sock.recv_into(buffer)
            else:
                talk.handle(fd)
    poller.close()


def report(rounds: Sequence[Figures], run_length: int, messages: int) -> list[str]:
    """The figures of all rounds, in words."""
    rates = sorted(figures.messages_per_s for figures in rounds)
    costs = sorted(figures.cpu_us_per_message for figures in rounds)
    lines = [
        f"{messages:,} messages behind, stored in runs of {run_length}: {median(rates):,.0f} messages/s "
        f"({rates[0]:,.0f}-{rates[-1]:,.0f}), CPU {median(costs):.2f} us/message ({costs[0]:.2f}-{costs[-1]:.2f})"
    ]
    for name, column in (("alone", 2), ("beside it", 3)):
        found = [percentiles(_milliseconds(figures[column]), (0.5, 0.99)) for figures in rounds]
        p50, p99 = (median(value or 0.0 for value in values) for values in zip(*found, strict=True))
        lines.append(f"  a live pair {name}: p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    return lines


def _milliseconds(values: Sequence[float]) -> "array[float]":
    return array("d", [value * 1000 for value in values])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtest.catch_up", description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000, help="how far the device is behind (%(default)s)")
    parser.add_argument("--run-lengths", default="1,16", help="how the backlog is stored (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="default %(default)s")
    options = parser.parse_args(arguments)
    allow_descriptors()
    server_cores, generator_cores = share_cores(None, 1)
    if generator_cores:
        os.sched_setaffinity(0, generator_cores)
    print(f"server on {len(server_cores) or 1} core(s), the clients on one; load {os.getloadavg()[0]:.1f}")
    for run_length in map(int, options.run_lengths.split(",")):
        rounds = [measure(options.messages, run_length, server_cores) for _ in range(options.rounds)]
        print("\n".join(report(rounds, run_length, options.messages)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
