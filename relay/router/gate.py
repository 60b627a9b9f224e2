"""The gate of a receiver: how much stream data may be under way to one session, however many streams it has.

Data is under way from the moment its credit goes out to the sender (promised), through its wait in the receiver's
queue (queued), until the kernel has it. A CREDIT that would exceed the bound waits here, and streams take turns. A
stream that has nothing under way gets one CREDIT all the same: streams that hold credit and are idle must not stop it.
"""

from collections import deque

from relay.router.subscriber import Outlet

# CREDITs of one stream that may wait here. Who needs more grants in larger pieces.
HELD_MAX = 64


class Lane:
    """One direction of a stream."""

    __slots__ = ("_gate", "credit", "finished", "held", "queued", "receiver", "sender")

    def __init__(self, sender: Outlet, receiver: Outlet, gate: "Gate") -> None:
        self.sender = sender
        self.receiver = receiver
        self._gate = gate
        # Bytes that the sender may still send, bytes in the receiver's queue, and CREDITs that wait.
        self.credit = 0
        self.queued = 0
        self.held: deque[tuple[bytes, int]] = deque()
        self.finished = False

    def __repr__(self) -> str:
        return f"<Lane: credit {self.credit}, {self.queued} bytes queued, {len(self.held)} CREDITs held>"

    @property
    def granted(self) -> int:
        """Bytes that the receiver has granted and that were not sent yet."""
        return self.credit + sum(size for _, size in self.held)

    def grant(self, frame: bytes, size: int) -> bool:
        """Pass on a CREDIT, now or later. False if too many wait already."""
        if len(self.held) >= HELD_MAX:
            return False
        self.held.append((frame, size))
        self._gate.admit(self)
        return True

    def send(self, frame: bytes | memoryview, size: int) -> None:
        """Queue DATA of `size` bytes, for which there is credit, or another packet that must not overtake DATA."""
        self.credit -= size
        self.queued += size
        self._gate.move(size)
        self.receiver.stream(frame, self, size)

    def handle_sent(self, size: int) -> None:
        """So many queued bytes are with the kernel."""
        self.queued -= size
        self._gate.release(size)

    def close(self) -> None:
        """Nothing is sent any more: give back the credit. What is queued stays under way until it has left."""
        credit, self.credit = self.credit, 0
        self.held.clear()
        self._gate.forget(self, credit)


class Gate:
    """The lanes into one session; `limit_bytes` may be under way to it in all. No method yields."""

    __slots__ = ("_limit_bytes", "_promised", "_queued", "_waiting")

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._promised = 0
        self._queued = 0
        self._waiting: dict[Lane, None] = {}

    def __repr__(self) -> str:
        return f"<Gate: {self._promised} bytes promised, {self._queued} queued, {len(self._waiting)} streams wait>"

    @property
    def under_way(self) -> int:
        """Bytes promised to senders or queued for this session."""
        return self._promised + self._queued

    def admit(self, lane: Lane) -> None:
        """A lane has CREDITs to pass on."""
        self._waiting[lane] = None
        self._admit()

    def move(self, size: int) -> None:
        """Promised bytes have come and are queued."""
        self._promised -= size
        self._queued += size

    def release(self, size: int) -> None:
        """Queued bytes have left."""
        self._queued -= size
        self._admit()

    def forget(self, lane: Lane, credit: int) -> None:
        """A lane is closed and gives back its credit."""
        self._waiting.pop(lane, None)
        self._promised -= credit
        self._admit()

    def _admit(self) -> None:
        """Pass on one CREDIT of each lane in turn, for as long as any may pass."""
        passed = True
        while passed and self._waiting:
            passed = False
            for lane in list(self._waiting):
                if self._may_pass(lane, lane.held[0][1]):
                    passed = True
                    del self._waiting[lane]
                    self._pass(lane)

    def _may_pass(self, lane: Lane, size: int) -> bool:
        if self._promised + self._queued + size <= self._limit_bytes:
            return True
        return not lane.credit and not lane.queued and self._queued + size <= self._limit_bytes

    def _pass(self, lane: Lane) -> None:
        frame, size = lane.held.popleft()
        if lane.held:
            self._waiting[lane] = None
        lane.credit += size
        self._promised += size
        lane.sender.push(frame)
