"""The proof that a slow reader costs itself and nobody else: `python -m loadtest.slow_readers --help`.

Thousands of readers in busy rooms, paced by the clock. In each round everybody reads for a while (the baseline), then a
few stop reading altogether, then they read on. What the others' messages took is compared with the baseline of the same
round, the relay's memory while nobody is read with that before, and at the end everybody must have every message once
and in order.
"""

import argparse
import json
import os
import resource
import shutil
import struct
import sys
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from loadtest.accounts import add_accounts, add_rooms
from loadtest.crowd.login import PASSWORD, KnownPasswordLogin
from loadtest.processes import Relay
from loadtest.torture.link import Link
from loadtest.torture.loop import Loop
from relay.protocol.addresses import RELAY
from relay.protocol.limits import HEADER_BYTES, VERSION_MAX, VERSION_MIN
from relay.protocol.packets import (
    Ack,
    Call,
    Challenge,
    Close,
    Delivery,
    Fault,
    Hello,
    Message,
    Packet,
    Ping,
    Pong,
    Proof,
    Result,
    Stored,
    StoredRun,
    Unknown,
    Welcome,
    decode,
    encode,
    unfold,
)
from relay.protocol.scram import MECHANISM

MIB = 1024 * 1024

# In front of every body: the instant at which the message was due, in nanoseconds of the monotonic clock.
_STAMP = struct.Struct(">Q")

# The kernel takes as little as possible for a reader who does not read: what comes must stay with the relay.
_SLOW_RECEIVE_BYTES = 4096
_COME_TOGETHER = 100

# Written and read by others before anything is measured: what fills the caches of the database (16 MiB for each of its
# connections) is not the slow readers' fault.
_WARM_ROOM = "#warm"
_WARM_USERS = 4
_WARM_BYTES = 64 * 1024
_WARM_MESSAGES = 800
_WARM_TOGETHER = 50
_TICK_S = 0.002
_SAMPLE_S = 0.05
_ACK_S = 0.5
_SETTLE_S = 1.0

CLASSES = ("lost", "duplicated", "corrupted", "failed")

_EXAMPLES = """
examples:
  python -m loadtest.slow_readers                                     1 % of 2,000 readers, three rounds: three minutes
  python -m loadtest.slow_readers --readers 60 --slow 20 --rooms 2 --rate 20 --body-bytes 16384 --rounds 1

Each of the slow readers is in every room, each of the others in one. The last line on stdout is one JSON object. The
exit code is 0 if everybody got everything once and in order, and the relay's memory stayed within 1 MiB for each slow
reader; how long messages took is printed and not judged.
"""


class Options(NamedTuple):
    """What to do: `rate` messages a second in each room."""

    readers: int
    slow: int
    rooms: int
    rate: float
    body_bytes: int
    rounds: int
    baseline_s: float
    stalled_s: float
    patience_s: float


