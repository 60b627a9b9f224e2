"""A client program as the specification wants it, and the connection it has: both without sockets, both driven by hand.

The program judges everything it is told by the reference: each DELIVERY must be the very message that stands there, for
somebody who was inside, and the next one of its conversation.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from relay.protocol.addresses import conversation_for
from relay.protocol.codes import ErrorCode
from relay.protocol.limits import HEADER_BYTES
from relay.protocol.packets import (
    Call,
    Close,
    Delivery,
    Error,
    Fault,
    Gap,
    Message,
    Packet,
    Result,
    Signal,
    Stored,
    StoredRun,
    Unknown,
    Welcome,
    decode,
    encode,
    encode_payload,
    unfold,
)
from relay.protocol.payloads import Value, decode_body, encode_body
from tests.proof.reference import Line, Reference, Stay

if TYPE_CHECKING:
    from tests.proof.world import World


class Pipe:
    """What a session takes for its connection: the kernel's buffer is `capacity` bytes, and the client takes out."""

    peer = "a pipe"

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._buffer = bytearray()
        self._waiting = False
        self._on_data: Callable[[bytes], None] | None = None
        self._on_writable: Callable[[], None] = lambda: None
        self._on_lost: Callable[[str], None] | None = None
        self.ended = False

    # The session's side.

    def start(
        self, on_data: Callable[[bytes], None], on_writable: Callable[[], None], on_lost: Callable[[str], None]
    ) -> None:
        self._on_data, self._on_writable, self._on_lost = on_data, on_writable, on_lost

    def send(self, data: bytes) -> int:
        taken = min(len(data), self._capacity - len(self._buffer))
        self._buffer += data[:taken]
        return taken

    def wait_writable(self) -> None:
        self._waiting = True

    def stop_waiting(self) -> None:
        self._waiting = False

    def pause(self) -> None:
        raise AssertionError("so few messages are no reason to pause")

    resume = pause

    def finish(self, code: int = 1000) -> None:
        self.ended = True
        self._on_data = None

    def abort(self) -> None:
        self.hang_up()

    # The client's.

    @property
    def readable(self) -> bool:
        return bool(self._buffer)

    def put(self, data: bytes) -> None:
        if self._on_data is not None:
            self._on_data(data)

    def take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        if self._waiting and data:
            self._on_writable()
        return data

    def hang_up(self) -> None:
        on_lost, self._on_lost, self._on_data = self._on_lost, None, None
        self.ended = True
        if on_lost is not None:
            on_lost("hung up")


