"""Who takes part: users, their devices with their habits, rooms. Everything follows from the seed."""

import random
from typing import NamedTuple

from loadtest.torture.body import SIZE_MAX, SIZE_MIN
from relay.protocol.addresses import conversation_for

SENDERS = 100
RECEIVERS = 100
ROOMS = 10

# Of each kind: senders, receivers, guests, of whom there are as many as rooms.
_ROOM_USERS = (10, 10, 2)


class Habit(NamedTuple):
    """What a device does."""

    # Messages it keeps unanswered; 0: it sends nothing.
    in_flight: int = 0
    # Whether it asks for messages.
    receives: bool = True
    # Stays and stays away for random times around these.
    present_s: float = 0.0
    absent_s: float = 0.0
    # How often a lost connection means that the program died: it keeps only what it acknowledged.
    dies: float = 0.0
    # How often it acknowledges, and how often it then asks for that to be confirmed.
    ack_s: float = 0.05
    syncs: float = 0.0
    # Reads so many bytes now and then instead of everything at once; 0: everything.
    sip_bytes: int = 0
    # Leaves its rooms and comes back.
    roams: bool = False


class Member(NamedTuple):
    """One device. `targets` are where it sends to: users and rooms."""

    number: int
    user: str
    device: str
    habit: Habit
    targets: tuple[str, ...]
    sizes: tuple[int, int]

    @property
    def address(self) -> str:
        return f"{self.user}/{self.device}"


class Plan(NamedTuple):
    """Everybody. `rooms` maps each room to its users, the owner first."""

    members: tuple[Member, ...]
    rooms: dict[str, tuple[str, ...]]

    @property
    def users(self) -> list[str]:
        return sorted({member.user for member in self.members})

    def conversations(self) -> dict[str, frozenset[str]]:
        """Every conversation that somebody may write to, with the users in it."""
        found = {room: frozenset(users) for room, users in self.rooms.items()}
        for member in self.members:
            for to in member.targets:
                if not to.startswith("#"):
                    found[conversation_for(member.user, to)] = frozenset((member.user, to))
        return found


def make_plan(seed: int, senders: int = SENDERS, receivers: int = RECEIVERS, rooms: int = ROOMS) -> Plan:
    """The plan of a seed: `senders` users who mostly send, `receivers` who only listen, each of both with one device
    or more.
    """
    dice = random.Random(f"plan {seed}")
    sending = [f"s{number:02}" for number in range(senders)]
    listening = [f"r{number:02}" for number in range(receivers)]
    guests = [f"g{number:02}" for number in range(rooms)]
    halls = {f"#room{number}": _crowd(dice, sending, listening, guests) for number in range(rooms)}
    members: list[Member] = []

    def add(user: str, device: str, habit: Habit, targets: tuple[str, ...] = ()) -> None:
        smallest = dice.randint(SIZE_MIN, 150)
        sizes = (smallest, min(SIZE_MAX, smallest + dice.choice((0, 50, 50, 3000))))
        members.append(Member(len(members), user, device, habit, targets, sizes))

    for number, user in enumerate(sending):
        targets = _targets(dice, user, listening, [room for room, users in halls.items() if user in users])
        add(user, "out", _sender(dice, receives=dice.random() < 0.3, dies=0.1 if number % 7 == 0 else 0.0), targets)
        if number % 3 == 0:
            add(user, "copy", _listener(dice))
        if number % 10 == 0:
            add(user, "alt", _sender(dice, receives=True, dies=0.0), targets)
    for number, user in enumerate(listening):
        add(user, "one", _listener(dice, slow=number % 25 == 3))
        if number % 2 == 0:
            add(user, "two", _listener(dice))
    for user in guests:
        add(user, "only", Habit(dies=0.2, ack_s=dice.uniform(0.0, 0.1), syncs=0.2, roams=True))
    return Plan(tuple(members), halls)


def _crowd(dice: random.Random, *kinds: list[str]) -> tuple[str, ...]:
    """Who is in a room: some of each kind, the owner first."""
    numbers = zip(kinds, _ROOM_USERS, strict=True)
    return tuple(user for users, number in numbers for user in dice.sample(users, min(number, len(users))))


def _targets(dice: random.Random, user: str, listening: list[str], halls: list[str]) -> tuple[str, ...]:
    """A few users, written to more often than the rooms, where a message costs twenty deliveries; now and then a note
    to herself.
    """
    users = [*dice.sample(listening, min(4, len(listening)))] * 3
    return (*users, *dice.sample(halls, min(1, len(halls))), *([user] if dice.random() < 0.3 else []))


def _sender(dice: random.Random, receives: bool, dies: float) -> Habit:
    in_flight = dice.choice((1, 5, 20, 20, 50, 256))
    return Habit(in_flight, receives, dies=dies, ack_s=dice.uniform(0.01, 0.2), syncs=0.05)


def _listener(dice: random.Random, slow: bool = False) -> Habit:
    away = dice.random() < 0.25
    return Habit(
        present_s=dice.uniform(0.5, 4.0) if away else 0.0,
        absent_s=dice.uniform(0.5, 8.0) if away else 0.0,
        dies=dice.choice((0.0, 0.0, 0.2, 1.0)),
        ack_s=dice.choice((0.0, 0.02, 0.1, 0.5)),
        syncs=dice.choice((0.0, 0.1, 0.5)),
        sip_bytes=20_000 if slow else 0,
    )
