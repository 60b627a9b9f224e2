"""Two pairs who talk beside the transfers: one calls, one sends messages, each by the clock, one at a time."""

import select
import time
from collections.abc import Sequence
from typing import NamedTuple

from loadtest.bench.dialects.base import Seat
from loadtest.bench.dialects.relay import RelayDialect
from loadtest.bench.links import Link, Task, connect_all
from loadtest.bench.server import Server
from loadtest.streams.carriers import CONNECT_S
from relay.protocol.frames import FrameReader
from relay.protocol.limits import FRAME_MAX
from relay.protocol.packets import Call, Delivery, Result, decode, encode

CALLER, BOT, WRITER, HEARER = CHAT_SEATS = [Seat("caller"), Seat("bot"), Seat("writer"), Seat("hearer")]
PAYLOAD = b"x" * 128
PACE_S = 0.002
_LAST_S = 5.0
_clock = time.perf_counter


class Latencies(NamedTuple):
    """Seconds from the instant something was sent until it, or its answer, was there."""

    calls_s: list[float]
    messages_s: list[float]


class Chat:
    """The four connections; `talk` may be called again and again."""

    def __init__(self, server: Server, dialect: RelayDialect) -> None:
        logins = [dialect.login(CALLER, False), dialect.serve(BOT), dialect.login(WRITER, False)]
        logins.append(dialect.receive(HEARER))
        tasks = [Task(number, seat, login) for number, (seat, login) in enumerate(zip(CHAT_SEATS, logins, strict=True))]
        self._links: Sequence[Link] = connect_all(server.address, tasks, lambda count: None, CONNECT_S)
        self._readers = {link.fd: FrameReader(FRAME_MAX) for link in self._links}
        self._dialect = dialect
        self._message = dialect.message(WRITER, HEARER, PAYLOAD)
        self._number = 0
        self._asked_at = self._wrote_at = 0.0
        self._found = Latencies([], [])

    def talk(self, seconds: float) -> Latencies:
        """Talk for so long. Raises TimeoutError if the last of it is not answered."""
        self._found = Latencies([], [])
        poller = select.epoll()
        for link in self._links:
            poller.register(link.fd, select.EPOLLIN)
        due_at = _clock()
        end_at = due_at + seconds
        while (now := _clock()) < end_at or self._asked_at or self._wrote_at:
            if now > end_at + _LAST_S:
                raise TimeoutError("a call or a message beside the transfers was lost")
            if due_at <= now < end_at:
                self._begin()
                due_at = max(due_at + PACE_S, now)
            for fd, _ in poller.poll(min(PACE_S, max(0.0, due_at - now)) if now < end_at else PACE_S):
                self._receive(fd)
        poller.close()
        return self._found

    def _begin(self) -> None:
        self._number += 1
        caller, _, writer, _ = self._links
        if not self._asked_at:
            exchange = self._dialect.request(CALLER, BOT, PAYLOAD, self._number)
            self._asked_at = _clock()
            caller.sock.send(exchange.request)
        if not self._wrote_at:
            frame = self._message(self._number)
            self._wrote_at = _clock()
            writer.sock.send(frame)

    def _receive(self, fd: int) -> None:
        caller, bot, _, hearer = self._links
        reader = self._readers[fd]
        reader.feed(next(link for link in self._links if link.fd == fd).sock.recv(1 << 16))
        while (payload := reader.next_payload()) is not None:
            now, packet = _clock(), decode(payload)
            if isinstance(packet, Call) and fd == bot.fd:
                bot.sock.send(encode(Result(f"{BOT.user}/{BOT.device}", packet.sender, packet.id, "", packet.body)))
            elif isinstance(packet, Result) and fd == caller.fd:
                self._found.calls_s.append(now - self._asked_at)
                self._asked_at = 0.0
            elif isinstance(packet, Delivery) and fd == hearer.fd:
                self._found.messages_s.append(now - self._wrote_at)
                self._wrote_at = 0.0
