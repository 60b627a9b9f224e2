"""What files cost the relay, to its disk and back, beside `cp`: `python -m loadtest.files_bench`.

The relay runs on one core, the client on others, and `cp` copies the same file in the same directory on the relay's
core in each round. The client is a bare one, so that the relay is what is measured; it hashes and writes like any
other. Memory is measured with many transfers under way at once. On a busy machine compare CPU times: rates there are
shares of a core.
"""

import argparse
import contextlib
import hashlib
import os
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from loadtest.accounts import add_accounts
from loadtest.bench.server import read_rss_bytes, read_usage
from loadtest.processes import Relay
from relay.protocol.connection import ClientConnection
from relay.protocol.frames import FrameReader
from relay.protocol.limits import CHUNK_MAX_BYTES, CREDIT_MAX_BYTES, FILE_CHUNK_BYTES, FRAME_MAX
from relay.protocol.packets import (
    Accept,
    Call,
    Credit,
    Data,
    Fault,
    Finish,
    Open,
    Packet,
    Ping,
    Pong,
    Reset,
    Result,
    Unknown,
    Welcome,
    decode,
    encode,
)
from relay.protocol.payloads import Value, decode_body, encode_body
from relay.protocol.transfer import Chunk, Done, End, Record, RecordReader, chunk_head, encode_record

MIB = 1024 * 1024
PASSWORD = "benchmark"  # noqa: S105 - of accounts that live as long as the run
_WINDOW_CREDITS = 16
_DEADLINE_S = 120.0


class Way(NamedTuple):
    """One way of a file: how long it took, and the CPU time of the relay, or of `cp`, in seconds."""

    taken_s: float
    cpu_s: float


class Round(NamedTuple):
    """One round: the same file copied, sent to the relay and fetched from it."""

    copy: Way
    up: Way
    down: Way


class BareClient:
    """One connection with one stream at a time."""

    def __init__(self, port: int, user: str, device: str) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port))
        self._sock.settimeout(_DEADLINE_S)
        self._frames = FrameReader(FRAME_MAX)
        self._me = f"{user}/{device}"
        self._stream_id = 0
        # Bytes that may be sent, and bytes that came since the last CREDIT for them.
        self._credit = self._consumed = 0
        self._records = RecordReader()
        self._found: deque[Record] = deque()
        self._finished = False
        self._log_in(user, device)

    def close(self) -> None:
        """Hang up."""
        self._sock.close()

    def open(self, service: str, value: Value) -> dict[str, object]:
        """Open a stream to the relay; what it accepts with. Raises ConnectionError if it is refused."""
        self._stream_id += 2
        self._credit, self._consumed, self._records, self._finished = 0, 0, RecordReader(), False
        self._send(Open(self._me, "relay", self._stream_id, service, 60_000, *encode_body(value)))
        while not isinstance(packet := self._take(), Accept):
            pass
        accepted = decode_body(packet.content_type, packet.body)
        assert isinstance(accepted, dict)
        return accepted

    def grant(self, times: int) -> None:
        """Take so many CREDITs more."""
        self._send(*[Credit(self._me, "relay", self._stream_id, CREDIT_MAX_BYTES)] * times)

    def write(self, *pieces: bytes) -> None:
        """Send bytes as the relay takes them."""
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                while not self._credit:
                    self._take()
                size = min(len(rest), self._credit, CHUNK_MAX_BYTES)
                head = encode(Data(self._me, "relay", self._stream_id, b"\0" * size))[:-size]
                self._credit -= size
                self._send_pieces([head, rest[:size]])
                rest = rest[size:]

    def record(self) -> Record:
        """The next record from the relay; CREDIT goes back for what came."""
        while not self._found:
            self._take()
        return self._found.popleft()

    def finish(self) -> None:
        """End the stream, behind the relay."""
        while not self._finished:
            self._take()
        self._send(Finish(self._me, "relay", self._stream_id))

    def remove(self, id: str) -> None:
        """Have the relay delete a file."""
        body = encode_body({"file": id})
        self._send(Call(self._me, "relay", self._stream_id + 1, "files.remove", 10_000, *body))
        while not isinstance(answer := self._take(), Result | Fault):
            pass
        assert isinstance(answer, Result)

    def _take(self) -> Packet | Unknown:
        packet = self._packet()
        if isinstance(packet, Credit):
            self._credit += packet.size
        elif isinstance(packet, Data):
            self._records.feed(packet.body)
            self._consumed += len(packet.body)
            if self._consumed >= CREDIT_MAX_BYTES:
                self._consumed -= CREDIT_MAX_BYTES
                self.grant(1)
            while (record := self._records.next_record()) is not None:
                self._found.append(record)
        elif isinstance(packet, Finish):
            self._finished = True
        elif isinstance(packet, Reset):
            raise ConnectionError(f"the relay reset the stream: {packet.code} {packet.sentence}")
        elif isinstance(packet, Ping):
            self._send(Pong(packet.token))
        return packet

    def _packet(self) -> Packet | Unknown:
        while (payload := self._frames.next_payload()) is None:
            data = self._sock.recv(256 * 1024)
            if not data:
                raise ConnectionError("the relay hung up")
            self._frames.feed(data)
        return decode(payload)

    def _send(self, *packets: Packet) -> None:
        self._sock.sendall(b"".join(map(encode, packets)))

    def _send_pieces(self, pieces: Sequence[bytes | memoryview]) -> None:
        sent = self._sock.sendmsg(pieces)
        if sent < sum(map(len, pieces)):
            self._sock.sendall(b"".join(pieces)[sent:])

    def _log_in(self, user: str, device: str) -> None:
        ends = ClientConnection(user, PASSWORD, device, "files-bench/1")
        while True:
            self._sock.sendall(ends.data_to_send())
            ends.receive_data(self._sock.recv(65536))
            packet = ends.next_packet()
            if packet is not None and not isinstance(packet, Welcome):
                raise ConnectionError(f"the relay refuses the login: {packet}")
            if packet is not None:
                return


