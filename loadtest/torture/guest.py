"""A guest leaves its rooms and comes back, all the time. It gets what is written while it is inside, nothing else."""

from enum import Enum
from typing import Any

from loadtest.torture.books import Conversation
from loadtest.torture.client import Phase, Stage
from loadtest.torture.device import Device
from loadtest.torture.plan import Member
from relay.protocol.codes import ErrorCode
from relay.protocol.packets import Delivery, Fault

_INSIDE_S = 0.6
_OUTSIDE_S = 0.3


class Presence(Enum):
    """Where a guest is, as far as it knows: a call whose answer got lost with its connection is made again."""

    INSIDE = "inside"
    LEAVING = "leaving"
    OUTSIDE = "outside"
    ENTERING = "entering"


class Guest(Device):
    """One device, the only one of its user, that is a member of rooms now and then."""

    def __init__(self, member: Member, stage: Stage) -> None:
        super().__init__(member, stage)
        self._rooms = {room: Presence.INSIDE for room in self._conversations if room.name.startswith("#")}
        self.moves = 0

    @property
    def settled(self) -> bool:
        moving = any(presence in (Presence.LEAVING, Presence.ENTERING) for presence in self._rooms.values())
        return super().settled and not moving

    def behind(self) -> list[tuple[Conversation, int]]:
        return [entry for entry in super().behind() if self._rooms.get(entry[0], Presence.INSIDE) is Presence.INSIDE]

    def _handle_receiving(self, answer: Any) -> None:
        super()._handle_receiving(answer)
        for room, presence in self._rooms.items():
            if presence is Presence.LEAVING:
                self._leave_room(room)
            elif presence is Presence.ENTERING:
                self._enter_room(room)
            else:
                self._move_later(room)

    def _handle_delivery(self, delivery: Delivery) -> None:
        room = self._books.by_name.get(delivery.conversation)
        if room in self._rooms and self._rooms[room] is Presence.OUTSIDE:
            what = f"{self.address} left it, and got offset {delivery.offset}"
            self._complain("unexpected", what, delivery.conversation)
        else:
            super()._handle_delivery(delivery)

    def _move_later(self, room: Conversation) -> None:
        mean_s = _INSIDE_S if self._rooms[room] is Presence.INSIDE else _OUTSIDE_S
        link = self._link

        def move() -> None:
            if self._link is not link or self.phase is not Phase.OPEN or not self._stage.sending:
                return
            if self._rooms[room] is Presence.INSIDE:
                self._leave_room(room)
            else:
                # Whatever anybody knows to be stored now is older than the membership that begins.
                self.received.begin(room, room.head)
                self._enter_room(room)

        self._stage.loop.later(self._around(mean_s), move)

    def _leave_room(self, room: Conversation) -> None:
        self._rooms[room] = Presence.LEAVING
        self.call("rooms.leave", {"room": room.name}, lambda answer: self._left(room))

    def _left(self, room: Conversation) -> None:
        self._rooms[room] = Presence.OUTSIDE
        self.received.end(room)
        self.moves += 1
        self._move_later(room)

    def _enter_room(self, room: Conversation) -> None:
        certain = self._rooms[room] is Presence.OUTSIDE
        self._rooms[room] = Presence.ENTERING

        def entered(answer: Any) -> None:
            self._rooms[room] = Presence.INSIDE
            self.received.begun(room, answer["room"]["head"], certain)
            self.moves += 1
            self._move_later(room)

        self.call("rooms.join", {"room": room.name}, entered)

    def _failed(self, method: str, fault: Fault) -> None:
        leaving = [room for room, presence in self._rooms.items() if presence is Presence.LEAVING]
        # The answer to the call before may have got lost: then we have left already.
        if method == "rooms.leave" and fault.code == ErrorCode.NO_SUCH_ROOM and leaving:
            for room in leaving:
                if room.name in fault.sentence:
                    self._left(room)
        else:
            super()._failed(method, fault)