class Program:
    """One device's program. It keeps what was not answered, sends it again, and acknowledges what it has got."""

    def __init__(self, world: "World", user: str, device: str) -> None:
        self.user = user
        self.name = device
        self.address = f"{user}/{device}"
        self._world = world
        self._reference: Reference = world.reference
        self.begin_anew()
        self._call_id = 0

    def begin_anew(self) -> None:
        """The program knows nothing."""
        self.pipe: Pipe | None = None
        self.welcomed = False
        self.receiving = False
        self.unanswered: dict[int, bytes] = {}
        self.answered: dict[int, bytes] = {}
        self.repeated: dict[int, bytes] = {}
        self.next_id = 1
        self.got: set[tuple[Line, int]] = set()
        # Own messages whose STORED came.
        self.told: set[tuple[Line, int]] = set()
        # What a GAP named.
        self.gone: set[tuple[Line, int]] = set()
        # On this connection: the last offset, and what the relay had to begin behind.
        self._at: dict[Line, int] = {}
        self._came: set[tuple[Line, int]] = set()
        self.base: dict[Line, int] = {}
        # Whether the device is new: what was stored while it was opened comes or does not.
        self.new = False
        self.calls: dict[int, list[Any]] = {}
        self._partial = b""

    def __repr__(self) -> str:
        return f"<Program {self.address}>"

    # Coming and going.

    def connected(self, pipe: Pipe) -> None:
        self.pipe, self._partial = pipe, b""
        self.welcomed = self.receiving = False
        self._at, self._came, self.base, self.new = {}, set(), {}, False
        self.calls.clear()

    def lose(self) -> None:
        """The connection is gone, as far as the program knows."""
        self.pipe = None
        self.welcomed = self.receiving = False

    # What goes out.

    def message(self, to: str, size: int) -> bytes:
        """A new message: its frame."""
        message_id, self.next_id = self.next_id, self.next_id + 1
        message = Message(self.address, to, message_id, "", self._world.fresh_body(size))
        self.unanswered[message_id] = encode_payload(message)
        return encode(message)

    def call(
        self, method: str, arguments: dict[str, Value], expect: Callable[[], Any] | None
    ) -> tuple[bytes, Callable[[], None] | None]:
        """A call to the relay: its frame, and what is to be called at the moment when the store acts on it: it notes
        what `expect` says has to come back.
        """
        self._call_id += 1
        noted = self.calls[self._call_id] = [method]
        content_type, body = encode_body(arguments)
        frame = encode(Call(self.address, "relay", self._call_id, method, 5000, content_type, body))
        if expect is None:
            noted.append(None)
            return frame, None
        return frame, lambda: noted.append(expect())

    def again(self, message_id: int) -> bytes:
        """Once more what was acknowledged: its frame."""
        self.repeated[message_id] = self.answered[message_id]
        return _frame(self.answered[message_id])

    def forged(self, message_id: int) -> bytes:
        """Another message under an id that was used: its frame."""
        message = decode(self.answered[message_id])
        assert isinstance(message, Message)
        return encode(message._replace(body=self._world.fresh_body(0)))

    def positions(self) -> list[tuple[str, int]]:
        """How far the program is in the conversations that its user is in."""
        reference = self._reference
        return [
            (line.conversation, offset)
            for line, offset in self._at.items()
            if reference.line(line.conversation) == line and reference.stay(self.user, line)
        ]

    # What comes in.

    def read(self, size: int) -> None:
        """Read so many bytes, and act on every whole packet in them."""
        pipe = self.pipe
        if pipe is None:
            return
        data = self._partial + pipe.take(size)
        while len(data) >= HEADER_BYTES and self.pipe is pipe:
            end = HEADER_BYTES + int.from_bytes(data[:HEADER_BYTES], "big")
            if len(data) < end:
                break
            self._handle(decode(data[HEADER_BYTES:end]))
            data = data[end:]
        self._partial = data

    def _handle(self, packet: Packet | Unknown) -> None:
        match packet:
            case Welcome():
                self._handle_welcome(packet)
            case Delivery():
                self._handle_delivery(packet)
            case Gap():
                self._handle_gap(packet)
            case Stored():
                self._handle_stored(packet)
            case StoredRun():
                for stored in unfold(packet):
                    self._handle_stored(stored)
            case Error():
                self._handle_error(packet)
            case Result() | Fault():
                self._handle_answer(packet)
            case Close():
                assert self.pipe is not None
                self.pipe.hang_up()
                self.lose()
            case Signal():
                pass
            case _:
                raise AssertionError(f"{self.address} got {packet}")

    def _handle_welcome(self, welcome: Welcome) -> None:
        self.welcomed = True
        assert welcome.last_message_id < self.next_id or not self.unanswered, "ids that were never sent"
        self.next_id = max(self.next_id, welcome.last_message_id + 1)
        self._world.feed(self, b"".join(_frame(payload) for payload in self.unanswered.values()))

    def _handle_delivery(self, delivery: Delivery) -> None:
        name, offset, _, packet = delivery
        assert self.receiving, f"{self.address} did not ask for {delivery}"
        line, stay = self._locate(name, offset, packet)
        last = self._last(line, offset)
        if (line, offset) in self._came or offset <= last:
            own = (line, offset) in self.told and (line, offset) not in self._came
            assert own, f"{self.address}: {name} {offset} came again behind {last}"
        for missing in range(max(last, stay.after) + 1, offset):
            assert (line, missing) in self.told, f"{self.address}: {name} {offset} came after {last}"
        self._came.add((line, offset))
        self.got.add((line, offset))
        self._at[line] = max(last, offset)
        self._pass_told(line)

    def _last(self, line: Line, offset: int) -> int:
        """How far the program is in a conversation of which it is told an offset."""
        if line in self._at:
            return self._at[line]
        base = self.base.get(line, 0)
        return min(base, offset - 1) if self.new else base

    def _handle_gap(self, gap: Gap) -> None:
        """Each offset in it is gone, was not had on this connection, and is one that has to come next."""
        assert self.receiving and gap.first <= gap.last, gap
        lines = [Line(gap.conversation, life) for life in range(self._reference.line(gap.conversation).life, -1, -1)]
        line = next((line for line in lines if self._is_due(line, gap)), None)
        assert line, f"{self.address}: {gap}, kept from {[(*line, self._reference.first_kept(line)) for line in lines]}"
        self.gone |= {(line, offset) for offset in range(gap.first, gap.last + 1)}
        self._at[line] = max(self._last(line, gap.first), gap.last)
        self._pass_told(line)

    def _is_due(self, line: Line, gap: Gap) -> bool:
        stays = [stay for stay in self._reference.stays.get((self.user, line), []) if stay.covers(gap.first)]
        if not stays or not stays[-1].covers(gap.last) or gap.last >= self._reference.first_kept(line):
            return False
        last = self._last(line, gap.first)
        own = all((line, offset) in self.told for offset in range(gap.first, min(gap.last, last) + 1))
        missed = range(max(last, stays[-1].after) + 1, gap.first)
        named = range(gap.first, gap.last + 1)
        return (
            own
            and all((line, offset) in self.told for offset in missed)
            and not any((line, offset) in self._came for offset in named)
        )

    def _locate(self, name: str, offset: int, packet: bytes) -> tuple[Line, Stay]:
        """Which life of the conversation a delivery is of, and which of the user's stays."""
        for life in range(self._reference.line(name).life, -1, -1):
            line = Line(name, life)
            log = self._reference.logs.get(line, [])
            if offset <= len(log) and log[offset - 1] == packet:
                for stay in reversed(self._reference.stays.get((self.user, line), [])):
                    if stay.covers(offset):
                        return line, stay
        raise AssertionError(f"{self.address}: {name} {offset} is not what stands there, or nothing for this user")

    def _pass_told(self, line: Line) -> None:
        while (line, self._at[line] + 1) in self.told and self._at[line]:
            self._at[line] += 1

    def _handle_stored(self, stored: Stored) -> None:
        message_id, name, offset, _ = stored
        payload = self.unanswered.pop(message_id, None) or self.repeated.get(message_id)
        assert payload is not None, f"{self.address} did not send {stored}"
        message = decode(payload)
        assert isinstance(message, Message)
        assert conversation_for(self.user, message.to) == name
        places = self._world.places.get(payload, [])
        place = next((place for place in places if place[0].conversation == name and place[1] == offset), None)
        assert place is not None, f"{self.address}: {stored}, but it stands at {places}"
        self._world.acknowledged += 1
        self.answered[message_id] = payload
        self.told.add(place)
        if self.receiving and self._at.get(place[0]) == offset - 1:
            self._at[place[0]] = offset

    def _handle_error(self, error: Error) -> None:
        assert error.id is not None, error
        assert error.code in self._world.refusals.get((self.address, error.id), ()), error
        if error.code != ErrorCode.ID_REUSED or self.unanswered.get(error.id) in self._world.deleted:
            self.unanswered.pop(error.id, None)

    def _handle_answer(self, answer: Result | Fault) -> None:
        method, *expected = self.calls.pop(answer.id)
        if method == "devices.forget":
            return
        assert expected, f"{self.address}: {method} was answered before it was done"
        wanted = expected[0]
        if isinstance(answer, Fault):
            assert wanted == answer.code, (method, answer, wanted)
            return
        assert not isinstance(wanted, int), (method, wanted)
        if method == "history.read":
            value: Any = decode_body(answer.content_type, answer.body)
            found = [(entry["offset"], entry["packet"]) for entry in value["messages"]], value["head"]
            assert found == wanted, f"{self.address}: history"

    def missing(self) -> list[tuple[Line, int]]:
        """What should have come and did not, of the conversations the user is in now."""
        device = self._reference.device(self.user, self.name)
        if not device.opened:
            return []
        wanted = [
            (line, offset)
            for line, stay in self._reference.present(self.user).items()
            for offset in range(
                max(stay.after, device.begins.get(line, 0)) + 1, len(self._reference.logs.get(line, ())) + 1
            )
        ]
        return [place for place in wanted if place not in self.got | self.told | self.gone]


def _frame(payload: bytes) -> bytes:
    return len(payload).to_bytes(HEADER_BYTES, "big") + payload