def send_file(client: BareClient, path: Path, upload: str) -> str:
    """Send a file to bob through the relay; its id there."""
    size = path.stat().st_size
    client.open("files.put", {"upload": upload, "to": "bob", "name": path.name, "size": size, "type": "", "hash": None})
    client.grant(1)
    whole = hashlib.sha256()
    with path.open("rb") as file:
        offset = 0
        while body := file.read(FILE_CHUNK_BYTES):
            whole.update(body)
            client.write(chunk_head(offset, hashlib.sha256(body).digest(), len(body)), body)
            offset += len(body)
    client.write(encode_record(End(size, whole.digest())))
    while not isinstance(done := client.record(), Done):
        pass
    client.finish()
    return done.id


def fetch_file(client: BareClient, id: str, path: Path) -> None:
    """Fetch a file, verify it and write it."""
    client.open("files.get", {"file": id, "offset": 0})
    client.grant(_WINDOW_CREDITS)
    whole = hashlib.sha256()
    with path.open("wb") as file:
        while isinstance(record := client.record(), Chunk):
            record.verify()
            for piece in record.pieces:
                whole.update(piece)
                file.write(piece)
    assert isinstance(record, End)
    assert record.hash == whole.digest()
    client.finish()


@contextlib.contextmanager
def relay_on_one_core(directory: Path, core: int | None) -> Iterator[Relay]:
    """A relay with the accounts alice and bob, all its threads on one core."""
    add_accounts(directory / "data", ["alice", "bob"], PASSWORD)
    relay = Relay(directory, ["--files-quota-mb", "0", "--transfers-per-user-max", "100"])
    if core is not None:
        for thread in Path(f"/proc/{relay.child.pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {core})
    try:
        yield relay
    finally:
        relay.child.stop(30)


def copy_file(source: Path, target: Path, core: int | None) -> Way:
    """What `cp` takes."""
    began_at = time.monotonic()
    process = subprocess.Popen(["cp", source, target])
    if core is not None:
        os.sched_setaffinity(process.pid, {core})
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return Way(time.monotonic() - began_at, usage.ru_utime + usage.ru_stime)


def measure_round(relay: Relay, directory: Path, core: int | None, number: int) -> Round:
    """Copy, send and fetch the file once."""
    source = directory / "source"
    copied = copy_file(source, directory / "copied", core)
    # Another content each time: what is stored already would not be written.
    with source.open("r+b") as file:
        file.write(number.to_bytes(8, "big"))
    alice, bob = BareClient(relay.port, "alice", "pc"), BareClient(relay.port, "bob", "pc")
    ids: list[str] = []
    up = _timed(relay, lambda: ids.append(send_file(alice, source, f"u{number}")))
    down = _timed(relay, lambda: fetch_file(bob, ids[0], directory / "fetched"))
    # The next round finds the memory that this one had.
    alice.remove(ids[0])
    for name in ("fetched", "copied"):
        (directory / name).unlink()
    while any((directory / "data" / "blobs").iterdir()):
        time.sleep(0.1)
    alice.close()
    bob.close()
    return Round(copied, up, down)


def measure_memory(relay: Relay, transfers: int) -> tuple[float, float]:
    """By how many bytes the relay grows for each of so many uploads, and then for each of so many downloads, that are
    under way together.
    """
    grown = []
    warm = BareClient(relay.port, "alice", "warm")
    id = _put_random(warm, "warm", 16)
    for ways in ("up", "down"):
        clients = [BareClient(relay.port, "alice", f"{ways}{number}") for number in range(transfers)]
        before, peak, over = read_rss_bytes(relay.child.pid), [0], threading.Event()
        watching = threading.Thread(target=_watch, args=(relay.child.pid, peak, over))
        watching.start()
        works = [
            threading.Thread(target=_put_random, args=(client, f"{ways}{number}", 16))
            if ways == "up"
            else threading.Thread(target=_take_slowly, args=(client, id))
            for number, client in enumerate(clients)
        ]
        for work in works:
            work.start()
        for work in works:
            work.join()
        over.set()
        watching.join()
        grown.append((peak[0] - before) / transfers)
        for client in clients:
            client.close()
    warm.close()
    return grown[0], grown[1]


def _put_random(client: BareClient, upload: str, chunks: int) -> str:
    client.open("files.put", {"upload": upload, "to": "bob", "name": "random", "size": None, "type": "", "hash": None})
    client.grant(1)
    whole = hashlib.sha256()
    for number in range(chunks):
        body = os.urandom(FILE_CHUNK_BYTES)
        whole.update(body)
        client.write(chunk_head(number * FILE_CHUNK_BYTES, hashlib.sha256(body).digest(), len(body)), body)
    client.write(encode_record(End(chunks * FILE_CHUNK_BYTES, whole.digest())))
    while not isinstance(done := client.record(), Done):
        pass
    client.finish()
    return done.id


def _take_slowly(client: BareClient, id: str) -> None:
    """Grant much, and read late: what is under way waits in the relay."""
    client.open("files.get", {"file": id, "offset": 0})
    client.grant(_WINDOW_CREDITS)
    time.sleep(2)
    while not isinstance(client.record(), End):
        pass
    client.finish()


def _watch(pid: int, peak: list[int], over: threading.Event) -> None:
    while not over.wait(0.02):
        peak[0] = max(peak[0], read_rss_bytes(pid))


def _timed(relay: Relay, work: Callable[[], object]) -> Way:
    usage, began_at = read_usage(relay.child.pid), time.monotonic()
    work()
    return Way(time.monotonic() - began_at, read_usage(relay.child.pid).since(usage).cpu_s)


def warm_memory(path: Path, mib: int) -> None:
    """Have memory for files that was used before: where the machine is a virtual one, a page that was never used costs
    more than everything that is done with it.
    """
    for _ in range(2):
        with path.open("wb") as file:
            for _ in range(mib):
                file.write(bytes(MIB))
        path.unlink()


def make_source(path: Path, mib: int) -> None:
    """A file of random bytes."""
    with path.open("wb") as file:
        for _ in range(mib):
            file.write(os.urandom(MIB))


def report(mib: int, rounds: Sequence[Round]) -> str:
    """A table of the medians."""
    size = mib * MIB

    def rate(ways: Sequence[Way]) -> float:
        return size / statistics.median(way.taken_s for way in ways) / 1e6

    def cpu(ways: Sequence[Way]) -> float:
        return statistics.median(way.cpu_s for way in ways) / size * 1e9

    copied = [one.copy for one in rounds]
    lines = [
        f"| {mib} MiB, median of {len(rounds)} | MB/s | of `cp` | CPU, s per GB | of `cp` |",
        "| --- | --- | --- | --- | --- |",
        f"| `cp` | {rate(copied):.0f} | 1.00 | {cpu(copied):.2f} | 1.0 |",
    ]
    for name, ways in (("to the relay's disk", [r.up for r in rounds]), ("and back", [r.down for r in rounds])):
        found, spent = rate(ways), cpu(ways)
        shares = f"{found / rate(copied):.2f} | {spent:.2f} | {spent / max(cpu(copied), 1e-9):.1f}"
        lines.append(f"| {name} | {found:.0f} | {shares} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.files_bench", description=__doc__)
    parser.add_argument("--mib", type=int, default=512, help="size of the file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--transfers", type=int, default=16, help="how many at once, for the memory; 0: not measured")
    parser.add_argument("--directory", type=Path, help="on the disk to be measured; default: a temporary one")
    options = parser.parse_args(arguments)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(0, set(cores[1:]))
    try:
        _measure(options, cores)
    finally:
        os.sched_setaffinity(0, set(cores))


def _measure(options: argparse.Namespace, cores: Sequence[int]) -> None:
    with tempfile.TemporaryDirectory(dir=options.directory) as made:
        directory = Path(made)
        make_source(directory / "source", options.mib)
        warm_memory(directory / "warm", 4 * options.mib)
        core = cores[0] if len(cores) > 1 else None
        with relay_on_one_core(directory, core) as relay:
            rounds = [measure_round(relay, directory, core, number) for number in range(options.rounds)]
            print(report(options.mib, rounds), flush=True)
            if options.transfers:
                up, down = measure_memory(relay, options.transfers)
                print(
                    f"memory of the relay, for each of {options.transfers} at once: "
                    f"{up / MIB:.2f} MiB an upload, {down / MIB:.2f} MiB a download"
                )


if __name__ == "__main__":
    main()