class Device:
    """One connection that logs in, and comes again when it is closed. Readers have a name, senders too."""

    def __init__(self, stage: "Stage", number: int, user: str, slow: bool = False) -> None:
        """A slow one may be closed, and how long its messages take is no matter."""
        self.user = user
        self.address = f"{user}/pc"
        self.slow = slow
        self.open = False
        self.reading = False
        self.logins = 0
        # Conversation -> the last offset that came, on any connection and on this one, and what was acknowledged.
        self.cursors: dict[str, int] = {}
        self._at: dict[str, int] = {}
        self._acknowledged: dict[str, int] = {}
        self._stage = stage
        self._source = f"127.0.{1 + number // 200}.{1 + number % 200}"
        self._partial = b""
        self._login = KnownPasswordLogin(user)
        self._link: Link | None = None

    def come(self, receives: bool = True) -> None:
        """Connect and log in; begin to receive or not."""
        stage = self._stage
        self._partial, self._receives = b"", receives
        self._at = {}
        self._login = KnownPasswordLogin(self.user)
        self._link = Link(stage.loop, self._receive, self._handle_lost, lambda ending: None)
        self._link.connect(stage.target, self._source, _SLOW_RECEIVE_BYTES if self.slow else None)
        first = Hello(VERSION_MIN, VERSION_MAX, self.user, "pc", MECHANISM, self._login.first(), "slow readers")
        self._link.send(encode(first))

    def receive_messages(self) -> None:
        """Ask for all that was not acknowledged, and for what comes."""
        self.send(Call(self.address, RELAY, 1, "messages.receive", 60_000, "", b""))

    def pause(self) -> None:
        """Stop reading."""
        assert self._link is not None
        self._link.pause()

    def resume(self) -> None:
        """Read on."""
        assert self._link is not None
        self._link.resume()

    def send(self, packet: Packet) -> None:
        """Send at the end of this turn."""
        assert self._link is not None
        self._link.send(encode(packet))

    def acknowledge(self) -> None:
        """Tell the relay how far this device is."""
        for conversation, offset in self.cursors.items():
            if self._acknowledged.get(conversation) != offset:
                self._acknowledged[conversation] = offset
                self.send(Ack(conversation, offset, None))

    def leave(self) -> None:
        """Close the connection."""
        if self._link is not None:
            self._link.close()

    def _receive(self, data: bytes) -> None:
        now_ns = time.monotonic_ns()
        data = self._partial + data
        start, end = 0, len(data)
        while end - start >= HEADER_BYTES:
            stop = start + HEADER_BYTES + int.from_bytes(data[start : start + HEADER_BYTES], "big")
            if stop > end:
                break
            self._handle(decode(data[start + HEADER_BYTES : stop]), now_ns)
            start = stop
        self._partial = data[start:]

    def _handle(self, packet: Packet | Unknown, now_ns: int) -> None:
        match packet:
            case Delivery():
                self._handle_delivery(packet, now_ns)
            case Stored():
                self._stage.note_stored(packet.conversation, packet.offset)
            case StoredRun():
                for stored in unfold(packet):
                    self._stage.note_stored(stored.conversation, stored.offset)
            case Challenge():
                self.send(Proof(self._login.final(packet.data)))
            case Welcome():
                self._login.check(packet.data)
                self.open = True
                self.logins += 1
                if self._receives:
                    self.receive_messages()
            case Result():
                self.reading = True
            case Ping():
                self.send(Pong(packet.token))
            case Close() | Fault():
                self._stage.note("failed" if not self.slow or isinstance(packet, Fault) else "closed", repr(packet))

    def _handle_delivery(self, delivery: Delivery, now_ns: int) -> None:
        conversation, offset, _, packet = delivery
        # A new connection may begin with what was not acknowledged on the one before.
        cursor = self.cursors.get(conversation, 0)
        expected = self._at.get(conversation, min(cursor, offset - 1)) + 1
        if offset != expected:
            kind = "lost" if offset > expected else "duplicated"
            self._stage.note(kind, f"{self.address}: {conversation} {offset} came instead of {expected}")
        self._at[conversation] = offset
        self.cursors[conversation] = max(offset, cursor)
        if conversation == _WARM_ROOM:
            return
        filling = self._stage.filling
        if not packet.endswith(filling):
            self._stage.note("corrupted", f"{self.address}: {conversation} {offset}")
            return
        if not self.slow:
            at = len(packet) - len(filling) - _STAMP.size
            self._stage.record(now_ns - _STAMP.unpack_from(packet, at)[0])

    def _handle_lost(self, reason: str) -> None:
        self.open = self.reading = False
        if not self.slow:
            self._stage.note("failed", f"{self.address}: {reason}")
        self._stage.loop.later(0.1, self.come)


