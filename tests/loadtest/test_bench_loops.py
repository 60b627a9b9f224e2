"""The measured loops over socket pairs: what one end writes the other end reads, with nothing in between."""

import socket
import threading
import time
from array import array
from collections.abc import Iterator

import pytest

from loadtest.bench import loops
from loadtest.bench.dialects.base import Exchange, Seat, Wire
from loadtest.bench.links import ConnectError, Entrance, Link, Task, connect_all
from loadtest.bench.loops import LostConnectionError, Span, StoredSender, Stream
from loadtest.bench.works import Work, WorkError, parse_work, seats, stored_to, storm_seat, window

FRAME = b"m" * 100


def link_pair() -> tuple[Link, Link]:
    pair = socket.socketpair()
    for sock in pair:
        sock.setblocking(False)
    return Link(pair[0], Seat("a")), Link(pair[1], Seat("b"))


@pytest.fixture
def span() -> Span:
    now = time.monotonic()
    return Span(now + 0.02, now + 0.1)


@pytest.fixture(autouse=True)
def short_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "DRAIN_S", 0.2)


def test_flow_counts_what_arrived(span: Span) -> None:
    pairs = [link_pair() for _ in range(3)]
    tally = loops.flow([Stream(a, [b], FRAME * 10, len(FRAME), 10, depth=4) for a, b in pairs], span)
    assert tally.sent == tally.received > tally.messages > 0
    assert len(tally.latencies_ms) > 0
    assert min(tally.latencies_ms) >= 0


def test_flow_sends_what_the_kernel_did_not_take_at_once(span: Span) -> None:
    sender, receiver = link_pair()
    sender.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    tally = loops.flow([Stream(sender, [receiver], FRAME * 1000, len(FRAME), 1000, depth=2)], span)
    assert tally.sent == tally.received > 0


def test_flow_notices_what_is_missing(span: Span) -> None:
    sender, receiver = link_pair()
    tally = loops.flow([Stream(sender, [receiver], FRAME * 9, len(FRAME), 10, depth=2)], span)
    assert tally.sent > tally.received


def test_flow_notices_bytes_that_do_not_belong(span: Span) -> None:
    sender, receiver = link_pair()
    sender.sock.send(b"?")
    tally = loops.flow([Stream(sender, [receiver], FRAME, len(FRAME), 1, depth=1)], span)
    assert tally.sent > tally.received


def test_a_batch_is_done_when_the_last_receiver_has_it() -> None:
    sender, receiver = link_pair()
    stream = Stream(sender, [receiver, receiver], FRAME, len(FRAME), 1, depth=2)
    latencies = array("d")
    stream.push(1.0)
    assert stream.sent == 2
    assert not stream.complete(0, 2.0, latencies)
    assert not stream.complete(1, 2.0, latencies)
    assert stream.complete(0, 3.0, latencies)
    assert stream.done == 1
    assert list(latencies) == [2.0]


@pytest.mark.parametrize("both", [True, False])
def test_pingpong_keeps_one_message_in_flight(span: Span, both: bool) -> None:
    pairs = [link_pair() for _ in range(2)]
    wires = [(Wire(FRAME, len(FRAME)), Wire(FRAME, len(FRAME)))] * 2
    tally = loops.pingpong(pairs, wires, span, both)
    assert tally.sent == tally.received > tally.messages > 0
    assert all(latency > 0 for latency in tally.latencies_ms)


def test_pingpong_notices_what_is_missing(span: Span) -> None:
    tally = loops.pingpong([link_pair()], [(Wire(FRAME, 101), Wire(FRAME, 101))], span, both=True)
    assert tally.received < tally.sent


def test_paced_sends_what_is_due_and_no_more(span: Span) -> None:
    pairs = [link_pair() for _ in range(3)]
    wires = [(Wire(FRAME, len(FRAME)), Wire(FRAME, len(FRAME)))] * 3
    began_at = time.monotonic()
    tally = loops.paced(pairs, wires, span, rate=2000)
    assert tally.sent == tally.received
    assert 0 < tally.sent <= (span.end_at - began_at) * 2000 + 1
    assert all(latency > 0 for latency in tally.latencies_ms)
    assert len(tally.lags_ms) >= tally.messages - 6


def test_paced_latency_counts_from_the_instant_that_was_due(span: Span) -> None:
    pair = link_pair()
    wires = [(Wire(FRAME, len(FRAME)), Wire(FRAME, len(FRAME)))]
    # Far more than any machine can do: messages leave ever later than they were due.
    tally = loops.paced([pair], wires, span, rate=100_000_000)
    assert max(tally.latencies_ms) > 10
    assert max(tally.lags_ms) > 10


