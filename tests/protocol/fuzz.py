"""A fuzzer for both ends of a connection. The one thing it checks:

    Whatever bytes arrive, in whatever pieces, a connection raises nothing but RemoteError, stays in a state that its
    table leads to, and all it has to say is whole packets that its peer may get, with a CLOSE last if it gave up.

Inputs are valid logins, and the packets behind them, with bytes, frames and pieces changed. `python -m
tests.protocol.fuzz --count 100000 --seed 1` runs it by hand; a failure prints the seed that repeats it.
"""

import argparse
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress

from relay.protocol.codes import CloseCode
from relay.protocol.connection import ClientConnection, ServerConnection
from relay.protocol.errors import RemoteError
from relay.protocol.frames import FrameReader, encode_frame
from relay.protocol.limits import FRAME_MAX
from relay.protocol.packets import Close, Packet, Unknown, decode, encode
from relay.protocol.states import FROM_CLIENT, FROM_RELAY, State
from tests.protocol.examples import EXAMPLES, UNUSUAL, payload_of
from tests.protocol.pair import DEVICE, PASSWORD, USER, RelayEnd

Table = dict[tuple[State, type[Packet]], State]

_SAMPLES = [encode_frame(payload_of(label)) for label in [*EXAMPLES, *UNUSUAL]]
_INTERESTING = [
    b"\x00",
    b"\xff",
    b"\x90",
    b"\x9f",
    b"\xc0",
    b"\xc1",
    b"\xdd",
    b"\xff\xff\xff\xff",
    b"=",
    b",",
    b"\x80\x80",
]


class BrokenError(AssertionError):
    """The invariant does not hold."""


def mutate(rng: random.Random, data: bytes) -> bytes:
    """`data` with one to three changes of any kind."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        place = rng.randint(0, len(changed))
        rng.choice(_CHANGES)(rng, changed, place)
    return bytes(changed)


def _flip(rng: random.Random, data: bytearray, place: int) -> None:
    if place < len(data):
        data[place] ^= 1 << rng.randrange(8)


def _replace(rng: random.Random, data: bytearray, place: int) -> None:
    what = rng.choice(_INTERESTING)
    data[place : place + len(what)] = what


def _insert(rng: random.Random, data: bytearray, place: int) -> None:
    data[place:place] = rng.choice([rng.choice(_INTERESTING), rng.randbytes(rng.randint(1, 9))])


def _delete(rng: random.Random, data: bytearray, place: int) -> None:
    del data[place : place + rng.randint(1, 9)]


def _repeat(rng: random.Random, data: bytearray, place: int) -> None:
    data[place:place] = data[place : place + rng.randint(1, 40)]


def _truncate(rng: random.Random, data: bytearray, place: int) -> None:
    del data[place:]


_CHANGES: list[Callable[[random.Random, bytearray, int], None]] = [
    _flip,
    _flip,
    _replace,
    _insert,
    _delete,
    _repeat,
    _truncate,
]


def mutate_inside(rng: random.Random, frame: bytes) -> bytes:
    """A change to a frame that leaves its length right, so that it reaches the decoder."""
    payload = mutate(rng, frame[4:])[:FRAME_MAX]
    return encode_frame(payload or b"\x00")


def spoil(rng: random.Random, stream: bytes) -> bytes:
    """What the attacker sends in place of `stream`, which holds whole frames."""
    kind = rng.randrange(6)
    if kind == 0:
        return stream
    if kind == 1:
        return mutate(rng, stream)
    if kind == 2:
        return mutate_inside(rng, stream) if len(stream) > 4 else stream
    if kind == 3:
        return rng.choice(_SAMPLES) + stream
    if kind == 4:
        return stream + b"".join(rng.choices(_SAMPLES, k=rng.randint(1, 4)))
    return mutate_inside(rng, rng.choice(_SAMPLES))


def pieces(rng: random.Random, data: bytes) -> Iterator[bytes]:
    """`data` cut at random: whole, byte by byte, or anything between."""
    start = 0
    while start < len(data):
        size = rng.choice([1, 3, 17, len(data)])
        yield data[start : start + size]
        start += size


def check_said(end: ServerConnection | ClientConnection, said: bytes, table: Table, gave_up: bool) -> None:
    """What an end said is whole packets that the table lets its peer receive in some state."""
    reader = FrameReader(FRAME_MAX)
    reader.feed(said)
    packets = [decode(payload) for payload in iter(reader.next_payload, None)]
    if reader.take_rest():
        raise BrokenError("it said half a frame")
    allowed = {kind for _, kind in table}
    if any(isinstance(packet, Unknown) or type(packet) not in allowed for packet in packets):
        raise BrokenError(f"it said what its peer may not get: {packets}")
    if gave_up and not (packets and isinstance(packets[-1], Close) and end.state is State.CLOSED):
        raise BrokenError("it gave up without a CLOSE")
    if any(isinstance(packet, Close) for packet in packets[:-1]):
        raise BrokenError("it went on after its CLOSE")


def attack_relay(rng: random.Random) -> str:
    """One spoiled login against the relay's end; returns how it ended."""
    relay, client = RelayEnd(), ClientConnection(USER, PASSWORD, DEVICE, "fuzz")
    said, gave_up = b"", False
    turns = rng.randint(1, 3)
    spoiled_turn = rng.randrange(turns)
    for turn in range(turns):
        stream = client.data_to_send() if client.state is not State.OPEN else b"".join(rng.choices(_SAMPLES, k=3))
        if turn == spoiled_turn:
            stream = spoil(rng, stream)
        try:
            for piece in pieces(rng, stream):
                relay.receive(piece)
        except RemoteError:
            gave_up = True
        answer = relay.connection.data_to_send()
        said += answer
        if gave_up or relay.connection.state is State.CLOSED:
            break
        client.receive_data(answer)
        with suppress(RemoteError):  # the spoiled HELLO may have changed the client's nonce, which it notices
            client.next_packet()
    check_said(relay.connection, said, FROM_RELAY, gave_up)
    return relay.connection.state.value