class Stage:
    """One run against a relay of its own. `play` returns its result."""

    def __init__(self, options: Options, directory: Path) -> None:
        self.options = options
        self.loop = Loop()
        self.filling = bytes(options.body_bytes - _STAMP.size)
        self.counts: Counter[str] = Counter()
        self.examples: list[str] = []
        self.target = ("127.0.0.1", 0)
        self._directory = directory
        self._rooms = [f"#room{number}" for number in range(options.rooms)]
        self._heads = dict.fromkeys(self._rooms, 0)
        self._latencies_us = array("Q")
        self._due: list[tuple[float, int]] = []
        self._next_id = [0] * options.rooms
        self._rss: list[int] = []
        self._senders = [Device(self, number, f"sender{number}") for number in range(options.rooms)]
        self._readers = [
            Device(self, options.rooms + number, f"reader{number}", slow=number < options.slow)
            for number in range(options.readers)
        ]
        self._slow = self._readers[: options.slow]
        first = options.rooms + options.readers
        self._warm = [Device(self, first + number, f"warm{number}") for number in range(_WARM_USERS)]

    def note(self, kind: str, what: str) -> None:
        """Count what happened; the first of each kind in words."""
        self.counts[kind] += 1
        if self.counts[kind] <= 3 and kind in CLASSES:
            self.examples.append(f"{kind}: {what}")

    def note_stored(self, conversation: str, offset: int) -> None:
        """A message was acknowledged."""
        self._heads[conversation] = max(offset, self._heads.get(conversation, 0))
        self.counts["acknowledged"] += 1

    def record(self, took_ns: int) -> None:
        """A message took so long from the instant it was due to one of the others."""
        self._latencies_us.append(took_ns // 1000)

    def play(self) -> dict[str, Any]:
        """Everybody comes, the rounds, everybody has everything."""
        self._prepare()
        self._relay = relay = Relay(self._directory, ["--log-level", "error"])
        try:
            self.target = ("127.0.0.1", relay.port)
            self._come()
            self._warm_up()
            self._begin_sending()
            self._for(self.options.baseline_s)  # caches fill
            self._sample()
            rounds = [self._round() for _ in range(self.options.rounds)]
            self._stop_sending()
            self._finish()
            cpu_s = relay.child.cpu_s()
            for device in self._everybody():
                device.leave()
        finally:
            relay.child.stop(20.0)
            self.loop.close()
        return self._result(rounds, cpu_s or 0.0)

    def _prepare(self) -> None:
        options, data = self.options, self._directory / "data"
        add_accounts(data, [device.user for device in self._everybody()], PASSWORD)
        slow = [device.user for device in self._slow]
        others = [device.user for device in self._readers[options.slow :]]
        rooms = {
            room: [self._senders[number].user, *slow, *others[number :: options.rooms]]
            for number, room in enumerate(self._rooms)
        }
        add_rooms(data, {**rooms, _WARM_ROOM: [device.user for device in self._warm]})

    def _everybody(self) -> list[Device]:
        return [*self._senders, *self._readers, *self._warm]

    def _come(self) -> None:
        silent = [*self._senders, *self._warm]
        for device in silent:
            device.come(receives=False)
        for start in range(0, len(self._readers), _COME_TOGETHER):
            group = self._readers[start : start + _COME_TOGETHER]
            for device in group:
                device.come()
            self._until(lambda group=group: all(device.reading for device in group), "logins")  # type: ignore[misc]
        self._until(lambda: all(device.open for device in silent), "logins of senders")

    def _warm_up(self) -> None:
        """Store and read so much that the relay's memory grows no more by that."""
        writer, body = self._warm[0], bytes(_WARM_BYTES)
        for sent in range(_WARM_TOGETHER, _WARM_MESSAGES + 1, _WARM_TOGETHER):
            for number in range(sent - _WARM_TOGETHER + 1, sent + 1):
                writer.send(Message(writer.address, _WARM_ROOM, number, "", body))
            self._until(lambda sent=sent: self._heads.get(_WARM_ROOM) == sent, "messages to warm up")  # type: ignore[misc]
        for device in self._warm:
            device.receive_messages()
        self._until(
            lambda: all(device.cursors.get(_WARM_ROOM) == _WARM_MESSAGES for device in self._warm), "warming up"
        )
        del self._heads[_WARM_ROOM]
        self.counts["acknowledged"] = 0

    def _begin_sending(self) -> None:
        now = time.monotonic()
        pause_s = 1 / self.options.rate / self.options.rooms
        self._due = [(now + number * pause_s, number) for number in range(self.options.rooms)]
        self._sending = True
        self._send_due()
        self._acknowledge()

    def _send_due(self) -> None:
        """Send what is due by the clock, late or not."""
        if not self._sending:
            return
        now = time.monotonic()
        while self._due[0][0] <= now:
            due_at, number = self._due.pop(0)
            self._due.append((due_at + 1 / self.options.rate, number))
            self._next_id[number] += 1
            sender, body = self._senders[number], _STAMP.pack(int(due_at * 1e9)) + self.filling
            sender.send(Message(sender.address, self._rooms[number], self._next_id[number], "", body))
        self.loop.later(_TICK_S, self._send_due)

    def _stop_sending(self) -> None:
        self._sending = False
        self._until(lambda: self.counts["acknowledged"] == sum(self._next_id), "acknowledgements")

    def _acknowledge(self) -> None:
        if self._sending:
            for device in self._readers:
                if device.reading:
                    device.acknowledge()
            self.loop.later(_ACK_S, self._acknowledge)

    def _round(self) -> dict[str, Any]:
        baseline, baseline_rss = self._measure(self.options.baseline_s)
        stored = sum(self._heads.values())
        for device in self._slow:
            device.pause()
        stalled, stalled_rss = self._measure(self.options.stalled_s)
        missed = sum(self._heads.values()) - stored
        for device in self._slow:
            device.resume()
        began_at = time.monotonic()
        self._until(lambda: all(self._is_level(device) for device in self._slow), "slow readers")
        caught_up_s = time.monotonic() - began_at
        self._for(_SETTLE_S)
        before = max(baseline_rss)
        return {
            "baseline_p50_ms": percentile(baseline, 0.5),
            "baseline_p99_ms": percentile(baseline, 0.99),
            "stalled_p50_ms": percentile(stalled, 0.5),
            "stalled_p99_ms": percentile(stalled, 0.99),
            "ratio": round(percentile(stalled, 0.99) / max(percentile(baseline, 0.99), 0.001), 3),
            "relay_bytes_per_slow": self._share(max(stalled_rss) - before),
            "relay_bytes_per_slow_catching_up": self._share(max(self._rss) - before),
            "relay_rss_bytes": before,
            "unread_bytes_per_slow": missed * self.options.body_bytes,
            "caught_up_s": round(caught_up_s, 2),
        }

    def _share(self, growth_bytes: int) -> int:
        return max(0, growth_bytes) // max(1, len(self._slow))

    def _measure(self, seconds: float) -> "tuple[array[int], list[int]]":
        """(latencies in microseconds, resident bytes of the relay) during the next seconds."""
        self._latencies_us, self._rss = array("Q"), []
        self._for(seconds)
        latencies_us, self._latencies_us = self._latencies_us, array("Q")
        rss, self._rss = self._rss, []
        return latencies_us, rss

    def _sample(self) -> None:
        rss_bytes = self._relay.child.rss_bytes()
        if rss_bytes is not None:
            self._rss.append(rss_bytes)
            self.loop.later(_SAMPLE_S, self._sample)

    def _is_level(self, device: Device) -> bool:
        """Whether a slow reader is where the rooms are, but for what is under way."""
        under_way = 2 * self.options.rate
        return all(head - device.cursors.get(room, 0) <= under_way for room, head in self._heads.items())

    def _finish(self) -> None:
        """Wait until everybody has everything, and count what did not come."""

        def everything(device: Device) -> bool:
            rooms = self._heads if device.slow else device.cursors
            return bool(device.cursors) and all(device.cursors.get(room, 0) >= self._heads[room] for room in rooms)

        self._until(lambda: all(everything(device) for device in self._readers), "everything")
        for device in self._readers:
            rooms = self._heads if device.slow else device.cursors
            missing = sum(self._heads[room] - device.cursors.get(room, 0) for room in rooms)
            if missing or not device.cursors:
                self.counts["lost"] += max(1, missing)
                self.examples.append(f"lost: {missing} messages never came to {device.address}")

    def _for(self, seconds: float) -> None:
        self.loop.later(seconds, self.loop.stop)
        self.loop.run()

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        """Go on until the condition holds; what takes longer than the patience is a failure."""
        deadline = time.monotonic() + self.options.patience_s
        while not condition():
            if time.monotonic() > deadline:
                self.note("failed", f"waited {self.options.patience_s:g} s for {what}")
                return
            self._for(0.05)

    def _result(self, rounds: list[dict[str, Any]], cpu_s: float) -> dict[str, Any]:
        options = self.options
        return {
            "readers": options.readers,
            "slow": options.slow,
            "rooms": options.rooms,
            "messages_per_s": options.rate * options.rooms,
            "body_bytes": options.body_bytes,
            "acknowledged": self.counts["acknowledged"],
            "delivered_to_each_slow": min(sum(device.cursors.values()) for device in self._slow) if self._slow else 0,
            **{kind: self.counts[kind] for kind in CLASSES},
            "closed": self.counts["closed"],
            "ratio": median(one["ratio"] for one in rounds),
            "relay_bytes_per_slow": max(one["relay_bytes_per_slow"] for one in rounds),
            "relay_bytes_per_slow_catching_up": max(one["relay_bytes_per_slow_catching_up"] for one in rounds),
            "relay_cpu_s": round(cpu_s, 1),
            "cores": os.cpu_count(),
            "rounds": rounds,
        }


def percentile(values_us: "array[int]", share: float) -> float:
    """In milliseconds; 0 if there are none."""
    ordered = sorted(values_us)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1000, 2) if ordered else 0.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, 1 if a slow reader cost somebody something, 2 for a wrong argument."""
    words = _parser().parse_args(arguments)
    options = Options(
        words.readers,
        words.slow,
        words.rooms,
        words.rate,
        words.body_bytes,
        words.rounds,
        words.baseline_s,
        words.stalled_s,
        words.patience,
    )
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    directory = Path(tempfile.mkdtemp(prefix="relay-slow-readers-", dir=words.directory))
    try:
        stage = Stage(options, directory)
        result = stage.play()
    finally:
        shutil.rmtree(directory)
    for example in stage.examples:
        print(example, file=sys.stderr)
    print(json.dumps(result), flush=True)
    within = result["relay_bytes_per_slow"] <= MIB
    return 0 if within and not any(result[kind] for kind in CLASSES) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.slow_readers",
        description="Let a few of many readers stop reading, and prove that nobody else notices and nothing is lost.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--readers", type=int, default=2000, help="readers in all (default: %(default)s)")
    add("--slow", type=int, default=20, help="how many of them stop reading (default: %(default)s)")
    add("--rooms", type=int, default=20, help="rooms (default: %(default)s)")
    add("--rate", type=float, default=10.0, help="messages a second in each room (default: %(default)s)")
    add("--body-bytes", type=int, default=2048, help="size of a message's body (default: %(default)s)")
    add("--rounds", type=int, default=3, help="how often they stop (default: %(default)s)")
    add("--baseline-s", type=float, default=10.0, help="while everybody reads (default: %(default)s)")
    add("--stalled-s", type=float, default=20.0, help="while a few do not (default: %(default)s)")
    add("--patience", type=float, default=60.0, help="longest wait for anything, in seconds (default: %(default)s)")
    add("--directory", help="where to put the database; default: the system's temporary directory")
    return parser


if __name__ == "__main__":
    sys.exit(main())