@pytest.fixture
def echo() -> Iterator[Link]:
    """A connection whose other end sends back all it reads."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    def serve() -> None:
        while data := theirs.recv(65536):
            theirs.sendall(data)

    thread = threading.Thread(target=serve)
    thread.start()
    yield Link(ours, Seat("a"))
    ours.shutdown(socket.SHUT_RDWR)
    thread.join()
    ours.close()
    theirs.close()


def test_stored_sends_as_much_as_was_acknowledged(echo: Link, span: Span) -> None:
    numbers: list[int] = []

    def message(n: int) -> bytes:
        numbers.append(n)
        return b"!"

    tally = loops.stored([StoredSender(echo, message, len)], span, in_flight=5)
    assert tally.sent == tally.received >= tally.messages > 0
    assert numbers == list(range(1, tally.sent + 1))


def test_stored_notices_a_server_that_hangs_up(span: Span) -> None:
    ours, theirs = link_pair()
    theirs.sock.close()
    with pytest.raises((LostConnectionError, OSError)):
        loops.stored([StoredSender(ours, lambda n: b"!", len)], span, in_flight=1)


def test_a_call_counts_when_its_answer_is_back(span: Span) -> None:
    callers, bot_link, switch = [link_pair() for _ in range(2)], link_pair(), threading.Event()
    asks, asked = [b"ask", b"qry"], [b"", b""]
    exchanges = [[Exchange(ask + b"%d" % n, ask + b"%d" % n, b"say%d" % n, 4) for ask in asks] for n in range(2)]

    def switchboard() -> None:
        while not switch.is_set():
            for theirs, target in [(callers[0][1], bot_link[1]), (callers[1][1], bot_link[1])]:
                forward(theirs, lambda _, target=target: target)
            forward(bot_link[1], lambda data: callers[int(data[3:4])][1])

    def forward(source: Link, choose) -> None:  # type: ignore[no-untyped-def]
        try:
            data = source.sock.recv(4)
        except BlockingIOError:
            return
        if data:
            if not data.startswith(b"say"):
                asked[int(data[3:])] += data[:1]
            choose(data).sock.send(data)

    thread = threading.Thread(target=switchboard)
    thread.start()
    try:
        tally = loops.call([(callers[n][0], exchanges[n]) for n in range(2)], bot_link[0], span)
    finally:
        switch.set()
        thread.join()
    assert tally.sent == tally.received >= tally.messages > 0
    assert [order[:4] for order in asked] == [b"aqaq", b"aqaq"]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as sock:
        yield sock


def nothing_to_say() -> Iterator[bytes]:
    return
    yield


def greet() -> Iterator[bytes]:
    answer = yield b"hello"
    assert answer == b"hello"


def serve_greetings(listener: socket.socket, number: int) -> threading.Thread:
    def serve() -> None:
        for _ in range(number):
            sock, _ = listener.accept()
            sock.sendall(sock.recv(100))

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_connections_come_in_the_order_of_their_tasks(listener: socket.socket) -> None:
    thread = serve_greetings(listener, 5)
    tasks = [Task(n, Seat(f"u{n}"), greet()) for n in range(5)]  # type: ignore[arg-type]
    seen: list[int] = []
    links = connect_all(listener.getsockname(), tasks, seen.append, 10)
    thread.join()
    assert [link.seat.user for link in links] == ["u0", "u1", "u2", "u3", "u4"]
    assert seen[-1] == 5
    for link in links:
        link.close()


def test_many_connections_come_from_several_addresses(listener: socket.socket) -> None:
    tasks = [Task(n, Seat("u"), nothing_to_say()) for n in (0, 14_000, 14_000 * 200)]  # type: ignore[arg-type]
    links = connect_all(listener.getsockname(), tasks, lambda _: None, 10)
    assert [link.sock.getsockname()[0] for link in links] == ["127.0.0.1", "127.1.1.1", "127.2.0.1"]
    for link in links:
        link.close()


def test_nobody_there_is_said() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        address = sock.getsockname()
    with pytest.raises(ConnectError, match="ECONNREFUSED"):
        connect_all(address, [Task(0, Seat("u"), greet())], lambda _: None, 10)  # type: ignore[arg-type]


def test_a_storm_keeps_the_latest_connections(listener: socket.socket, span: Span) -> None:
    stop = threading.Event()

    def serve() -> None:
        listener.settimeout(0.05)
        kept = []
        while not stop.is_set():
            try:
                kept.append(listener.accept()[0])
            except TimeoutError:
                continue

    thread = threading.Thread(target=serve)
    thread.start()
    tasks = (Task(0, Seat(f"u{n}"), nothing_to_say()) for n in range(10_000))  # type: ignore[arg-type]
    tally, links = loops.storm(Entrance(listener.getsockname(), tasks, together=4), span, open_max=10)
    stop.set()
    thread.join()
    assert tally.received >= tally.messages > 0
    assert 0 < len(links) <= 10
    for link in links:
        link.close()


def test_a_window_stays_below_what_a_slow_reader_may_queue() -> None:
    for size in (20, 170, 5_000, 70_000, 400_000):
        for kind in ("pipe", "fan", "spread"):
            burst, depth = window(Work(kind, 1), size)
            assert burst >= 1 <= depth
            assert burst * depth * size <= 512 * 1024


def test_names_of_works() -> None:
    assert parse_work("fan-500") == Work("fan", 500)
    for storm in ("login-storm", "login-storm-tickets"):
        assert parse_work(storm).name == storm
    assert parse_work("pipe-50", 16).payload == b"x" * 16
    with pytest.raises(WorkError, match="pipe-N"):
        parse_work("fan-x")


@pytest.mark.parametrize(
    ("work", "number"),
    [
        ("pipe-5", 10),
        ("spread-2", 22),
        ("pingpong-1", 2),
        ("pingpong-7", 6),
        ("fan-5", 6),
        ("call-5", 6),
        ("idle-3", 3),
    ],
)
def test_everybody_has_a_seat_of_their_own(work: str, number: int) -> None:
    places = seats(parse_work(work))
    assert len(places) == len(set(places)) == number


def test_seats_of_a_storm_differ() -> None:
    assert len({storm_seat(n) for n in range(5_000)}) == 5_000
    assert stored_to(Seat("s000001")).user == "m000001"