def attack_client(rng: random.Random) -> str:
    """One spoiled login against the client's end; returns how it ended."""
    relay, client = RelayEnd(), ClientConnection(USER, PASSWORD, DEVICE, "fuzz")
    said, gave_up = b"", False
    turns = rng.randint(1, 3)
    spoiled_turn = rng.randrange(turns)
    for turn in range(turns):
        request = client.data_to_send()
        said += request
        if turn < 2:
            relay.receive(request)
        stream = relay.connection.data_to_send() if turn < 2 else b"".join(rng.choices(_SAMPLES, k=3))
        if turn == spoiled_turn:
            stream = spoil(rng, stream)
        try:
            for piece in pieces(rng, stream):
                client.receive_data(piece)
                while client.next_packet() is not None:
                    pass
        except RemoteError:
            gave_up = True
        if gave_up or client.state is State.CLOSED or (turn == 0 and client.state is not State.CHALLENGED):
            break
    said += client.data_to_send()
    check_said(client, said, FROM_CLIENT, gave_up)
    return client.state.value


def decode_spoiled(rng: random.Random) -> str:
    """One spoiled packet; returns how it ended."""
    payload = mutate(rng, rng.choice(_SAMPLES)[4:])
    try:
        packet = decode(payload)
    except RemoteError as error:
        if error.code is not CloseCode.BAD_PACKET:
            raise BrokenError(f"refused with {error.code!r}") from None
        return "refused"
    if not isinstance(packet, Unknown) and decode(encode(packet)[4:]) != packet:
        raise BrokenError(f"{packet} does not encode to itself")
    return "decoded"


ATTACKS = [attack_relay, attack_client, decode_spoiled]


def run(count: int, seed: int) -> Counter[str]:
    """`count` attacks of each kind; returns how often each outcome was seen. Raises BrokenError with the seed."""
    outcomes: Counter[str] = Counter()
    for number in range(count):
        for attack in ATTACKS:
            name = f"{attack.__name__} {seed + number}"
            try:
                outcomes[f"{attack.__name__}: {attack(random.Random(name))}"] += 1
            except Exception as error:
                raise BrokenError(f"{name}: {error!r}") from error
    return outcomes


def main() -> None:
    """Run as long as asked and print the outcomes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000, help="attacks of each kind")
    parser.add_argument("--seed", type=int, default=None, help="number of the first attack; the clock if left out")
    options = parser.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    print(f"seed {seed}")
    for outcome, times in sorted(run(options.count, seed).items()):
        print(f"{times:8} {outcome}")


if __name__ == "__main__":
    main()
